"""Budgets as values: a cap over a scope and a window, what counts in it, and where these stand.

A customer may have thousands of budgets, and a use finds its own without looking at the others: the
wallet knows which combinations of dimensions have any (`team`; `session*`, for each session), a
use's own values of those name the rows of its scopes, and these name the budgets. What counts has a
row per budget and scope, which the entry that counts states whole.

Numbers of a budget are integers of 10^-12: of its asset, of a quantity (what is finer is rounded
up, against the spender), of a request or of an open hold.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from drawdown.events.base import KEY_SEPARATOR, Value
from drawdown.events.calendar import period_of
from drawdown.events.limits import EACH, IDLE_S_DEFAULT, BlockState, BudgetTerms, Window
from drawdown.events.numbers import UNIT, amount_of, amount_text
from drawdown.ledger.values import NEVER

ROLLING_BUCKETS: Final = 60
CALENDAR: Final = frozenset({"hour", "day", "week", "month"})
LIFE: Final = "life"
ROLLING: Final = "rolling"
BUDGET: Final = "budget"
"""Name of the timer."""
ONE: Final = UNIT
"""A request, or an open hold."""
NOT_PLAIN: Final = re.compile(r"[%&*#\x00-\x1f]")

number_of = lru_cache(maxsize=16_384)(amount_of)
number_text = lru_cache(maxsize=16_384)(amount_text)
"""Of a budget: what stands after one entry stands before the next, and a cap in all of them."""

Shape = tuple[tuple[str, bool], ...]
"""Names of dimensions in their order, and whether each of their values counts by itself."""


class Budget(Value, frozen=True):
    """A customer's budget."""

    customer: str
    id: str
    terms: BudgetTerms
    cap: int
    """0 where it has none: then it only watches, or has a floor."""
    sequence: int

    @property
    def due_ms(self) -> int | None:
        return None


class Scoped(Value, frozen=True):
    """A scope with its budgets, and whether it is blocked."""

    customer: str
    scope: Mapping[str, str]
    budgets: tuple[str, ...]
    block: BlockState | None
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """None: a block that is over does not count, and goes when the scope changes."""
        return None


class Spent(Value, frozen=True):
    """What counts in a budget, of one scope."""

    customer: str
    budget: str
    scope: str
    each: bool
    window: Window
    starts_ms: int
    ends_ms: int
    """`NEVER` where the window is not one of the calendar."""
    cap: int
    used: int
    """In the window."""
    held: int
    """By open holds, whenever they were made."""
    told: int
    buckets: tuple[tuple[int, int], ...]
    """Of a rolling window: when each begins, and what was used in it; oldest first."""
    last_ms: int
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """When it goes by itself. One of a lasting scope stays, and what is held is waited for."""
        return None if self.held else goes_ms(self.window, self.each, self.ends_ms, self.last_ms)


def goes_ms(window: Window, each: bool, ends_ms: int, last_ms: int) -> int | None:
    """When a row of what counts goes by itself, by when it last changed; None where it stays."""
    if window.every == LIFE:
        return last_ms + idle_ms(window)
    if not each:
        return None
    if window.every == ROLLING:
        return last_ms + length_ms(window) + bucket_ms(window)
    return None if ends_ms == NEVER else ends_ms


def budget_key(customer: str, budget_id: str) -> str:
    """Key of a budget's row."""
    return f"{customer}{KEY_SEPARATOR}budget{KEY_SEPARATOR}{budget_id}"


def scope_key(customer: str, scope: str) -> str:
    """Key of the row of a scope that has budgets or is blocked."""
    return f"{customer}{KEY_SEPARATOR}scope{KEY_SEPARATOR}{scope}"


def spent_key(customer: str, budget_id: str, scope: str) -> str:
    """Key of the row of what counts in a budget. A scope's text has no `#`: the last one is it."""
    return f"{customer}{KEY_SEPARATOR}spent{KEY_SEPARATOR}{budget_id}#{scope}"


def scope_text(scope: Mapping[str, str]) -> str:
    """A scope as keys have it: `key=k1&team=search`; `*` for each value stays as it is."""
    return "&".join(
        [f"{name}={value if value == EACH else _escaped(value)}" for name, value in _sorted(scope)]
    )


def shape_text(scope: Mapping[str, str]) -> str:
    """Which dimensions a scope names: `team`, or `session*` where each value counts by itself."""
    return "&".join([name + EACH if value == EACH else name for name, value in _sorted(scope)])


def _sorted(scope: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(scope.items())


def _escaped(value: str) -> str:
    if NOT_PLAIN.search(value) is None:
        return value
    return NOT_PLAIN.sub(lambda found: f"%{ord(found[0]):02X}", value)


@lru_cache(maxsize=1024)
def shape_of(text: str) -> Shape:
    """The dimensions of a shape's text."""
    if not text:
        return ()
    return tuple([(name.removesuffix(EACH), name.endswith(EACH)) for name in text.split("&")])


@lru_cache(maxsize=65_536)
def _texts(shape: Shape, values: tuple[str, ...]) -> tuple[str, str]:
    pattern, own = [], []
    for (name, each), value in zip(shape, values, strict=True):
        text = f"{name}={_escaped(value)}"
        own.append(text)
        pattern.append(f"{name}={EACH}" if each else text)
    return "&".join(pattern), "&".join(own)


def scopes_of(shape: Shape, dimensions: Mapping[str, str]) -> tuple[str, str] | None:
    """The scope of this shape that a use is in, as its budgets state it and with the use's own
    values; None where the use lacks a dimension. An empty value is none."""
    values = []
    for name, _ in shape:
        value = dimensions.get(name)
        if not value:
            return None
        values.append(value)
    return _texts(shape, tuple(values))


def length_ms(window: Window) -> int:
    assert window.length_s is not None
    return window.length_s * 1000


def idle_ms(window: Window) -> int:
    return (window.idle_s or IDLE_S_DEFAULT) * 1000


def bucket_ms(window: Window) -> int:
    """Of a rolling window."""
    return -(-length_ms(window) // ROLLING_BUCKETS)


def still_counting(
    buckets: tuple[tuple[int, int], ...], window: Window, at_ms: int
) -> tuple[tuple[int, int], ...]:
    """The buckets that are not wholly over."""
    since_ms = first_counting_ms(window, at_ms)
    return tuple([bucket for bucket in buckets if bucket[0] >= since_ms])


def first_counting_ms(window: Window, at_ms: int) -> int:
    """When the first bucket may begin that is not wholly over: rounded against the spender."""
    return at_ms - length_ms(window) - bucket_ms(window) + 1


def counted_on(
    buckets: tuple[tuple[int, int], ...], window: Window, at_ms: int, more: int
) -> tuple[tuple[int, int], ...]:
    """The buckets with `more` used at `at_ms`; what is given back comes off the newest ones."""
    kept = list(still_counting(buckets, window, at_ms))
    width_ms = bucket_ms(window)
    start_ms = at_ms // width_ms * width_ms
    if more > 0:
        if kept and kept[-1][0] >= start_ms:
            start_ms, used = kept.pop()
            more += used
        kept.append((start_ms, more))
    while more < 0 and kept:
        start_ms, used = kept.pop()
        if used + more > 0:
            kept.append((start_ms, used + more))
            break
        more += used
    return tuple(kept)


def bounds(window: Window, at_ms: int) -> tuple[int, int]:
    """First and last instant of the window at a time, the last one excluded; 0 and `NEVER` where it
    is none of the calendar. Raises ZoneError."""
    if window.every in CALENDAR:
        return period_of(at_ms, window.every, window.zone)
    return 0, NEVER


class Standing(Value, frozen=True):
    """A budget of one scope, as it stands at a moment."""

    budget: str
    scope: str
    row: Spent | None
    terms: BudgetTerms | None
    """None where the budget is gone and a hold still counts in it."""
    each: bool
    window: Window
    cap: int
    starts_ms: int
    ends_ms: int
    used: int
    held: int
    told: int

    @property
    def left(self) -> int:
        return max(self.cap - self.used - self.held, 0)


def standing(budget: Budget, scope: str, row: Spent | None, at_ms: int) -> Standing:
    """How a budget stands: what was used in another window does not count."""
    terms = budget.terms
    window = terms.window
    used = told = 0
    starts_ms, ends_ms = -1, -1
    if row is not None and row.window == window:
        starts_ms, ends_ms, used, told = _in_window(row, at_ms)
    if starts_ms < 0:
        starts_ms, ends_ms = bounds(window, at_ms)
    if row is not None and row.cap != budget.cap:
        # Of another cap other percents were told: what is passed already counts as told.
        reached = [percent for percent in terms.alerts if used * 100 >= budget.cap * percent]
        told = max(reached, default=0)
    held = 0 if row is None else row.held
    each = EACH in terms.scope.values()
    return Standing(
        budget.id, scope, row, terms, each, window, budget.cap, starts_ms, ends_ms, used, held, told
    )


def standing_alone(row: Spent, at_ms: int) -> Standing:
    """How a budget stands that is gone while a hold counts in it, or whose row goes."""
    starts_ms, ends_ms, used, told = _in_window(row, at_ms)
    if starts_ms < 0:
        starts_ms, ends_ms = bounds(row.window, at_ms)
    return Standing(
        row.budget,
        row.scope,
        row,
        None,
        row.each,
        row.window,
        row.cap,
        starts_ms,
        ends_ms,
        used,
        row.held,
        told,
    )


def _in_window(row: Spent, at_ms: int) -> tuple[int, int, int, int]:
    """Bounds of the row's window, what was used in it and told of it; bounds of -1 where it is
    over."""
    every = row.window.every
    if every in CALENDAR:
        if at_ms >= row.ends_ms:
            return -1, -1, 0, 0
    elif every == ROLLING:
        buckets = still_counting(row.buckets, row.window, at_ms)
        used = sum([used for _, used in buckets])
        # Below a percent that was told, it may be told again.
        told = min(row.told, used * 100 // row.cap) if row.cap else row.told
        return 0, NEVER, used, told
    elif every == LIFE and not row.held and at_ms >= row.last_ms + idle_ms(row.window):
        return 0, NEVER, 0, 0
    return row.starts_ms, row.ends_ms, row.used, row.told
