"""Usage: what a usage event debits.

Usage happened, and a fact cannot be refused: it is debited in full, from what is there, then on
credit, then overdrawn. What cannot be a fact of the ledger - too late, a conflict, a quantity that
is none - is a `RecordError`, which the caller turns into a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from drawdown.events.base import EPOCH, MILLISECOND, at_text, moment
from drawdown.events.codec import RecordError
from drawdown.events.decisions import Decision
from drawdown.events.entries import PriceFacts, UsageFacts
from drawdown.events.numbers import (
    AMOUNT_MAX,
    NumberError,
    amount_of_decimal,
    amount_text,
    plain_text,
    text_number,
)
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.events.usage import UsageEvent
from drawdown.ledger.book import COSTS, HOLD, Book, Books, Quote
from drawdown.ledger.drawdown import take
from drawdown.ledger.entitlements import counted_use, rare_of
from drawdown.ledger.evolve import Rows, RowsAfter, evolve
from drawdown.ledger.give_back import give_back
from drawdown.ledger.held_usage import Priced, named_hold, released_by, under_hold
from drawdown.ledger.identity import recall, usage_fingerprint, usage_result
from drawdown.ledger.journal import NOTHING_RARE, Entry, Origin, Rare, seal
from drawdown.ledger.limits import limited
from drawdown.ledger.outcome import Decided, Moment, crossings
from drawdown.ledger.prices import AnyRate, CompiledRate, Quantities, UnpricedError
from drawdown.ledger.pricing import Use, charge_of
from drawdown.ledger.timers import begun
from drawdown.ledger.topups import looked_after
from drawdown.ledger.values import Account, Wallet

EARLY_MS_MAX: Final = 300_000
"""How far ahead of its append time an event's own time may be."""
LATENESS_MS_DEFAULT: Final = 35 * 86_400_000
REPORTED: Final = "reported"
"""What stands for the cost rate where the event stated its costs."""
COSTS_MAX: Final = 32
_Decision = struct_of(Decision)
_UsageFacts: Callable[..., UsageFacts] = struct_of(UsageFacts)


def decide_usage(
    rows: Rows, event: UsageEvent, key: bytes, origin: Origin, books: Books, now: Moment
) -> Decided:
    """Debit a usage event: priced by its own time, drawn from what is in effect at `now`.

    `key` is the event's `usage_key`. Raises RecordError for what goes to the dead letters.
    """
    decided = _decide(rows, event, key, origin, books, now)
    wallet = decided.wallet
    return looked_after(rows, decided, now) if wallet is not None and wallet.topups else decided


def _decide(
    rows: Rows, event: UsageEvent, key: bytes, origin: Origin, books: Books, now: Moment
) -> Decided:
    fingerprint = usage_fingerprint(event)
    known = rows.identity(key)
    if known is not None:
        return _repeated(event, known, fingerprint)
    at_ms = now.at_ms
    time = event.time
    if time is None:
        time = moment(at_ms)
        event_ms = at_ms
    else:
        event_ms = (time - EPOCH) // MILLISECOND
    data = event.data
    named = None
    if HOLD in data:
        named, data = named_hold(rows, event)
    if origin.accepted_late_by is not None:
        origin = _accepted(origin, books, event_ms, at_ms)
    book = _book_for(books, event_ms, at_ms, origin)
    meter = book.meter(event.type)
    if meter is None:
        raise RecordError(
            Reason.UNKNOWN_METER,
            f"no meter of price book {book.version!r} counts {event.type!r}",
            "type",
        )
    quantities, dimensions, plain = meter.measure(data)
    usage = _UsageFacts(
        meter.id,
        time,
        quantities if plain else {name: _stated(value) for name, value in quantities.items()},
        dimensions,
    )
    wallet = rows.row(event.subject) or Wallet(event.subject)
    quote = book.quote(meter, dimensions, event.subject, wallet.plan)
    if wallet.due_ms is not None and wallet.due_ms <= at_ms:
        ahead = begun(rows, wallet, books, now)
        if ahead.entries:
            decided = _decide(ahead, event, key, origin, books, now)
            return ahead.before(decided, wallet)
    rare = NOTHING_RARE
    if wallet.subscriptions:
        rare = rare_of(counted_use(rows, wallet, meter.id, quantities, event_ms))
    facts, cost = _cost(quote, quantities, data)
    if cost > AMOUNT_MAX - wallet.cost:
        raise RecordError(
            Reason.BAD_QUANTITY, "its cost makes more than 38 digits of cost in all", "data"
        )
    rate = quote.rate
    try:
        if rate is None:
            raise UnpricedError(quote.missing)
        charge = None
        if type(rate) is CompiledRate:
            amount, exact = rate.charge(quantities)
        else:
            known_cost = (facts or quote.exact).cost_rate is not None
            use = Use(
                event.subject,
                meter.id,
                quantities,
                dimensions,
                event_ms,
                cost if known_cost else None,
            )
            charge = charge_of(rows, rate, use)
            amount, exact = charge.amount, charge.exact
    except UnpricedError as missing:
        unpriced = replaced(
            facts or quote.exact, rate=None, rounding=None, match=None, unpriced=missing.what[:256]
        )
        first = () if named is None else released_by(rows, wallet, named, origin, now)
        after = rows if not first else RowsAfter(rows, evolve(rows, first[0]))
        decided = _unpriced(after, event, origin, usage, unpriced, cost, fingerprint, rare, now)
        return replaced(decided, entries=(*first, *decided.entries), wallet=wallet)
    if facts is None:
        facts = quote.exact if exact else quote.rounded
    else:
        facts = replaced(facts, rounding="exact" if exact else rate.rounding)
    asset = rate.asset
    account = wallet.accounts.get(asset) or Account(asset)
    if not 0 <= amount <= AMOUNT_MAX - account.debited and (
        charge is None or charge.running is None or amount > 0
    ):
        raise _impossible(rate, amount)
    if named is not None:
        priced = Priced(usage, facts, asset, amount, cost, fingerprint, charge, rare)
        return under_hold(rows, wallet, event, named, priced, book, books, origin, now)
    grant = None
    if amount >= 0:
        taken = take(
            wallet, account, amount, meter.id, dimensions, at_ms, book.reporting, book.order
        )
    else:
        assert charge is not None
        taken, grant = give_back(wallet, account, -amount, charge.back, at_ms, book.reporting)
    before = account.balance
    entry = Entry(
        event.subject,
        wallet.sequence + 1,
        "debit",
        at_ms,
        wallet.digest,
        origin,
        event.source,
        event.id,
        fingerprint.hex(),
        usage,
        facts,
        asset,
        amount,
        before,
        before - amount,
        taken.slices,
        taken.credit,
        taken.overdrawn,
        taken.revenue,
        cost,
        grant,
        None,
        None,
        None,
        None,
        rare,
        None if charge is None else charge.running,
    )
    if wallet.scopes:
        entry = limited(rows, wallet, entry)
    sealed = seal(entry, account.balance_text)
    return Decided(
        (sealed,),
        None,
        fingerprint + usage_result(sealed.entry),
        # What is left in one grant alone is above every threshold, nearly always.
        ()
        if taken.left >= book.threshold_max and not wallet.thresholds
        else crossings(wallet, book, asset, amount - taken.overdrawn, at_ms),
        None,
        max(taken.overdrawn, 0),
        None,
        wallet,
    )


def _impossible(rate: AnyRate, amount: int) -> RecordError:
    if amount < 0:
        what = f"rate {rate.id!r} makes it {amount_text(amount)}: below zero"
    else:
        what = f"rate {rate.id!r} makes more than 38 digits of {rate.asset} debited in all"
    return RecordError(Reason.BAD_QUANTITY, what, "data")


def _repeated(event: UsageEvent, known: bytes, fingerprint: bytes) -> Decided:
    before = recall(known)
    if before.fingerprint != fingerprint:
        raise RecordError(
            Reason.CONFLICT,
            f"event {event.id!r} of source {event.source!r} was used before with other content",
            "id",
        )
    return Decided(repeated=before.result)


def usage_answer(event: UsageEvent, result: bytes, now: Moment, *, repeated: bool) -> Decision:
    """The answer to a usage event whose producer asked for one."""
    sequence, asset, amount = result.decode().split(" ")
    reason = Reason.OK if asset else Reason.UNPRICED
    return _Decision(
        kind="usage",
        id=event.id,
        customer=event.subject,
        command="usage",
        at=moment(now.at_ms),
        allowed=True,
        reason=Reason.DUPLICATE if repeated else reason,
        asset=asset or None,
        amount=amount_text(int(amount)) if asset else None,
        sequence=int(sequence),
        duplicate=repeated,
    )


def usage_refused(event: UsageEvent, error: RecordError, now: Moment) -> Decision:
    """The answer where the event went to the dead letters."""
    return _Decision(
        kind="usage",
        id=event.id,
        customer=event.subject,
        command="usage",
        at=moment(now.at_ms),
        allowed=False,
        reason=error.reason,
        detail=error.detail,
        field=error.field,
    )


def _stated(value: int | Decimal) -> int | str:
    return value if isinstance(value, int) else plain_text(value)


def lateness_of(books: Books, at_ms: int) -> int:
    """How late usage may be that arrives at `at_ms`, in milliseconds."""
    current = books.at(at_ms)
    return current.lateness_ms if current else LATENESS_MS_DEFAULT


def _accepted(origin: Origin, books: Books, event_ms: int, at_ms: int) -> Origin:
    """The origin of an event that an operator accepts however late: an entry says so of late ones
    only."""
    if at_ms - event_ms > lateness_of(books, at_ms):
        return origin
    return replaced(origin, accepted_late_by=None)


def _book_for(books: Books, event_ms: int, at_ms: int, origin: Origin) -> Book:
    """The book in effect at the event's time, if that time is within bounds."""
    late_ms = at_ms - event_ms
    if late_ms > books.lateness_ms or late_ms < -EARLY_MS_MAX:
        lateness_ms = lateness_of(books, at_ms)
        if late_ms > lateness_ms and origin.accepted_late_by is None:
            raise RecordError(
                Reason.TOO_LATE,
                f"{at_text(event_ms)} is {late_ms // 1000} s back; at most {lateness_ms // 1000} s"
                f" ({lateness_ms // 86_400_000} days) are accepted",
                "time",
            )
        if -late_ms > EARLY_MS_MAX:
            raise RecordError(
                Reason.TOO_EARLY,
                f"{at_text(event_ms)} is {-late_ms // 1000} s ahead of its arrival; at most"
                f" {EARLY_MS_MAX // 1000} s are accepted",
                "time",
            )
    book = books.at(event_ms)
    if book is None:
        raise RecordError(
            Reason.NO_PRICE_BOOK, f"none was in effect at {at_text(event_ms)}", "time"
        )
    return book


def _cost(
    quote: Quote, quantities: Quantities, data: dict[str, Any]
) -> tuple[PriceFacts | None, int]:
    """What the usage cost us, in the reporting currency, as reported or by rate; and what the
    entry says of it, where that is not what the quote says."""
    if COSTS in data:
        return replaced(quote.exact, cost_rate=REPORTED), _reported_cost(data[COSTS])
    if quote.cost_rate is None:
        return None, 0
    try:
        cost, _ = quote.cost_rate.charge(quantities)
    except UnpricedError:
        return replaced(quote.exact, cost_rate=None), 0
    return None, cost


def _reported_cost(reported: object) -> int:
    """The sum of `costs`: vendor -> decimal text or number."""
    if not isinstance(reported, dict) or len(reported) > COSTS_MAX:
        raise RecordError(
            Reason.BAD_QUANTITY, f"expected an object of at most {COSTS_MAX} vendors", "data.costs"
        )
    total = 0
    for vendor, text in reported.items():
        try:
            if isinstance(text, bool) or not isinstance(text, int | str | Decimal):
                raise NumberError("expected decimal text")
            cost = text_number(text) if isinstance(text, str) else text
            if cost < 0:
                raise NumberError(f"{cost} is negative")
            total += amount_of_decimal(Decimal(cost))
        except NumberError as error:
            raise RecordError(Reason.BAD_QUANTITY, str(error), f"data.costs.{vendor}") from None
    return total


def _unpriced(
    rows: Rows,
    event: UsageEvent,
    origin: Origin,
    usage: UsageFacts,
    facts: PriceFacts,
    cost: int,
    fingerprint: bytes,
    rare: Rare,
    now: Moment,
) -> Decided:
    """Usage that happened but has no price: recorded with its cost, priced later by re-rating."""
    wallet: Wallet = rows.row(event.subject) or Wallet(event.subject)
    entry = Entry(
        event.subject,
        wallet.sequence + 1,
        "unpriced",
        now.at_ms,
        wallet.digest,
        origin,
        event.source,
        event.id,
        fingerprint.hex(),
        usage,
        facts,
        cost=cost,
        rare=rare,
    )
    sealed = seal(limited(rows, wallet, entry))
    return Decided(
        (sealed,),
        identity=fingerprint + usage_result(sealed.entry),
        unpriced=facts.unpriced,
        wallet=wallet,
    )
