"""The limits a wallet page shows: budgets below each other with what is used, and what is blocked.

Bounded in what is read: a customer may have thousands of budgets, and a page shows the first ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from drawdown.events.limit_states import BlockedScope, BudgetState
from drawdown.events.limit_words import scope_words, unit_words, window_words
from drawdown.events.limits import EACH, LimitState
from drawdown.events.numbers import amount_of
from drawdown.events.structs import struct_of
from drawdown.query.limits import LimitRows, TooManyValuesError

BUDGETS_MAX: Final = 20
VALUES_MAX: Final = 3
VALUES_READ: Final = 1_000
"""Of a budget with `*`: with more it shows none."""
BLOCKS_MAX: Final = 10
LOW: Final = 800
FULL: Final = 1_000
"""Thousandths of a cap from which a bar stands out."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a budget stands. Of its bar, `share` and `set_aside` are thousandths."""

    used: int
    held: int
    cap: int
    left: int
    share: int
    set_aside: int
    resets_at: datetime | None

    @property
    def level(self) -> str:
        """How it stands out: not at all, as `low`, or as `full`."""
        taken = self.share + self.set_aside
        return "full" if taken >= FULL else "low" if taken >= LOW else ""


@dataclass(frozen=True, slots=True)
class BudgetShown:
    """A budget of the page."""

    id: str
    depth: int
    """How many budgets it is within, of those that are shown."""
    scope: str
    """Empty where it is all use."""
    cap: int
    unit: str
    window: str
    each: bool
    only_told: bool
    stand: Stand | None
    values: tuple[tuple[str, Stand], ...]
    """Of one that is for each value: those most used."""


@dataclass(frozen=True, slots=True)
class BlockShown:
    """A scope that is blocked."""

    scope: str
    reason: str
    since_at: datetime
    until_at: datetime | None


@dataclass(frozen=True, slots=True)
class LimitsShown:
    """The limits of a page."""

    budgets: tuple[BudgetShown, ...]
    blocks: tuple[BlockShown, ...]
    more: bool
    """There are more budgets than are shown."""


def limits_of(rows: LimitRows, customer: str, shapes: Mapping[str, int], at_ms: int) -> LimitsShown:
    """A customer's limits at a moment; `shapes` are the wallet's `scopes`."""
    if not shapes:
        return LimitsShown((), (), more=False)
    # A margin is nothing for a customer to see, and what has no cap limits nobody.
    every = rows.budgets(customer, shapes, "", BUDGETS_MAX + 1, at_ms)
    found = [each for each in every if each.terms.cap is not None]
    return LimitsShown(
        tuple(
            _budget(rows, customer, depth, budget, at_ms)
            for depth, budget in _below_each_other(found[:BUDGETS_MAX])
        ),
        tuple(_block(each) for _, each in rows.blocks(customer, "", BLOCKS_MAX, at_ms)),
        len(every) > BUDGETS_MAX,
    )


def _below_each_other(found: Iterable[BudgetState]) -> list[tuple[int, BudgetState]]:
    """Each below the one it is within, with how deep it stands."""
    ids = {each.id for each in found}
    below: dict[str | None, list[BudgetState]] = {}
    for each in found:
        below.setdefault(each.parent if each.parent in ids else None, []).append(each)
    ordered: list[tuple[int, BudgetState]] = []
    waiting = [(0, each) for each in reversed(below.get(None, []))]
    while waiting:
        depth, each = waiting.pop()
        ordered.append((depth, each))
        waiting += [(depth + 1, one) for one in reversed(below.get(each.id, []))]
    return ordered


def _budget(
    rows: LimitRows, customer: str, depth: int, budget: BudgetState, at_ms: int
) -> BudgetShown:
    terms = budget.terms
    said = msgspec.to_builtins(terms)
    values: list[LimitState] = []
    if budget.state is None:
        try:
            used = rows.most_used(customer, budget.id, at_ms, VALUES_READ)[:VALUES_MAX]
            values = [each for each in used if isinstance(each, struct_of(LimitState))]
        except TooManyValuesError:
            values = []
    return BudgetShown(
        budget.id,
        depth,
        scope_words(terms.scope) if terms.scope else "",
        amount_of(terms.cap or "0"),
        unit_words(said),
        window_words(said),
        EACH in terms.scope.values(),
        terms.at_cap == "alert",
        None if budget.state is None else _stand(budget.state),
        tuple((each.scope, _stand(each)) for each in values),
    )


def _stand(state: LimitState) -> Stand:
    used, held, cap = (amount_of(text) for text in (state.used, state.held, state.cap))
    share = min(-(-used * 1000 // cap), 1000) if cap else 1000
    set_aside = min(-(-held * 1000 // cap), 1000 - share) if cap else 0
    return Stand(used, held, cap, amount_of(state.left), share, set_aside, state.resets_at)


def _block(each: BlockedScope) -> BlockShown:
    block = each.block
    return BlockShown(scope_words(each.scope), block.reason, block.since_at, block.until_at)
