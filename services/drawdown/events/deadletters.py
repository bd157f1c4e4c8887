"""Dead letters: a rejected record whole, its position, and the reason.

Key, value and headers of the record are kept byte for byte, so that nothing of it is lost and it
can be sent again as it was; what is said about it stands in headers added to its own.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from drawdown.events.base import Count, Identifier, Record, Timestamp
from drawdown.events.reasons import Reason

HEADER_PREFIX: Final = "drawdown-"
"""Of every header we add."""
REDRIVEN_FROM: Final = HEADER_PREFIX + "redriven-from"
"""Header of a record that was sent again: `partition:offset` of its dead letter."""
ACCEPT_LATE: Final = HEADER_PREFIX + "accept-late"
"""Header of usage that an operator wants booked although it is older than the lateness window; its
value says who. Only `drawdown dead-letters redrive` writes it, which has looked in the journal
whether the event was debited before: identities of that age are forgotten."""
REDRIVEN: Final = HEADER_PREFIX + "redriven"
"""Header of a `Redriven` on `dead-letters`: `partition:offset` of the dead letter it is about. What
settlement writes there always has `drawdown-reason`, and this never does."""


class DeadLetterHeaders(Record):
    """The headers we add, each named `drawdown-<field>` with text as its value."""

    reason: Reason
    field: str | None = Field(default=None, description="The field the reason is about")
    detail: str = Field(description="What is wrong with it, and the fix")
    topic: str
    partition: Count
    offset: Count
    appended_at: Timestamp = Field(description="When the rejected record was appended")


class Redriven(Record):
    """Says on `dead-letters` that the dead letter at `partition` and `offset` was sent again.

    Written in one transaction with the record it is about, so that neither is there without the
    other.
    """

    partition: Count
    offset: Count
    topic: str = Field(description="Where the record was sent, without the environment's prefix")
    sent_to: Count = Field(description="The partition it was sent to")
    at: Timestamp
    by: Identifier = Field(description="The operator")
    accept_late: bool = Field(default=False, description="To be booked however old it is")
