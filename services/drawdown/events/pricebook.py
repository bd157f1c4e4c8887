"""Price books on their topic: one record per meter, rate and plan, closed by a commit record.

A version is the records between which no other upload of the same version stands: readers collect
by (version, upload) and count a version from its commit record on, if the digest of what they
collected is the commit's. The first complete version of a name wins; later ones are ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    Count,
    CustomerId,
    Digest,
    DimensionValue,
    Identifier,
    Name,
    StrictRecord,
    Timestamp,
)
from drawdown.events.commands import DrawdownPolicy
from drawdown.events.plans import Plan
from drawdown.events.pricemodels import PerUnit, PriceModel, PriceText, TokenMap
from drawdown.events.usage import EventType

__all__ = [
    "AnyBookRecord",
    "Asset",
    "AssetRecord",
    "BookRecord",
    "CommitRecord",
    "Meter",
    "MeterRecord",
    "PerUnit",
    "Plan",
    "PlanRecord",
    "PriceBook",
    "Rate",
    "RateRecord",
    "Rounding",
    "TokenMap",
]

Aggregation = Literal["sum", "max", "latest", "time_weighted"]
Pattern = Annotated[str, Field(min_length=1, max_length=256)]


class Asset(StrictRecord):
    """A unit of value. `scale` is how many decimal places of it can be granted or charged."""

    code: Name
    scale: Annotated[int, Field(ge=0, le=12)]
    title: str = ""


class Meter(StrictRecord):
    """What is counted: which event types, and which fields of `data` are quantities.

    `fields` maps a field of `data` to the quantity it is; a field not named there is a dimension.
    Within an event quantities add up; `aggregate` says how they do over a period: `sum` (the
    default), the `max` seen, the `latest` by the events' own time, or `time_weighted`: an event's
    value holds until the next one's, and the period's quantity is its average over the whole
    period, so that 40 GB for a month are 40 and for half of it 20. `unique` makes quantities
    that count the different values of a dimension in a period. `events` counts the events.
    """

    id: Name
    event_types: Annotated[list[EventType], Field(min_length=1, max_length=32)]
    fields: Annotated[dict[Name, Name], Field(max_length=64)] = Field(default_factory=dict)
    title: str = ""
    aggregate: Annotated[dict[Name, Aggregation], Field(max_length=64)] = Field(
        default_factory=dict
    )
    unique: Annotated[dict[Name, Name], Field(max_length=16)] = Field(
        default_factory=dict, description="Quantity -> the dimension whose values it counts"
    )
    dimensions: Annotated[list[Name], Field(max_length=64)] = Field(
        default_factory=list,
        description="Those that events say, where you want a budget on another one to be refused",
    )


class Rounding(StrictRecord):
    """How a charge is rounded, once, to `places` decimal places (default: the asset's scale)."""

    mode: Literal["half_even", "half_up", "up", "down"] = "half_even"
    places: Annotated[int, Field(ge=0, le=12)] | None = None


class Rate(StrictRecord):
    """One pricing rule: meter and dimensions matched -> a model of price.

    `match` maps a dimension to the text it must have, or to a pattern where `*` stands for
    anything. Of the rates that match, the one with more dimensions wins, then the one with more
    exact ones; a book with two rates that match equally is refused.

    A rate of a `customer` prices that customer's use only, one of a `plan` that of customers on the
    plan: whichever of a customer's own rates matches wins over any of their plan, and that over
    any for all, however much each says.
    """

    id: Name
    meter: Name
    match: Annotated[dict[Name, Pattern], Field(max_length=8)] = Field(default_factory=dict)
    asset: Name
    price: PriceModel
    rounding: Rounding = Rounding()
    customer: CustomerId | None = Field(default=None, description="Of this customer only")
    plan: Name | None = Field(default=None, description="Of customers on this plan only")


class Conversion(StrictRecord):
    """One unit of `asset` makes `price` units of `to`, rounded down to its scale."""

    asset: Name
    to: Name
    price: PriceText


class PriceBook(StrictRecord):
    """A price book as people write it: the file of `drawdown price-book`."""

    version: Name
    title: DimensionValue = ""
    reporting: Name = "USD"
    lateness_days: Annotated[int, Field(ge=1, le=35)] = 35
    assets: Annotated[list[Asset], Field(min_length=1)]
    meters: Annotated[list[Meter], Field(min_length=1)]
    rates: list[Rate] = Field(default_factory=list)
    costs: list[Rate] = Field(default_factory=list)
    thresholds: dict[Name, list[Amount]] = Field(default_factory=dict)
    drawdown: DrawdownPolicy = "drawdown"
    conversions: Annotated[list[Conversion], Field(max_length=64)] = Field(default_factory=list)
    plans: Annotated[list[Plan], Field(max_length=1000)] = Field(default_factory=list)


class BookRecord(StrictRecord):
    """One record of an upload."""

    version: Name
    upload: Identifier = Field(description="Of this attempt to publish; readers collect by it")


class MeterRecord(BookRecord):
    record: Literal["meter"] = "meter"
    meter: Meter


class AssetRecord(BookRecord):
    record: Literal["asset"] = "asset"
    asset: Asset


class RateRecord(BookRecord):
    """`side` is `price` for what customers are charged, `cost` for what vendors charge."""

    record: Literal["rate"] = "rate"
    side: Literal["price", "cost"]
    rate: Rate


class PlanRecord(BookRecord):
    """Books from before plans have none of these."""

    record: Literal["plan"] = "plan"
    plan: Plan


class CommitRecord(BookRecord):
    """Closes a version."""

    record: Literal["commit"] = "commit"
    effective_at: Timestamp
    published_at: Timestamp
    reporting: Name = Field(description="The asset of costs, revenue and margin")
    thresholds: dict[Name, list[Amount]] = Field(default_factory=dict)
    lateness_seconds: Count = Field(description="How late an event may arrive")
    records: Count = Field(description="How many records the version has before this one")
    digest: Digest = Field(
        description="SHA-256 over their values, in order, each ended by a newline"
    )
    title: DimensionValue = ""
    drawdown: DrawdownPolicy = Field(
        default="drawdown", description="Which grants pay first, where a wallet does not say"
    )
    conversions: list[Conversion] = Field(default_factory=list)
    restores: Name | None = Field(
        default=None, description="The version whose content this is again: a rollback"
    )
    supersedes: list[Name] = Field(
        default_factory=list,
        description="Versions published before this one that were to take effect at its instant or"
        " later, and never do",
    )


AnyBookRecord = Annotated[
    AssetRecord | MeterRecord | RateRecord | PlanRecord | CommitRecord,
    Field(discriminator="record"),
]
