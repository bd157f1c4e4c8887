"""Notices: what settlement tells besides the journal, as CloudEvents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    Count,
    CustomerId,
    DimensionValue,
    Identifier,
    Name,
    Record,
    Timestamp,
)
from drawdown.events.limits import ScopeText


class LowBalanceData(Record):
    """A threshold that the available balance fell below."""

    asset: Name
    threshold: Amount
    available: Amount
    before: Amount
    sequence: Count = Field(description="Of the entry that crossed it; order is not promised")


class LowBalance(Record):
    """Told once per crossing; armed again when the balance is back at or above the threshold."""

    specversion: Literal["1.0"]
    id: str = Field(description="`<customer>/<sequence>/<asset>/<threshold>`")
    source: Literal["drawdown"]
    type: Literal["drawdown.balance.low", "drawdown.balance.exhausted"]
    subject: CustomerId
    time: Timestamp
    datacontenttype: Literal["application/json"]
    data: LowBalanceData


class NoticeData(Record):
    """What a notice is about."""

    sequence: Count
    detail: str
    meter: Name | None = None
    asset: Name | None = None
    amount: Amount | None = None
    budget: Identifier | None = None
    scope: ScopeText | None = None
    percent: Count | None = Field(default=None, description="Of the cap that was reached")
    cap: Amount | None = None
    usual: Amount | None = Field(default=None, description="Of such a stretch")
    times: Count | None = Field(default=None, description="Times the usual, that was reached")
    revenue: Amount | None = Field(default=None, description="In the window, with `cost`")
    cost: Amount | None = None
    margin: Amount | None = None
    floor: Amount | None = Field(default=None, description="Percent of the revenue")
    resets_at: Timestamp | None = None
    request: Identifier | None = Field(
        default=None, description="Of a top-up: the key of its payment and of its answer"
    )
    available: Amount | None = Field(default=None, description="When the balance was found low")
    burn_a_day: Amount | None = None
    days_left: Count | None = None
    deadline_at: Timestamp | None = Field(
        default=None, description="A request without an answer until then counts as failed"
    )
    waits_until: Timestamp | None = Field(
        default=None, description="Nothing more is requested until then"
    )
    reference: DimensionValue | None = Field(default=None, description="Of the payment")


NoticeType = Literal[
    "drawdown.usage.unpriced",
    "drawdown.balance.overdrawn",
    "drawdown.budget.threshold_reached",
    "drawdown.budget.velocity",
    "drawdown.margin.sign_changed",
    "drawdown.margin.floor_passed",
    "drawdown.balance.days_low",
    "drawdown.topup.requested",
    "drawdown.topup.succeeded",
    "drawdown.topup.failed",
    "drawdown.topup.capped",
]


class Notice(Record):
    """Something an operator or a customer should know that is no threshold."""

    specversion: Literal["1.0"]
    id: str
    source: Literal["drawdown"]
    type: NoticeType
    subject: CustomerId
    time: Timestamp
    datacontenttype: Literal["application/json"]
    data: NoticeData
