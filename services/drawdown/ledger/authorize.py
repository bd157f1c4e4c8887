"""Authorization: may this run, against the balance as it is now?

Deny by default (rule 3): a customer nobody has seen, a meter nobody knows, a price nobody set or a
balance that is too small each deny with their own reason. A plain check and a denial change
nothing: each is a decision and no entry, and asked again it is decided again. An allow that sets
the price aside (`require: hold`) or debits it (`capture: true`) is an entry, and its decision is
made from that entry alone.

A hold and a capture may use the unused credit limit, as a check may: what is allowed is what could
be paid.
"""

from __future__ import annotations

from typing import Final, cast

from drawdown.events.base import Value, milliseconds, moment
from drawdown.events.codec import Command, RecordError, encode, kind_of
from drawdown.events.commands import HOLDS_MAX, Authorize
from drawdown.events.decisions import Decision
from drawdown.events.entries import GrantFacts, PriceFacts, ReadFacts, UsageFacts
from drawdown.events.numbers import AMOUNT_MAX, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.answers import answer_of
from drawdown.ledger.book import Book, Books, Quote
from drawdown.ledger.captures import cost_of, quoted_use, stated, stated_quantities
from drawdown.ledger.drawdown import Taken, available
from drawdown.ledger.entitlements import counted_use, exceeded, rare_of
from drawdown.ledger.evolve import Rows
from drawdown.ledger.give_back import pay
from drawdown.ledger.grants import checked_amount
from drawdown.ledger.holds import ended_key, held_entry, hold_id_of, made_until_ms
from drawdown.ledger.journal import Entry, Origin, seal
from drawdown.ledger.limits import Asked as Counted
from drawdown.ledger.limits import (
    Found,
    blocked_words,
    denied_words,
    found,
    limited,
    states,
    without_room,
)
from drawdown.ledger.margin_floor import Expected, floor_words, margin_states, under_floor
from drawdown.ledger.outcome import Decided, Moment, crossings
from drawdown.ledger.prices import Quantities, UnpricedError
from drawdown.ledger.pricing import Charge, Use, charge_of
from drawdown.ledger.values import NO_POLICY, Wallet, hold_key

LEAST: Final = 1
"""What an authorization without an estimate needs: any balance above zero."""

NOT_ACTIVE: Final = {
    "suspended": Reason.WALLET_SUSPENDED,
    "closed": Reason.WALLET_CLOSED,
}

_Decision = struct_of(Decision)
_UsageFacts = struct_of(UsageFacts)
_ReadFacts = struct_of(ReadFacts)


def is_check(command: Command) -> bool:
    """Whether a command is a plain check: it changes nothing, and may be decided any number of
    times."""
    if kind_of(command) != "authorize":
        return False
    asked = cast(Authorize, command)
    return asked.require == "check" and not asked.capture


def authorize(
    rows: Rows,
    command: Authorize,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Decided:
    """Allow or deny. Raises RecordError where the question itself is wrong."""
    until_ms = _until_ms(command, now)
    wallet: Wallet | None = rows.row(command.customer)
    if wallet is None:
        return Decided(answer=_denied(command, now, Reason.UNKNOWN_CUSTOMER))
    if wallet.state != "active":
        return Decided(answer=_denied(command, now, NOT_ACTIVE[wallet.state], wallet=wallet))
    lag_ms_max = command.max_usage_lag_ms
    if lag_ms_max is not None and now.usage_lag_ms > lag_ms_max:
        detail = f"usage is {now.usage_lag_ms} ms behind; at most {lag_ms_max} ms were allowed"
        return Decided(answer=_denied(command, now, Reason.BALANCE_STALE, detail, wallet))
    book = books.at(now.at_ms)
    if book is None:
        return Decided(answer=_denied(command, now, Reason.NO_PRICE_BOOK, wallet=wallet))
    meter, quote = quoted_use(book, command.meter, command.dimensions, wallet)
    rate = quote.rate
    if rate is None:
        return Decided(answer=_denied(command, now, Reason.UNPRICED, quote.missing, wallet, book))
    asset = rate.asset
    met = found(rows, wallet, meter.id, command.dimensions, now.at_ms)
    if met.blocked is not None:
        words = blocked_words(*met.blocked)
        return Decided(answer=_denied(command, now, Reason.BLOCKED, words, wallet, book))
    estimate = command.estimate
    quantities: Quantities = {}
    if wallet.subscriptions:
        stated_ones = stated_quantities(estimate.quantities or {}, "estimate.quantities")
        used_up = exceeded(rows, wallet, meter.id, stated_ones)
        if used_up is not None:
            reason = Reason.ENTITLEMENT_EXCEEDED
            return Decided(answer=_denied(command, now, reason, used_up, wallet, book))
    price = replaced(quote.exact, rounding=None)
    charge = None
    if estimate.amount is not None:
        if estimate.asset is not None and estimate.asset != asset:
            raise RecordError(Reason.INVALID, f"this use is priced in {asset}", "estimate.asset")
        amount = checked_amount(estimate.amount, asset, "estimate.amount", book)
    elif estimate.quantities is not None:
        quantities = stated_quantities(estimate.quantities, "estimate.quantities")
        try:
            use = Use(
                command.customer,
                meter.id,
                quantities,
                command.dimensions,
                milliseconds(command.time) if command.capture else now.at_ms,
                cost_of(quote, quantities),
            )
            charge = charge_of(rows, rate, use)
        except UnpricedError as missing:
            detail = f"rate {rate.id!r} has no price for {missing.what!r}"
            return Decided(answer=_denied(command, now, Reason.UNPRICED, detail, wallet, book))
        amount = charge.amount
        if charge.running is not None and not command.capture:
            amount = max(amount, 0)  # what would give something back needs nothing
        price = quote.exact if charge.exact else quote.rounded
    else:
        amount = LEAST
    if until_ms is not None:
        denied = _no_more_holds(rows, command, wallet, book, now)
        if denied is not None:
            return Decided(answer=denied)
    stated_amount = estimate.amount is not None or estimate.quantities is not None
    if met.standings:
        known = None if estimate.quantities is None else quantities
        asked_for = Counted(asset, amount, known, until_ms is not None)
        denying = without_room(met.standings, asked_for)
        if denying:
            words = "; ".join([denied_words(*each) for each in denying])
            denied = _denied(command, now, Reason.BUDGET_EXCEEDED, words, wallet, book)
            return Decided(answer=replaced(denied, limits=states(met, denying)))
    there = available(wallet, asset, meter.id, command.dimensions, now.at_ms)
    allowed = there >= max(amount, LEAST)
    enters = until_ms is not None or command.capture
    expected = None
    if allowed and (enters or met.margins):
        asked = Asked(meter.id, asset, amount, quantities, price, quote, there, charge, met)
        if met.margins:
            expected = _expected(asked, command, wallet, book, now)
            denied = _under_floor(command, met, expected, wallet, book, now)
            if denied is not None:
                return Decided(answer=denied)
        if enters:
            return _entered(rows, command, asked, wallet, book, until_ms, fingerprint, origin, now)
    return Decided(
        answer=_Decision(
            kind="authorization",
            id=command.id,
            customer=command.customer,
            command="authorize",
            at=moment(now.at_ms),
            allowed=allowed,
            reason=Reason.OK if allowed else Reason.INSUFFICIENT_BALANCE,
            asset=asset,
            amount=amount_text(amount) if stated_amount else None,
            shortfall=None if allowed else amount_text(max(amount, LEAST) - there),
            available={asset: amount_text(there)},
            rate=rate.id,
            book=book.version,
            book_offset=book.offset,
            sequence=wallet.sequence,
            digest=wallet.digest,
            usage_lag_records=now.usage_lag_records,
            usage_lag_ms=now.usage_lag_ms,
            limits=states(met),
            margins=margin_states(met.margins, expected),
        )
    )


def _under_floor(
    command: Authorize,
    met: Found,
    expected: Expected | None,
    wallet: Wallet,
    book: Book,
    now: Moment,
) -> Decision | None:
    """The denial where a margin would be under its floor."""
    under = under_floor(met.margins, expected)
    if not under:
        return None
    words = "; ".join([floor_words(each, expected) for each in under])
    denied = _denied(command, now, Reason.MARGIN_FLOOR, words, wallet, book)
    margins = margin_states(met.margins, expected, under)
    return replaced(denied, limits=states(met), margins=margins)


def _expected(
    asked: Asked, command: Authorize, wallet: Wallet, book: Book, now: Moment
) -> Expected | None:
    """The revenue that a use would recognize, by the grants that would pay it now, and its cost;
    None where the one or the other is not known before it runs."""
    cost = cost_of(asked.quote, asked.quantities)
    if asked.charge is None or cost is None:
        return None
    taken, _ = _paid(asked, command, wallet, book, now)
    return taken.revenue, cost


def _paid(
    asked: Asked, command: Authorize, wallet: Wallet, book: Book, now: Moment
) -> tuple[Taken, GrantFacts | None]:
    """How it would be paid, or held."""
    return pay(
        wallet,
        wallet.account(asked.asset),
        asked.amount,
        () if asked.charge is None else asked.charge.back,
        asked.meter,
        command.dimensions,
        now.at_ms,
        book.reporting,
        book.order,
    )


def _until_ms(command: Authorize, now: Moment) -> int | None:
    """When the hold that is asked for ends; None for a check or a capture. Raises RecordError."""
    holds = command.require == "hold"
    if holds and command.capture:
        raise RecordError(Reason.INVALID, "debits at once: it needs no hold", "capture")
    if command.hold is not None and not holds:
        raise RecordError(Reason.INVALID, "is for require: hold", "hold")
    estimate = command.estimate
    if (holds or command.capture) and estimate.amount is None and estimate.quantities is None:
        raise RecordError(
            Reason.ESTIMATE_MISSING, "give quantities or an amount: how much?", "estimate"
        )
    return made_until_ms(command.hold, now) if holds else None


def _no_more_holds(
    rows: Rows, command: Authorize, wallet: Wallet, book: Book, now: Moment
) -> Decision | None:
    """The denial where the customer has as many holds as may be open. Raises RecordError for an id
    that a hold has, or had."""
    hold_id = hold_id_of(command)
    taken = rows.row(hold_key(command.customer, hold_id)) is not None
    if taken or rows.identity(ended_key(command.customer, hold_id)) is not None:
        raise RecordError(
            Reason.HOLD_EXISTS, f"{command.customer} has or had a hold {hold_id!r}", "hold.hold_id"
        )
    holds_max = (wallet.policy or NO_POLICY).holds_max
    holds_max = HOLDS_MAX if holds_max is None else holds_max
    if wallet.holds < holds_max:
        return None
    detail = f"{wallet.holds} holds are open; at most {holds_max} may be"
    return _denied(command, now, Reason.TOO_MANY_HOLDS, detail, wallet, book)


class Asked(Value, frozen=True):
    """What an authorization is about, as it was priced."""

    meter: str
    asset: str
    amount: int
    quantities: Quantities
    price: PriceFacts
    """Without a rounding where the estimate is an amount: then nothing was priced."""
    quote: Quote
    there: int
    """What was available."""
    charge: Charge | None
    """None where the estimate is an amount."""
    met: Found
    """Budgets it counts in."""


def _entered(
    rows: Rows,
    command: Authorize,
    asked: Asked,
    wallet: Wallet,
    book: Book,
    until_ms: int | None,
    fingerprint: bytes,
    origin: Origin,
    now: Moment,
) -> Decided:
    """An allow that changes something: the hold until `until_ms`, or the debit."""
    account = wallet.account(asked.asset)
    amount = asked.amount
    field = "estimate.amount" if asked.price.rounding is None else "estimate.quantities"
    counted = asked.charge is not None and asked.charge.running is not None
    if amount > AMOUNT_MAX - account.debited or (amount < 0 and not counted):
        raise RecordError(Reason.BAD_QUANTITY, f"is priced at {amount_text(amount)}", field)
    taken, grant = _paid(asked, command, wallet, book, now)
    use = _UsageFacts(
        meter=asked.meter,
        time=command.time,
        quantities=stated(asked.quantities),
        dimensions=command.dimensions,
    )
    entry = Entry(
        customer=command.customer,
        sequence=wallet.sequence + 1,
        kind="debit",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        id=command.id,
        fingerprint=fingerprint.hex(),
        price=asked.price,
        asset=asked.asset,
        amount=amount,
        before=account.balance,
        after=account.balance - amount,
        read=_ReadFacts(
            available=amount_text(asked.there),
            usage_lag_records=now.usage_lag_records,
            usage_lag_ms=now.usage_lag_ms,
        ),
    )
    if until_ms is not None:
        entry = held_entry(
            replaced(entry, price=replaced(asked.price, cost_rate=None)),
            hold_id_of(command),
            taken,
            until_ms,
            use,
        )
    else:
        cost, price = _cost(asked)
        if cost > AMOUNT_MAX - wallet.cost:
            raise RecordError(
                Reason.BAD_QUANTITY, "its cost makes more than 38 digits of cost in all", field
            )
        entry = replaced(
            entry,
            usage=use,
            price=price,
            slices=taken.slices,
            credit=taken.credit,
            overdrawn=taken.overdrawn,
            revenue=taken.revenue,
            cost=cost,
            grant=grant,
            running=None if asked.charge is None else asked.charge.running,
            rare=rare_of(
                counted_use(rows, wallet, asked.meter, asked.quantities, milliseconds(command.time))
            ),
        )
    sealed = seal(limited(rows, wallet, entry, asked.met))
    answer = answer_of(sealed)
    return Decided(
        (sealed,),
        answer,
        fingerprint + encode(answer),
        crossings(wallet, book, asked.asset, amount, now.at_ms),
        wallet=wallet,
    )


def _cost(asked: Asked) -> tuple[int, PriceFacts]:
    """What a known use costs us: nothing is known of one that is stated as an amount."""
    if asked.price.rounding is not None:
        cost = cost_of(asked.quote, asked.quantities)
        if cost is not None:
            return cost, asked.price
    return 0, replaced(asked.price, cost_rate=None)


def _denied(
    command: Authorize,
    now: Moment,
    reason: Reason,
    detail: str | None = None,
    wallet: Wallet | None = None,
    book: Book | None = None,
) -> Decision:
    return _Decision(
        kind="authorization",
        id=command.id,
        customer=command.customer,
        command="authorize",
        at=moment(now.at_ms),
        allowed=False,
        reason=reason,
        detail=detail,
        book=None if book is None else book.version,
        book_offset=None if book is None else book.offset,
        sequence=0 if wallet is None else wallet.sequence,
        digest=None if wallet is None else wallet.digest,
        usage_lag_records=now.usage_lag_records,
        usage_lag_ms=now.usage_lag_ms,
    )
