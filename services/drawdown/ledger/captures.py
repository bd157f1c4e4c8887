"""Captures: a hold's money becomes a debit, by command or by the usage that names it.

What was used is paid by the hold first. Of what is above it, the customer's terms decide: `allow`
takes it as any debit, and may overdraw, because use that happened is a fact; `cap` leaves it
uncharged. The entry says which slice of which grant went where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drawdown.events.base import Value, at_text, milliseconds, moment
from drawdown.events.codec import RecordError
from drawdown.events.commands import Capture
from drawdown.events.entries import GrantFacts, HoldFacts, PriceFacts, UsageFacts
from drawdown.events.numbers import AMOUNT_MAX, amount_text, plain_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Book, Books, CompiledMeter, Quote, checked_quantity
from drawdown.ledger.drawdown import Slice, earned, take
from drawdown.ledger.entitlements import counted_use, rare_of
from drawdown.ledger.evolve import Rows
from drawdown.ledger.give_back import Parts, give_back
from drawdown.ledger.grants import REPORTING_DEFAULT, checked_amount
from drawdown.ledger.holds import open_hold
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Decided, Moment, crossings
from drawdown.ledger.prices import Quantities, UnpricedError
from drawdown.ledger.pricing import Charge, Use, charge_of
from drawdown.ledger.rows import held_parts
from drawdown.ledger.values import Hold, Part, Wallet

_HoldFacts = struct_of(HoldFacts)
_UsageFacts = struct_of(UsageFacts)


class Captured(Value, frozen=True):
    """How a charge is paid by a hold, and by what is free where the hold is not enough."""

    amount: int
    slices: tuple[Slice, ...]
    """Per grant all that is debited, by way of the hold or not."""
    credit: int
    overdrawn: int
    revenue: int
    facts: HoldFacts
    after: int
    """The account's balance."""
    spent: int
    """How much less is available; negative where more is."""
    grant: GrantFacts | None = None
    """A new one, for what no grant could take back."""


def captured(
    wallet: Wallet,
    hold: Hold,
    charge: int,
    meter: str,
    dimensions: Mapping[str, str],
    book: Book | None,
    now: Moment,
    *,
    final: bool,
    back: Parts = (),
) -> Captured:
    """Capture `charge` from a hold for a use of `meter`; below zero it is given back to who paid it
    (`back`), and the hold pays nothing.

    First what the hold has in scope of this use, in its order, then what it has on credit; then by
    the wallet's policy what is free, as a debit takes it, or nothing. `final` returns the rest.
    """
    grants = {grant.terms.id: grant for grant in wallet.grants}
    left = max(charge, 0)
    taken: dict[str, int] = {}
    for part in hold.parts:
        scope = grants[part.grant].terms.scope
        if left and (scope is None or scope.covers(meter, dimensions)):
            taken[part.grant] = min(part.amount, left)
            left -= taken[part.grant]
    taken_credit = min(hold.credit, left)
    left -= taken_credit
    capped = 0
    if left and wallet.policy is not None and wallet.policy.capture == "cap":
        capped, left = left, 0
    amount = charge - capped
    account = wallet.account(hold.asset)
    reporting = REPORTING_DEFAULT if book is None else book.reporting
    order = None if book is None else book.order
    grant = None
    if charge >= 0:
        free = take(wallet, account, left, meter, dimensions, now.at_ms, reporting, order)
    else:
        free, grant = give_back(wallet, account, -charge, back, now.at_ms, reporting)
    debited = dict(taken)
    for drawn in free.slices:
        debited[drawn.grant] = debited.get(drawn.grant, 0) + drawn.amount
    slices = tuple(
        [
            Slice(name, paid, earned(grants[name].terms, grants[name], paid))
            for name, paid in debited.items()
        ]
        if charge >= 0
        else free.slices
    )
    credit = taken_credit + free.credit
    revenue = sum(part.revenue for part in slices)
    if hold.asset == reporting:
        revenue += credit
    out = sum(taken.values()) + taken_credit
    returned: tuple[Part, ...] = ()
    returned_credit = 0
    if final:
        rests = [Part(part.grant, part.amount - taken.get(part.grant, 0)) for part in hold.parts]
        returned = tuple([part for part in rests if part.amount])
        returned_credit = hold.credit - taken_credit
    returned_sum = sum(part.amount for part in returned) + returned_credit
    return Captured(
        amount=amount,
        slices=slices,
        credit=credit,
        overdrawn=free.overdrawn,
        revenue=revenue,
        facts=_HoldFacts(
            id=hold.id,
            amount=amount_text(hold.amount),
            created_at=moment(hold.created_ms),
            expires_at=moment(hold.expires_ms),
            before=amount_text(hold.held),
            after=amount_text(hold.held - out - returned_sum),
            closed=final,
            taken=held_parts(Part(*part) for part in taken.items()),
            taken_credit=amount_text(taken_credit),
            returned=held_parts(returned),
            returned_credit=amount_text(returned_credit),
            charge=amount_text(charge) if capped else None,
        ),
        after=account.balance - (amount - out) + returned_sum,
        spent=amount - out - free.overdrawn - returned_sum,
        grant=grant,
    )


def capture(
    rows: Rows,
    command: Capture,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> tuple[Decided, Entry]:
    """Capture a hold by command: what is to be applied but for the answer, and the entry.

    Quantities are priced as usage is, by the time the command states. Raises RecordError.
    """
    hold = open_hold(rows, command.customer, command.hold_id, now)
    wallet: Wallet = rows.row(command.customer)
    book = books.at(now.at_ms)
    price = None
    quantities: Quantities = {}
    cost = 0
    found: Charge | None = None
    if command.amount is not None:
        if command.quantities is not None:
            raise RecordError(Reason.INVALID, "give either amount or quantities", "amount")
        charge = checked_amount(command.amount, hold.asset, "amount", book)
    elif command.quantities is not None:
        quantities = stated_quantities(command.quantities, "quantities")
        charge, price, cost, found = _priced(rows, hold, command, quantities, books)
    else:
        charge = hold.held
    account = wallet.account(hold.asset)
    if charge > AMOUNT_MAX - account.debited:
        raise RecordError(
            Reason.INVALID, f"makes more than 38 digits of {hold.asset} debited in all", "amount"
        )
    if cost > AMOUNT_MAX - wallet.cost:
        raise RecordError(
            Reason.BAD_QUANTITY, "its cost makes more than 38 digits of cost in all", "quantities"
        )
    paid = captured(
        wallet,
        hold,
        charge,
        hold.meter,
        hold.dimensions,
        book,
        now,
        final=command.final,
        back=() if found is None else found.back,
    )
    entry = capture_entry(
        wallet,
        hold,
        paid,
        origin,
        now,
        id=command.id,
        fingerprint=fingerprint.hex(),
        usage=_UsageFacts(
            meter=hold.meter,
            time=command.time,
            quantities=stated(quantities),
            dimensions=dict(hold.dimensions),
        ),
        price=price,
        cost=cost,
        running=None if found is None else found.running,
        rare=rare_of(counted_use(rows, wallet, hold.meter, quantities, milliseconds(command.time))),
    )
    crossed = crossings(wallet, book, hold.asset, paid.spent, now.at_ms)
    return Decided(crossed=crossed, overdrawn=max(paid.overdrawn, 0), wallet=wallet), entry


def capture_entry(
    wallet: Wallet, hold: Hold, paid: Captured, origin: Origin, now: Moment, **facts: Any
) -> Entry:
    """The entry of a capture, with what is known of its cause."""
    return Entry(
        customer=wallet.customer,
        sequence=wallet.sequence + 1,
        kind="capture",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        asset=hold.asset,
        amount=paid.amount,
        before=wallet.account(hold.asset).balance,
        after=paid.after,
        slices=paid.slices,
        credit=paid.credit,
        overdrawn=paid.overdrawn,
        revenue=paid.revenue,
        grant=paid.grant,
        hold=paid.facts,
        **facts,
    )


def _priced(
    rows: Rows, hold: Hold, command: Capture, quantities: Quantities, books: Books
) -> tuple[int, PriceFacts, int, Charge]:
    """The charge of what was used under a hold, how it came about, and what it cost us."""
    book = books.at(milliseconds(command.time))
    if book is None:
        raise RecordError(
            Reason.NO_PRICE_BOOK,
            f"none was in effect at {at_text(milliseconds(command.time))}",
            "time",
        )
    wallet: Wallet = rows.row(hold.customer)
    _, quote = quoted_use(book, hold.meter, hold.dimensions, wallet)
    if quote.rate is None:
        raise RecordError(Reason.UNPRICED, quote.missing, "quantities")
    if quote.rate.asset != hold.asset:
        raise RecordError(
            Reason.INVALID,
            f"this use is priced in {quote.rate.asset}, the hold is in {hold.asset}",
            "quantities",
        )
    cost = cost_of(quote, quantities)
    use = Use(
        hold.customer,
        hold.meter,
        quantities,
        hold.dimensions,
        milliseconds(command.time),
        cost,
    )
    charge, price = charged(rows, quote, use, "quantities")
    if cost is None:
        price = replaced(price, cost_rate=None)
    return charge.amount, price, cost or 0, charge


def quoted_use(
    book: Book, meter_id: str, dimensions: Mapping[str, str], wallet: Wallet, field: str = "meter"
) -> tuple[CompiledMeter, Quote]:
    """The meter and the rates of a wallet's use. Raises RecordError for an unknown meter."""
    meter = book.meter(meter_id)
    if meter is None:
        raise RecordError(
            Reason.UNKNOWN_METER, f"price book {book.version!r} has no meter {meter_id!r}", field
        )
    return meter, book.quote(meter, dimensions, wallet.customer, wallet.plan)


def cost_of(quote: Quote, quantities: Quantities) -> int | None:
    """What a use costs us by the book's rate; None where it has none."""
    if quote.cost_rate is None:
        return None
    try:
        return quote.cost_rate.charge(quantities)[0]
    except UnpricedError:
        return None


def charged(rows: Rows, quote: Quote, use: Use, field: str) -> tuple[Charge, PriceFacts]:
    """What a known use is priced at, and how; below zero only where it gives back. Raises
    RecordError."""
    rate = quote.rate
    assert rate is not None
    try:
        charge = charge_of(rows, rate, use)
    except UnpricedError as missing:
        raise RecordError(
            Reason.UNPRICED, f"rate {rate.id!r} has no price for {missing.what!r}", field
        ) from None
    if charge.amount < 0 and charge.running is None:
        raise RecordError(
            Reason.BAD_QUANTITY,
            f"rate {rate.id!r} makes it {amount_text(charge.amount)}: below zero",
            field,
        )
    return charge, quote.exact if charge.exact else quote.rounded


def stated_quantities(given: Mapping[str, int | str], field: str) -> Quantities:
    """The quantities of a command, exactly. Raises RecordError."""
    return {name: checked_quantity(name, value, field) for name, value in given.items()}


def stated(quantities: Quantities) -> dict[str, int | str]:
    """Quantities as entries say them."""
    return {
        name: value if isinstance(value, int) else plain_text(value)
        for name, value in quantities.items()
    }
