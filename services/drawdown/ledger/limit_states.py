"""Limits as people read them: each budget as it stands now, within which other it is, which values
of a `*` are most used, and what is blocked.

Nothing is decided here. What is read is worked out by the rules of decisions: what was used in
another window, or of a session that is over, does not count any more.
"""

from __future__ import annotations

from collections.abc import Iterable

from drawdown.events.limit_states import BlockedScope, BudgetState
from drawdown.events.limits import EACH, LimitState, MarginState
from drawdown.events.structs import struct_of
from drawdown.ledger.budgets import (
    Budget,
    Scoped,
    Spent,
    budget_key,
    scope_key,
    scope_text,
    scopes_of,
    shape_of,
    spent_key,
    standing,
)
from drawdown.ledger.limits import is_blocked, state_of
from drawdown.ledger.margin_floor import (
    MARGIN,
    MarginStanding,
    MarginSum,
    margin_key,
    margin_standing,
    margin_states,
)
from drawdown.ledger.spent import RowReader

_BudgetState = struct_of(BudgetState)
_BlockedScope = struct_of(BlockedScope)


def budget_state(rows: RowReader, shapes: Iterable[str], budget: Budget, at_ms: int) -> BudgetState:
    """A budget at a moment. `shapes` are those of the wallet's `scopes`."""
    terms = budget.terms
    scope = scope_text(terms.scope)
    state = margin = None
    if EACH in terms.scope.values():
        pass  # each value has its own
    elif terms.measure == MARGIN:
        sums: MarginSum | None = rows.row(margin_key(budget.customer, budget.id, scope))
        margin = _margin_of(margin_standing(budget, scope, sums, at_ms))
    elif terms.cap is not None:
        row: Spent | None = rows.row(spent_key(budget.customer, budget.id, scope))
        state = state_of(standing(budget, scope, row, at_ms))
    return _BudgetState(
        id=budget.id,
        terms=terms,
        scope=scope,
        parent=parent_of(rows, shapes, budget),
        state=state,
        margin=margin,
    )


def _margin_of(each: MarginStanding) -> MarginState:
    (state,) = margin_states((each,), None)
    return state


def value_state(
    budget: Budget, row: Spent | MarginSum, at_ms: int
) -> LimitState | MarginState | None:
    """How a budget with `*` stands for one of its values; None where nothing counts in it any more,
    or it is of a scope that the budget had before."""
    if row.budget != budget.id or not _is_value(row.scope, scope_text(budget.terms.scope)):
        return None
    if isinstance(row, MarginSum):
        margin = margin_standing(budget, row.scope, row, at_ms)
        return _margin_of(margin) if margin.revenue or margin.cost else None
    each = standing(budget, row.scope, row, at_ms)
    return state_of(each) if each.used or each.held else None


def _is_value(own: str, pattern: str) -> bool:
    """Whether a scope is one of those that a budget is for."""
    parts, patterns = own.split("&"), pattern.split("&")
    return len(parts) == len(patterns) and all(
        part == each or (each.endswith(f"={EACH}") and part.startswith(each.removesuffix(EACH)))
        for part, each in zip(parts, patterns, strict=True)
    )


def blocked_scope(scoped: Scoped, at_ms: int) -> BlockedScope | None:
    """The block of a scope; None where it has none, or its time is over."""
    if scoped.block is None or not is_blocked(scoped.block, at_ms):
        return None
    return _BlockedScope(scope=dict(scoped.scope), block=scoped.block)


def parent_of(rows: RowReader, shapes: Iterable[str], budget: Budget) -> str | None:
    """The budget that one is drawn under: the one it names, else one of the nearest wider scope.

    The nearest names most dimensions, and a value rather than `*`. No budget comes to be within
    itself: a wider scope names fewer dimensions, and one is only taken whose own way out through
    `within` does so at each step.
    """
    terms = budget.terms
    if terms.within is not None and rows.row(budget_key(budget.customer, terms.within)) is not None:
        return terms.within
    nearest: tuple[int, int] = (-1, 0)
    found: str | None = None
    for text in shapes:
        shape = shape_of(text)
        rank = len(shape), -sum(each for _, each in shape)
        if len(shape) >= len(terms.scope) or rank <= nearest:
            continue
        scopes = scopes_of(shape, terms.scope)
        if scopes is None:
            continue
        scoped: Scoped | None = rows.row(scope_key(budget.customer, scopes[0]))
        for outer in () if scoped is None else scoped.budgets:
            if _widens(rows, budget.customer, outer):
                nearest, found = rank, outer
                break
    return found


def _widens(rows: RowReader, customer: str, budget_id: str) -> bool:
    """Whether there is this budget, and each that it is within names fewer dimensions than the one
    in it."""
    budget: Budget | None = rows.row(budget_key(customer, budget_id))
    if budget is None:
        return False
    while budget.terms.within is not None:
        outer: Budget | None = rows.row(budget_key(customer, budget.terms.within))
        if outer is None:
            return True
        if len(outer.terms.scope) >= len(budget.terms.scope):
            return False
        budget = outer
    return True
