"""Statements: what a customer had, what moved it, and what the customer has, for a period.

A statement is made from the journal and says no more than the journal does. Its lines have signs,
so that for each asset the opening balance and the lines sum to the closing balance. An issued
statement is an entry (`StatementFacts`): its number, its range of entries, its sums and a digest
that covers them and the digest of the statement before.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    Count,
    CustomerId,
    Digest,
    DimensionName,
    DimensionValue,
    Identifier,
    Name,
    Record,
    StrictRecord,
    Timestamp,
)

Movement = Literal[
    "granted",
    "debited",
    "captured",
    "held",
    "lapsed",
    "voided",
    "refunded",
    "adjusted",
    "reversed",
    "converted",
]
"""What moves a balance. `held` is set aside where negative, and captured or given back where not;
what is `voided` is gone, what is `refunded` was paid back."""
ASSETS_MAX: Final = 64


class Standing(Record):
    """An account at an instant."""

    balance: Amount = Field(description="Unspent grants less credit used and overdrawn")
    unspent: Amount = "0"
    held: Amount = "0"
    credit_used: Amount = Field(default="0", description="With what is held on credit")
    overdrawn: Amount = "0"


class Line(Record):
    """Movements of a kind that have the same attributes. Its `amount` has a sign."""

    kind: Movement
    amount: Amount
    entries: Count
    category: Name | None = Field(default=None, description="Of the grants")
    meter: Name | None = None
    rate: Name | None = None
    other: Name | None = Field(default=None, description="The other asset of a conversion")
    late: Name | None = Field(
        default=None,
        description="The month the usage happened in, where that is before the period",
    )
    dimensions: dict[DimensionName, DimensionValue] = Field(
        default_factory=dict, description="Those that were asked for; without one it is left out"
    )
    revenue: Amount = "0"
    cost: Amount = "0"


class AssetStatement(Record):
    """One asset in a period: opening balance + lines = closing balance."""

    asset: Name
    opening: Standing
    closing: Standing
    charged: Amount = Field(default="0", description="Debited and captured, less what was reversed")
    lines: list[Line] = Field(default_factory=list)


class GrantRevenue(Record):
    """What became in a period of what was paid for a grant, in the reporting currency."""

    grant: Identifier | None = Field(
        default=None, description="None: used on credit, or taken back with a refund"
    )
    recognized: Amount = "0"
    breakage: Amount = "0"


class RevenueSums(StrictRecord):
    """Revenue of a period, in the reporting currency.

    deferred.closing - unbilled.closing = deferred.opening - unbilled.opening + paid_in
    - recognized - breakage - refunded + repriced; margin = recognized - cost.
    """

    paid_in: Amount = Field(default="0", description="For grants of the period")
    recognized: Amount = "0"
    breakage: Amount = Field(default="0", description="Paid for and ended unspent")
    refunded: Amount = Field(default="0", description="Paid back, or taken back with its grant")
    repriced: Amount = Field(
        default="0",
        description="Used on credit as revenue, less what the grants that paid it were sold for",
    )
    deferred_opening: Amount = "0"
    deferred_closing: Amount = Field(
        default="0", description="Paid for what is unspent or held, and not recognized"
    )
    unbilled_opening: Amount = "0"
    unbilled_closing: Amount = Field(
        default="0", description="Recognized when it was used on credit, and not paid yet"
    )
    cost: Amount = "0"
    margin: Amount = "0"


class AssetSums(StrictRecord):
    """One asset of an issued statement: opening + movements = closing."""

    asset: Name
    opening: Amount
    closing: Amount
    movements: dict[Movement, Amount] = Field(default_factory=dict)


class StatementSums(StrictRecord):
    """What is issued: a period, the entries that belong to it, and their sums."""

    starts_at: Timestamp = Field(description="Included")
    ends_at: Timestamp = Field(description="Not included")
    zone: Annotated[str, Field(min_length=1, max_length=64)] = "UTC"
    reporting: Name = Field(description="The currency of revenue and cost")
    first_sequence: Annotated[int, Field(ge=1, le=2**53)]
    last_sequence: Count = Field(description="One less than the first where there is no entry")
    closing_digest: Digest = Field(description="Of entry `last_sequence`")
    assets: Annotated[list[AssetSums], Field(max_length=ASSETS_MAX)] = Field(default_factory=list)
    revenue: RevenueSums = RevenueSums()


class StatementFacts(Record):
    """An issued statement."""

    number: Count = Field(description="Of the customer's statements, from 1, without a gap")
    sums: StatementSums
    previous: Digest = Field(description="Digest of the customer's statement before; zeros: none")
    statement_digest: Digest = Field(
        description="SHA-256 of this object as JSON with sorted keys, with zeros in its place"
    )


class IssuedFacts(Record):
    """The last statement that was issued, as the wallet keeps it."""

    number: Count
    ends_at: Timestamp
    last_sequence: Count
    digest: Digest


class Statement(Record):
    """A customer's statement of a period, issued or not."""

    customer: CustomerId
    starts_at: Timestamp = Field(description="Included")
    ends_at: Timestamp = Field(description="Not included")
    zone: str = "UTC"
    reporting: Name = Field(description="The currency of revenue and cost")
    first_sequence: Count
    last_sequence: Count = Field(description="One less than the first where there is no entry")
    closing_digest: Digest = Field(description="Of entry `last_sequence`")
    assets: list[AssetStatement] = Field(default_factory=list)
    revenue: RevenueSums
    grants: list[GrantRevenue] = Field(default_factory=list)
    unpriced: Count = Field(default=0, description="Entries of usage that had no price")
    number: Count | None = Field(default=None, description="Under which it was issued")
    digest: Digest | None = Field(default=None, description="Of the issued statement")
    as_issued: bool | None = Field(
        default=None, description="Whether the journal adds up to the sums that were issued"
    )
