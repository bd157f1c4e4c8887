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
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from drawdown.access import Caller, Settings
from drawdown.events.base import PRINTABLE, timestamp_text
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS, Environment
from drawdown.events.codec import (
    Command,
    RecordError,
    decode_any,
    decode_command,
    decode_decision,
    encode,
    record_error,
)
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.gateway import doors
from drawdown.gateway.answers import Answers
from drawdown.gateway.intake import PLAIN, Taken, read_events
from drawdown.gateway.publisher import BusyError, NotSentError, Publisher
from drawdown.stream.ports import Cluster, Headers
from drawdown.web.app import body_of, caller_of, make_app
from drawdown.web.openapi import answered, answered_one_of, problems
from drawdown.web.problems import ItemProblem, ProblemError

WAIT_S: Final = 5.0
"""How long a command's decision is waited for."""
WAIT_S_MAX: Final = 30.0

Customer = Annotated[str, Path(min_length=1, max_length=128, pattern=PRINTABLE)]


class Accepted(BaseModel):
    """Events that were taken."""

    accepted: int = Field(description="How many: Kafka has them")
    rejected: list[ItemProblem] = Field(description="The others; `index` counts from 0")


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
            except BusyError as error:
                raise _busy(error) from None
            try:
                async with asyncio.timeout(wait_s):
                    # Whichever comes first: the answer may overtake the delivery report.
                    await asyncio.wait((sent, answer), return_when=asyncio.FIRST_COMPLETED)
                    if not answer.done():
                        sent.result()
                    return await answer
            except (TimeoutError, NotSentError) as error:
                raise ProblemError(
                    503,
                    "no_decision",
                    "no decision could be had in time; send the same id again: it gets the"
                    " decision that was made, or makes one",
                    retry_after_s=1,
                    extra={"id": command.id},
                ) from error
            finally:
                sent.cancel()  # nobody is to be told any more that it failed


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
    app.state.schemas.update(doors.schemas())

    @app.post(
        "/v1/events",
        status_code=202,
        summary="Report usage",
        openapi_extra=doors.events_body(),
        response_model=Accepted,
        responses={
            202: answered("Kafka has the accepted events", doors.TAKEN),
            **problems(413, 415, 429, 503),
        },
    )
    async def events(request: Request) -> Response:
        """One event or up to 1,000: CloudEvents structured, batch or binary, or plain JSON.

        202 when the cluster has them. A refused event does not refuse the others; only where none
        could be taken the answer is a problem. Resending is safe: what came before is not debited
        again.
        """
        taken, rejected, caller = await _events_of(request)
        if not taken:
            raise _none_taken(rejected)
        await _send(gateway, taken, caller.id)
        return JSONResponse({"accepted": len(taken), "rejected": rejected}, 202)

    @app.post(
        "/api/v1/events",
        status_code=204,
        summary="Report usage as to OpenMeter",
        openapi_extra=doors.events_body(),
        responses={
            204: {"description": "Kafka has the events"},
            **problems(413, 415, 429, 503),
        },
    )
    async def openmeter_events(request: Request) -> Response:
        """OpenMeter's path, all or nothing: LiteLLM's `openmeter` callback posts here."""
        taken, rejected, caller = await _events_of(request)
        if rejected or not taken:
            raise _none_taken(rejected)
        await _send(gateway, taken, caller.id)
        return Response(status_code=204)

    @app.post(
        "/v1/authorizations",
        summary="May this run?",
        openapi_extra=doors.command_body(doors.AUTHORIZATION, doors.AUTHORIZE_EXAMPLE),
        response_model=Decision,
        responses={
            200: answered_one_of(
                "The decision: `allowed`, or denied with `reason` and `shortfall`",
                allowed=doors.ALLOWED,
                denied=doors.DENIED,
            ),
            **problems(413, 415, 422, 429, 503),
        },
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
        openapi_extra=doors.command_body(doors.NEW_GRANT, doors.GRANT_EXAMPLE),
        response_model=Decision,
        responses={
            201: answered("Granted, now or with `duplicate` before", doors.GRANTED),
            **problems(409, 413, 415, 422, 429, 503),
        },
    )
    async def grants(request: Request, customer: Customer) -> Response:
        """Needs an id, in the body or as `Idempotency-Key`: the same again grants nothing more."""
        caller = caller_of(request, "admin")
        content = _object(await body_of(request), customer)
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
        openapi_extra=doors.command_body(doors.TERMS, doors.TERMS_EXAMPLE),
        response_model=Decision,
        responses=problems(413, 415, 422, 429, 503),
    )
    async def terms(request: Request, customer: Customer) -> Response:
        """What is not stated stays as it is. Repeating it changes nothing, so an id is optional."""
        caller = caller_of(request, "admin")
        content = _object(await body_of(request), customer)
        content.setdefault("id", request.headers.get("idempotency-key") or secrets.token_hex(12))
        return await _decided(gateway, request, "set_terms", content, caller.id)

    return app


async def _events_of(request: Request) -> tuple[list[Taken], list[dict[str, Any]], Caller]:
    """The events of a request, what is wrong with the others, and whose they are."""
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
    return taken, rejected, caller


def _none_taken(rejected: list[dict[str, Any]]) -> ProblemError:
    """No event was taken: the first that is wrong, and all of them in `errors`."""
    if not rejected:
        return ProblemError(400, str(Reason.MALFORMED), "there is no event in it")
    first = rejected[0]
    oversized = all(item["code"] == Reason.OVERSIZED for item in rejected)
    return ProblemError(
        413 if oversized else 400,
        first["code"],
        first["detail"],
        field=first["field"],
        extra={"errors": rejected},
    )


async def _send(gateway: Gateway, taken: list[Taken], actor: str) -> None:
    headers: Headers = [("actor", actor.encode())]
    try:
        sent = [
            gateway.publisher.send(
                gateway.usage_topic, item.event.subject.encode(), item.value, headers
            )
            for item in taken
        ]
        await asyncio.gather(*sent)
    except BusyError as error:
        raise _busy(error) from None
    except NotSentError as error:
        raise ProblemError(
            503,
            "not_stored",
            f"Kafka did not confirm the events ({error}); send them again: what arrived is not"
            " counted twice",
            retry_after_s=2,
        ) from None


def _busy(error: BusyError) -> ProblemError:
    return ProblemError(429, "busy", str(error), retry_after_s=1)


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


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _object(body: bytes, customer: str | None = None) -> dict[str, Any]:
    """The command in a body, of the customer in the path where there is one.

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
    if customer is not None:
        said = content.setdefault("customer", customer)
        if said != customer and decode_any(bytes(said)) != customer:
            raise RecordError(Reason.INVALID, "is not the customer in the path", "customer")
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
