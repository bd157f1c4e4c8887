"""Commands over HTTP: from a body to a command, and from its decision to an answer.

A denial is a successful answer. What could not be done is a problem, and `HTTP_STATUS` is the whole
list of which reason is which status.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from fastapi import Request, Response

from drawdown.events.base import timestamp_text
from drawdown.events.codec import (
    Command,
    RecordError,
    decode_any,
    decode_command,
    decode_decision,
    encode,
    record_error,
)
from drawdown.events.commands import Authorize
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.gateway.exchange import Gateway, NoDecisionError
from drawdown.gateway.intake import PLAIN
from drawdown.gateway.outage import NotAllowedError
from drawdown.web.bounds import while_there
from drawdown.web.problems import ProblemError

WAIT_S: Final = 5.0
"""How long a command's decision is waited for."""
WAIT_S_MAX: Final = 30.0
ANSWERED, UNEXPECTED = 200, 500

HTTP_STATUS: Final[Mapping[Reason, int | None]] = {
    # An answer: allowed or done, or denied.
    Reason.OK: 200,
    Reason.DUPLICATE: 200,
    Reason.CAPTURE_EXCEEDS_HOLD: 200,
    Reason.INSUFFICIENT_BALANCE: 200,
    Reason.UNKNOWN_CUSTOMER: 200,
    Reason.UNPRICED: 200,
    Reason.NO_PRICE_BOOK: 200,
    Reason.BALANCE_STALE: 200,
    Reason.TOO_MANY_HOLDS: 200,
    Reason.OUTAGE_OPEN: 200,
    Reason.WALLET_SUSPENDED: 200,
    Reason.ENTITLEMENT_EXCEEDED: 200,
    Reason.BUDGET_EXCEEDED: 200,
    Reason.MARGIN_FLOOR: 200,
    Reason.BLOCKED: 200,
    Reason.NOT_BLOCKED: 200,
    # A problem: asked so, it cannot be done.
    Reason.MALFORMED: 400,
    Reason.UNKNOWN_METER: 400,
    Reason.INVALID: 400,
    Reason.BAD_QUANTITY: 400,
    Reason.BAD_DIMENSION: 400,
    Reason.TOO_LATE: 400,
    Reason.TOO_EARLY: 400,
    Reason.ESTIMATE_MISSING: 400,
    Reason.HOLD_TOO_LONG: 400,
    Reason.HOLD_UNKNOWN: 404,
    Reason.GRANT_UNKNOWN: 404,
    Reason.PLAN_UNKNOWN: 404,
    Reason.SUBSCRIPTION_UNKNOWN: 404,
    Reason.BUDGET_UNKNOWN: 404,
    Reason.TOPUP_UNKNOWN: 404,
    Reason.TOO_MANY_GRANTS: 409,
    Reason.TOO_MANY_BUDGETS: 409,
    Reason.WALLET_CLOSED: 409,
    Reason.ALREADY_REVERSED: 409,
    Reason.NOT_REVERSIBLE: 409,
    Reason.NO_CONVERSION: 409,
    Reason.ALREADY_ISSUED: 409,
    Reason.UNCHANGED: 200,
    Reason.HOLD_EXISTS: 409,
    Reason.SUBSCRIPTION_EXISTS: 409,
    Reason.SUBSCRIPTION_ENDED: 409,
    Reason.TOPUP_SETTLED: 409,
    Reason.HOLD_CLOSED: 409,
    Reason.HOLD_EXPIRED: 409,
    Reason.OVERSIZED: 413,
    Reason.CONFLICT: 422,
    Reason.DEADLINE_PASSED: 503,
    # Of records on topics, which the gateway writes itself.
    Reason.KEY_MISSING: None,
    Reason.KEY_NOT_SUBJECT: None,
    Reason.WRONG_PARTITION: None,
}
"""The status of each reason over HTTP: all there are. A grant and a hold that was made are 201."""


async def decided(
    gateway: Gateway,
    request: Request,
    kind: str,
    content: dict[str, Any],
    actor: str,
    done: int = 200,
    with_hold: int = 200,
) -> Response:
    """Send the command and answer with its decision; `done` is the status where it was done, and
    `with_hold` where that made a hold."""
    now = datetime.now(UTC)
    wait_s = wait_of(request)
    content["type"] = kind
    if "time" not in content:
        content["time"] = timestamp_text(now)
        content["timesource"] = "gateway"
    content.setdefault("deadline_at", timestamp_text(now + timedelta(seconds=wait_s)))
    value = encode(content)
    command = decode_command(value)
    try:
        answer = await while_there(request, gateway.decide(command, value, actor, wait_s))
    except NoDecisionError as error:
        return Response(_in_outage(gateway, command, wait_s, error), media_type=PLAIN)
    decision = decode_decision(answer)
    if decision.reason != Reason.DEADLINE_PASSED:
        gateway.outages.allowances.decided(command.customer)
    return _answer(answer, decision, done, with_hold)


def _in_outage(gateway: Gateway, command: Command, wait_s: float, error: NoDecisionError) -> bytes:
    """The decision that lets an authorization run by the customer's terms for an outage. Raises
    NoDecisionError."""
    if not isinstance(command, _Authorize):
        raise error
    try:
        return gateway.outages.allowances.allow(command, wait_s)
    except NotAllowedError as why:
        raise NoDecisionError(command.id, str(why)) from error


_Authorize = struct_of(Authorize, checked=True)


def _answer(value: bytes, decision: Decision, done: int, with_hold: int) -> Response:
    """A decision as an answer: a denial is a success, a refusal a problem."""
    reason = Reason(decision.reason)
    status = HTTP_STATUS[reason] or UNEXPECTED
    denied = decision.kind == "authorization" and reason == Reason.WALLET_CLOSED
    if not decision.allowed and status != ANSWERED and not denied:
        raise ProblemError(
            status,
            str(reason),
            decision.detail or str(reason),
            field=decision.field,
            retry_after_s=1 if status == 503 else None,
            extra={"id": decision.id},
        )
    held = decision.allowed and decision.hold is not None
    return Response(value, with_hold if held else done, media_type=PLAIN)


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def command_in(body: bytes, **said_by_door: str | None) -> dict[str, Any]:
    """The command in a body, with the fields that the path or the query says.

    Its fields stay as they were sent, byte for byte, for the command's own decoder to judge.
    Raises RecordError, also where the body says what only the door says: it would be ignored.
    """
    try:
        content: dict[str, Any] = dict(_decode_fields(body))
    except (ValueError, RecursionError) as error:
        raise record_error(error) from None
    for name in ("type", "timesource"):
        if name in content:
            raise RecordError(Reason.MALFORMED, "is not given here: the door says it", name)
    for name, value in said_by_door.items():
        if value is None:
            continue
        said = content.setdefault(name, value)
        if said != value and decode_any(bytes(said)) != value:
            raise RecordError(Reason.INVALID, f"is not the {name} in the path", name)
    return content


def with_id(content: dict[str, Any], request: Request, why: str | None = None) -> dict[str, Any]:
    """The command with an id: its own, the `Idempotency-Key`, or a new one.

    Raises ProblemError 400 where there is none and `why` says that it may not be made up.
    """
    if "id" not in content:
        key = request.headers.get("idempotency-key")
        if not key and why is not None:
            raise ProblemError(
                400,
                "idempotency_key_missing",
                f"give an `Idempotency-Key` header or an `id`: {why}",
                field="id",
            )
        content["id"] = key or secrets.token_hex(12)
    return content


def wait_of(request: Request, default_s: float = WAIT_S) -> float:
    """How long the caller waits, from `Request-Timeout` in seconds."""
    text = request.headers.get("request-timeout", "")
    try:
        seconds = float(text) if text else default_s
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= WAIT_S_MAX:
        raise ProblemError(
            400, "invalid", f"between 0 and {WAIT_S_MAX:.0f} seconds", field="request-timeout"
        )
    return seconds
