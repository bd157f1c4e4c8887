"""Pricing a use by whatever kind of rate: what it is charged, and what that does to its counter.

The common rate, linear in its quantities, is priced by itself and never comes here. What is read of
the customer's counters is said in the charge's facts, which go into the entry: from them alone the
rows evolve (`counters`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from drawdown.events.base import Value, moment
from drawdown.events.calendar import LIFE, period_of
from drawdown.events.entries import RunningFacts
from drawdown.events.numbers import amount_text, rational_text
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.counters import CLOSES_AFTER_MS, place_of
from drawdown.ledger.evolve import Rows
from drawdown.ledger.prices import AnyRate, CompiledRate, Quantities, UnpricedError
from drawdown.ledger.rates.running import CommitmentRate, Counter, OutcomeRate, RunningRate
from drawdown.ledger.rates.single import ShareRate
from drawdown.ledger.rates.terms import Number, only
from drawdown.ledger.rates.weighted import Reckoned, reckoned
from drawdown.ledger.values import (
    NEVER,
    SHARD_LENGTH,
    ChargedPart,
    Running,
    Seen,
    running_key,
    seen_key,
)

KEYS_MAX: Final = 512
"""Of one shard: 131,072 different values of a counter, evenly spread."""

_RunningFacts: Callable[..., RunningFacts] = struct_of(RunningFacts)


class Use(Value, frozen=True):
    """What is being priced."""

    customer: str
    meter: str
    quantities: Quantities
    dimensions: Mapping[str, str]
    time_ms: int
    """The use's own time: it says in which period it counts."""
    cost: int | None
    """What it cost us, in pico-units; None where that is not known."""


class Charge(Value, frozen=True):
    """What a use is charged; below zero where it gives back."""

    amount: int
    exact: bool
    running: RunningFacts | None = None
    """What it does to a counter; None where it does nothing."""
    back: tuple[ChargedPart, ...] = ()
    """What paid for what is given back, the last one last."""


def charge_of(rows: Rows, rate: AnyRate, use: Use) -> Charge:
    """The charge of a use. Raises UnpricedError for what has no price in its rate."""
    if type(rate) is CompiledRate:
        return Charge(*rate.charge(use.quantities))
    if isinstance(rate, RunningRate):
        return _running(rows, rate, use)
    if isinstance(rate, OutcomeRate):
        return _outcome(rows, rate, use)
    if isinstance(rate, CommitmentRate):
        return _commitment(rows, rate, use)
    if isinstance(rate, ShareRate):
        return Charge(*rate.charge(use.quantities, use.cost))
    return Charge(*rate.charge(use.quantities))


class Place(Value, frozen=True):
    """A counter in the period of a use, as its row has it."""

    counter: Counter
    starts_ms: int
    ends_ms: int
    row: Running | None
    charged: int
    quantity: Number

    def facts(self, use: Use, after: Number, **more: Any) -> RunningFacts:
        life = self.ends_ms == NEVER
        return _RunningFacts(
            counter=self.counter.name,
            starts_at=None if life else moment(self.starts_ms),
            ends_at=None if life else moment(self.ends_ms),
            closes_at=None if life else moment(self.ends_ms + CLOSES_AFTER_MS),
            first=self.row is None,
            before=rational_text(self.quantity),
            after=rational_text(after),
            meter=use.meter,
            **more,
        )


def _place(rows: Rows, counter: Counter, asset: str, use: Use) -> Place:
    starts_ms, ends_ms = period_of(use.time_ms, counter.every, counter.zone)
    if (starts_ms, ends_ms) == LIFE:
        ends_ms = NEVER
    row: Running | None = rows.row(running_key(use.customer, counter.name, starts_ms, ends_ms))
    if row is None:
        return Place(counter, starts_ms, ends_ms, None, 0, 0)
    charged = row.charged if row.asset == asset else 0
    return Place(counter, starts_ms, ends_ms, row, charged, row.quantity)


def _running(rows: Rows, rate: RunningRate, use: Use) -> Charge:
    counter = rate.counter
    place = _place(rows, counter, rate.asset, use)
    more: dict[str, Any] = {}
    before = place.quantity
    # Nothing of it is left where all that was counted was reversed.
    fresh = place.row is None or (not before and not place.charged)
    if rate.covers_all:
        added: Number = 1  # a fee of the period: its events are what counts
    else:
        added = only(use.quantities, counter.quantity)
    if counter.how == "sum":
        after = before + added
    elif counter.how == "max":
        after = max(before, added)
    elif counter.how == "time_weighted":
        if counter.quantity not in use.quantities:
            return Charge(0, True)
        while place.row is not None and place.row.latest_ms >= place.ends_ms:
            # The period is reckoned to its end: it holds from there on.
            use = replaced(use, time_ms=place.ends_ms)
            place = _place(rows, counter, rate.asset, use)
        found = reckoned(rows, place.row, use.customer, counter, place.starts_ms, use.time_ms)
        if found is None:
            return Charge(0, True)
        return _weighted(rate, place, use, added, found)
    elif counter.how == "latest":
        if counter.quantity not in use.quantities or (
            place.row is not None and use.time_ms < place.row.latest_ms
        ):
            return Charge(0, True)
        after = added
        more["latest_at"] = moment(use.time_ms)
    else:
        assert counter.dimension is not None
        key, seen = _key(rows, counter, counter.dimension, use, place.starts_ms)
        if seen is not None and key[SHARD_LENGTH:] in seen.keys:
            return Charge(0, True)
        _check_room(counter, seen)
        after = before + 1
        more["key"] = key
    if not fresh and after == before and not more:
        return Charge(0, True)
    amount, exact = rate.charge(None if fresh else before, after)
    back: tuple[ChargedPart, ...] = ()
    if amount < 0:
        # A book that changed within the period may reckon with more than was charged.
        amount = max(amount, -max(place.charged, 0))
        back = place.row.parts if place.row is not None else ()
    # What has a key beside it is remembered by the key, of outcomes alone.
    facts = place.facts(use, after, refundable=rate.gives_back and "key" not in more, **more)
    return Charge(amount, exact, facts, back)


def _weighted(rate: RunningRate, place: Place, use: Use, level: Number, found: Reckoned) -> Charge:
    """What held until now is charged, and another value holds from now on."""
    row = place.row
    after = place.quantity + found.quantity
    amount, exact = rate.charge(None if row is None else place.quantity, after)
    back: tuple[ChargedPart, ...] = ()
    if amount < 0:
        amount = max(amount, -max(place.charged, 0))
        back = row.parts if row is not None else ()
    facts = place.facts(
        use,
        after,
        refundable=rate.gives_back,
        latest_at=moment(found.until_ms),
        level=rational_text(level),
        rate=rate.id,
    )
    return Charge(amount, exact, facts, back)


def charge_in_place(
    rows: Rows, rate: RunningRate | OutcomeRate, use: Use, facts: RunningFacts
) -> Charge:
    """The charge of a use at the place it had in its period: what is counted stays as it is, and
    the charges of a period that is priced anew sum to the price of its whole. `facts` are those of
    the entry it was priced by before."""
    place = _place(rows, rate.counter, rate.asset, use)
    before, after = place_of(facts)
    amount, exact = rate.charge(None if facts.first else before, after)
    back: tuple[ChargedPart, ...] = ()
    if amount < 0:
        amount = max(amount, -max(place.charged, 0))
        back = place.row.parts if place.row is not None else ()
    refundable = isinstance(rate, OutcomeRate) or (rate.gives_back and facts.key is None)
    return Charge(amount, exact, in_place(facts, place.row, refundable=refundable), back)


def in_place(facts: RunningFacts, row: Running | None, **changes: Any) -> RunningFacts:
    """What an entry says of a counter that it does not move."""
    now = rational_text(0 if row is None else row.quantity)
    before, after = place_of(facts)
    return replaced(
        facts,
        before=now,
        after=now,
        place=[rational_text(before), rational_text(after)],
        latest_at=None,
        level=None,
        rate=None,
        next_ends_at=None,
        over=row is None,
        commitment=None,
        **changes,
    )


def _outcome(rows: Rows, rate: OutcomeRate, use: Use) -> Charge:
    counter = rate.counter
    place = _place(rows, counter, rate.asset, use)
    key, seen = _key(rows, counter, rate.key, use, None)
    known = None if seen is None else seen.keys.get(key[SHARD_LENGTH:])
    before = place.quantity
    if rate.undo is not None and use.dimensions.get(rate.undo[0]) == rate.undo[1]:
        if known is None:
            return Charge(0, True)
        facts = place.facts(use, before, key=key, undone=True)
        return Charge(-known.amount, True, facts, known.parts)
    if known is not None:
        return Charge(0, True)
    _check_room(counter, seen)
    was, _ = rate.terms.settle(rate.curve.at(before))
    total, exact = rate.terms.settle(rate.curve.at(before + 1))
    facts = place.facts(use, before + 1, key=key, refundable=True)
    return Charge(total - was, exact, facts)


def _commitment(rows: Rows, rate: CommitmentRate, use: Use) -> Charge:
    place = _place(rows, rate.counter, rate.asset, use)
    after = place.quantity + rate.value(use.quantities)
    total, exact = rate.total(after)
    step = rate.terms.step
    committed = -(-rate.amount * 10**12 // step) * step
    facts = place.facts(use, after, commitment=amount_text(int(committed)))
    return Charge(max(total - place.charged, 0), exact, facts)


def _key(
    rows: Rows, counter: Counter, dimension: str, use: Use, starts_ms: int | None
) -> tuple[str, Seen | None]:
    """The digest of a use's value, and the row it is in, if it is there."""
    value = use.dimensions.get(dimension)
    if value is None:
        raise UnpricedError(f"it has no {dimension}, which is counted once")
    key = sha256(value.encode()).hexdigest()
    row = rows.row(seen_key(use.customer, counter.name, starts_ms, key[:SHARD_LENGTH]))
    return key, row


def _check_room(counter: Counter, seen: Seen | None) -> None:
    if seen is not None and len(seen.keys) >= KEYS_MAX:
        raise UnpricedError(f"counter {counter.name!r} has as many different values as it may")
