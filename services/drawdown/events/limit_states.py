"""Limits as they are read: budgets as they stand at a moment, and scopes that are blocked."""

from __future__ import annotations

from pydantic import Field

from drawdown.events.base import Identifier, Record
from drawdown.events.limits import (
    BlockState,
    BudgetTerms,
    LimitScope,
    LimitState,
    MarginState,
    ScopeText,
)


class BudgetState(Record):
    """A budget, where it stands among the others, and how much of it is used."""

    id: Identifier
    terms: BudgetTerms
    scope: ScopeText = Field(default="", description="The same as one text: `key=k1&team=search`")
    parent: Identifier | None = Field(
        default=None,
        description="The budget it is within: the one it names, else the one of the nearest wider"
        " scope; all of them must have room",
    )
    state: LimitState | None = Field(
        default=None,
        description="Now. None of one with `*`, whose values have their own, and without a cap",
    )
    margin: MarginState | None = Field(default=None, description="Now, with measure `margin`")


class BlockedScope(Record):
    """A scope that is blocked now."""

    scope: LimitScope = Field(description="Empty: the whole customer")
    block: BlockState
