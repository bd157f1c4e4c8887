"""The query service's doors for auto top-ups: the terms of each asset, and what was requested."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from drawdown.events.topups import TopUpRequestRow, TopUpRow
from drawdown.query.answers import Customer, Where
from drawdown.query.paging import LIMIT, Cursor, Limit
from drawdown.web.app import caller_of
from drawdown.web.openapi import problems


class AutoTopupsAnswer(BaseModel):
    position: Where
    data: list[TopUpRow]
    has_more: bool
    next_cursor: str | None


class TopupsAnswer(BaseModel):
    position: Where
    data: list[TopUpRequestRow]
    has_more: bool
    next_cursor: str | None


def add_topup_doors(app: FastAPI, rows_of: Callable[[str, str, int, str], Response]) -> None:
    """Add them; `rows_of` answers with a page of a customer's rows of a kind."""

    @app.get(
        "/v1/customers/{customer:path}/auto-topups",
        response_model=AutoTopupsAnswer,
        summary="Auto top-ups, by asset: terms, what is under way, what was used lately",
        responses=problems(404),
    )
    def auto_topups(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        return rows_of(customer, "topup", limit, cursor)

    @app.get(
        "/v1/customers/{customer:path}/topups",
        response_model=TopupsAnswer,
        summary="Top-ups that were requested, by id, and how each ended",
        responses=problems(404),
    )
    def topups(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        return rows_of(customer, "topup_request", limit, cursor)
