"""The gateway's doors for subscriptions: begin one, change it, cancel it, let it go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel

from drawdown.events.base import PRINTABLE
from drawdown.events.commands import (
    SUBSCRIPTION_ID_MAX,
    CancelSubscription,
    ChangeSubscription,
    ResumeSubscription,
    Subscribe,
)
from drawdown.gateway import doors
from drawdown.gateway.commands import command_in, decided, with_id
from drawdown.gateway.exchange import Gateway
from drawdown.gateway.wallets import Customer, done
from drawdown.web.app import body_of, caller_of
from drawdown.web.openapi import Schema, schemas_of

Subscription = Annotated[str, Path(min_length=1, max_length=SUBSCRIPTION_ID_MAX, pattern=PRINTABLE)]

NEW, CHANGE = "NewSubscription", "SubscriptionChange"
CANCEL, RESUME = "SubscriptionCancellation", "SubscriptionResumption"
MODELS: Final[Mapping[str, type[BaseModel]]] = {
    NEW: Subscribe,
    CHANGE: ChangeSubscription,
    CANCEL: CancelSubscription,
    RESUME: ResumeSubscription,
}
NEW_EXAMPLE: Final = {"id": "order-7", "plan": "team", "subscription_id": "main", "seats": 5}
CHANGE_EXAMPLE: Final = {"id": "seats-6", "seats": 6}
CANCEL_EXAMPLE: Final = {"when": "cycle_end", "reason": "moves away"}
RESUME_EXAMPLE: Final = {"reason": "stays"}
_STATE: Final = {
    "id": "main",
    "plan": "team",
    "phase": "paid",
    "book": "2026-11",
    "book_offset": 9,
    "status": "active",
    "seats": 5,
    "change": "subscribe",
    "begun_at": "2026-11-03T09:30:04Z",
    "starts_at": "2026-11-03T09:30:04Z",
    "ends_at": "2026-12-03T09:30:04Z",
}


def schemas() -> dict[str, Schema]:
    """The schemas of bodies, by name."""
    found = schemas_of(*MODELS.values())
    in_path = dict.fromkeys((CHANGE, CANCEL, RESUME), ("customer", "subscription_id"))
    named = {
        name: doors.body_schema(found.pop(model.__name__), *in_path.get(name, ("customer",)))
        for name, model in MODELS.items()
    }
    return {**found, **named}


def _done(command: str, id_: str, **state: Any) -> dict[str, Any]:
    return done(command, id_, subscription={**_STATE, **state})


def add_subscription_doors(app: FastAPI, gateway: Gateway) -> None:
    """Add them."""
    app.state.schemas.update(schemas())
    one = "/v1/customers/{customer:path}/subscriptions/{subscription:path}"

    async def act(
        request: Request,
        customer: str,
        kind: str,
        why: str | None,
        subscription: str | None = None,
        status: int = 200,
    ) -> Response:
        caller = caller_of(request, "admin")
        body = await body_of(request)
        if kind in ("cancel_subscription", "resume_subscription"):
            body = body or b"{}"
        content = command_in(body, customer=customer, subscription_id=subscription)
        with_id(content, request, why)
        return await decided(gateway, request, kind, content, caller.id, done=status)

    @app.post(
        "/v1/customers/{customer:path}/subscriptions",
        summary="Subscribe to a plan",
        **doors.command_door(
            NEW, NEW_EXAMPLE, "Subscribed", _done("subscribe", "order-7"), status=201
        ),
    )
    async def subscribe(request: Request, customer: Customer) -> Response:
        """Needs an id, in the body or as `Idempotency-Key`: the same again subscribes to nothing
        more. Fees, grants and terms follow as entries; a fee the wallet cannot pay is a refusal."""
        why = "a repeated subscription must not count twice"
        return await act(request, customer, "subscribe", why, status=201)

    @app.post(
        f"{one}/change",
        summary="Change a subscription's plan or seats",
        **doors.command_door(
            CHANGE,
            CHANGE_EXAMPLE,
            "Changed",
            _done("change_subscription", "seats-6", seats=6, change="change"),
        ),
    )
    async def change(request: Request, customer: Customer, subscription: Subscription) -> Response:
        """Now, with what the plan declares of the cycle under way, or `when: cycle_end`."""
        return await act(request, customer, "change_subscription", None, subscription)

    @app.post(
        f"{one}/cancel",
        summary="End a subscription",
        **doors.command_door(
            CANCEL,
            CANCEL_EXAMPLE,
            "Canceled",
            _done("cancel_subscription", "cancel-1", canceled=True, change="cancel"),
        ),
    )
    async def cancel(request: Request, customer: Customer, subscription: Subscription) -> Response:
        """At the end of the cycle under way, or `when: now`."""
        return await act(request, customer, "cancel_subscription", None, subscription)

    @app.post(
        f"{one}/resume",
        summary="Let a subscription go on",
        **doors.command_door(
            RESUME,
            RESUME_EXAMPLE,
            "Resumed",
            _done("resume_subscription", "resume-1", change="resume"),
        ),
    )
    async def resume(request: Request, customer: Customer, subscription: Subscription) -> Response:
        """One that was to end, or to change, with its cycle."""
        return await act(request, customer, "resume_subscription", None, subscription)
