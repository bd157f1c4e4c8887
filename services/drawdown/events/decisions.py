"""Decisions: the answer to each command, and to usage whose producer asked for one.

A decision says what was read, so that it can be explained and decided again: the balance, the
book, the customer's sequence and digest, and how far behind usage it was made. It is sent to
whoever waits (headers `reply_to`, `attempt_id`) and is itself no change: what changed is an entry.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    Count,
    CustomerId,
    Digest,
    Identifier,
    Name,
    Record,
    Timestamp,
)
from drawdown.events.entries import HeldPart, SubscriptionFacts
from drawdown.events.limits import LimitState, MarginState
from drawdown.events.reasons import Reason
from drawdown.events.topups import TopUpFacts


class HoldState(Record):
    """A hold as a decision left it."""

    id: Identifier
    amount: Amount = Field(description="Held by it now; 0 once it is closed")
    expires_at: Timestamp
    closed: bool = False
    allocations: list[HeldPart] = Field(
        default_factory=list, description="Of which grants, when it is made"
    )
    credit: Amount = Field(default="0", description="Held on credit, when it is made")
    returned: Amount = Field(default="0", description="Given back to where it came from")
    uncharged: Amount = Field(
        default="0", description="Of the price, what the terms' `cap` left uncharged"
    )


class Decision(Record):
    """What was decided about one command or event."""

    kind: Literal["authorization", "command", "usage"]
    id: Identifier = Field(description="Of the command or event")
    customer: CustomerId
    command: Name = Field(description="Its type: authorize, grant, ..., or usage")
    at: Timestamp = Field(description="Append time of what was decided")
    allowed: bool = Field(description="Allowed, or done")
    reason: Reason
    detail: str | None = Field(default=None, description="In words, with the fix")
    field: str | None = Field(default=None, description="What the reason is about")
    asset: Name | None = None
    amount: Amount | None = Field(default=None, description="The price, or what was booked")
    shortfall: Amount | None = Field(
        default=None, description="How much more would have been needed"
    )
    available: dict[Name, Amount] = Field(
        default_factory=dict,
        description="Per asset, as it was read: in scope and in effect, with the unused credit"
        " limit, without what is held",
    )
    balance: Amount | None = Field(
        default=None, description="Of the account in `asset`, after what was done"
    )
    grant: Identifier | None = None
    hold: HoldState | None = Field(default=None, description="That was made, or acted on")
    rate: Name | None = None
    book: Name | None = None
    book_offset: Count | None = None
    sequence: Count = Field(
        default=0, description="The customer's last entry that was read or written"
    )
    digest: Digest | None = None
    usage_lag_records: Count | None = Field(
        default=None, description="Usage that stood unread on the partition"
    )
    usage_lag_ms: Count | None = Field(
        default=None, description="Age of the oldest such usage as far as known; 0 where none stood"
    )
    subscription: SubscriptionFacts | None = Field(default=None, description="As it is after it")
    advisory: bool = Field(
        default=False,
        description="Said by a replica beside the caller and not by settlement: nothing is held,"
        " and it is no promise. Never on a topic",
    )
    stale_ms: Count | None = Field(
        default=None, description="Of an advisory one: how old what was read may be"
    )
    duplicate: bool = Field(default=False, description="Decided before; this is that result")
    statement: Count | None = Field(default=None, description="Number it was issued under")
    limits: list[LimitState] = Field(
        default_factory=list, description="The budgets that were looked at"
    )
    topup: TopUpFacts | None = Field(default=None, description="What was done about a top-up")
    margins: list[MarginState] = Field(
        default_factory=list, description="The margins that were looked at, or changed"
    )
