"""The query service: HTTP out. It reads what was settled and decides nothing.

Every answer says where it stands: the partition and offset it was read at, and how old it may be.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from drawdown.access import Settings
from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import Environment
from drawdown.events.codec import decode_row, encode
from drawdown.events.entitled import EntitlementState, entitlements_of
from drawdown.events.entries import Entry
from drawdown.events.rows import AccountRow, GrantRow, HoldRow, SubscriptionRow, WalletRow
from drawdown.query.answers import HEADERS, Customer, Where, json_of, where
from drawdown.query.entries import Entries
from drawdown.query.limit_doors import add_limit_doors
from drawdown.query.paging import LIMIT, Cursor, Limit, from_cursor, not_a_cursor, page
from drawdown.query.replica import KINDS, Replica, wake
from drawdown.query.statements import add_statement_door
from drawdown.query.topups import add_topup_doors
from drawdown.stream.ports import Cluster
from drawdown.web.app import caller_of, make_app
from drawdown.web.openapi import answered, problems
from drawdown.web.problems import ProblemError

BEAT_S: Final = 5.0
GAP_S: Final = 0.1
"""Between two wallets of a stream: ten a second are enough for a page."""
RETRY_MS: Final = 2_000
HOLD, SUBSCRIPTION = "hold", "subscription"
"""Kinds of row."""


class WalletAnswer(BaseModel):
    position: Where
    wallet: WalletRow


class BalanceAnswer(BaseModel):
    position: Where
    customer: str
    sequence: int
    balances: list[AccountRow]


class GrantsAnswer(BaseModel):
    position: Where
    data: list[GrantRow]


class HoldsAnswer(BaseModel):
    position: Where
    data: list[HoldRow]
    has_more: bool
    next_cursor: str | None


class SubscriptionsAnswer(BaseModel):
    position: Where
    data: list[SubscriptionRow]
    has_more: bool
    next_cursor: str | None


class EntitlementsAnswer(BaseModel):
    position: Where
    data: list[EntitlementState]


class EntriesAnswer(BaseModel):
    position: Where
    data: list[Entry]
    has_more: bool
    next_cursor: str | None


class CustomersAnswer(BaseModel):
    positions: list[Where] = Field(description="Of every partition")
    data: list[WalletRow]
    has_more: bool
    next_cursor: str | None


EVENTS: Final = "text/event-stream"
POSITION: Final = {"partition": 2, "offset": 1841, "stale_ms": 12, "as_of": "2026-11-03T09:30:00Z"}
BALANCE: Final = {
    "position": POSITION,
    "customer": "acme",
    "sequence": 7,
    "balances": [
        {
            "asset": "USD",
            "available": "24.76",
            "balance": "24.76",
            "unspent": "24.76",
            "held": "0",
            "credit_limit": "0",
            "credit_used": "0",
            "overdrawn": "0",
            "granted": "25",
            "debited": "0.24",
            "lapsed": "0",
        }
    ],
}
CHANGES: Final = (
    'event: wallet\ndata: {"row":"wallet","customer":"acme","sequence":7,…}\n\n'
    'event: position\ndata: {"partition":2,"offset":1841,"stale_ms":12,…}\n\n'
)


class Query:
    """The parts of a query process."""

    def __init__(self, cluster: Cluster, environment: Environment, directory: Path) -> None:
        self.settings = Settings(cluster, environment)
        self.replica = Replica(cluster, environment, directory, keep=KINDS)
        self.entries = Entries(cluster, environment, directory)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in (self.settings, self.replica, self.entries):
                await asyncio.to_thread(part.start)
                stack.push_async_callback(asyncio.to_thread, part.stop)
            yield

    def ready(self) -> tuple[bool, dict[str, Any]]:
        state = {
            "settings": self.settings.caught_up.is_set(),
            "balances": self.replica.caught_up(),
            "entries": self.entries.caught_up(),
        }
        failed = self.replica.follower.failed or self.entries.follower.failed
        return all(state.values()) and failed is None, {**state, "failed": failed}

    def wallet(self, customer: str) -> bytes:
        """The wallet row. Raises ProblemError 404."""
        row = self.replica.row(customer)
        if row is None:
            raise ProblemError(
                404, "unknown_customer", f"no wallet of {customer!r} is known here (yet)"
            )
        return row


def create_app(cluster: Cluster, environment: Environment, directory: Path) -> FastAPI:
    """The query service's HTTP doors, and the wallet page."""
    query = Query(cluster, environment, directory)
    app = make_app(
        "Drawdown query",
        "Balances, grants and entries, each answer with its position and age."
        " Every door needs `Authorization: Bearer <key or customer token>`.",
        query.settings,
        query.ready,
        query.running,
    )
    app.state.query = query

    def rows_of(customer: str, kind: str, limit: int, cursor: str) -> Response:
        """A page of a customer's rows of a kind, by id. Raises ProblemError."""
        position = where(query.replica.position(customer))
        query.wallet(customer)
        found = query.replica.rows(customer, kind, from_cursor(cursor), limit + 1)
        return page(found, limit, {"position": position})

    @app.get("/v1/customers", response_model=CustomersAnswer, summary="All customers, by id")
    def customers(request: Request, limit: Limit = LIMIT, cursor: Cursor = "") -> Response:
        caller_of(request, "read")
        positions = [where(position) for position in query.replica.positions()]
        found = query.replica.customers(from_cursor(cursor), limit + 1)
        return page(found, limit, {"positions": positions})

    @app.get(
        "/v1/customers/{customer:path}/wallet",
        response_model=WalletAnswer,
        summary="The whole wallet",
        responses=problems(404),
    )
    def wallet(request: Request, customer: Customer) -> Response:
        caller_of(request, "read", customer)
        position = where(query.replica.position(customer))
        return json_of({"position": position, "wallet": msgspec.Raw(query.wallet(customer))})

    @app.get(
        "/v1/customers/{customer:path}/balance",
        response_model=BalanceAnswer,
        summary="What is left",
        responses={200: answered("The balance per asset", BALANCE), **problems(404)},
    )
    def balance(request: Request, customer: Customer) -> Response:
        caller_of(request, "read", customer)
        position = where(query.replica.position(customer))
        row = _decode_parts(query.wallet(customer))
        return json_of(
            {
                "position": position,
                "customer": customer,
                "sequence": row.sequence,
                "balances": row.accounts,
            }
        )

    @app.get(
        "/v1/customers/{customer:path}/grants",
        response_model=GrantsAnswer,
        summary="Live grants, in the order they are spent",
        responses=problems(404),
    )
    def grants(request: Request, customer: Customer) -> Response:
        caller_of(request, "read", customer)
        position = where(query.replica.position(customer))
        row = _decode_parts(query.wallet(customer))
        return json_of({"position": position, "data": row.grants})

    @app.get(
        "/v1/customers/{customer:path}/holds",
        response_model=HoldsAnswer,
        summary="Open holds, by id",
        responses=problems(404),
    )
    def holds(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        return rows_of(customer, HOLD, limit, cursor)

    @app.get(
        "/v1/customers/{customer:path}/subscriptions",
        response_model=SubscriptionsAnswer,
        summary="Subscriptions, by id, also those that are over",
        responses=problems(404),
    )
    def subscriptions(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        return rows_of(customer, SUBSCRIPTION, limit, cursor)

    @app.get(
        "/v1/customers/{customer:path}/entitlements",
        response_model=EntitlementsAnswer,
        summary="What the customer is entitled to, and what is left of it",
        responses=problems(404),
    )
    def entitlements(request: Request, customer: Customer) -> Response:
        """By the subscriptions under way. Of a metered one `used` is what is booked in the cycle;
        an authorization beyond the limit is denied `entitlement_exceeded`."""
        caller_of(request, "read", customer)
        position = where(query.replica.position(customer))
        due = _decode_subscribed(query.wallet(customer)).subscriptions
        keys = (KEY_SEPARATOR.join((customer, SUBSCRIPTION, each.id)) for each in due)
        values = [value for key in keys if (value := query.replica.row(key)) is not None]
        found = entitlements_of(cast(SubscriptionRow, decode_row(value)) for value in values)
        return json_of({"position": position, "data": found})

    @app.get(
        "/v1/customers/{customer:path}/entries",
        response_model=EntriesAnswer,
        summary="Journal entries, newest first",
    )
    def entries(
        request: Request, customer: Customer, limit: Limit = LIMIT, cursor: Cursor = ""
    ) -> Response:
        caller_of(request, "read", customer)
        before = _sequence_of(from_cursor(cursor))
        position = where(query.entries.position(customer))
        found = query.entries.latest(customer, before, limit + 1)
        keyed = [(str(_decode_sequence(value).data.sequence), value) for value in found]
        return page(keyed, limit, {"position": position})

    @app.get(
        "/v1/customers/{customer:path}/stream",
        summary="The wallet, again whenever it changes (server-sent events)",
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Events `wallet` and `position`, until the key or token ends",
                "content": {EVENTS: {"schema": {"type": "string"}, "example": CHANGES}},
            }
        },
    )
    async def stream(request: Request, customer: Customer) -> Response:
        """Events `wallet`, the row, and `position`, where it was read and how old it may be: after
        each wallet, and every 5 s. The stream ends when the key or token does."""
        caller_of(request, "read", customer)
        stopping: asyncio.Event = request.app.state.stopping
        return StreamingResponse(
            _changes(query, customer, lambda: _still_may_read(request, customer), stopping),
            media_type=EVENTS,
            headers={**HEADERS, "X-Accel-Buffering": "no"},
        )

    add_statement_door(app, query.entries)
    add_topup_doors(app, rows_of)
    add_limit_doors(app, query.replica, query.wallet)
    return app


async def _changes(
    query: Query, customer: str, allowed: Callable[[], bool], stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """The wallet now and after each change, with its position; the position alone every 5 s, which
    keeps the line open and says that silence is no change. Ends when no longer `allowed`."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    end = query.replica.listen(customer, lambda: wake(loop, changed))
    told: bytes | None = None
    try:
        yield b"retry: %d\n\n" % RETRY_MS
        while allowed() and not stopping.is_set():
            changed.clear()
            position = encode(where(query.replica.position(customer)))
            row = query.replica.row(customer)
            if row is not None and row != told:
                told = row
                yield b"event: wallet\ndata: " + row + b"\n\n"
            yield b"event: position\ndata: " + position + b"\n\n"
            await _either(changed, stopping, BEAT_S)
            if changed.is_set():
                await _either(stopping, stopping, GAP_S)
    finally:
        end()


async def _either(first: asyncio.Event, second: asyncio.Event, seconds: float) -> None:
    """Wait for one of two events, but not for long."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _still_may_read(request: Request, customer: str) -> bool:
    try:
        caller_of(request, "read", customer)
    except ProblemError:
        return False
    return True


class _Sequence(msgspec.Struct):
    sequence: int


class _EntryPart(msgspec.Struct):
    data: _Sequence


class _WalletParts(msgspec.Struct):
    sequence: int
    accounts: msgspec.Raw
    grants: msgspec.Raw


class _Id(msgspec.Struct):
    id: str


class _Subscribed(msgspec.Struct):
    subscriptions: list[_Id] = []


_decode_subscribed = msgspec.json.Decoder(_Subscribed).decode
_decode_sequence = msgspec.json.Decoder(_EntryPart).decode
_decode_parts = msgspec.json.Decoder(_WalletParts).decode


def _sequence_of(cursor: str) -> int | None:
    """The sequence that entries are to come before; None for the newest."""
    if not cursor:
        return None
    if not re.fullmatch("[1-9][0-9]{0,15}", cursor):
        raise not_a_cursor()
    return int(cursor)
