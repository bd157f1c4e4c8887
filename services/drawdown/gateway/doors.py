"""What the gateway's `/openapi.json` says of its bodies: schemas and examples, by door.

The bodies of commands are the commands' own schemas without what the door fills in, and those of
events are CloudEvents in every content mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Final

from drawdown.events.commands import Authorize, Capture, Extend, Grant, Release, SetTerms
from drawdown.events.decisions import Decision
from drawdown.events.usage import UsageEvent
from drawdown.gateway.intake import BATCH, EVENTS_MAX, PLAIN, STRUCTURED
from drawdown.web.openapi import Schema, answered, header, problems, reference, schemas_of

AUTHORIZATION: Final = "Authorization"
NEW_GRANT: Final = "NewGrant"
TERMS: Final = "Terms"
CAPTURE: Final = "HoldCapture"
RELEASE: Final = "HoldRelease"
EXTEND: Final = "HoldExtension"
EVENT_IN: Final = "PlainUsageEvent"

EVENT: Final = {
    "specversion": "1.0",
    "id": "01JC9X2M7Q",
    "source": "chat",
    "type": "llm",
    "subject": "acme",
    "time": "2026-11-03T09:30:00Z",
    "data": {
        "model": "gpt-5",
        "feature": "summaries",
        "input": 500,
        "cached_input": 1500,
        "output": 400,
    },
}
AUTHORIZE_EXAMPLE: Final = {
    "id": "run-4711",
    "customer": "acme",
    "meter": "llm",
    "dimensions": {"model": "gpt-5"},
    "estimate": {"quantities": {"input": 2000, "output": 1000}},
    "require": "hold",
}
CAPTURE_EXAMPLE: Final = {
    "id": "run-4711/capture",
    "customer": "acme",
    "quantities": {"input": 2000, "output": 400},
}
RELEASE_EXAMPLE: Final = {"customer": "acme", "reason": "the model was away"}
EXTEND_EXAMPLE: Final = {"customer": "acme", "expires_in_s": 1800}
GRANT_EXAMPLE: Final = {
    "id": "invoice-1042",
    "asset": "USD",
    "amount": "25",
    "category": "paid",
    "expires_at": "2027-11-03T00:00:00Z",
}
TERMS_EXAMPLE: Final = {"credit_limits": {"USD": "10"}, "thresholds": {"USD": ["5", "0"]}}

_ANSWERED: Final = {
    "id": "run-4711",
    "customer": "acme",
    "command": "authorize",
    "at": "2026-11-03T09:30:00.004Z",
    "kind": "authorization",
    "asset": "USD",
    "amount": "0.0125",
    "rate": "gpt-5",
    "book": "2026-11",
    "book_offset": 9,
    "sequence": 7,
    "digest": "9f2c6a1e0b7d4c5583e6f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6",
    "usage_lag_records": 0,
    "usage_lag_ms": 0,
}
ALLOWED: Final = {**_ANSWERED, "allowed": True, "reason": "ok", "available": {"USD": "24.76"}}
_HELD: Final = {
    "id": "run-4711",
    "amount": "0.0125",
    "expires_at": "2026-11-03T09:45:00.004Z",
    "allocations": [{"grant": "invoice-1041", "amount": "0.0125"}],
}
HELD: Final = {**ALLOWED, "hold": _HELD}
_ACTED: Final = {
    "kind": "command",
    "customer": "acme",
    "at": "2026-11-03T09:30:04Z",
    "allowed": True,
    "reason": "ok",
    "asset": "USD",
    "sequence": 8,
    "digest": _ANSWERED["digest"],
}
CAPTURED: Final = {
    **_ACTED,
    "id": "run-4711/capture",
    "command": "capture",
    "amount": "0.0065",
    "hold": {**_HELD, "amount": "0", "allocations": [], "closed": True, "returned": "0.006"},
}
RELEASED: Final = {
    **_ACTED,
    "id": "run-4711/release",
    "command": "release",
    "amount": "0.0125",
    "hold": {**_HELD, "amount": "0", "allocations": [], "closed": True, "returned": "0.0125"},
}
EXTENDED: Final = {
    **_ACTED,
    "id": "run-4711/extend",
    "command": "extend",
    "hold": {**_HELD, "allocations": [], "expires_at": "2026-11-03T10:00:04Z"},
}
DENIED: Final = {
    **_ANSWERED,
    "allowed": False,
    "reason": "insufficient_balance",
    "shortfall": "0.0025",
    "available": {"USD": "0.01"},
}
OUTAGE: Final = {
    "id": "run-4711",
    "customer": "acme",
    "command": "authorize",
    "at": "2026-11-03T09:30:05.004Z",
    "kind": "authorization",
    "allowed": True,
    "reason": "outage_open",
    "detail": "no decision could be had in time; the terms let it run, nothing is held, and of"
    " 5 USD for this outage 4.95 are left at this gateway",
    "asset": "USD",
    "amount": "0.05",
}
GRANTED: Final = {
    "kind": "command",
    "id": "invoice-1042",
    "customer": "acme",
    "command": "grant",
    "at": "2026-11-03T09:30:00.004Z",
    "allowed": True,
    "reason": "ok",
    "asset": "USD",
    "amount": "25",
    "balance": "49.76",
    "grant": "invoice-1042",
    "sequence": 8,
    "digest": _ANSWERED["digest"],
}
TAKEN: Final = {
    "accepted": 1,
    "rejected": [
        {
            "index": 1,
            "id": "01JC9X2M7R",
            "code": "malformed",
            "field": "subject",
            "detail": "is missing: it is the customer",
        }
    ],
}
_DEBITED: Final = {
    "kind": "usage",
    "id": EVENT["id"],
    "customer": "acme",
    "command": "usage",
    "at": "2026-11-03T09:30:00.004Z",
    "allowed": True,
    "reason": "ok",
    "asset": "USD",
    "amount": "0.0048125",
    "sequence": 8,
}
OUTCOMES: Final = {
    "accepted": 1,
    "rejected": TAKEN["rejected"],
    "outcomes": [{"index": 0, "id": EVENT["id"], "decision": _DEBITED}],
}

IDEMPOTENCY_KEY: Final = header(
    "Idempotency-Key", "Does for `id` in the body; `id` wins", "invoice-1042"
)
REQUEST_TIMEOUT: Final = header(
    "Request-Timeout", "How long to wait for the decision: seconds, 5 by default, 30 at most", "5"
)
CONTENT_ENCODING: Final = header("Content-Encoding", "`gzip`, or nothing", "gzip")

REFUSED: Final = (404, 409, 413, 415, 422, 429, 503)
"""What a command may be refused with, that names a hold, a grant or a subscription."""

_FILLED_IN: Final = ("id", "type", "time", "timesource", "deadline_at")
"""Of a command: by the door, where the caller does not."""
_NOT_GIVEN: Final = ("type", "timesource")
"""Never by the caller."""


def schemas() -> dict[str, Schema]:
    """The schemas of bodies, by name."""
    found = schemas_of(UsageEvent, Authorize, Capture, Release, Extend, Grant, SetTerms)
    plain = deepcopy(found[UsageEvent.__name__])
    plain["description"] = "As CloudEvents, with less to write: `customer` does for `subject`."
    plain["required"] = ["id", "type"]
    plain["anyOf"] = [{"required": ["subject"]}, {"required": ["customer"]}]
    plain["properties"]["customer"] = plain["properties"]["subject"]
    for event in (found[UsageEvent.__name__], plain):
        del event["properties"]["timesource"]
    return {
        **found,
        EVENT_IN: plain,
        AUTHORIZATION: body_schema(found.pop(Authorize.__name__)),
        CAPTURE: _hold_schema(found.pop(Capture.__name__)),
        RELEASE: _hold_schema(found.pop(Release.__name__)),
        EXTEND: _hold_schema(found.pop(Extend.__name__)),
        NEW_GRANT: body_schema(found.pop(Grant.__name__), "customer"),
        TERMS: body_schema(found.pop(SetTerms.__name__), "customer"),
    }


def _hold_schema(command: Schema) -> Schema:
    """The same of a command about the hold in the path; the customer may be in the query."""
    schema = body_schema(command, "hold_id")
    schema["required"].remove("customer")
    return _without_empty(schema)


def body_schema(command: Schema, *in_path: str) -> Schema:
    """A command's schema, without what the door fills in and the path says."""
    schema = deepcopy(command)
    optional = {*_FILLED_IN, *in_path}
    schema["required"] = [name for name in schema["required"] if name not in optional]
    for name in (*_NOT_GIVEN, *in_path):
        schema["properties"].pop(name, None)
    return _without_empty(schema)


def _without_empty(schema: Schema) -> Schema:
    if not schema["required"]:
        del schema["required"]
    return schema


def events_body() -> dict[str, Any]:
    """The body of the doors for usage, in every content mode."""
    one, plain = reference(UsageEvent.__name__), reference(EVENT_IN)
    binary = {"ce-specversion": "1.0", "ce-id": EVENT["id"], "ce-subject": "acme"}
    return {
        "parameters": [
            header(
                name,
                "CloudEvents' binary mode: attributes in `ce-` headers, percent-encoded, and the"
                " data alone in the body",
                str(example),
            )
            for name, example in binary.items()
        ]
        + [REQUEST_TIMEOUT, CONTENT_ENCODING],
        "requestBody": {
            "required": True,
            "description": f"At most 5 MiB and {EVENTS_MAX:,} events, each at most 1 MiB",
            "content": {
                STRUCTURED: {"schema": one, "example": EVENT},
                BATCH: {
                    "schema": {"type": "array", "items": one, "maxItems": EVENTS_MAX},
                    "example": [EVENT],
                },
                PLAIN: {
                    "schema": {
                        "anyOf": [
                            plain,
                            {"type": "array", "items": plain, "maxItems": EVENTS_MAX},
                            {"type": "object", "description": "Binary mode: the data"},
                        ]
                    },
                    "examples": {
                        "one": {
                            "value": {
                                "id": "42",
                                "type": "llm",
                                "customer": "acme",
                                "data": EVENT["data"],
                            }
                        },
                        "several": {"value": [EVENT]},
                        "binary": {
                            "summary": "With `ce-` headers",
                            "value": EVENT["data"],
                        },
                    },
                },
            },
        },
    }


def command_body(name: str, example: dict[str, Any]) -> dict[str, Any]:
    """The body of a door for commands."""
    return {
        "parameters": [IDEMPOTENCY_KEY, REQUEST_TIMEOUT, CONTENT_ENCODING],
        "requestBody": {
            "required": True,
            "content": {PLAIN: {"schema": reference(name), "example": example}},
        },
    }


def command_door(
    name: str,
    example: dict[str, Any],
    said: str,
    decision: dict[str, Any],
    *,
    status: int = 200,
    more: str = "",
    refused: Sequence[int] = REFUSED,
) -> dict[str, Any]:
    """What a route says of a door for one command: the schema of its body by `name`, and the
    decision that answers it; `said` is what was done, and `more` what else may have come of it."""
    description = f"{said}, now or with `duplicate` before{more}"
    return {
        "status_code": status,
        "openapi_extra": command_body(name, example),
        "response_model": Decision,
        "responses": {status: answered(description, decision), **problems(*refused)},
    }
