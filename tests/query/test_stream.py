"""The stream of a customer: the wallet again whenever it changes, and where it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.web.live import LIMIT_S, Live, bearer, http, quoted, until

pytestmark = pytest.mark.kafka

Event = tuple[str, dict[str, Any]]


@contextmanager
def following(live: Live, customer: str, secret: str | None = None) -> Iterator[Iterator[Event]]:
    """The events of a customer's stream, as they come."""
    path = f"/v1/customers/{quoted(customer)}/stream"
    headers = dict(live.query.headers) if secret is None else bearer(secret)
    with (
        http(base_url=live.address, headers=headers, timeout=LIMIT_S) as client,
        client.stream("GET", path) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        yield events_of(answer.iter_lines())


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def next_wallet(events: Iterator[Event]) -> dict[str, Any]:
    return next(data for name, data in events if name == "wallet")


def test_the_wallet_comes_at_once_and_then_where_it_stands(live: Live) -> None:
    customer = live.customer("a/b c")
    live.grant(customer, "credit", "480")
    with following(live, customer) as events:
        name, wallet = next(events)
        assert (name, wallet["customer"], wallet["sequence"]) == ("wallet", customer, 1)
        name, position = next(events)
        assert name == "position"
        assert position["stale_ms"] is not None
        assert position["as_of"].endswith("Z")


def test_each_change_comes_by_itself(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    with following(live, customer) as events:
        assert next_wallet(events)["accounts"][0]["balance"] == "480"
        for balance in ("468", "456"):
            live.use(customer)
            assert next_wallet(events)["accounts"][0]["balance"] == balance


def test_another_customers_change_does_not(live: Live) -> None:
    customer, other = live.customer(), live.customer()
    live.grant(customer, "credit", "480")
    with following(live, customer) as events:
        next_wallet(events)
        live.grant(other, "credit", "24")
        live.use(customer)
        assert next_wallet(events)["customer"] == customer


def test_a_wallet_that_is_yet_to_come_is_waited_for(live: Live) -> None:
    customer = live.customer()
    with following(live, customer) as events:
        assert next(events)[0] == "position"
        live.grant(customer, "credit", "480")
        assert next_wallet(events)["sequence"] == 1


def test_the_stream_ends_with_the_key(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    key_id, secret = live.new_key("read")
    with following(live, customer, secret) as events:
        next_wallet(events)
        live.revoke(key_id)
        live.await_known(secret, known=False)
        live.use(customer)
        assert "wallet" not in [name for name, _ in events]


def test_nobody_listens_once_the_line_is_closed(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    listeners = live.query_service.state.query.replica._listeners
    with following(live, customer) as events:
        next_wallet(events)
        assert customer.encode() in listeners
    until(lambda: customer.encode() not in listeners)
