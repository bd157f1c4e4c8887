"""The gateway's doors for auto top-ups: set or remove one, and say how a payment went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel

from drawdown.events.base import NAME, PRINTABLE
from drawdown.events.commands import SetAutoTopup, SettleTopup
from drawdown.events.decisions import Decision
from drawdown.gateway import doors
from drawdown.gateway.commands import command_in, decided, with_id
from drawdown.gateway.exchange import Gateway
from drawdown.gateway.wallets import Customer, done
from drawdown.web.app import body_of, caller_of
from drawdown.web.openapi import Schema, answered, problems, schemas_of

Asset = Annotated[str, Path(min_length=1, max_length=128, pattern=NAME)]
Request_ = Annotated[str, Path(min_length=1, max_length=256, pattern=PRINTABLE)]

TERMS, SETTLEMENT = "AutoTopupTerms", "TopupSettlement"
MODELS: Final[Mapping[str, type[BaseModel]]] = {TERMS: SetAutoTopup, SETTLEMENT: SettleTopup}
IN_PATH: Final = {TERMS: ("customer", "asset"), SETTLEMENT: ("customer", "request_id")}
TERMS_EXAMPLE: Final = {
    "below": {"amount": "20", "days_left": 2},
    "top_up": {"amount": "100"},
    "caps": {"per": "month", "requests": 4},
}
SETTLEMENT_EXAMPLE: Final = {"id": "pi_71", "outcome": "paid", "reference": "pi_71"}


def schemas() -> dict[str, Schema]:
    """The schemas of bodies, by name."""
    found = schemas_of(*MODELS.values())
    named = {
        name: doors.body_schema(found.pop(model.__name__), *IN_PATH[name])
        for name, model in MODELS.items()
    }
    return {**found, **named}


def _answered(said: str, command: str, id_: str, **more: Any) -> dict[str, Any]:
    example = done(command, id_, **more)
    return answered(f"{said}, now or with `duplicate` before", example)


def add_topup_doors(app: FastAPI, gateway: Gateway) -> None:
    """Add them."""
    app.state.schemas.update(schemas())
    refused = problems(404, 409, 413, 415, 422, 429, 503)

    @app.put(
        "/v1/customers/{customer:path}/auto-topups/{asset:path}",
        summary="Set or remove the auto top-up of an asset",
        openapi_extra=doors.command_body(TERMS, TERMS_EXAMPLE),
        response_model=Decision,
        responses={
            200: _answered(
                "Set",
                "set_auto_topup",
                "auto-1",
                topup={"asset": "USD", "change": "set", "terms": TERMS_EXAMPLE},
            ),
            **refused,
        },
    )
    async def set_auto_topup(request: Request, customer: Customer, asset: Asset) -> Response:
        """Low is an available amount, or days left at what the last 24 hours used. Then a top-up is
        requested once (`drawdown.topup.requested` on `notifications`), at most as often as the caps
        say; without `top_up` few days are only told. `remove: true` ends it."""
        caller = caller_of(request, "admin")
        content = command_in(await body_of(request), customer=customer, asset=asset)
        with_id(content, request, None)
        return await decided(gateway, request, "set_auto_topup", content, caller.id)

    @app.post(
        "/v1/customers/{customer:path}/topups/{topup:path}/settlement",
        summary="Say how the payment of a requested top-up went",
        openapi_extra=doors.command_body(SETTLEMENT, SETTLEMENT_EXAMPLE),
        response_model=Decision,
        responses={
            200: _answered(
                "Settled",
                "settle_topup",
                "pi_71",
                asset="USD",
                amount="100",
                balance="112.5",
                grant="topup-USD-41",
                topup={
                    "asset": "USD",
                    "change": "paid",
                    "request": "topup-USD-41",
                    "amount": "100",
                    "reference": "pi_71",
                },
            ),
            **refused,
        },
    )
    async def settle_topup(request: Request, customer: Customer, topup: Request_) -> Response:
        """For a payment service of your own; `drawdown notify` does it by itself. Needs an id, in
        the body or as `Idempotency-Key`. A paid one becomes a grant of the request's id, once."""
        caller = caller_of(request, "admin")
        content = command_in(await body_of(request), customer=customer, request_id=topup)
        with_id(content, request, "a repeated answer must be the same answer")
        return await decided(gateway, request, "settle_topup", content, caller.id)
