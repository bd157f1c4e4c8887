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
from drawdown.events.reasons import Reason


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
        description="Per asset: in scope and in effect, with the unused credit limit",
    )
    balance: Amount | None = Field(
        default=None, description="Of the account in `asset`, after what was done"
    )
    grant: Identifier | None = None
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
    duplicate: bool = Field(default=False, description="Decided before; this is that result")
