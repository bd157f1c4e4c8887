"""Margins as values: what a scope earned and cost in a window, and how that stands to its floor.

Margin is recognized revenue less cost, in the reporting currency (rule 9 of domain.md). Every entry
that recognizes revenue or has a cost counts when it is decided: usage, captures, usage without a
price, true-ups, fees, debts that are paid, reversals and re-ratings. What states its dimensions
counts in their scopes; fees and the like only in those of the whole customer. A hold counts nothing
until it is captured: what it earns follows from the grants that pay in the end.

All is exact: a margin of `m` of a revenue of `r` is under a floor of `f` percent where
100 m < f r, and without revenue where m < 0. Nothing earned and nothing spent is under no floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from drawdown.events.base import KEY_SEPARATOR, Value, at_text, moment
from drawdown.events.limits import EACH, BudgetTerms, MarginFacts, MarginState, MarginTold, Window
from drawdown.events.numbers import UNIT
from drawdown.events.structs import struct_of
from drawdown.ledger.budgets import (
    CALENDAR,
    LIFE,
    ROLLING,
    Budget,
    bounds,
    bucket_ms,
    first_counting_ms,
    goes_ms,
    idle_ms,
    number_of,
    number_text,
)
from drawdown.ledger.journal import Entry
from drawdown.ledger.rates.terms import rounded
from drawdown.ledger.values import NEVER

MARGIN: Final = "margin"
"""The measure."""

_MarginFacts: Callable[..., MarginFacts] = struct_of(MarginFacts)
_MarginState: Callable[..., MarginState] = struct_of(MarginState)

Expected = tuple[int, int]
"""Revenue and cost that a use is expected to bring, in the reporting currency."""
Buckets = tuple[tuple[int, int, int], ...]
"""Of a rolling window: when each begins, its revenue and its cost; oldest first."""


class MarginSum(Value, frozen=True):
    """What counts in a margin, of one scope."""

    customer: str
    budget: str
    scope: str
    each: bool
    window: Window
    starts_ms: int
    ends_ms: int
    """`NEVER` where the window is not one of the calendar."""
    revenue: int
    cost: int
    """Both in the window, as of the last entry."""
    under: bool
    """Its floor, as of the last entry."""
    buckets: Buckets
    last_ms: int
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """When it goes by itself. One of a lasting scope stays."""
        return goes_ms(self.window, self.each, self.ends_ms, self.last_ms)


class MarginStanding(Value, frozen=True):
    """A margin of one scope, as it stands at a moment."""

    budget: str
    scope: str
    row: MarginSum | None
    terms: BudgetTerms
    starts_ms: int
    ends_ms: int
    revenue: int
    cost: int
    negative: bool
    """As of the last entry in the window: what was told of it."""
    under: bool
    """Likewise."""


def margin_key(customer: str, budget_id: str, scope: str) -> str:
    """Key of a margin's row. A scope's text has no `#`: the last one is it."""
    return f"{customer}{KEY_SEPARATOR}margin{KEY_SEPARATOR}{budget_id}#{scope}"


def margin_standing(
    budget: Budget, scope: str, row: MarginSum | None, at_ms: int
) -> MarginStanding:
    """How a margin stands: what another window had does not count."""
    terms = budget.terms
    revenue = cost = 0
    negative = under = False
    starts_ms, ends_ms = bounds(terms.window, at_ms)
    if row is not None and row.window == terms.window and not is_over(row, at_ms):
        starts_ms, ends_ms = row.starts_ms, row.ends_ms
        revenue, cost = sums(row, at_ms)
        negative, under = row.revenue < row.cost, row.under
    return MarginStanding(
        budget.id, scope, row, terms, starts_ms, ends_ms, revenue, cost, negative, under
    )


def is_over(row: MarginSum, at_ms: int) -> bool:
    """Whether the row's window has ended."""
    if row.window.every in CALENDAR:
        return at_ms >= row.ends_ms
    return row.window.every == LIFE and at_ms >= row.last_ms + idle_ms(row.window)


def sums(row: MarginSum, at_ms: int) -> tuple[int, int]:
    """Revenue and cost in the row's window."""
    if row.window.every != ROLLING:
        return row.revenue, row.cost
    since_ms = first_counting_ms(row.window, at_ms)
    counting = [bucket for bucket in row.buckets if bucket[0] >= since_ms]
    return sum([each[1] for each in counting]), sum([each[2] for each in counting])


def moved_on(buckets: Buckets, window: Window, at_ms: int, revenue: int, cost: int) -> Buckets:
    """The buckets that are not wholly over, with what came at `at_ms`; a reversal takes off."""
    since_ms = first_counting_ms(window, at_ms)
    kept = [bucket for bucket in buckets if bucket[0] >= since_ms]
    width_ms = bucket_ms(window)
    start_ms = at_ms // width_ms * width_ms
    if kept and kept[-1][0] >= start_ms:
        start_ms, earned, spent = kept.pop()
        revenue, cost = revenue + earned, cost + spent
    return (*kept, (start_ms, revenue, cost))


def is_under(terms: BudgetTerms, revenue: int, cost: int) -> bool:
    """Whether a margin is under its floor; never while the cost is less than `cost_min`."""
    if terms.floor is None or (terms.cost_min is not None and cost < number_of(terms.cost_min)):
        return False
    margin = revenue - cost
    if revenue <= 0:
        return margin < 0
    return margin * 100 * UNIT < number_of(terms.floor) * revenue


def under_floor(
    standings: Iterable[MarginStanding], expected: Expected | None
) -> list[MarginStanding]:
    """The margins that deny a use: with what it is expected to bring, they would be under their
    floors. Where that is not known, as they are without it."""
    revenue, cost = expected or (0, 0)
    return [
        each
        for each in standings
        if each.terms.at_cap == "deny"
        and is_under(each.terms, each.revenue + revenue, each.cost + cost)
    ]


def floor_words(each: MarginStanding, expected: Expected | None) -> str:
    """Why a margin denies a use, in words."""
    more_revenue, more_cost = expected or (0, 0)
    revenue, cost = each.revenue + more_revenue, each.cost + more_cost
    of = f" of {each.scope}" if each.scope else ""
    percent = percent_text(revenue, cost)
    share = "no revenue to be a part of" if percent is None else f"{percent} %"
    known = "is" if expected is None else "would be with this use"
    return (
        f"margin {each.budget!r}{of} {known} {number_text(revenue - cost)} ({share}): revenue"
        f" {number_text(revenue)} less cost {number_text(cost)}, {_window_words(each)}; its floor"
        f" is {each.terms.floor} %"
    )


def _window_words(each: MarginStanding) -> str:
    window = each.terms.window
    if window.every in CALENDAR:
        return f"from {at_text(each.starts_ms)} until {at_text(each.ends_ms)}"
    if window.every == ROLLING:
        return f"in the last {window.length_s} s"
    return "in its life" if window.every == LIFE else "in all"


def percent_text(revenue: int, cost: int) -> str | None:
    """The margin in percent of the revenue, half-even to two places; None without revenue."""
    if revenue <= 0:
        return None
    hundredths, rest = divmod((revenue - cost) * 10_000, revenue)
    if rest:
        hundredths = rounded(hundredths, rest, revenue, "half_even")
    return number_text(hundredths * (UNIT // 100))


def margin_states(
    standings: Iterable[MarginStanding],
    expected: Expected | None,
    denying: Iterable[MarginStanding] = (),
) -> list[MarginState]:
    """The margins that were looked at, as a decision says them; those that deny first."""
    deny = {(each.budget, each.scope) for each in denying}
    said = [
        _MarginState(
            budget=each.budget,
            scope=each.scope,
            floor=each.terms.floor,
            revenue=number_text(each.revenue),
            cost=number_text(each.cost),
            margin=number_text(each.revenue - each.cost),
            expected_revenue=None if expected is None else number_text(expected[0]),
            expected_cost=None if expected is None else number_text(expected[1]),
            resets_at=None if each.ends_ms == NEVER else moment(each.ends_ms),
            denies=(each.budget, each.scope) in deny,
        )
        for each in standings
    ]
    return sorted(said, key=lambda state: not state.denies)


def margin_states_after(facts: Iterable[MarginFacts]) -> list[MarginState]:
    """The same of an entry: as they are after it."""
    return [
        _MarginState(
            budget=each.budget,
            scope=each.scope,
            floor=each.floor,
            revenue=each.revenue,
            cost=each.cost,
            margin=number_text(number_of(each.revenue) - number_of(each.cost)),
            resets_at=each.ends_at,
        )
        for each in facts
    ]


def margin_counted(each: MarginStanding, entry: Entry) -> MarginFacts:
    """What an entry changes of a margin, and what is to be told of it.

    A change of sign is told once, both ways: zero counts as not negative, and so does a window that
    begins. Falling under the floor is told once, until it is no more under it.
    """
    revenue, cost = each.revenue + entry.revenue, each.cost + entry.cost
    under = is_under(each.terms, revenue, cost)
    tells: list[MarginTold] = []
    if (revenue < cost) != each.negative:
        tells.append("sign")
    if under and not each.under:
        tells.append("floor")
    endless = each.ends_ms == NEVER
    first = each.row is None or each.row.window != each.terms.window
    return _MarginFacts(
        budget=each.budget,
        scope=each.scope,
        starts_at=None if endless else moment(each.starts_ms),
        ends_at=None if endless else moment(each.ends_ms),
        window=each.terms.window if first else None,
        each=EACH in each.terms.scope.values(),
        floor=each.terms.floor,
        revenue_before=number_text(each.revenue),
        revenue=number_text(revenue),
        cost_before=number_text(each.cost),
        cost=number_text(cost),
        under=under,
        tells=tells,
    )


def margin_closed(row: MarginSum, at_ms: int) -> MarginFacts:
    """What the entry says that ends a row whose time is over."""
    revenue, cost = (0, 0) if is_over(row, at_ms) else sums(row, at_ms)
    return _MarginFacts(
        budget=row.budget,
        scope=row.scope,
        each=row.each,
        revenue_before=number_text(revenue),
        cost_before=number_text(cost),
        closed=True,
    )
