"""Counters: the rows of running quantities after an entry, and the timers that close them.

A row runs from its period's first use until no event of the period is accepted any more; then a
`close` entry ends it, and the values counted beside it. A commitment that was not used up is
debited at its period's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from drawdown.events.base import milliseconds, moment
from drawdown.events.calendar import period_of
from drawdown.events.codec import RecordError
from drawdown.events.entries import RunningFacts
from drawdown.events.numbers import amount_of, amount_text, rational_of, rational_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.budgets import BUDGET, spent_key
from drawdown.ledger.drawdown import Order, Slice, take
from drawdown.ledger.give_back import grown, shrunk, without
from drawdown.ledger.journal import Entry, Origin, Sealed
from drawdown.ledger.margin_floor import margin_key
from drawdown.ledger.outcome import Moment, blank, booked
from drawdown.ledger.prices import CountedRate
from drawdown.ledger.rates.running import RunningRate
from drawdown.ledger.rates.terms import Number
from drawdown.ledger.rates.weighted import share
from drawdown.ledger.rows import Row
from drawdown.ledger.slices import BrokenInvariantError
from drawdown.ledger.topup_values import request_key, topup_key
from drawdown.ledger.values import (
    NEVER,
    SHARD_LENGTH,
    Running,
    Seen,
    SeenKey,
    Wallet,
    hold_key,
    running_key,
    seen_key,
)
from drawdown.ledger.velocity import pace_key

SHARDS: Final = tuple(f"{number:02x}" for number in range(16**SHARD_LENGTH))
CLOSE: Final = "close"
PERIOD: Final = "period"
"""Name of the timer."""
CLOSES_AFTER_MS: Final = 35 * 86_400_000
"""A period's row stays until no event of it is accepted: the longest lateness there is."""

_RunningFacts: Callable[..., RunningFacts] = struct_of(RunningFacts)


def _held_to_the_end(row: Running, more: Number, holding: RunningRate | None) -> dict[str, Any]:
    """What the entry says of a counter whose period ends with a value that goes on."""
    assert row.level is not None
    next_ms = row.ends_ms
    if holding is not None:
        _, next_ms = period_of(row.ends_ms, holding.counter.every, holding.counter.zone)
    return {
        "after": rational_text(row.quantity + more),
        "latest_at": moment(row.ends_ms),
        "level": rational_text(row.level),
        "rate": row.rate,
        "next_ends_at": None if holding is None else moment(next_ms),
        "refundable": holding is not None and holding.gives_back,
    }


class RowReader(Protocol):
    def row(self, key: str) -> Any: ...


def evolve_counters(rows: RowReader, sealed: Sealed) -> dict[str, Row | None]:
    """The rows of a running quantity after an entry, by key; None where one is gone.

    Raises BrokenInvariantError where the entry does not follow from the row.
    """
    entry = sealed.entry
    facts = entry.running
    assert facts is not None
    if facts.over:
        return {}
    starts_ms, ends_ms = period(facts)
    key = running_key(entry.customer, facts.counter, starts_ms, ends_ms)
    row: Running | None = rows.row(key)
    quantity = 0 if row is None else row.quantity
    if quantity != rational_of(facts.before):
        raise BrokenInvariantError(
            "running-quantity",
            f"{entry.customer}: entry {entry.sequence} has {facts.before} of {facts.counter!r}"
            f" before, the row has {rational_text(quantity)}",
        )
    if facts.closed:
        return _closed(rows, entry.customer, key, row)
    asset = entry.asset
    if asset is None:
        raise BrokenInvariantError(
            "running-quantity", f"{entry.customer}: entry {entry.sequence} runs without an asset"
        )
    reverses = entry.rare.reverses
    amount = -entry.amount if reverses is not None and reverses.back else entry.amount
    same = row is not None and row.asset == asset
    if row is not None and not same and reverses is not None:
        asset, amount, same = row.asset, 0, True  # of what another book charged in another asset
    parts = row.parts if row is not None and same else ()
    keyed = row is not None and row.keyed
    changed: dict[str, Row | None] = {}
    if facts.key is not None:
        outcome = facts.refundable or facts.undone
        keyed = keyed or not outcome
        shard = facts.key[:SHARD_LENGTH]
        # Of outcomes, a key counts once for all; of different values, once in the period.
        since_ms = None if outcome else starts_ms
        at = seen_key(entry.customer, facts.counter, since_ms, shard)
        if facts.place is None:
            changed[at] = _seen(rows.row(at), entry, facts, since_ms)
        elif outcome and reverses is None:
            changed[at] = _charged_anew(rows.row(at), entry, facts)
    elif facts.refundable:
        back = reverses is not None and reverses.back
        parts = (without if back else _paid)(parts, entry.slices)
    level, rate = (None, None) if row is None else (row.level, row.rate)
    if facts.level is not None:
        level, rate = rational_of(facts.level), facts.rate
    if facts.next_ends_at is not None:
        changed.update(_begun(rows, entry, facts, asset, ends_ms))
    changed[key] = Running(
        entry.customer,
        facts.counter,
        facts.meter or ("" if row is None else row.meter),
        asset,
        rational_of(facts.after),
        (row.charged if row is not None and same else 0) + amount,
        starts_ms,
        ends_ms,
        NEVER if facts.closes_at is None else milliseconds(facts.closes_at),
        milliseconds(facts.latest_at)
        if facts.latest_at is not None
        else (0 if row is None else row.latest_ms),
        None if facts.commitment is None else amount_of(facts.commitment),
        parts,
        keyed,
        entry.sequence,
        level,
        rate,
    )
    return changed


def _begun(
    rows: RowReader, entry: Entry, facts: RunningFacts, asset: str, starts_ms: int
) -> dict[str, Row | None]:
    """The row of the next period, which begins with what holds; unless use began it already."""
    assert facts.next_ends_at is not None
    ends_ms = milliseconds(facts.next_ends_at)
    key = running_key(entry.customer, facts.counter, starts_ms, ends_ms)
    if facts.level is None or rows.row(key) is not None:
        return {}
    return {
        key: Running(
            entry.customer,
            facts.counter,
            facts.meter or "",
            asset,
            0,
            0,
            starts_ms,
            ends_ms,
            ends_ms + CLOSES_AFTER_MS,
            starts_ms,
            None,
            (),
            keyed=False,
            sequence=entry.sequence,
            level=rational_of(facts.level),
            rate=facts.rate,
        )
    }


def _paid(parts: Any, slices: tuple[Slice, ...]) -> Any:
    """What is remembered of who paid, after these slices."""
    back = -sum(part.amount for part in slices if part.amount < 0)
    if back:
        return shrunk(parts, back)
    return grown(parts, slices)


def _seen(
    row: Seen | None, entry: Entry, facts: RunningFacts, starts_ms: int | None
) -> Seen | None:
    assert facts.key is not None
    key = facts.key[SHARD_LENGTH:]
    keys: Mapping[str, SeenKey] = {} if row is None else row.keys
    gone = facts.undone != facts.reversed
    if (key in keys) != gone:
        raise BrokenInvariantError(
            "counted-once",
            f"{entry.customer}: entry {entry.sequence} counts {facts.key[:12]}... of"
            f" {facts.counter!r}, which {'is not' if gone else 'was'} counted",
        )
    if gone:
        rest = {name: seen for name, seen in keys.items() if name != key}
        if not rest:
            return None
        assert row is not None
        return replaced(row, keys=rest, sequence=entry.sequence)
    added = {**keys, key: _charged_key(entry, facts)}
    shard = facts.key[:SHARD_LENGTH]
    return Seen(entry.customer, facts.counter, starts_ms, shard, added, entry.sequence)


def _charged_anew(row: Seen | None, entry: Entry, facts: RunningFacts) -> Seen:
    """An outcome that was priced anew: what its key was charged is another amount."""
    assert facts.key is not None
    key = facts.key[SHARD_LENGTH:]
    if row is None or key not in row.keys:
        raise BrokenInvariantError(
            "counted-once",
            f"{entry.customer}: entry {entry.sequence} prices {facts.key[:12]}... of"
            f" {facts.counter!r} anew, which is not counted",
        )
    keys = {**row.keys, key: _charged_key(entry, facts)}
    return replaced(row, keys=keys, sequence=entry.sequence)


def _charged_key(entry: Entry, facts: RunningFacts) -> SeenKey:
    if not facts.refundable and not facts.undone:
        return SeenKey(0, ())
    return SeenKey(entry.amount, grown((), entry.slices))


def _closed(rows: RowReader, customer: str, key: str, row: Running | None) -> dict[str, Row | None]:
    if row is None:
        raise BrokenInvariantError("running-quantity", f"{customer}: {key!r} is closed already")
    gone: dict[str, Row | None] = {key: None}
    if row.keyed:
        for shard in SHARDS:
            at = seen_key(customer, row.counter, row.starts_ms, shard)
            if rows.row(at) is not None:
                gone[at] = None
    return gone


def timer_of(entry: Entry) -> str:
    """Key of the row whose timer brought an entry about."""
    if entry.hold is not None:
        return hold_key(entry.customer, entry.hold.id)
    if entry.running is not None:
        starts_ms, ends_ms = period(entry.running)
        return running_key(entry.customer, entry.running.counter, starts_ms, ends_ms)
    if entry.origin.timer == BUDGET:
        rare = entry.rare
        kinds = (spent_key, rare.limits), (margin_key, rare.margins), (pace_key, rare.paces)
        (found,) = [
            key(entry.customer, each.budget, each.scope)
            for key, counted in kinds
            for each in counted
        ]
        return found
    facts = entry.rare.topup
    if facts is not None and facts.change == "unanswered" and facts.request is not None:
        return request_key(entry.customer, facts.request)
    if facts is not None and facts.change == "rearm":
        return topup_key(entry.customer, facts.asset)
    return entry.customer


def place_of(facts: RunningFacts) -> tuple[Number, Number]:
    """The running quantity before and after what an entry was priced for."""
    before, after = facts.place or (facts.before, facts.after)
    return rational_of(before), rational_of(after)


def uncounted(rows: RowReader, entry: Entry, rate: CountedRate | None) -> RunningFacts | None:
    """What reversing an entry does to its counter: the quantity falls by what the entry counted,
    and a key it counted can be counted again. Of a period that is closed only the money comes back.

    `rate` is what priced it. Of a `max` or `latest` only the last that counted can be reversed,
    because what was between is not known. Raises RecordError.
    """
    facts = entry.running
    if facts is None or facts.over:
        return None
    starts_ms, ends_ms = period(facts)
    row: Running | None = rows.row(running_key(entry.customer, facts.counter, starts_ms, ends_ms))
    if row is None:
        return None
    before, after = place_of(facts)
    how = None if rate is None else rate.counter.how
    if how in ("max", "latest") and row.quantity != after:
        raise RecordError(
            Reason.NOT_REVERSIBLE,
            f"a later entry changed the {how} of {facts.counter!r}: reverse that one first, or"
            " report the right value",
            "entry",
        )
    if facts.key is not None:
        outcome = facts.refundable or facts.undone
        shard = facts.key[:SHARD_LENGTH]
        at = seen_key(entry.customer, facts.counter, None if outcome else starts_ms, shard)
        seen: Seen | None = rows.row(at)
        there = seen is not None and facts.key[SHARD_LENGTH:] in seen.keys
        if there == (facts.undone != facts.reversed):
            what = "was counted again since" if there else "was given back since"
            raise RecordError(
                Reason.NOT_REVERSIBLE, f"its outcome {what}: reverse that entry", "entry"
            )
    return replaced(
        facts,
        first=False,
        before=rational_text(row.quantity),
        after=rational_text(row.quantity - (after - before)),
        place=None,
        latest_at=None,
        commitment=None if row.commitment is None else amount_text(row.commitment),
        reversed=not facts.reversed,
    )


def period(facts: RunningFacts) -> tuple[int, int]:
    """First and last instant of the period, the last one excluded; NEVER for life."""
    return (
        0 if facts.starts_at is None else milliseconds(facts.starts_at),
        NEVER if facts.ends_at is None else milliseconds(facts.ends_at),
    )


def ended_period(
    wallet: Wallet,
    row: Running,
    reporting: str,
    by: Order | None,
    now: Moment,
    holding: RunningRate | None = None,
) -> Entry:
    """The entry that a running row's timer brings about: the true-up of its commitment, or what
    held to its end by the rate `holding`, paid by the book's order as any debit; or its close."""
    due_ms = row.due_ms
    assert due_ms is not None
    life = row.ends_ms == NEVER
    quantity = rational_text(row.quantity)
    facts = _RunningFacts(
        counter=row.counter,
        starts_at=None if life else moment(row.starts_ms),
        ends_at=None if life else moment(row.ends_ms),
        closes_at=None if life else moment(row.closes_ms),
        before=quantity,
        after=quantity,
        meter=row.meter,
    )
    origin = Origin(timer=PERIOD, due_ms=due_ms)
    short = 0 if row.commitment is None else row.commitment - row.charged
    reason = f"true-up of {row.counter}: its commitment was not used up"
    if row.holds:
        assert row.level is not None
        more = share(row.level, row.latest_ms, row.ends_ms, row.starts_ms, row.ends_ms)
        short = (
            0 if holding is None else max(holding.charge(row.quantity, row.quantity + more)[0], 0)
        )
        facts = replaced(facts, **_held_to_the_end(row, more, holding))
        reason = f"{row.counter}: what held to the end of the period"
    if short > 0 or row.holds:
        account = wallet.account(row.asset)
        taken = take(wallet, account, short, row.meter, {}, now.at_ms, reporting, by)
        if row.commitment is not None:
            facts = replaced(facts, commitment=amount_text(row.commitment))
        paid = booked(blank(wallet, "debit", origin, now), account, short, taken)
        return replaced(paid, reason=reason, running=facts)
    closed = replaced(facts, closed=True)
    return replaced(blank(wallet, CLOSE, origin, now), running=closed)
