"""Usage: what a usage event debits.

Usage happened, and a fact cannot be refused: it is debited in full, from what is there, then on
credit, then overdrawn. What cannot be a fact of the ledger - too late, a conflict, a quantity that
is none - is a `RecordError`, which the caller turns into a dead letter.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import RecordError
from drawdown.events.decisions import Decision
from drawdown.events.entries import PriceFacts, UsageFacts
from drawdown.events.numbers import (
    EXACT,
    NumberError,
    amount_of_decimal,
    amount_text,
    plain_text,
)
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.events.usage import UsageEvent
from drawdown.ledger.book import Book, Books, Measured
from drawdown.ledger.drawdown import take
from drawdown.ledger.evolve import Rows
from drawdown.ledger.identity import recall, remember, usage_fingerprint, usage_key
from drawdown.ledger.journal import Entry, seal
from drawdown.ledger.outcome import Decided, Moment, Origin, crossings
from drawdown.ledger.prices import Unpriced
from drawdown.ledger.values import Wallet

EARLY_MS_MAX: Final = 300_000
"""How far ahead of its append time an event's own time may be."""
LATENESS_MS_DEFAULT: Final = 35 * 86_400_000
REPORTED: Final = "reported"
"""What stands for the cost rate where the event stated its costs."""
COSTS: Final = "costs"
COSTS_MAX: Final = 32
NO_RATE: Final = Unpriced("no rate matches")
REPEATED: Final = Decided()
"""A usage event that was debited before, and nobody waits: nothing happens."""

_Decision = struct_of(Decision)
_UsageFacts = struct_of(UsageFacts)
_PriceFacts = struct_of(PriceFacts)


def decide_usage(
    rows: Rows, event: UsageEvent, origin: Origin, books: Books, now: Moment
) -> Decided:
    """Debit a usage event: priced by its own time, drawn from what is in effect at `now`.

    Raises RecordError for what goes to the dead letters.
    """
    key = usage_key(event)
    fingerprint = usage_fingerprint(event)
    known = rows.identity(key)
    if known is not None:
        return _repeated_usage(event, origin, known, fingerprint, now)
    event_ms = now.at_ms if event.time is None else milliseconds(event.time)
    book = _book_for(books, event_ms, now.at_ms)
    meter = book.meter(event.type)
    if meter is None:
        raise RecordError(
            Reason.UNKNOWN_METER,
            f"no meter of price book {book.version!r} counts {event.type!r}",
            "type",
        )
    measured = meter.measure(event.data)
    wallet = rows.row(event.subject) or Wallet(event.subject)
    cost, cost_rate = _cost(book, meter.id, measured, event.data)
    usage = _UsageFacts(
        meter=meter.id,
        time=moment(event_ms) if event.time is None else event.time,
        quantities={
            name: value if type(value) is int else plain_text(value)
            for name, value in measured.quantities.items()
        },
        dimensions=measured.dimensions,
    )
    rate = book.prices.match(meter.id, measured.dimensions)
    charge = NO_RATE if rate is None else rate.charge(measured.quantities)
    if isinstance(charge, Unpriced):
        return _unpriced(
            wallet, event, origin, book, usage, charge, cost, cost_rate, fingerprint, now
        )
    assert rate is not None
    asset = rate.asset
    account = wallet.account(asset)
    amount = charge.amount
    if amount < 0:
        raise RecordError(
            Reason.BAD_QUANTITY, f"rate {rate.id!r} makes it {amount_text(amount)}: below zero"
        )
    taken = take(wallet, account, amount, meter.id, measured.dimensions, now.at_ms, book.reporting)
    before = account.balance
    sealed = seal(
        Entry(
            event.subject,
            wallet.sequence + 1,
            "debit",
            now.at_ms,
            origin.cause,
            origin.actor,
            event.source,
            event.id,
            fingerprint.hex(),
            usage,
            _PriceFacts(
                book=book.version,
                book_offset=book.offset,
                rate=rate.id,
                rounding=charge.rounding,
                cost_rate=cost_rate,
            ),
            asset,
            amount,
            before,
            before - amount,
            taken.slices,
            taken.credit,
            taken.overdrawn,
            taken.revenue,
            cost,
            previous=wallet.digest,
        )
    )
    return Decided(
        (sealed,),
        _usage_answer(event, sealed.entry, now) if origin.answered else None,
        (key, remember(fingerprint, usage_result(sealed.entry))),
        crossings(wallet, book, asset, amount - taken.overdrawn, now.at_ms),
        None,
        taken.overdrawn,
    )


def _repeated_usage(
    event: UsageEvent, origin: Origin, known: bytes, fingerprint: bytes, now: Moment
) -> Decided:
    before = recall(known)
    if before.fingerprint != fingerprint:
        raise RecordError(
            Reason.CONFLICT,
            f"event {event.id!r} of source {event.source!r} was used before with other content",
            "id",
        )
    if not origin.answered:
        return REPEATED
    sequence, asset, amount = before.result.decode().split(" ")
    return Decided(
        answer=_Decision(
            kind="usage",
            id=event.id,
            customer=event.subject,
            command="usage",
            at=moment(now.at_ms),
            allowed=True,
            reason=Reason.DUPLICATE,
            asset=asset or None,
            amount=amount_text(int(amount)) if asset else None,
            sequence=int(sequence),
            duplicate=True,
        )
    )


def _book_for(books: Books, event_ms: int, at_ms: int) -> Book:
    """The book in effect at the event's time, if that time is within bounds."""
    current = books.at(at_ms)
    late_ms = at_ms - event_ms
    lateness_ms = current.lateness_ms if current else LATENESS_MS_DEFAULT
    if late_ms > lateness_ms:
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
    book: Book, meter: str, measured: Measured, data: dict[str, Any]
) -> tuple[int, str | None]:
    """What the usage cost us, in the reporting currency, and the rate that says so."""
    reported = data.get(COSTS)
    if reported is not None:
        return _reported_cost(reported), REPORTED
    rate = book.costs.match(meter, measured.dimensions)
    if rate is None:
        return 0, None
    charge = rate.charge(measured.quantities)
    if isinstance(charge, Unpriced):
        return 0, None
    return charge.amount, rate.id


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
            cost = EXACT.create_decimal(text)
            if cost.is_signed():
                raise NumberError(f"{cost} is negative")
            total += amount_of_decimal(cost)
        except (NumberError, ArithmeticError) as error:
            detail = str(error) if isinstance(error, NumberError) else f"{text!r} is not a number"
            raise RecordError(Reason.BAD_QUANTITY, detail, f"data.costs.{vendor}") from None
    return total


def _unpriced(
    wallet: Wallet,
    event: UsageEvent,
    origin: Origin,
    book: Book,
    usage: UsageFacts,
    missing: Unpriced,
    cost: int,
    cost_rate: str | None,
    fingerprint: bytes,
    now: Moment,
) -> Decided:
    """Usage that happened but has no price: recorded with its cost, priced later by re-rating."""
    sealed = seal(
        Entry(
            event.subject,
            wallet.sequence + 1,
            "unpriced",
            now.at_ms,
            origin.cause,
            origin.actor,
            event.source,
            event.id,
            fingerprint.hex(),
            usage,
            _PriceFacts(
                book=book.version,
                book_offset=book.offset,
                cost_rate=cost_rate,
                unpriced=missing.quantity,
            ),
            cost=cost,
            previous=wallet.digest,
        )
    )
    return Decided(
        (sealed,),
        _usage_answer(event, sealed.entry, now) if origin.answered else None,
        (usage_key(event), remember(fingerprint, usage_result(sealed.entry))),
        unpriced=missing.quantity,
    )


def usage_result(entry: Entry) -> bytes:
    """What is remembered of a usage event's entry, to answer the same event again."""
    return f"{entry.sequence} {entry.asset or ''} {entry.amount}".encode()


def _usage_answer(event: UsageEvent, entry: Entry, now: Moment) -> Decision:
    return _Decision(
        kind="usage",
        id=event.id,
        customer=event.subject,
        command="usage",
        at=moment(now.at_ms),
        allowed=True,
        reason=Reason.OK if entry.kind == "debit" else Reason.UNPRICED,
        asset=entry.asset,
        amount=None if entry.asset is None else amount_text(entry.amount),
        sequence=entry.sequence,
    )
