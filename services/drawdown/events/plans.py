"""Plans: what a customer subscribes to, as the price book defines it.

A plan is fees, grants, entitlements, budgets and terms of the wallet, cycle by cycle, in one phase
or in several that follow each other: a trial, then what is paid. A cycle uses the version of the
book that is in effect when it begins, to its end.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    AmountPositive,
    DimensionValue,
    Metadata,
    Name,
    Price,
    QuantityText,
    StrictRecord,
    Timestamp,
)
from drawdown.events.commands import (
    CapturePolicy,
    Category,
    DrawdownPolicy,
    HoldsMax,
    Outage,
    Priority,
    Rollover,
    Scope,
)
from drawdown.events.limits import BudgetTerms

Prorated = Literal["none", "time", "full"]
Seats = Annotated[int, Field(ge=1, le=1_000_000)]
FeeWhen = Literal["advance", "arrears"]
FeePay = Literal["invoice", "wallet"]


class Cycle(StrictRecord):
    """How long a cycle is: `count` periods by the wall clock of `zone`, counted from `anchor`; a
    day that a month does not have is its last."""

    every: Literal["hour", "day", "week", "month", "year"] = "month"
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    anchor: Timestamp | None = Field(
        default=None,
        description="Default: when the subscription begins, or its phase after a trial of days",
    )
    zone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="UTC", description="An IANA name, such as Europe/Berlin"
    )


class Fee(StrictRecord):
    """What is charged for every cycle, whatever was used."""

    id: Name
    title: DimensionValue = ""
    asset: Name
    amount: AmountPositive = Field(description="For a whole cycle; with `per: seat` for each seat")
    when: FeeWhen = Field(default="advance", description="At the cycle's beginning, or at its end")
    per: Literal["cycle", "seat"] = "cycle"
    pay: FeePay = Field(
        default="invoice",
        description="`wallet`: debited, by what no plan granted. `invoice`: recorded, to be"
        " invoiced outside",
    )
    revenue: Literal["fee", "grants"] = Field(
        default="fee",
        description="Of an invoiced fee in the reporting currency: it is revenue itself, when it is"
        " recorded, or the grants it pays for are, by their cost basis, as they are spent",
    )


class PlanGrant(StrictRecord):
    """What is granted, whole, at the beginning of each cycle. It pays for use, never for fees, nor
    for what the wallet owes."""

    id: Name
    asset: Name
    amount: AmountPositive
    per: Literal["cycle", "seat", "once"] = Field(
        default="cycle",
        description="`seat`: the amount for each seat, in one grant. `once`: when its phase begins",
    )
    category: Category = "included"
    priority: Priority | None = Field(
        default=None, description="As of a grant: 50 for included ones, else 100"
    )
    schedule: Cycle | None = Field(
        default=None, description="Of its own, such as every day; default the plan's cycle"
    )
    mode: Literal["reset", "accumulate"] = "reset"
    rollover: Rollover | None = Field(
        default=None, description="With `reset`; default nothing goes over: the rest lapses"
    )
    scope: Scope = Scope()
    cost_basis: Price | None = Field(default=None, description="As of a grant")
    kept: bool = Field(
        default=False,
        description="What is left when the subscription ends stays until it expires by itself",
    )
    metadata: Metadata = Field(default_factory=dict)


class Entitlement(StrictRecord):
    """A right: one has it (nothing more said), it has a `value`, or so much of a meter's quantity
    may be used per cycle (`meter`, `limit`)."""

    id: Name
    title: DimensionValue = ""
    value: bool | int | DimensionValue | None = Field(
        default=None, description="Static: 25, `priority support`; or false"
    )
    meter: Name | None = None
    quantity: Name | None = Field(
        default=None, description="Of the meter; default its only one, or `events`"
    )
    limit: QuantityText | None = Field(default=None, description="Per cycle; needed with `meter`")
    per: Literal["cycle", "seat"] = "cycle"


class PlanTerms(StrictRecord):
    """Terms of the wallet while the plan is subscribed to; see the command `set_terms`."""

    credit_limits: Annotated[dict[Name, AmountPositive], Field(max_length=16)] = Field(
        default_factory=dict
    )
    thresholds: Annotated[
        dict[Name, Annotated[list[Amount], Field(max_length=8)]], Field(max_length=16)
    ] = Field(default_factory=dict)
    capture_policy: CapturePolicy | None = None
    outage: Outage | None = None
    holds_max: HoldsMax | None = None
    drawdown: DrawdownPolicy | None = None
    plan: Name | None = Field(
        default=None, description="Whose rates price what is used: those with this `plan`"
    )


class PlanBudget(BudgetTerms):
    """A budget of whoever subscribes, from the subscription's beginning to its end; see the command
    `set_budget`. It is the customer's `plan:<plan>/<id>`; `within` names another of the plan."""

    id: Name


class Proration(StrictRecord):
    """What becomes of the cycle under way, per kind of change.

    Of fees. `time`: the unused part of what was charged is given back, and the new fee is charged
    for the rest of the cycle. `full`: the cycle is charged as if the new terms were those of its
    beginning. `none`: the cycle is charged by the old terms, the new ones count from the next.
    Of grants. `full`: the difference at once; `time`: its part for the rest of the cycle; `none`:
    from the next cycle on. Of `start`: a first cycle cut short by its anchor.
    """

    start: Prorated = "time"
    upgrade: Prorated = "time"
    downgrade: Prorated = "none"
    seats: Prorated = Field(default="time", description="More seats, or fewer")
    cancel: Prorated = Field(default="none", description="Now, before the cycle's end")


class GrantProration(StrictRecord):
    """As of fees, for what is granted. Canceled now, grants end at once."""

    start: Prorated = "full"
    upgrade: Prorated = "full"
    downgrade: Prorated = "none"
    seats_more: Prorated = "full"
    seats_fewer: Prorated = "none"


Fees = Annotated[list[Fee], Field(max_length=16)]
PlanGrants = Annotated[list[PlanGrant], Field(max_length=16)]
Entitlements = Annotated[list[Entitlement], Field(max_length=64)]

Budgets = Annotated[list[PlanBudget], Field(max_length=16)]


class Phase(StrictRecord):
    """A stretch of a plan: so many days, or cycles; the last has no end. What it does not state is
    as the plan says."""

    id: Name
    days: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="It is one cycle of so many days"
    )
    cycles: Annotated[int, Field(ge=1, le=1000)] | None = None
    fees: Fees | None = None
    grants: PlanGrants | None = None
    entitlements: Entitlements | None = None
    terms: PlanTerms | None = None
    budgets: Budgets | None = None


class Plan(StrictRecord):
    """What can be subscribed to."""

    id: Name
    title: DimensionValue = ""
    cycle: Cycle = Cycle()
    phases: Annotated[list[Phase], Field(max_length=16)] = Field(
        default_factory=list, description="None: the plan is one phase, without an end"
    )
    fees: Fees = Field(default_factory=list)
    grants: PlanGrants = Field(default_factory=list)
    entitlements: Entitlements = Field(default_factory=list)
    terms: PlanTerms = PlanTerms()
    budgets: Budgets = Field(default_factory=list)
    seats_min: Seats = 1
    seats_max: Seats | None = Field(default=None, description="Default: no most")
    proration: Proration = Proration()
    grant_proration: GrantProration = GrantProration()
