"""The gateway: HTTP in. It holds no balance and decides nothing.

Usage events are answered 202 when the cluster has them; a command waits for its decision. What
cannot be had in time is answered 503, and the same id later gets the decision that was made.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.responses import JSONResponse

from drawdown.access import Settings
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS, Environment
from drawdown.events.codec import (
    Command,
    RecordError,
    decode_any,
    decode_command,
    decode_decision,
    encode,
)
from drawdown.events.commands import Authorize, Grant, SetTerms
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.events.usage import UsageEvent
from drawdown.gateway.answers import Answers
from drawdown.gateway.intake import BATCH, PLAIN, STRUCTURED, read_events
from drawdown.gateway.publisher import BusyError, NotSentError, Publisher
from drawdown.stream.ports import Cluster, Headers
from drawdown.web.app import body_of, caller_of, make_app
from drawdown.web.problems import ProblemError

WAIT_S: Final = 5.0
"""How long a command's decision is waited for."""
WAIT_S_MAX: Final = 30.0


class Gateway:
    """The parts of a gateway process."""

    def __init__(self, cluster: Cluster, environment: Environment, instance: str) -> None:
        # A name of its own for each life: an answer to a former one is for nobody.
        self.instance = f"gateway-{instance}-{secrets.token_hex(4)}"
        self.usage_topic = environment.topic(USAGE_EVENTS)
        self.commands_topic = environment.topic(COMMANDS)
        self.settings = Settings(cluster, environment)
        self.publisher = Publisher(cluster)
        self.answers = Answers(cluster, environment, self.instance)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        self.settings.start()
        self.publisher.start()
        await self.answers.start()
        try:
            yield
        finally:
            await self.answers.stop()
            await self.publisher.stop()
            self.settings.stop()

    def ready(self) -> tuple[bool, dict[str, Any]]:
        caught_up = self.settings.caught_up.is_set()
        return self.answers.ready and caught_up, {
            "answers": self.answers.ready,
            "settings": caught_up,
            "in_flight": self.publisher.in_flight,
            "waiting": self.answers.waiting,
        }

    async def decide(self, command: Command, value: bytes, actor: str, wait_s: float) -> bytes:
        """Send a command and wait for its decision. Raises ProblemError 503."""
        attempt = secrets.token_hex(8)
        headers: Headers = [
            ("reply_to", self.instance.encode()),
            ("attempt_id", attempt.encode()),
            ("actor", actor.encode()),
        ]
        with self.answers.expecting(attempt) as answer:
            try:
                sent = self.publisher.send(
                    self.commands_topic, command.customer.encode(), value, headers
                )
                async with asyncio.timeout(wait_s):
                    # Whichever comes first: the answer may overtake the delivery report.
                    await asyncio.wait((sent, answer), return_when=asyncio.FIRST_COMPLETED)
                    if sent.done():
                        sent.result()
                    return await answer
            except (TimeoutError, NotSentError, BusyError) as error:
                raise ProblemError(
                    503,
                    "no_decision",
                    "no decision could be had in time; send the same id again: it gets the"
                    " decision that was made, or makes one",
                    retry_after_s=1,
                    extra={"id": command.id},
                ) from error


def create_app(cluster: Cluster, environment: Environment, instance: str) -> FastAPI:
    """The gateway's HTTP doors."""
    gateway = Gateway(cluster, environment, instance)
    app = make_app(
        "Drawdown gateway",
        "Usage in, decisions out. Every door needs `Authorization: Bearer <key>`.",
        gateway.settings,
        gateway.ready,
        gateway.running,
    )
    app.state.gateway = gateway

    @app.post(
        "/v1/events",
        status_code=202,
        summary="Report usage",
        openapi_extra=_events_body(),
        responses={400: {"description": "No event could be taken"}},
    )
    async def events(request: Request) -> Response:
        """One event or up to 1,000: CloudEvents structured, batch or binary, or plain JSON.

        202 when the cluster has them. A refused event does not refuse the others; resending is
        safe: what came before is not debited again.
        """
        caller = caller_of(request, "ingest")
        body = await body_of(request)
        taken, refused = read_events(
            request.headers.get("content-type", ""), request.headers, body, datetime.now(UTC)
        )
        rejected = [
            {
                "index": item.index,
                "id": item.id,
                "code": str(item.error.reason),
                "field": item.error.field,
                "detail": item.error.detail,
            }
            for item in refused
        ]
        if not taken:
            first = refused[0].error if refused else RecordError(Reason.MALFORMED, "no events")
            raise ProblemError(
                400,
                str(first.reason),
                first.detail,
                field=first.field,
                extra={"errors": rejected},
            )
        await _send(gateway, [(i.event.subject, i.value) for i in taken], caller.id)
        return JSONResponse({"accepted": len(taken), "rejected": rejected}, 202)

    @app.post(
        "/api/v1/events",
        status_code=204,
        summary="Report usage as to OpenMeter",
        openapi_extra=_events_body(),
    )
    async def openmeter_events(request: Request) -> Response:
        """OpenMeter's path, all or nothing: LiteLLM's `openmeter` callback posts here."""
        caller = caller_of(request, "ingest")
        body = await body_of(request)
        taken, refused = read_events(
            request.headers.get("content-type", ""), request.headers, body, datetime.now(UTC)
        )
        if refused:
            raise refused[0].error
        await _send(gateway, [(i.event.subject, i.value) for i in taken], caller.id)
        return Response(status_code=204)

    @app.post(
        "/v1/authorizations",
        summary="May this run?",
        openapi_extra=_command_body(Authorize),
        response_model=Decision,
    )
    async def authorizations(request: Request) -> Response:
        """Allow or deny, against the balance as it is now. A denial is a successful answer."""
        caller = caller_of(request, "authorize")
        content = _object(await body_of(request))
        content.setdefault("id", request.headers.get("idempotency-key") or secrets.token_hex(12))
        return await _decided(gateway, request, "authorize", content, caller.id)

    @app.post(
        "/v1/customers/{customer:path}/grants",
        status_code=201,
        summary="Put value into a wallet",
        openapi_extra=_command_body(Grant),
        response_model=Decision,
    )
    async def grants(request: Request, customer: str) -> Response:
        """Needs an id, in the body or as `Idempotency-Key`: the same again grants nothing more."""
        caller = caller_of(request, "admin")
        content = _object(await body_of(request))
        content["customer"] = customer
        if "id" not in content:
            key = request.headers.get("idempotency-key")
            if not key:
                raise ProblemError(
                    400,
                    "idempotency_key_missing",
                    "give an `Idempotency-Key` header or an `id`: a repeated grant must not count"
                    " twice",
                    field="id",
                )
            content["id"] = key
        return await _decided(gateway, request, "grant", content, caller.id, done=201)

    @app.put(
        "/v1/customers/{customer:path}/terms",
        summary="Set credit limits and thresholds",
        openapi_extra=_command_body(SetTerms),
        response_model=Decision,
    )
    async def terms(request: Request, customer: str) -> Response:
        """What is not stated stays as it is. Repeating it changes nothing, so an id is optional."""
        caller = caller_of(request, "admin")
        content = _object(await body_of(request))
        content["customer"] = customer
        content.setdefault("id", request.headers.get("idempotency-key") or secrets.token_hex(12))
        return await _decided(gateway, request, "set_terms", content, caller.id)

    return app


async def _send(gateway: Gateway, records: list[tuple[str, bytes]], actor: str) -> None:
    headers: Headers = [("actor", actor.encode())]
    try:
        sent = [
            gateway.publisher.send(gateway.usage_topic, subject.encode(), value, headers)
            for subject, value in records
        ]
        await asyncio.gather(*sent)
    except BusyError as error:
        raise ProblemError(429, "busy", str(error), retry_after_s=1) from None
    except NotSentError as error:
        raise ProblemError(
            503,
            "not_stored",
            f"Kafka did not confirm the events ({error}); send them again: what arrived is not"
            " counted twice",
            retry_after_s=2,
        ) from None


async def _decided(
    gateway: Gateway,
    request: Request,
    kind: str,
    content: dict[str, Any],
    actor: str,
    done: int = 200,
) -> Response:
    """Send the command and answer with its decision."""
    now = datetime.now(UTC)
    wait_s = _wait_of(request)
    content["type"] = kind
    if "time" not in content:
        content["time"] = timestamp_text(now)
        content["timesource"] = "gateway"
    content.setdefault("deadline_at", timestamp_text(now + timedelta(seconds=wait_s)))
    value = encode(content)
    command = decode_command(value)
    decision = await gateway.decide(command, value, actor, wait_s)
    return _answer(decision, done)


REFUSED_STATUS: Final = {
    Reason.CONFLICT: 422,
    Reason.UNKNOWN_METER: 400,
    Reason.INVALID: 400,
    Reason.BAD_QUANTITY: 400,
    Reason.BAD_DIMENSION: 400,
    Reason.TOO_LATE: 400,
    Reason.TOO_EARLY: 400,
    Reason.TOO_MANY_GRANTS: 409,
    Reason.DEADLINE_PASSED: 503,
}


def _answer(value: bytes, done: int) -> Response:
    """A decision as an answer: a denial is a success, a refusal a problem."""
    decision = decode_decision(value)
    reason = Reason(decision.reason)
    status = REFUSED_STATUS.get(reason)
    if not decision.allowed and status is not None:
        raise ProblemError(
            status,
            str(reason),
            decision.detail or str(reason),
            field=decision.field,
            retry_after_s=1 if status == 503 else None,
            extra={"id": decision.id},
        )
    return Response(value, done, media_type=PLAIN)


def _object(body: bytes) -> dict[str, Any]:
    content = decode_any(body)
    if not isinstance(content, dict):
        raise RecordError(Reason.MALFORMED, "expected a JSON object")
    return content


def _wait_of(request: Request) -> float:
    """How long the caller waits, from `Request-Timeout` in seconds."""
    text = request.headers.get("request-timeout", "")
    try:
        seconds = float(text) if text else WAIT_S
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= WAIT_S_MAX:
        raise ProblemError(
            400, "invalid", f"between 0 and {WAIT_S_MAX:.0f} seconds", field="request-timeout"
        )
    return seconds


def _events_body() -> dict[str, Any]:
    one = UsageEvent.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        "requestBody": {
            "required": True,
            "content": {
                STRUCTURED: {"schema": one},
                BATCH: {"schema": {"type": "array", "items": one, "maxItems": 1000}},
                PLAIN: {"schema": {"oneOf": [one, {"type": "array", "items": one}]}},
            },
        }
    }


FILLED_IN: Final = ("id", "type", "customer", "time", "timesource", "deadline_at")


def _command_body(model: type[Authorize] | type[Grant] | type[SetTerms]) -> dict[str, Any]:
    """The command's schema, without what the door fills in."""
    schema = model.model_json_schema()
    optional = set(FILLED_IN) - ({"customer"} if model is Authorize else set())
    schema["required"] = [name for name in schema.get("required", []) if name not in optional]
    for name in ("type", "timesource"):
        schema["properties"].pop(name, None)
    return {"requestBody": {"required": True, "content": {PLAIN: {"schema": schema}}}}
