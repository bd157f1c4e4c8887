"""The query service's doors for limits: budgets with what is used of them, and what is blocked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from fastapi import FastAPI, Path, Request, Response
from fastapi import Query as QueryParameter
from pydantic import BaseModel

from drawdown.events.base import PRINTABLE
from drawdown.events.limit_states import BlockedScope, BudgetState
from drawdown.events.limits import LimitState, MarginState
from drawdown.query.answers import Customer, Where, json_of, where
from drawdown.query.limits import LimitRows, LostPlaceError, TooManyValuesError, place_of
from drawdown.query.paging import LIMIT, Cursor, Limit, from_cursor, not_a_cursor, page
from drawdown.query.replica import Replica
from drawdown.web.app import caller_of
from drawdown.web.openapi import answered, problems
from drawdown.web.problems import ProblemError

Budget = Annotated[str, Path(min_length=1, max_length=256, pattern=PRINTABLE)]
Order = Annotated[
    Literal["used", "key"],
    QueryParameter(description="Most used first, up to 20,000 values; or by scope, any number"),
]

_POSITION: Final = {"partition": 2, "offset": 1841, "stale_ms": 12, "as_of": "2026-11-03T09:30:00Z"}
_SEARCH: Final = {
    "id": "search",
    "terms": {"scope": {"team": "search"}, "asset": "USD", "cap": "500"},
    "scope": "team=search",
    "parent": "all",
    "state": {
        "budget": "search",
        "scope": "team=search",
        "cap": "500",
        "used": "412.5",
        "held": "2",
        "left": "85.5",
        "resets_at": "2026-12-01T00:00:00Z",
    },
}
_SESSION: Final = {
    "budget": "sessions",
    "scope": "session=s-81",
    "cap": "5",
    "used": "4.75",
    "held": "0.25",
    "left": "0",
}
_BLOCKED: Final = {
    "scope": {"key": "k-17"},
    "block": {"by": "ops-1", "reason": "leaked", "since_at": "2026-11-03T09:30:00Z"},
}
_MORE: Final = {"has_more": True, "next_cursor": "c2VhcmNo"}


class BudgetsAnswer(BaseModel):
    position: Where
    data: list[BudgetState]
    has_more: bool
    next_cursor: str | None


class BudgetAnswer(BaseModel):
    position: Where
    budget: BudgetState


class ValuesAnswer(BaseModel):
    position: Where
    data: list[LimitState | MarginState]
    has_more: bool
    next_cursor: str | None


class BlocksAnswer(BaseModel):
    position: Where
    data: list[BlockedScope]
    has_more: bool
    next_cursor: str | None


class _Shapes(msgspec.Struct):
    scopes: dict[str, int] = {}


_decode_shapes = msgspec.json.Decoder(_Shapes).decode


def shapes_in(wallet: bytes) -> dict[str, int]:
    """Which combinations of dimensions have limits, as a wallet's row says."""
    return _decode_shapes(wallet).scopes


def add_limit_doors(app: FastAPI, replica: Replica, wallet_of: Callable[[str], bytes]) -> None:
    """Add them; `wallet_of` is the wallet's row, or raises ProblemError."""
    of_customer = "/v1/customers/{customer:path}"

    @app.get(
        f"{of_customer}/budgets",
        response_model=BudgetsAnswer,
        summary="Budgets, by id, each with what is used, held and left, and when it resets",
        responses={
            200: answered("A page", {"position": _POSITION, "data": [_SEARCH], **_MORE}),
            **problems(404),
        },
    )
    def budgets(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        """As a tree: `parent` is the budget that one is within; all on the way must have room. One
        with `*` has no `state`: its values have, see `/values`."""
        caller_of(request, "read", customer)
        position = where(replica.position(customer))
        shapes = shapes_in(wallet_of(customer))
        after = from_cursor(cursor)
        found = LimitRows(replica).budgets(customer, shapes, after, limit + 1, _now_ms())
        return page([(each.id, each) for each in found], limit, {"position": position})

    @app.get(
        f"{of_customer}/budgets/{{budget:path}}/values",
        response_model=ValuesAnswer,
        summary="How a budget with `*` stands for each value, most used first",
        responses={
            200: answered("A page", {"position": _POSITION, "data": [_SESSION], **_MORE}),
            **problems(404, 413),
        },
    )
    def values(
        request: Request,
        customer: Customer,
        budget: Budget,
        order: Order = "used",
        limit: Limit = LIMIT,
        cursor: Cursor = "",
    ) -> Response:
        """Those of which anything is used or held now: of a session that is over nothing is."""
        caller_of(request, "read", customer)
        position = where(replica.position(customer))
        shapes = shapes_in(wallet_of(customer))
        rows, now_ms, after = LimitRows(replica), _now_ms(), from_cursor(cursor)
        if rows.budget(customer, shapes, budget, now_ms) is None:
            raise _unknown(customer, budget)
        stands = {"position": position}
        if order == "key":
            try:
                found = rows.values(customer, budget, after, limit + 1, now_ms)
            except LostPlaceError:
                raise not_a_cursor() from None
            return page([(place_of(each.scope), each) for each in found], limit, stands)
        if not re.fullmatch("(?:[1-9][0-9]{0,5})?", after):
            raise not_a_cursor()
        try:
            every = rows.most_used(customer, budget, now_ms)
        except TooManyValuesError as error:
            raise ProblemError(413, "too_many_values", f"{error}: `order=key`") from None
        start = int(after or 0)
        places = enumerate(every[start : start + limit + 1], start + 1)
        return page([(str(place), each) for place, each in places], limit, stands)

    @app.get(
        f"{of_customer}/blocks",
        response_model=BlocksAnswer,
        summary="Scopes that are blocked: by whom, why, since when and until when",
        responses={
            200: answered("A page", {"position": _POSITION, "data": [_BLOCKED], **_MORE}),
            **problems(404),
        },
    )
    def blocks(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        position = where(replica.position(customer))
        wallet_of(customer)
        after = from_cursor(cursor)
        try:
            found = LimitRows(replica).blocks(customer, after, limit + 1, _now_ms())
        except LostPlaceError:
            raise not_a_cursor() from None
        placed = [(place_of(scope), each) for scope, each in found]
        return page(placed, limit, {"position": position})

    # Last: its path takes whatever follows.
    @app.get(
        f"{of_customer}/budgets/{{budget:path}}",
        response_model=BudgetAnswer,
        summary="One budget",
        responses={
            200: answered("As it stands", {"position": _POSITION, "budget": _SEARCH}),
            **problems(404),
        },
    )
    def one(request: Request, customer: Customer, budget: Budget) -> Response:
        caller_of(request, "read", customer)
        position = where(replica.position(customer))
        shapes = shapes_in(wallet_of(customer))
        found = LimitRows(replica).budget(customer, shapes, budget, _now_ms())
        if found is None:
            raise _unknown(customer, budget)
        return json_of({"position": position, "budget": found})


def _unknown(customer: str, budget: str) -> ProblemError:
    return ProblemError(
        404, "budget_unknown", f"no budget {budget!r} of {customer!r} is known here (yet)"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
