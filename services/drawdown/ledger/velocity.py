"""Velocity as values: what a scope usually uses in a stretch of time, and what it uses in this.

The usual is the mean of the latest stretches in which the scope used anything, so that an agent
that works one hour a day is compared with its working hours. It is known from the entries alone. A
scope that uses many times its usual is told of once per stretch, as soon as it does, and nothing is
denied: a cap denies, or a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drawdown.events.base import KEY_SEPARATOR, Value, moment
from drawdown.events.calendar import period_of
from drawdown.events.limits import EACH, STRETCHES_MAX, BudgetTerms, PaceFacts, Stretch
from drawdown.events.structs import struct_of
from drawdown.ledger.budgets import Budget, number_text

KEPT_MS: Final = 35 * 86_400_000
"""After its last use what is known of one of many values is forgotten."""

_PaceFacts: Callable[..., PaceFacts] = struct_of(PaceFacts)


class Pace(Value, frozen=True):
    """What one scope used in this stretch, and in those before that had any use."""

    customer: str
    budget: str
    scope: str
    each: bool
    every: Stretch
    zone: str
    starts_ms: int
    ends_ms: int
    used: int
    told: bool
    stretches: tuple[int, ...]
    """Oldest first, without this one."""
    last_ms: int
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """When it goes by itself. One of a lasting scope stays."""
        return self.last_ms + KEPT_MS if self.each else None


class PaceStanding(Value, frozen=True):
    """A pace of one scope, as it stands at a moment."""

    budget: str
    scope: str
    row: Pace | None
    terms: BudgetTerms
    first: bool
    starts_ms: int
    ends_ms: int
    used: int
    told: bool
    stretches: tuple[int, ...]


def pace_key(customer: str, budget_id: str, scope: str) -> str:
    """Key of a pace's row. A scope's text has no `#`: the last one is it."""
    return f"{customer}{KEY_SEPARATOR}pace{KEY_SEPARATOR}{budget_id}#{scope}"


def pace_standing(budget: Budget, scope: str, row: Pace | None, at_ms: int) -> PaceStanding:
    """How a pace stands. Of stretches of another length, or zone, nothing counts. Raises
    ZoneError."""
    terms = budget.terms
    assert terms.velocity is not None
    every, zone = terms.velocity.every, terms.window.zone
    if row is None or (row.every, row.zone) != (every, zone):
        starts_ms, ends_ms = period_of(at_ms, every, zone)
        return PaceStanding(budget.id, scope, row, terms, True, starts_ms, ends_ms, 0, False, ())
    used, told, stretches = in_stretch(row, at_ms)
    starts_ms, ends_ms = row.starts_ms, row.ends_ms
    if at_ms >= ends_ms:
        starts_ms, ends_ms = period_of(at_ms, every, zone)
    return PaceStanding(
        budget.id, scope, row, terms, False, starts_ms, ends_ms, used, told, stretches
    )


def in_stretch(row: Pace, at_ms: int) -> tuple[int, bool, tuple[int, ...]]:
    """What was used in the stretch at a time, whether that was told, and the stretches before."""
    if at_ms < row.ends_ms:
        return row.used, row.told, row.stretches
    if not row.used:
        return 0, False, row.stretches
    return 0, False, (*row.stretches, row.used)[-STRETCHES_MAX:]


def pace_counted(each: PaceStanding, used: int) -> PaceFacts:
    """What an entry that uses `used` counts in a stretch; below zero it gives back."""
    velocity = each.terms.velocity
    assert velocity is not None
    after = max(each.used + used, 0)
    count, total = len(each.stretches), sum(each.stretches)
    known = count >= velocity.history
    tells = used > 0 and known and not each.told and after * count >= velocity.times * total
    return _PaceFacts(
        budget=each.budget,
        scope=each.scope,
        starts_at=moment(each.starts_ms),
        ends_at=moment(each.ends_ms),
        every=velocity.every if each.first else None,
        zone=each.terms.window.zone if each.first else None,
        each=EACH in each.terms.scope.values(),
        before=number_text(each.used),
        after=number_text(after),
        usual=number_text(-(-total // count)) if known else None,
        times=velocity.times,
        told=each.told or tells,
        tells=tells,
    )


def pace_closed(row: Pace, at_ms: int) -> PaceFacts:
    """What the entry says that ends a row whose time is over."""
    used, _, _ = in_stretch(row, at_ms)
    return _PaceFacts(
        budget=row.budget,
        scope=row.scope,
        starts_at=moment(row.starts_ms),
        ends_at=moment(row.ends_ms),
        each=row.each,
        before=number_text(used),
        closed=True,
    )
