"""The gateway: HTTP in. It holds no balance and decides nothing, but what may run in an outage.

Usage events are answered 202 when the cluster has them, or with what they came to where the caller
waits for it; a command waits for its decision. What cannot be had in time is answered 503, and the
same id later gets the decision that was made; `outage` is the exception.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from drawdown.access import Caller
from drawdown.events.base import PRINTABLE
from drawdown.events.catalogue import Environment
from drawdown.events.codec import decode_decision, encode
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.gateway import doors
from drawdown.gateway.commands import WAIT_S_MAX, command_in, decided, wait_of, with_id
from drawdown.gateway.exchange import Gateway
from drawdown.gateway.intake import PLAIN, Taken, read_events
from drawdown.gateway.limits import add_limit_doors
from drawdown.gateway.subscriptions import add_subscription_doors
from drawdown.gateway.topups import add_topup_doors
from drawdown.gateway.wallets import add_wallet_doors
from drawdown.stream.ports import Cluster
from drawdown.web.app import body_of, caller_of, make_app
from drawdown.web.bounds import while_there
from drawdown.web.openapi import answered, answered_one_of, problems
from drawdown.web.problems import ItemProblem, ProblemError

Customer = Annotated[str, Path(min_length=1, max_length=128, pattern=PRINTABLE)]
Hold = Annotated[str, Path(min_length=1, max_length=256, pattern=PRINTABLE)]
OfCustomer = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=128,
        pattern=PRINTABLE,
        description="Whose hold it is; here or in the body",
    ),
]
Wait = Annotated[
    Literal["decided"] | None,
    Query(description="`decided`: answer with what the events came to, within `Request-Timeout`"),
]


class Accepted(BaseModel):
    """Events that were taken."""

    accepted: int = Field(description="How many: Kafka has them")
    rejected: list[ItemProblem] = Field(description="The others; `index` counts from 0")


class Outcome(BaseModel):
    """What one event came to."""

    index: int = Field(description="Its place in the request, from 0")
    id: str
    decision: Decision | None = Field(
        description="What it was debited, with `duplicate` where it was before; null where it was"
        " not decided in time: Kafka has it, and it will be"
    )


class Outcomes(Accepted):
    """Events that were taken, and what each came to. What settlement refused is in `rejected`: it
    is kept whole in `dead-letters`."""

    outcomes: list[Outcome] = Field(description="Of the accepted")


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
            200: {"model": Outcomes, **answered("What each came to", doors.OUTCOMES)},
            202: answered(
                "Kafka has the accepted events. With `wait=decided` also `outcomes`, as far as they"
                " are known by now",
                doors.TAKEN,
            ),
            **problems(413, 415, 422, 429, 503),
        },
    )
    async def events(request: Request, wait: Wait = None) -> Response:
        """One event or up to 1,000: CloudEvents structured, batch or binary, or plain JSON.

        202 when the cluster has them, 200 with `wait=decided` when all of them are decided. A
        refused event does not refuse the others; only where none could be taken the answer is a
        problem. Resending is safe: what came before is not debited again.
        """
        taken, rejected, caller = await _events_of(request)
        if not taken:
            raise _none_taken(rejected)
        if wait is None:
            await gateway.report(taken, caller.id, wait_of(request, WAIT_S_MAX))
            return JSONResponse({"accepted": len(taken), "rejected": rejected}, 202)
        came_to = gateway.outcomes(taken, caller.id, wait_of(request))
        return _with_outcomes(taken, rejected, await while_there(request, came_to))

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
        await gateway.report(taken, caller.id, wait_of(request, WAIT_S_MAX))
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
                outage=doors.OUTAGE,
            ),
            201: {
                "model": Decision,
                **answered("Allowed, and held: now or with `duplicate` before", doors.HELD),
            },
            **problems(409, 413, 415, 422, 429, 503),
        },
    )
    async def authorizations(request: Request) -> Response:
        """Allow or deny, against the balance as it is now. A denial is a successful answer.

        With `require: hold` what is allowed is set aside until it is captured, released or expires.
        Where no decision can be had in time, terms with `outage` let it run without a hold, up to
        their amount (`reason` is `outage_open`): if it says `estimate.amount` with `asset`, debits
        nothing at once, and was waited for at least 1 s.
        """
        caller = caller_of(request, "authorize")
        content = with_id(command_in(await body_of(request)), request)
        return await decided(gateway, request, "authorize", content, caller.id, with_hold=201)

    @app.post(
        "/v1/holds/{hold:path}/capture",
        summary="Debit what a hold was made for",
        **doors.command_door(doors.CAPTURE, doors.CAPTURE_EXAMPLE, "Debited", doors.CAPTURED),
    )
    async def capture(request: Request, hold: Hold, customer: OfCustomer = None) -> Response:
        """From the hold first; what was used above it by the customer's terms. Needs an id, in the
        body or as `Idempotency-Key`: the same again debits nothing more."""
        caller = caller_of(request, "authorize")
        content = command_in(await body_of(request) or b"{}", hold_id=hold, customer=customer)
        with_id(content, request, "a repeated capture must not count twice")
        return await decided(gateway, request, "capture", content, caller.id)

    @app.post(
        "/v1/holds/{hold:path}/release",
        summary="Give back what a hold still has",
        **doors.command_door(doors.RELEASE, doors.RELEASE_EXAMPLE, "Released", doors.RELEASED),
    )
    async def release(request: Request, hold: Hold, customer: OfCustomer = None) -> Response:
        """To the very grants it came from. Released twice, it is `hold_closed`; repeated with its
        id, the first result."""
        caller = caller_of(request, "authorize")
        content = command_in(await body_of(request) or b"{}", hold_id=hold, customer=customer)
        return await decided(gateway, request, "release", with_id(content, request), caller.id)

    @app.post(
        "/v1/holds/{hold:path}/extend",
        summary="Let a hold live longer",
        **doors.command_door(doors.EXTEND, doors.EXTEND_EXAMPLE, "Extended", doors.EXTENDED),
    )
    async def extend(request: Request, hold: Hold, customer: OfCustomer = None) -> Response:
        """To at most 24 hours from when it was made."""
        caller = caller_of(request, "authorize")
        content = command_in(await body_of(request) or b"{}", hold_id=hold, customer=customer)
        return await decided(gateway, request, "extend", with_id(content, request), caller.id)

    @app.post(
        "/v1/customers/{customer:path}/grants",
        summary="Put value into a wallet",
        **doors.command_door(
            doors.NEW_GRANT,
            doors.GRANT_EXAMPLE,
            "Granted",
            doors.GRANTED,
            status=201,
            refused=(409, 413, 415, 422, 429, 503),
        ),
    )
    async def grants(request: Request, customer: Customer) -> Response:
        """Needs an id, in the body or as `Idempotency-Key`: the same again grants nothing more."""
        caller = caller_of(request, "admin")
        content = command_in(await body_of(request), customer=customer)
        with_id(content, request, "a repeated grant must not count twice")
        return await decided(gateway, request, "grant", content, caller.id, done=201)

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
        content = with_id(command_in(await body_of(request), customer=customer), request)
        return await decided(gateway, request, "set_terms", content, caller.id)

    add_wallet_doors(app, gateway)
    add_subscription_doors(app, gateway)
    add_topup_doors(app, gateway)
    add_limit_doors(app, gateway)
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
    codes = {item["code"] for item in rejected}
    return ProblemError(
        NONE_TAKEN_STATUS.get(codes.pop(), 400) if len(codes) == 1 else 400,
        first["code"],
        first["detail"],
        field=first["field"],
        extra={"errors": rejected},
    )


NONE_TAKEN_STATUS: Final = {Reason.OVERSIZED: 413, Reason.CONFLICT: 422}
"""Where all were refused for this one reason; 400 else."""


def _with_outcomes(
    taken: list[Taken], rejected: list[dict[str, Any]], came_to: list[bytes | None]
) -> Response:
    """What became of each event. 202 while one of them is undecided."""
    outcomes: list[dict[str, Any]] = []
    for item, value in zip(taken, came_to, strict=True):
        decision = None if value is None else decode_decision(value)
        if decision is None or decision.allowed:
            raw = None if value is None else msgspec.Raw(value)
            outcomes.append({"index": item.index, "id": item.event.id, "decision": raw})
        else:
            rejected.append(
                {
                    "index": item.index,
                    "id": item.event.id,
                    "code": str(decision.reason),
                    "field": decision.field,
                    "detail": decision.detail or str(decision.reason),
                }
            )
    rejected.sort(key=lambda each: int(each["index"]))
    if not outcomes:
        raise _none_taken(rejected)
    body = encode({"accepted": len(outcomes), "rejected": rejected, "outcomes": outcomes})
    return Response(body, 202 if None in came_to else 200, media_type=PLAIN)
