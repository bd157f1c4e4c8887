"""Re-rating: usage that was debited, or had no price, priced anew by another version of the book.

It is never in place: what was charged is reversed and the new price debited, two entries of one
command (rule 12 of domain.md), which name the run; of usage that had no price only its cost is
reversed, which stands in the debit. What still has no price becomes an unpriced entry again.
What was counted in a period keeps its place there, so that the charges of a period that is priced
anew sum to the price of its whole. The new entry can be priced anew, or reversed, in its turn.
"""

from __future__ import annotations

from typing import Any, Final

from drawdown.events.base import milliseconds
from drawdown.events.codec import RecordError
from drawdown.events.commands import Rerate
from drawdown.events.entries import PriceFacts, ReratesFacts
from drawdown.events.numbers import AMOUNT_MAX, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Book, Books, Quote
from drawdown.ledger.captures import cost_of, quoted_use, stated_quantities
from drawdown.ledger.counters import CLOSES_AFTER_MS, period, uncounted
from drawdown.ledger.evolve import Rows, RowsAfter, evolve
from drawdown.ledger.give_back import pay
from drawdown.ledger.journal import Entry, Origin, Rare, Sealed, seal
from drawdown.ledger.limits import limited
from drawdown.ledger.outcome import Decided, Moment, blank, booked, crossings
from drawdown.ledger.prices import CountedRate, UnpricedError
from drawdown.ledger.pricing import Charge, Use, charge_in_place, charge_of, in_place
from drawdown.ledger.rates.running import OutcomeRate, RunningRate
from drawdown.ledger.reversal import (
    back_to_customer,
    checked_entry,
    counting_rate,
    given_back_by,
    reversal_of,
    taken_back_by,
)
from drawdown.ledger.usage import REPORTED
from drawdown.ledger.values import Reversed, Wallet, reversed_key, running_key

PRICED: Final = frozenset({"debit", "capture", "unpriced"})
"""Kinds of entries that are of usage."""

_ReratesFacts = struct_of(ReratesFacts)


def rerate(
    rows: Rows, wallet: Wallet, command: Rerate, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Price an entry's usage anew: the reversal is in the outcome, the new charge is returned.
    Raises RecordError, with Reason.UNCHANGED where the price is the same.
    """
    original = checked_entry(command.entry, wallet)
    before = original.entry
    _check_ratable(rows, before)
    book = _book(command, books, now)
    assert before.usage is not None
    assert before.price is not None
    usage = before.usage
    _, quote = quoted_use(book, usage.meter, usage.dimensions, wallet, "book")
    quantities = stated_quantities(usage.quantities, "entry.data.usage.quantities")
    cost, cost_rate = _cost(before, quote, quantities)
    use = Use(
        wallet.customer,
        usage.meter,
        quantities,
        usage.dimensions,
        milliseconds(usage.time),
        None if cost_rate is None else cost,
    )
    keeps = _keeps_place(books, before, quote)
    facts = _ReratesFacts(
        run=command.run,
        sequence=before.sequence,
        entry_digest=original.digest,
        book=before.price.book,
        amount=None if before.asset is None else amount_text(before.amount),
    )
    first, decided = _taken_back(rows, wallet, original, facts, command, origin, books, now, keeps)
    after = RowsAfter(rows, evolve(rows, first))
    left: Wallet = after.row(wallet.customer)
    try:
        if quote.rate is None:
            raise UnpricedError(quote.missing)
        charge = _charge(after, quote, use, before, keeps=keeps, now=now)
    except UnpricedError as missing:
        if before.asset is None:
            raise _unchanged("it has no price there either") from None
        unpriced = replaced(
            quote.exact,
            rate=None,
            rounding=None,
            match=None,
            own=None,
            cost_rate=cost_rate,
            unpriced=missing.what[:256],
        )
        entry = _entry(left, "unpriced", before, unpriced, facts, origin, now)
        return decided, replaced(entry, cost=cost)
    amount = charge.amount
    if before.hold is not None and before.hold.charge is not None:
        amount = min(amount, before.amount)  # what was above its hold was left uncharged
    counts = charge.running is not None or before.running is not None
    same = (quote.rate.asset, amount, cost) == (before.asset, before.amount, before.cost)
    if same and (keeps or not counts):
        raise _unchanged(f"{amount_text(amount)} {before.asset}, as it was")
    price = replaced(quote.exact if charge.exact else quote.rounded, cost_rate=cost_rate)
    entry = _entry(left, "debit", before, price, facts, origin, now)
    paid = _paid(
        left,
        replaced(entry, cost=cost, running=charge.running),
        quote.rate.asset,
        replaced(charge, amount=amount),
        book,
        now,
    )
    spent = paid.amount - (before.amount if before.asset == paid.asset else 0)
    crossed = crossings(wallet, books.at(now.at_ms), quote.rate.asset, max(spent, 0), now.at_ms)
    return (
        replaced(decided, crossed=crossed, overdrawn=max(paid.overdrawn, 0), wallet=wallet),
        paid,
    )


def _check_ratable(rows: Rows, before: Entry) -> None:
    """Raises RecordError for an entry that is not priced usage as it stands."""
    known: Reversed | None = rows.row(reversed_key(before.customer, before.sequence))
    if known is not None:
        raise RecordError(
            Reason.ALREADY_REVERSED,
            f"entry {before.sequence} was reversed, or priced anew, by entry {known.by}",
            "entry",
        )
    usage, price = before.usage, before.price
    if before.kind not in PRICED or usage is None or price is None:
        raise RecordError(
            Reason.INVALID, f"a {before.kind} without a price of usage is not re-rated", "entry"
        )
    if price.rounding is None and price.unpriced is None:
        raise RecordError(Reason.INVALID, "its amount was given, and not priced by a rate", "entry")
    if before.running is not None and before.running.undone:
        raise RecordError(
            Reason.INVALID, "it gave back what an outcome was charged: re-rate that one", "entry"
        )


def _book(command: Rerate, books: Books, now: Moment) -> Book:
    if command.book is not None:
        named = books.named(command.book)
        if named is None:
            raise RecordError(Reason.INVALID, f"no version {command.book!r}", "book")
        return named
    book = books.at(now.at_ms)
    if book is None:
        raise RecordError(Reason.NO_PRICE_BOOK, "none is in effect: name one", "book")
    return book


def _cost(before: Entry, quote: Quote, quantities: Any) -> tuple[int, str | None]:
    """What the usage cost us, all of it, and by what: as it was reported, or by the book's rate."""
    price = before.price
    assert price is not None
    if price.cost_rate == REPORTED:
        return before.cost, REPORTED
    cost = cost_of(quote, quantities)
    if cost is None:
        return before.cost, price.cost_rate  # that version knows nothing better
    return cost, quote.exact.cost_rate


def _keeps_place(books: Books, before: Entry, quote: Quote) -> bool:
    """Whether the new rate counts what the former one counted, in the same way."""
    new: object = quote.rate
    old: CountedRate | None = counting_rate(books, before)
    if before.running is None or old is None or not isinstance(new, RunningRate | OutcomeRate):
        return False
    if isinstance(new, OutcomeRate):
        return isinstance(old, OutcomeRate) and (old.counter, old.key) == (new.counter, new.key)
    return isinstance(old, RunningRate) and old.counter == new.counter


def _taken_back(
    rows: Rows,
    wallet: Wallet,
    original: Sealed,
    facts: ReratesFacts,
    command: Rerate,
    origin: Origin,
    books: Books,
    now: Moment,
    keeps: bool,
) -> tuple[Sealed, Decided]:
    """The reversal of what was charged."""
    before = original.entry
    entry = reversal_of(wallet, original, origin, now, keep_cost=False)
    running = before.running
    if keeps:
        assert running is not None
        starts_ms, ends_ms = period(running)
        row = rows.row(running_key(wallet.customer, running.counter, starts_ms, ends_ms))
        running = in_place(running, row, reversed=True)
    else:
        running = uncounted(rows, before, counting_rate(books, before))
    entry = replaced(
        entry, running=running, rare=replaced(entry.rare, rerates=facts), reason=command.reason
    )
    decided = Decided(wallet=wallet)
    if before.asset is None:
        pass
    elif back_to_customer(before):
        entry = given_back_by(wallet, command.id, "grant", before, entry, books, now)
    else:
        decided, entry = taken_back_by(wallet, before, entry, books, now)
    first = seal(limited(rows, wallet, entry))
    return first, replaced(decided, entries=(first,))


def _charge(
    rows: Rows, quote: Quote, use: Use, before: Entry, *, keeps: bool, now: Moment
) -> Charge:
    """The new price. Raises UnpricedError, RecordError."""
    rate = quote.rate
    assert rate is not None
    if keeps:
        assert isinstance(rate, RunningRate | OutcomeRate)
        assert before.running is not None
        return charge_in_place(rows, rate, use, before.running)
    charge = charge_of(rows, rate, use)
    running = charge.running
    if running is not None and running.first and running.ends_at is not None:
        over_ms = milliseconds(running.ends_at) + CLOSES_AFTER_MS
        if now.at_ms >= over_ms:
            raise RecordError(
                Reason.NOT_REVERSIBLE,
                f"its period is closed, and {running.counter!r} did not count it: adjust instead",
                "entry",
            )
    if charge.amount < 0 and running is None:
        raise RecordError(Reason.BAD_QUANTITY, f"rate {rate.id!r} makes it below zero", "entry")
    return charge


def _entry(
    wallet: Wallet,
    kind: str,
    before: Entry,
    price: PriceFacts,
    facts: ReratesFacts,
    origin: Origin,
    now: Moment,
) -> Entry:
    return replaced(
        blank(wallet, kind, origin, now),
        usage=before.usage,
        price=price,
        rare=Rare(rerates=facts),
    )


def _paid(
    wallet: Wallet, entry: Entry, asset: str, charge: Charge, book: Book, now: Moment
) -> Entry:
    """The debit with its money. Raises RecordError where an account could not hold it."""
    account = wallet.account(asset)
    if charge.amount > AMOUNT_MAX - account.debited:
        raise RecordError(
            Reason.BAD_QUANTITY, f"makes more than 38 digits of {asset} debited in all", "entry"
        )
    usage = entry.usage
    assert usage is not None
    taken, grant = pay(
        wallet,
        account,
        charge.amount,
        charge.back,
        usage.meter,
        usage.dimensions,
        now.at_ms,
        book.reporting,
        book.order,
    )
    return booked(entry, account, charge.amount, taken, grant)


def _unchanged(detail: str) -> RecordError:
    return RecordError(Reason.UNCHANGED, detail, "entry")
