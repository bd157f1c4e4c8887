"""Limits: budgets over scopes, and scopes that are blocked, as commands, entries and rows say them.

A scope is what a use says of itself: values of its dimensions, such as `{"team": "search"}`. The
empty one is the customer, all of whose use it is. In a budget `*` stands for each value: one cap
for every session, each counted by itself.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    AmountPositive,
    Count,
    DimensionValue,
    Identifier,
    Name,
    Record,
    StrictRecord,
    Timestamp,
)

EACH: Final = "*"
"""In a budget's scope: each value of the dimension, counted by itself."""
SCOPE_NAMES_MAX: Final = 8
ROLLING_S_MAX: Final = 35 * 86_400
IDLE_S_DEFAULT: Final = 3_600
IDLE_S_MAX: Final = 35 * 86_400
STRETCHES_MAX: Final = 24
"""Of what a scope usually uses: so many of the latest with use are known."""

ScopeValue = Annotated[DimensionValue, Field(min_length=1)]
LimitScope = Annotated[dict[Name, ScopeValue], Field(max_length=SCOPE_NAMES_MAX)]
ScopeText = Annotated[str, Field(max_length=8192)]
"""A scope in a row's key: `key=k1&team=search`, by name, `%`, `&`, `*` and controls escaped."""
Measure = Literal["amount", "quantity", "requests", "open_holds", "margin"]
Stretch = Literal["hour", "day", "week"]
MarginTold = Literal["sign", "floor"]


class Window(StrictRecord):
    """How long what was used counts against a budget, by when it was decided.

    `hour`, `day`, `week` (from Monday) and `month` are those of the calendar of `zone`. `rolling`
    is the last `length_s` seconds, in 60 buckets: a bucket counts until all of it is over. `life`
    is that of a session or a task: it ends once nothing is held and `idle_s` seconds went by
    without use. `total` never ends.
    """

    every: Literal["hour", "day", "week", "month", "rolling", "life", "total"] = "month"
    zone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="UTC", description="An IANA name, such as Europe/Berlin"
    )
    length_s: Annotated[int, Field(ge=60, le=ROLLING_S_MAX)] | None = Field(
        default=None, description="Needed with `rolling`"
    )
    idle_s: Annotated[int, Field(ge=60, le=IDLE_S_MAX)] | None = Field(
        default=None, description=f"With `life`; default {IDLE_S_DEFAULT}"
    )


class Velocity(StrictRecord):
    """Tells, once a stretch, that a scope uses so many times what it usually does: the mean of the
    latest 24 stretches before in which it used anything."""

    times: Annotated[int, Field(ge=2, le=1000)]
    every: Stretch = Field(
        default="hour", description="A stretch, by the calendar of the window's zone"
    )
    history: Annotated[int, Field(ge=1, le=STRETCHES_MAX)] = Field(
        default=3, description="Nothing is told before so many stretches with use are known"
    )


class BudgetTerms(StrictRecord):
    """A cap over a scope and a window; or a floor under its margin, or a watch over its pace."""

    scope: LimitScope = Field(
        default_factory=dict,
        description="Whose use counts: of these values of dimensions; `*` is each value, counted by"
        " itself. Empty: all of the customer's",
    )
    meters: Annotated[list[Name], Field(max_length=32)] = Field(
        default_factory=list, description="Only use of these; default of any"
    )
    measure: Measure = Field(
        default="amount",
        description="What is counted: the price in `asset`, a `quantity`, requests, holds that are"
        " open at a time; or the margin: recognized revenue less cost, in the reporting currency",
    )
    asset: Name | None = Field(default=None, description="With `amount`, and needed there")
    quantity: Name | None = Field(
        default=None, description="Of meters, with `quantity`, and needed there"
    )
    cap: AmountPositive | None = Field(
        default=None, description="Needed, but with `margin`, or where `velocity` only watches"
    )
    floor: Amount | None = Field(
        default=None,
        description="With `margin`: percent of the revenue that the margin may not fall under, such"
        " as 20 or -10. Left out, a change of the margin's sign is told and nothing is denied",
    )
    cost_min: AmountPositive | None = Field(
        default=None,
        description="With `floor`: nothing is denied while the cost in the window is less",
    )
    window: Window = Window()
    at_cap: Literal["deny", "alert"] = Field(
        default="deny",
        description="`alert`: only told, nothing is denied; at a cap and under a floor",
    )
    velocity: Velocity | None = None
    alerts: Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(max_length=8)] = Field(
        default_factory=lambda: [50, 80, 100],
        description="Percents of the cap, each told once per window when so much was used",
    )
    within: Identifier | None = Field(
        default=None,
        description="Another budget that what counts here counts in as well, whatever its scope: a"
        " key's team. Its scope may not have `*`",
    )


class MarginFacts(Record):
    """What an entry changes of a margin: of one scope, in one window; the reporting currency."""

    budget: Identifier
    scope: ScopeText = ""
    starts_at: Timestamp | None = Field(default=None, description="Of the window; None: it has no")
    ends_at: Timestamp | None = None
    window: Window | None = Field(default=None, description="Where it is the first that counts")
    each: bool = Field(default=False, description="The budget is for each value of a dimension")
    floor: Amount | None = None
    revenue_before: Amount = Field(default="0", description="In the window before the entry")
    revenue: Amount = Field(default="0", description="In the window after it")
    cost_before: Amount = "0"
    cost: Amount = "0"
    under: bool = Field(default=False, description="The margin is under the floor after it")
    tells: list[MarginTold] = Field(
        default_factory=list,
        description="`sign`: the margin fell below zero by this entry, or is no more below it."
        " `floor`: it fell under the floor",
    )
    closed: bool = Field(default=False, description="Nothing counts any more: the row is gone")


class PaceFacts(Record):
    """What an entry counts in a stretch of what a scope usually uses: of the asset, the quantity,
    or requests."""

    budget: Identifier
    scope: ScopeText = ""
    starts_at: Timestamp
    ends_at: Timestamp
    every: Stretch | None = Field(default=None, description="Where it is the first that counts")
    zone: str | None = None
    each: bool = Field(default=False, description="The budget is for each value of a dimension")
    before: AmountPositive = Field(default="0", description="Used in the stretch before the entry")
    after: AmountPositive = "0"
    usual: AmountPositive | None = Field(
        default=None, description="Rounded up; None where too little is known"
    )
    times: Count = 0
    told: bool = Field(default=False, description="By this entry, or before in the stretch")
    tells: bool = Field(default=False, description="By this entry")
    closed: bool = Field(default=False, description="Nothing counts any more: the row is gone")


class BudgetFacts(Record):
    """A budget as it is after the entry; or that it is gone."""

    id: Identifier
    terms: BudgetTerms | None = Field(default=None, description="None: it was removed")
    left_scope: LimitScope | None = Field(
        default=None, description="The scope it had before, where that is another one"
    )


class BlockFacts(Record):
    """A scope that was blocked, or is no more."""

    scope: LimitScope
    blocked: bool
    until_at: Timestamp | None = Field(default=None, description="It ends by itself then")


class BlockState(Record):
    """Who blocked a scope, why, and until when."""

    by: Identifier | None = Field(default=None, description="Id of the API key")
    reason: DimensionValue
    since_at: Timestamp
    until_at: Timestamp | None = None


class LimitFacts(Record):
    """What an entry counts in a budget: of one scope, in one window. Numbers are decimal text: of
    the asset, the quantity, or requests."""

    budget: Identifier
    scope: ScopeText = ""
    starts_at: Timestamp | None = Field(default=None, description="Of the window; None: it has no")
    ends_at: Timestamp | None = None
    window: Window | None = Field(default=None, description="Where it is the first that counts")
    each: bool = Field(default=False, description="The budget is for each value of a dimension")
    cap: AmountPositive
    before: AmountPositive = Field(default="0", description="Used in the window before the entry")
    after: AmountPositive = Field(default="0", description="Used in the window after it")
    held_before: AmountPositive = "0"
    held: AmountPositive = Field(default="0", description="By open holds, after it")
    told: Count = Field(default=0, description="Highest percent that was told in the window")
    tells: list[int] = Field(default_factory=list, description="Percents reached by this entry")
    closed: bool = Field(default=False, description="Nothing counts any more: the row is gone")


class LimitState(Record):
    """A budget as a decision found it; after what was done, where it was."""

    budget: Identifier
    scope: ScopeText = ""
    cap: AmountPositive
    used: AmountPositive
    held: AmountPositive = "0"
    left: AmountPositive
    resets_at: Timestamp | None = None
    wanted: AmountPositive | None = Field(default=None, description="More than is left: it denies")


class MarginState(Record):
    """A margin as a decision found it; after what was done, where it was. In the reporting
    currency."""

    budget: Identifier
    scope: ScopeText = ""
    floor: Amount | None = None
    revenue: Amount = "0"
    cost: Amount = "0"
    margin: Amount = "0"
    expected_revenue: Amount | None = Field(
        default=None, description="Of the use that is asked for; None where its cost is not known"
    )
    expected_cost: Amount | None = None
    resets_at: Timestamp | None = None
    denies: bool = False
