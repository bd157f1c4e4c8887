"""Pages of an answer: so many, and where the next ones begin."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import Query as QueryParameter
from fastapi import Response

from drawdown.events.base import Record
from drawdown.query.answers import json_of
from drawdown.web.problems import ProblemError

LIMIT: Final = 50
LIMIT_MAX: Final = 100
Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)]
Cursor = Annotated[str, QueryParameter(max_length=2_048)]
"""As long as an id of 256 characters can make it; an address of 64 KB is refused before any door
sees it."""


def page(
    found: Sequence[tuple[str, bytes | Record]], limit: int, stands: dict[str, Any]
) -> Response:
    """The first `limit` of what was found, by key: records, or JSON as it stands. One more was
    asked for: it says whether the next page has any."""
    more = len(found) > limit
    return json_of(
        {
            **stands,
            "data": [_json(each) for _, each in found[:limit]],
            "has_more": more,
            "next_cursor": _cursor(found[limit - 1][0]) if more else None,
        }
    )


def _json(each: bytes | Record) -> msgspec.Raw | Record:
    return msgspec.Raw(each) if isinstance(each, bytes) else each


def _cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def from_cursor(cursor: str) -> str:
    """The key that a page comes after. Raises ProblemError 400."""
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise not_a_cursor() from None


def not_a_cursor() -> ProblemError:
    return ProblemError(400, "invalid", "not a cursor of this door", field="cursor")
