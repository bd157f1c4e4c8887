"""A customer's limits as a replica knows them: budgets as they stand now, the values of a `*` that
are most used, what is blocked; and what of it denies a use.

It is worked out from the rows by the ledger's own rules, at the reader's own time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Final, Protocol, cast

import msgspec

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.limit_states import BlockedScope, BudgetState
from drawdown.events.limits import LimitState, MarginState
from drawdown.events.numbers import amount_of
from drawdown.ledger.budgets import Budget, Scoped, Spent, Standing, budget_key
from drawdown.ledger.limit_states import blocked_scope, budget_state, value_state
from drawdown.ledger.limits import (
    LEAST,
    Asked,
    blocked_words,
    denied_words,
    found,
    states,
    without_room,
)
from drawdown.ledger.margin_floor import MARGIN, MarginSum
from drawdown.ledger.rows import row_of
from drawdown.ledger.values import Wallet

BUDGET, SCOPE, SPENT = "budget", "scope", "spent"
LIMITS: Final = frozenset({BUDGET, SCOPE, SPENT})
"""Kinds of row that limits are in, but for margins: these are settlement's to hold to."""
SHOWN: Final = LIMITS | {MARGIN}
"""Kinds of row that are shown."""
STEP: Final = 500
"""Rows that are read at a time."""
VALUES_MAX: Final = 20_000
"""Of one budget, that are put in order: a second of work."""


ValueState = LimitState | MarginState
"""How a budget with `*` stands for one value: what is used of its cap, or the margin."""


PLACE_BYTES_MAX: Final = 1_500
"""A longer one would not fit into an address with all of it escaped."""
LONG: Final = "#"
"""Before a digest: the text of a scope has none."""


class LostPlaceError(ValueError):
    """The row that was to be read on behind is gone."""


class TooManyValuesError(ValueError):
    """A budget has more values than are put in order at once."""


class Rows(Protocol):
    """Where the rows are: a `Replica` that keeps these kinds."""

    def row(self, key: str) -> bytes | None: ...

    def rows(self, customer: str, kind: str, after: str, limit: int) -> list[tuple[str, bytes]]: ...


class LimitRows:
    """The rows about limits, decoded; each is read once."""

    def __init__(self, rows: Rows, keeps: Collection[str] = SHOWN) -> None:
        """`keeps` are the kinds of rows that are there: of others there is none."""
        self._rows = rows
        self._keeps = keeps
        self._known: dict[str, Any] = {}

    def row(self, key: str) -> Any:
        """A row by its key; None where there is none."""
        if key not in self._known:
            kept = key.split(KEY_SEPARATOR, 2)[1] in self._keeps
            value = self._rows.row(key) if kept else None
            self._known[key] = None if value is None else row_of(value)
        return self._known[key]

    def budgets(
        self, customer: str, shapes: Mapping[str, int], after: str, limit: int, at_ms: int
    ) -> list[BudgetState]:
        """A customer's budgets by id, from behind `after` on; `shapes` are the wallet's
        `scopes`."""
        read = self._rows.rows(customer, BUDGET, after, limit)
        return [budget_state(self, shapes, cast(Budget, row_of(value)), at_ms) for _, value in read]

    def budget(
        self, customer: str, shapes: Mapping[str, int], budget_id: str, at_ms: int
    ) -> BudgetState | None:
        """One of a customer's budgets; None where there is no such."""
        budget: Budget | None = self.row(budget_key(customer, budget_id))
        return None if budget is None else budget_state(self, shapes, budget, at_ms)

    def values(
        self, customer: str, budget_id: str, after: str, limit: int, at_ms: int
    ) -> list[ValueState]:
        """How a budget with `*` stands for each value of which anything counts, by scope, from
        behind `after` on; nothing where there is no such budget."""
        return list(islice(self._values(customer, budget_id, after, at_ms), limit))

    def most_used(
        self, customer: str, budget_id: str, at_ms: int, most: int = VALUES_MAX
    ) -> list[ValueState]:
        """The same of all of them, those first of which most is used or held, or whose margin is
        least. Raises TooManyValuesError where there are more than `most`."""
        every = list(islice(self._values(customer, budget_id, "", at_ms), most + 1))
        if len(every) > most:
            raise TooManyValuesError(
                f"budget {budget_id!r} has more than {most:,} values: take them by key"
            )
        return sorted(every, key=lambda each: (_rank(each), each.scope))

    def _values(
        self, customer: str, budget_id: str, after: str, at_ms: int
    ) -> Iterator[ValueState]:
        budget: Budget | None = self.row(budget_key(customer, budget_id))
        if budget is None:
            return
        start = f"{budget_id}#"
        kind = MARGIN if budget.terms.measure == MARGIN else SPENT
        for key, value in self._each(customer, kind, after, start):
            if not key.startswith(start):
                return
            state = value_state(budget, cast(Spent | MarginSum, row_of(value)), at_ms)
            if state is not None:
                yield state

    def blocks(
        self, customer: str, after: str, limit: int, at_ms: int
    ) -> list[tuple[str, BlockedScope]]:
        """The scopes that are blocked, by their text, from behind `after` on."""
        blocked: list[tuple[str, BlockedScope]] = []
        for key, value in self._each(customer, SCOPE, after):
            # Most scopes have budgets only: a quote within a text is escaped.
            if b'"block":{' not in value:
                continue
            each = blocked_scope(cast(Scoped, row_of(value)), at_ms)
            if each is not None:
                blocked.append((key, each))
                if len(blocked) == limit:
                    break
        return blocked

    def _each(
        self, customer: str, kind: str, after: str, start: str = ""
    ) -> Iterator[tuple[str, bytes]]:
        """Rows of a kind by key, from behind the place `after` on, within those that begin with
        `start`. Raises LostPlaceError."""
        if not after.startswith(LONG):
            yield from self._from(customer, kind, start + after)
            return
        rows = self._from(customer, kind, start)
        for key, _ in rows:
            if place_of(key.removeprefix(start)) == after:
                yield from rows
                return
        raise LostPlaceError(f"no row of kind {kind!r} has this place any more")

    def _from(self, customer: str, kind: str, after: str) -> Iterator[tuple[str, bytes]]:
        while page := self._rows.rows(customer, kind, after, STEP):
            yield from page
            after = page[-1][0]


def place_of(scope: str) -> str:
    """Where a scope stands, for who reads on behind it: its text, or of a long one a digest, for
    which the rows are read from the first one on."""
    value = scope.encode()
    return scope if len(value) <= PLACE_BYTES_MAX else LONG + sha256(value).hexdigest()


def _rank(state: ValueState) -> int:
    """The least one first."""
    used = getattr(state, "used", None)
    if used is None:
        return amount_of(cast(MarginState, state).margin)
    return -(amount_of(used) + amount_of(cast(LimitState, state).held))


@dataclass(frozen=True, slots=True)
class Use:
    """What is asked about."""

    customer: str
    meter: str
    dimensions: Mapping[str, str]
    asset: str | None = None
    amount: int | None = None
    """In 10^-12 of the asset; None to ask whether anything is left."""


class Denying(msgspec.Struct, frozen=True, gc=False):
    """What the limits that are known here say of a use."""

    blocked: str | None = None
    """Which scope is blocked, by whom and why, in words."""
    exceeded: str | None = None
    """Which budgets have too little left, in words."""
    states: tuple[LimitState, ...] = ()
    """The budgets that were looked at; those that deny first, with what is `wanted`."""
    unseen: tuple[str, ...] = ()
    """What was not looked at though the customer may have any: `blocks`, `budgets`."""


NOTHING_DENIES: Final = Denying()


def denying(
    rows: Rows, keeps: Collection[str], shapes: Iterable[str], use: Use, at_ms: int
) -> Denying:
    """What denies a use, as far as the kinds of rows tell that are kept; `shapes` are the wallet's
    `scopes`."""
    if not shapes:
        return NOTHING_DENIES
    if SCOPE not in keeps:
        return Denying(unseen=("blocks", "budgets"))
    unseen = () if {BUDGET, SPENT}.issubset(keeps) else ("budgets",)
    reader = LimitRows(rows, (SCOPE,) if unseen else LIMITS)
    wallet = Wallet(use.customer, scopes=dict.fromkeys(shapes, 1))
    met = found(reader, wallet, use.meter, use.dimensions, at_ms)
    if met.blocked is not None:
        return Denying(blocked=blocked_words(*met.blocked), unseen=unseen)
    without = [pair for each in met.standings for pair in without_room((each,), _asked(each, use))]
    words = "; ".join([denied_words(*pair) for pair in without]) or None
    return Denying(exceeded=words, states=tuple(states(met, without)), unseen=unseen)


def _asked(each: Standing, use: Use) -> Asked:
    """What is asked of a budget: without an amount, anything of its own asset."""
    asset = use.asset if use.asset is not None or each.terms is None else each.terms.asset
    return Asked(asset or "", LEAST if use.amount is None else use.amount, None)
