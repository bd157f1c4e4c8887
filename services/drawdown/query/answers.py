"""What the query service's answers have in common: where they stand, and their headers."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Path as PathParameter
from fastapi import Response
from pydantic import BaseModel, Field

from drawdown.events.base import PRINTABLE, Timestamp, moment, timestamp_text
from drawdown.events.codec import encode
from drawdown.query.follower import Position

HEADERS: Final = {
    # A browser with a page's cookie may ask here: nothing is to keep the answer, or to read it as
    # anything but JSON of this origin.
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

# Ids may hold slashes: the doors below take everything up to their own last word.
Customer = Annotated[str, PathParameter(min_length=1, max_length=128, pattern=PRINTABLE)]


class Where(BaseModel):
    """Where an answer stands."""

    partition: int
    offset: int = Field(
        description="All before it is in the answer: of `balances`, for entries of the journal"
    )
    stale_ms: int | None = Field(
        description="How old the answer may be; null while this service is still reading"
    )
    as_of: Timestamp = Field(description="The same as a time")


def where(position: Position) -> dict[str, Any]:
    """Where an answer stands, as every answer says it."""
    stale_ms = position.stale_ms(time.monotonic())
    now_ms = time.time_ns() // 1_000_000
    return {
        "partition": position.partition,
        "offset": position.next_offset,
        "stale_ms": stale_ms,
        "as_of": timestamp_text(
            moment(now_ms - stale_ms) if stale_ms is not None else datetime.now(UTC)
        ),
    }


def json_of(content: dict[str, Any]) -> Response:
    """An answer that is not kept by anybody on the way."""
    return Response(encode(content), 200, HEADERS, "application/json")
