"""Limits after an entry: the rows of budgets, of scopes, and of what counts in them: what was
spent, margins, and paces.

An entry states what it counts in each budget as it is after it; nothing is decided here.
"""

from __future__ import annotations

from typing import Any, Protocol

from drawdown.events.base import milliseconds, moment
from drawdown.events.limits import (
    EACH,
    BlockFacts,
    BlockState,
    BudgetFacts,
    LimitFacts,
    MarginFacts,
    PaceFacts,
)
from drawdown.events.structs import struct_of
from drawdown.ledger.budgets import (
    ROLLING,
    Budget,
    Scoped,
    Spent,
    budget_key,
    counted_on,
    number_of,
    number_text,
    scope_key,
    scope_text,
    spent_key,
    standing_alone,
)
from drawdown.ledger.journal import Rare, Sealed
from drawdown.ledger.margin_floor import MarginSum, is_over, margin_key, moved_on, sums
from drawdown.ledger.slices import BrokenInvariantError
from drawdown.ledger.values import NEVER
from drawdown.ledger.velocity import Pace, in_stretch, pace_key

LimitRow = Budget | Scoped | Spent | MarginSum | Pace
_BlockState = struct_of(BlockState)


class RowReader(Protocol):
    def row(self, key: str) -> Any: ...


def evolve_limits(rows: RowReader, sealed: Sealed) -> dict[str, LimitRow | None]:
    """The rows of limits after an entry, by key; None where one is gone.

    Raises BrokenInvariantError where the entry does not follow from the rows.
    """
    rare: Rare = sealed.entry.rare
    changed: dict[str, LimitRow | None] = {}
    if rare.budget is not None:
        changed.update(_budget(rows, rare.budget, sealed))
    if rare.block is not None:
        changed.update(_block(rows, rare.block, sealed))
    for facts in rare.limits:
        key = spent_key(sealed.entry.customer, facts.budget, facts.scope)
        changed[key] = _spent(rows.row(key), facts, sealed)
    for margin in rare.margins:
        key = margin_key(sealed.entry.customer, margin.budget, margin.scope)
        changed[key] = _margin(rows.row(key), margin, sealed)
    for pace in rare.paces:
        key = pace_key(sealed.entry.customer, pace.budget, pace.scope)
        changed[key] = _pace(rows.row(key), pace, sealed)
    return changed


def _spent(row: Spent | None, facts: LimitFacts, sealed: Sealed) -> Spent | None:
    entry = sealed.entry
    before, held_before = number_of(facts.before), number_of(facts.held_before)
    used, held = 0, 0 if row is None else row.held
    if row is not None and facts.window is None:
        used = standing_alone(row, entry.at_ms).used
    if used != before or held != held_before or (row is None and facts.window is None):
        raise BrokenInvariantError(
            "budget-used",
            f"{entry.customer}: entry {entry.sequence} has {facts.before} used and"
            f" {facts.held_before} held of budget {facts.budget!r} {facts.scope!r} before, the row"
            f" has {number_text(used)} and {number_text(held)}",
        )
    if facts.closed:
        return None
    window = facts.window if facts.window is not None or row is None else row.window
    assert window is not None
    after = number_of(facts.after)
    buckets: tuple[tuple[int, int], ...] = ()
    if window.every == ROLLING:
        kept = row.buckets if row is not None and facts.window is None else ()
        buckets = counted_on(kept, window, entry.at_ms, after - before)
    return Spent(
        entry.customer,
        facts.budget,
        facts.scope,
        facts.each,
        window,
        0 if facts.starts_at is None else milliseconds(facts.starts_at),
        NEVER if facts.ends_at is None else milliseconds(facts.ends_at),
        number_of(facts.cap),
        after,
        number_of(facts.held),
        facts.told,
        buckets,
        entry.at_ms,
        entry.sequence,
    )


def _margin(row: MarginSum | None, facts: MarginFacts, sealed: Sealed) -> MarginSum | None:
    entry = sealed.entry
    revenue_before, cost_before = number_of(facts.revenue_before), number_of(facts.cost_before)
    goes_on = row is not None and facts.window is None
    revenue = cost = 0
    if row is not None and goes_on and not is_over(row, entry.at_ms):
        revenue, cost = sums(row, entry.at_ms)
    if (revenue, cost) != (revenue_before, cost_before) or (row is None and not facts.window):
        raise BrokenInvariantError(
            "margin-counted",
            f"{entry.customer}: entry {entry.sequence} has a revenue of {facts.revenue_before} and"
            f" a cost of {facts.cost_before} in margin {facts.budget!r} {facts.scope!r} before, the"
            f" row has {number_text(revenue)} and {number_text(cost)}",
        )
    if facts.closed:
        return None
    window = facts.window if row is None or not goes_on else row.window
    assert window is not None
    revenue, cost = number_of(facts.revenue), number_of(facts.cost)
    buckets = () if row is None or not goes_on else row.buckets
    if window.every == ROLLING:
        more = revenue - revenue_before, cost - cost_before
        buckets = moved_on(buckets, window, entry.at_ms, *more)
    return MarginSum(
        entry.customer,
        facts.budget,
        facts.scope,
        facts.each,
        window,
        0 if facts.starts_at is None else milliseconds(facts.starts_at),
        NEVER if facts.ends_at is None else milliseconds(facts.ends_at),
        revenue,
        cost,
        facts.under,
        buckets,
        entry.at_ms,
        entry.sequence,
    )


def _pace(row: Pace | None, facts: PaceFacts, sealed: Sealed) -> Pace | None:
    entry = sealed.entry
    every, zone = facts.every, facts.zone
    used = 0
    stretches: tuple[int, ...] = ()
    if row is not None and every is None:
        every, zone = row.every, row.zone
        used, _, stretches = in_stretch(row, entry.at_ms)
    if used != number_of(facts.before) or every is None or zone is None:
        raise BrokenInvariantError(
            "pace-used",
            f"{entry.customer}: entry {entry.sequence} has {facts.before} used of"
            f" {facts.budget!r} {facts.scope!r} in a stretch before, the row has"
            f" {number_text(used)}",
        )
    if facts.closed:
        return None
    return Pace(
        entry.customer,
        facts.budget,
        facts.scope,
        facts.each,
        every,
        zone,
        milliseconds(facts.starts_at),
        milliseconds(facts.ends_at),
        number_of(facts.after),
        facts.told,
        stretches,
        entry.at_ms,
        entry.sequence,
    )


def _budget(rows: RowReader, facts: BudgetFacts, sealed: Sealed) -> dict[str, LimitRow | None]:
    entry = sealed.entry
    customer, sequence = entry.customer, entry.sequence
    changed: dict[str, LimitRow | None] = {}
    key = budget_key(customer, facts.id)
    if facts.left_scope is not None:
        left = scope_text(facts.left_scope)
        at = scope_key(customer, left)
        changed[at] = _without(rows.row(at), facts.id, sequence)
        if EACH not in facts.left_scope.values():
            changed[spent_key(customer, facts.id, left)] = None
            for gone in (margin_key(customer, facts.id, left), pace_key(customer, facts.id, left)):
                if rows.row(gone) is not None:
                    changed[gone] = None
    if facts.terms is None:
        changed[key] = None
        return changed
    terms = facts.terms
    changed[key] = Budget(customer, facts.id, terms, number_of(terms.cap or "0"), sequence)
    at = scope_key(customer, scope_text(terms.scope))
    scoped: Scoped | None = rows.row(at)
    budgets = () if scoped is None else scoped.budgets
    if facts.id not in budgets:
        block = None if scoped is None else scoped.block
        changed[at] = Scoped(customer, terms.scope, (*budgets, facts.id), block, sequence)
    return changed


def _without(row: Scoped | None, budget_id: str, sequence: int) -> Scoped | None:
    if row is None:
        return None
    budgets = tuple([each for each in row.budgets if each != budget_id])
    if not budgets and row.block is None:
        return None
    return Scoped(row.customer, row.scope, budgets, row.block, sequence)


def _block(rows: RowReader, facts: BlockFacts, sealed: Sealed) -> dict[str, LimitRow | None]:
    entry = sealed.entry
    at = scope_key(entry.customer, scope_text(facts.scope))
    row: Scoped | None = rows.row(at)
    budgets = () if row is None else row.budgets
    block = None
    if facts.blocked:
        block = _BlockState(
            by=entry.origin.actor,
            reason=entry.reason or "",
            since_at=moment(entry.at_ms),
            until_at=facts.until_at,
        )
    if block is None and not budgets:
        return {at: None}
    return {at: Scoped(entry.customer, facts.scope, budgets, block, entry.sequence)}
