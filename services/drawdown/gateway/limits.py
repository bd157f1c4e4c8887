"""The gateway's doors for limits: set a budget, remove it; block a scope, unblock it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel

from drawdown.events.base import PRINTABLE
from drawdown.events.commands import Block, RemoveBudget, SetBudget, Unblock
from drawdown.gateway import doors
from drawdown.gateway.commands import command_in, decided, with_id
from drawdown.gateway.exchange import Gateway
from drawdown.gateway.wallets import Customer, done
from drawdown.web.app import body_of, caller_of
from drawdown.web.openapi import Schema, schemas_of

Budget = Annotated[str, Path(min_length=1, max_length=256, pattern=PRINTABLE)]

BUDGET, REMOVAL, BLOCK, UNBLOCK = "NewBudget", "BudgetRemoval", "ScopeBlock", "ScopeUnblock"
MODELS: Final[Mapping[str, type[BaseModel]]] = {
    BUDGET: SetBudget,
    REMOVAL: RemoveBudget,
    BLOCK: Block,
    UNBLOCK: Unblock,
}
BUDGET_EXAMPLE: Final = {
    "budget": {
        "scope": {"team": "search"},
        "asset": "USD",
        "cap": "500",
        "window": {"every": "month", "zone": "Europe/Berlin"},
        "alerts": [50, 80, 100],
    }
}
REMOVAL_EXAMPLE: Final = {"reason": "the project is over"}
BLOCK_EXAMPLE: Final = {
    "scope": {"key": "k-17"},
    "reason": "leaked",
    "until_at": "2026-11-04T09:30:00Z",
}
UNBLOCK_EXAMPLE: Final = {"scope": {"key": "k-17"}, "reason": "rotated"}


def schemas() -> dict[str, Schema]:
    """The schemas of bodies, by name."""
    found = schemas_of(*MODELS.values())
    in_path = dict.fromkeys((BUDGET, REMOVAL), ("customer", "budget_id"))
    named = {
        name: doors.body_schema(found.pop(model.__name__), *in_path.get(name, ("customer",)))
        for name, model in MODELS.items()
    }
    return {**found, **named}


def add_limit_doors(app: FastAPI, gateway: Gateway) -> None:
    """Add them."""
    app.state.schemas.update(schemas())
    one = "/v1/customers/{customer:path}/budgets/{budget:path}"

    async def act(
        request: Request, customer: str, kind: str, budget: str | None = None
    ) -> Response:
        caller = caller_of(request, "admin")
        body = await body_of(request)
        if kind == "remove_budget":
            body = body or b"{}"
        content = with_id(command_in(body, customer=customer, budget_id=budget), request)
        return await decided(gateway, request, kind, content, caller.id)

    @app.put(
        one,
        summary="Set a budget, or change one",
        **doors.command_door(BUDGET, BUDGET_EXAMPLE, "Set", done("set_budget", "budget-1")),
    )
    async def set_budget(request: Request, customer: Customer, budget: Budget) -> Response:
        """What is stated replaces all that was; what was used in the window stays used. A cap below
        that lets nothing more run, and takes nothing back. It counts for every request that is
        decided after the answer."""
        return await act(request, customer, "set_budget", budget)

    @app.post(
        f"{one}/remove",
        summary="Remove a budget",
        **doors.command_door(
            REMOVAL, REMOVAL_EXAMPLE, "Removed", done("remove_budget", "remove-1")
        ),
    )
    async def remove_budget(request: Request, customer: Customer, budget: Budget) -> Response:
        """With what was counted in it. What is held stays held."""
        return await act(request, customer, "remove_budget", budget)

    @app.post(
        "/v1/customers/{customer:path}/blocks",
        summary="Block a scope: a leaked key, a runaway agent, a session",
        **doors.command_door(BLOCK, BLOCK_EXAMPLE, "Blocked", done("block", "block-1")),
    )
    async def block(request: Request, customer: Customer) -> Response:
        """It counts for every request that is decided after this answer: of the scope nothing is
        authorized any more, with `reason: blocked`. Holds made before can still be captured, and
        what is used all the same is booked. An empty scope is the whole customer."""
        return await act(request, customer, "block")

    @app.post(
        "/v1/customers/{customer:path}/unblocks",
        summary="Let a blocked scope run again",
        **doors.command_door(UNBLOCK, UNBLOCK_EXAMPLE, "Unblocked", done("unblock", "unblock-1")),
    )
    async def unblock(request: Request, customer: Customer) -> Response:
        """The very scope that was blocked; of one that is not, the answer is not `allowed`, with
        `reason: not_blocked`."""
        return await act(request, customer, "unblock")
