"""Budgets and blocks through the client: set, held to, and told to whoever is denied."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.web.live import Live

from drawdown.client import Amount, AsyncClient, Client, Denied, RefusedError

pytestmark = pytest.mark.kafka


def client_of(live: Live) -> Client:
    return Client(live.gateways[0], live.key("admin"))


def ask(client: Client, customer: str, credits: int, **dimensions: str) -> Any:
    return client.authorize(
        customer,
        "responses",
        dimensions=dimensions,
        estimate=Amount(credits, "credit"),
        require="check",
    )


def test_a_denial_carries_the_budgets_and_when_to_come_again(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    with client_of(live) as client:
        client.set_budget(customer, "team", 60, asset="credit", scope={"team": "a"})
        client.set_budget(
            customer, "key", 24, asset="credit", scope={"key": "*"}, window={"every": "day"}
        )
        with pytest.raises(Denied) as raised, ask(client, customer, 30, team="a", key="k"):
            pytest.fail("it must not run")
        denied = raised.value
        assert denied.reason == "budget_exceeded"
        assert [(each.budget, each.scope, each.left, each.wanted) for each in denied.budgets] == [
            ("key", "key=k", "24", "30")
        ]
        assert {each.budget for each in denied.decision.limits} == {"team", "key"}
        now = datetime.now(UTC)
        assert denied.retry_at is not None
        assert now < denied.retry_at <= now + timedelta(days=1)
        assert "budget 'key' of key=k has 24 credit left of 24" in str(denied)
        client.remove_budget(customer, "key", reason="over")
        with ask(client, customer, 30, team="a", key="k") as run:
            assert run.decision.allowed
        with pytest.raises(RefusedError) as refused:
            client.remove_budget(customer, "key")
        assert (refused.value.status, refused.value.code) == (404, "budget_unknown")


def test_a_scope_is_blocked_by_who_finds_the_leak(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")

    async def main() -> None:
        async with AsyncClient(live.gateways[0], live.key("admin")) as client:
            until = datetime.now(UTC) + timedelta(hours=1)
            done = await client.block(customer, {"key": "k"}, reason="leaked", until_at=until)
            again = await client.block(
                customer, {"key": "other"}, reason="leaked", id="the-same-id"
            )
            assert done.allowed
            assert again.allowed
            asked = client.authorize(
                customer, "responses", dimensions={"key": "k"}, require="check"
            )
            with pytest.raises(Denied, match=r"key=k is blocked until .* leaked"):
                await asked.__aenter__()
            assert (await client.unblock(customer, {"key": "k"}, reason="rotated")).allowed
            twice = await client.unblock(customer, {"key": "k"})
            assert (twice.allowed, twice.reason) == (False, "not_blocked")
            await client.set_budget(customer, "all", "12.5", asset="USD")
            await client.remove_budget(customer, "all")

    asyncio.run(main())


def test_a_cap_is_exact(live: Live) -> None:
    with client_of(live) as client, pytest.raises(TypeError, match=r"0\.5: give an int"):
        client.set_budget("acme", "b", 0.5, asset="USD")  # type: ignore[arg-type]
