"""Dead letters: a rejected record whole, its position, and the reason.

Key, value and headers of the record are kept byte for byte, so that nothing of it is lost and it
can be sent again as it was; what is said about it stands in headers added to its own.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from drawdown.events.base import Count, Record, Timestamp
from drawdown.events.reasons import Reason

HEADER_PREFIX: Final = "drawdown-"
"""Of every header we add."""


class DeadLetterHeaders(Record):
    """The headers we add, each named `drawdown-<field>` with text as its value."""

    reason: Reason
    field: str | None = Field(default=None, description="The field the reason is about")
    detail: str = Field(description="What is wrong with it, and the fix")
    topic: str
    partition: Count
    offset: Count
    appended_at: Timestamp = Field(description="When the rejected record was appended")
