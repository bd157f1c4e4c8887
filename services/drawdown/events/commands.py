"""Commands: what a caller asks settlement to decide or to change.

Each has an `id` that makes a retry safe, the `time` it was first issued (a retry keeps it) and a
`deadline_at` after which nobody waits. Kafka headers `reply_to` and `attempt_id` ask for an answer
on `decisions`; header `actor` names the API key.
"""

from __future__ import annotations

from typing import Annotated, Literal

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


class Authorize(Command):
    """May this run? Answered allow or deny, with what was read."""

    type: Literal["authorize"] = "authorize"
    meter: Name = Field(
        description="The meter, or the event type, the usage will be reported under"
    )
    dimensions: Dimensions = Field(default_factory=dict)
    estimate: Estimate = Field(
        default=Estimate(),
        description="With neither quantities nor amount, any balance above zero is enough",
    )


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
    reason: DimensionValue | None = None


AnyCommand = Annotated[Authorize | Grant | SetTerms, Field(discriminator="type")]
