"""Commands: what a caller asks settlement to decide or to change.

Each has an `id` that makes a retry safe, the `time` it was first issued (a retry keeps it) and a
`deadline_at` after which nobody waits. Kafka headers `reply_to` and `attempt_id` ask for an answer
on `decisions`; header `actor` names the API key.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    AmountPositive,
    CustomerId,
    DimensionValue,
    Identifier,
    Metadata,
    Name,
    Price,
    QuantityText,
    StrictRecord,
    Timestamp,
)

Category = Literal["paid", "promotional", "included"]
Dimensions = Annotated[dict[Name, DimensionValue], Field(max_length=32)]
Quantities = Annotated[dict[Name, int | QuantityText], Field(max_length=32)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]


class Command(StrictRecord):
    """What every command says. The record's key is `customer`."""

    id: Identifier = Field(description="Names the command: the same id again gets the first result")
    customer: CustomerId
    time: Timestamp = Field(description="When it was first issued; a retry repeats it unchanged")
    timesource: Literal["gateway"] | None = Field(
        default=None,
        description="Set where a gateway filled in `time`, which then is no part of its identity",
    )
    deadline_at: Timestamp | None = Field(
        default=None, description="Taken up later than this, it is answered deadline_passed"
    )


class Estimate(StrictRecord):
    """What the work is expected to take: quantities to be priced, or an amount, or neither."""

    quantities: Quantities | None = None
    amount: AmountPositive | None = None
    asset: Name | None = Field(default=None, description="Of `amount`; needed with it")


Seconds = Annotated[int, Field(ge=1, le=2**31)]
Milliseconds = Annotated[int, Field(ge=0, le=2**53)]
HOLDS_MAX: Final = 10_000
"""Open holds of one customer, whatever the terms say."""


class HoldTerms(StrictRecord):
    """How a hold is to be made: its id, and when it expires."""

    hold_id: Identifier | None = Field(
        default=None, description="Of the hold, once per customer. Default the command's id"
    )
    expires_in_s: Seconds | None = Field(
        default=None, description="From when it is decided; default 900, at most 86400"
    )
    expires_at: Timestamp | None = Field(
        default=None, description="Expired at this very instant; instead of `expires_in_s`"
    )


class Authorize(Command):
    """May this run? Answered allow or deny, with what was read.

    With `require: hold` an allow sets the price aside; with `capture: true` it debits it at once.
    Either is an entry and is remembered; a plain check and a denial are decided again when asked
    again.
    """

    type: Literal["authorize"] = "authorize"
    meter: Name = Field(
        description="The meter, or the event type, the usage will be reported under"
    )
    dimensions: Dimensions = Field(default_factory=dict)
    estimate: Estimate = Field(
        default=Estimate(),
        description="With neither quantities nor amount, any balance above zero is enough; a hold"
        " or a capture needs one of them",
    )
    require: Literal["hold", "check"] = Field(
        default="check", description="`hold` sets the estimate's price aside until it is captured"
    )
    capture: bool = Field(
        default=False,
        description="Debit the estimate's price in the same decision: where it is known beforehand",
    )
    hold: HoldTerms | None = Field(default=None, description="With `require: hold`")
    max_usage_lag_ms: Milliseconds | None = Field(
        default=None,
        description="Denied balance_stale where usage on the partition is further behind",
    )


class Capture(Command):
    """Debit what a hold was made for: from the hold first, the excess by the customer's terms."""

    type: Literal["capture"] = "capture"
    hold_id: Identifier
    amount: AmountPositive | None = Field(
        default=None, description="In the hold's asset. With no quantities either, all it has left"
    )
    quantities: Quantities | None = Field(
        default=None, description="What was used, priced as of `time`; instead of `amount`"
    )
    final: bool = Field(
        default=True,
        description="Closes the hold: what is left of it returns to the grants it came from",
    )


class Release(Command):
    """Give all that a hold still has back to the grants it came from, and close it."""

    type: Literal["release"] = "release"
    hold_id: Identifier
    reason: DimensionValue | None = None


class Extend(Command):
    """Move the end of a hold, to within 24 hours of when it was made."""

    type: Literal["extend"] = "extend"
    hold_id: Identifier
    expires_in_s: Seconds | None = Field(default=None, description="From when it is decided")
    expires_at: Timestamp | None = Field(default=None, description="Instead of `expires_in_s`")


class Scope(StrictRecord):
    """What a grant may pay for. Empty means anything."""

    meters: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list)
    dimensions: Annotated[
        dict[Name, Annotated[list[DimensionValue], Field(max_length=32)]], Field(max_length=8)
    ] = Field(default_factory=dict)


class Grant(Command):
    """Put value into the wallet. Opens the wallet of a customer nobody has seen."""

    type: Literal["grant"] = "grant"
    asset: Name
    amount: AmountPositive
    category: Category = "paid"
    grant_id: Identifier | None = Field(default=None, description="Defaults to the command's id")
    priority: Priority | None = Field(
        default=None,
        description="Lower is spent first. Default 50 for included grants, else 100",
    )
    effective_at: Timestamp | None = Field(
        default=None, description="In effect from this instant on; default at once"
    )
    expires_at: Timestamp | None = Field(
        default=None, description="Gone at this very instant; default never"
    )
    scope: Scope = Scope()
    cost_basis: Price | None = Field(
        default=None,
        description="What one unit was sold for, in the reporting currency. Default 1 for a paid"
        " grant in the reporting currency, 0 for promotional and included ones; a paid grant of"
        " another asset must say it",
    )
    reason: DimensionValue | None = None
    metadata: Metadata = Field(default_factory=dict)


class Outage(StrictRecord):
    """What a gateway may do for a customer while no decision can be had.

    `closed`: nothing runs. `open`: work runs up to `amount`, which is booked, as overdrawn where
    nothing is left for it, when its usage arrives. Each gateway counts for itself.
    """

    mode: Literal["closed", "open"] = "closed"
    amount: AmountPositive | None = Field(default=None, description="Needed with `open`")
    asset: Name | None = Field(
        default=None, description="Of `amount`; default the reporting currency"
    )


CapturePolicy = Literal["allow", "cap"]
HoldsMax = Annotated[int, Field(ge=0, le=HOLDS_MAX)]


class SetTerms(Command):
    """Change the terms of a wallet. What is not stated stays as it is."""

    type: Literal["set_terms"] = "set_terms"
    credit_limits: Annotated[dict[Name, AmountPositive], Field(max_length=16)] = Field(
        default_factory=dict, description="Per asset: how far below zero authorized use may go"
    )
    thresholds: Annotated[
        dict[Name, Annotated[list[Amount], Field(max_length=8)]], Field(max_length=16)
    ] = Field(
        default_factory=dict,
        description="Per asset: amounts of available balance whose crossing from above is told on"
        " `low-balance`; replaces those of the price book",
    )
    capture_policy: CapturePolicy | None = Field(
        default=None,
        description="What is used above a hold: `allow` takes more and may overdraw (the default),"
        " `cap` debits what was held and no more",
    )
    outage: Outage | None = Field(default=None, description="Default `closed`")
    holds_max: HoldsMax | None = Field(default=None, description="Open holds at a time")
    reason: DimensionValue | None = None


AnyCommand = Annotated[
    Authorize | Capture | Release | Extend | Grant | SetTerms, Field(discriminator="type")
]
