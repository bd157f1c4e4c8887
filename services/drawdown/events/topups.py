"""Auto top-ups: what a customer's terms say, what entries and rows say of them.

A top-up is asked for by an entry (`request`) and answered by a command (`settle_topup`). The
request's id is the key of it all: of the payment, of the answer, and of the grant it becomes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    AmountPositive,
    Count,
    CustomerId,
    DimensionValue,
    Identifier,
    Name,
    Price,
    Record,
    StrictRecord,
    Timestamp,
)

DAYS_LEFT_MAX: Final = 366
REQUESTS_MAX: Final = 1000


class Below(StrictRecord):
    """What counts as low; with both, either."""

    amount: AmountPositive | None = Field(
        default=None, description="Available balance, with the unused credit limit, below this"
    )
    days_left: Annotated[int, Field(ge=1, le=DAYS_LEFT_MAX)] | None = Field(
        default=None,
        description="Days the available balance lasts, at what the last 24 hours used; nothing is"
        " said in the first hour",
    )


class TopUp(StrictRecord):
    """What is bought: a paid grant."""

    amount: AmountPositive
    cost_basis: Price | None = Field(
        default=None,
        description="What one unit is sold for, in the reporting currency; default 1 in that"
        " currency, and to be given for another asset",
    )
    expires_in_days: Annotated[int, Field(ge=1, le=3660)] | None = Field(
        default=None, description="From when it is paid; default never"
    )


class TopUpCaps(StrictRecord):
    """What is asked for at most in a calendar period."""

    per: Literal["day", "week", "month"] = "month"
    zone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="UTC", description="An IANA name, such as Europe/Berlin"
    )
    requests: Annotated[int, Field(ge=1, le=REQUESTS_MAX)]
    amount: AmountPositive | None = Field(
        default=None, description="Of all of them; default so many times the top-up"
    )


class TopUpTerms(Record):
    """The terms of a customer's auto top-up of one asset, as they stand."""

    below: Below
    top_up: TopUp | None = Field(default=None, description="None: it is only told")
    caps: TopUpCaps | None = None


class TopUpWindow(Record):
    """A period of the caps, and what was asked for in it."""

    starts_at: Timestamp
    ends_at: Timestamp
    requests: Count = 0
    amount: Amount = "0"


TopUpChange = Literal[
    "set", "remove", "request", "paid", "failed", "unanswered", "capped", "rearm", "low"
]
"""What an entry did: the terms were set or removed; a top-up was asked for, was paid, failed, or
was never answered; a cap stopped one; a wait is over; the days left fell below the terms'."""


class TopUpFacts(Record):
    """What an entry says about an auto top-up."""

    asset: Name
    change: TopUpChange
    terms: TopUpTerms | None = Field(default=None, description="Of `set`")
    request: Identifier | None = Field(
        default=None, description="Id of the top-up: of its payment, its answer and its grant"
    )
    amount: Amount | None = Field(default=None, description="Of the top-up")
    cost_basis: Price | None = None
    expires_in_days: Count | None = None
    available: Amount | None = Field(default=None, description="When it was found low")
    burn_a_day: Amount | None = Field(default=None, description="Used in a day, at the time")
    days_left: Count | None = Field(default=None, description="Whole days it lasts at that")
    deadline_at: Timestamp | None = Field(
        default=None, description="Without an answer until then, it counts as failed"
    )
    window: TopUpWindow | None = Field(default=None, description="After the entry")
    failures: Count = Field(default=0, description="In a row, with this one")
    waits_until: Timestamp | None = Field(
        default=None, description="Nothing is asked for until then"
    )
    late: bool = Field(default=False, description="Paid after it had failed: money was taken")
    reference: DimensionValue | None = Field(default=None, description="Of the payment")
    detail: DimensionValue | None = None


class BurnRecord(Record):
    """What was used lately, by the hour."""

    since_at: Timestamp = Field(description="Since when it is counted")
    hour_at: Timestamp = Field(description="Beginning of the last of these hours")
    spent: list[Amount] = Field(description="In each of the hours, the last one last")


class TopUpRow(Record):
    """A customer's auto top-up of one asset. Key `customer<US>topup<US>asset`."""

    row: Literal["topup"] = "topup"
    customer: CustomerId
    asset: Name
    terms: TopUpTerms | None = Field(default=None, description="None: removed")
    outstanding: Identifier | None = Field(default=None, description="The request under way")
    window: TopUpWindow | None = None
    failures: Count = 0
    waits_until: Timestamp | None = Field(
        default=None, description="After a failure, or where a cap stops it"
    )
    low: bool = Field(default=False, description="It was told that few days are left")
    burn: BurnRecord | None = None
    sequence: Count = Field(description="Of the last entry that changed it")


class TopUpRequestRow(Record):
    """A top-up that was asked for; it stays, so that it is paid once for good. Key
    `customer<US>topup_request<US>id`."""

    row: Literal["topup_request"] = "topup_request"
    customer: CustomerId
    id: Identifier
    asset: Name
    amount: Amount
    cost_basis: Price
    expires_in_days: Count | None = None
    requested_at: Timestamp
    deadline_at: Timestamp
    state: Literal["outstanding", "paid", "failed", "unanswered"] = "outstanding"
    reference: DimensionValue | None = None
    detail: DimensionValue | None = None
    sequence: Count = Field(description="Of the last entry that changed it")
