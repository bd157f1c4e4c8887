"""Limits on a real Kafka, with many who ask at once at two gateways.

What is held first never passes a budget by a cent, and a block counts for whatever is decided after
its answer.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.scenarios.clients import PRICE, Clients

from drawdown.broker.local import LocalKafka
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import COMMANDS
from drawdown.stream import kafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

AGENTS = 100
ENGINEERS = 5_000
AT_ONCE = 50
CUSTOMER = "uber"


@pytest.fixture
def clients(broker: LocalKafka, tmp_path: Path) -> Iterator[Clients]:
    clients = Clients(broker, tmp_path)
    try:
        clients.ready()
        yield clients
    finally:
        clients.close()


def send(clients: Clients, *commands: dict[str, Any]) -> None:
    """Commands of an operator, straight to their topic; those asked for later come behind them."""
    producer = clients.cluster.producer(kafka.plain_producer())
    topic = clients.environment.topic(COMMANDS)
    for command in commands:
        content = {"customer": CUSTOMER, "time": timestamp_text(datetime.now(UTC)), **command}
        producer.produce(topic, json.dumps(content).encode(), CUSTOMER.encode())
        producer.poll(0)
    assert producer.flush(30) == 0


def budget(name: str, cap: int, **terms: Any) -> dict[str, Any]:
    return {
        "type": "set_budget",
        "id": f"set-{name}",
        "budget_id": name,
        "budget": {"asset": "credit", "cap": str(cap), "window": {"every": "total"}, **terms},
    }


async def ask(
    clients: Clients, session: aiohttp.ClientSession, number: int, id: str, /, **dimensions: str
) -> dict[str, Any]:
    """Authorize one response, held."""
    body = {
        "id": id,
        "customer": CUSTOMER,
        "meter": "responses",
        "dimensions": dimensions,
        "estimate": {"quantities": {"responses": 1}},
        "require": "hold",
    }
    return await clients.ask(session, number, "/v1/authorizations", body)


def test_a_hundred_agents_of_a_session_never_pass_its_budget(clients: Clients) -> None:
    worth = 137

    async def run() -> int:
        async with clients.session() as session:
            await clients.grant(session, CUSTOMER, 10_000)
            send(clients, budget("session", worth * PRICE + PRICE - 1, scope={"session": "*"}))

            async def agent(number: int) -> int:
                """Until it is denied; every other run uses a third of what was held."""
                done = 0
                while True:
                    id = f"agent-{number}-{done}"
                    decision = await ask(clients, session, number, id, session="s")
                    if not decision["allowed"]:
                        assert decision["reason"] == "budget_exceeded"
                        (limit,) = decision["limits"]
                        assert (limit["budget"], limit["scope"]) == ("session", "session=s")
                        return done
                    amount = str(PRICE if done % 2 else PRICE // 3)
                    body = {"id": f"{id}/c", "customer": CUSTOMER, "amount": amount}
                    await clients.ask(session, number, f"/v1/holds/{id}/capture", body)
                    done += 1

            return sum(await asyncio.gather(*(agent(number) for number in range(AGENTS))))

    done = asyncio.run(run())
    entries = clients.verdict()
    used = [limit for entry in entries for limit in entry["data"].get("limits", [])]
    assert used
    assert all(
        Decimal(limit.get("after", "0")) + Decimal(limit.get("held", "0")) <= Decimal(limit["cap"])
        for limit in used
    )
    spent = sum(Decimal(e["data"]["amount"]) for e in entries if e["type"].endswith(".capture"))
    assert Decimal(used[-1]["after"]) == spent
    assert done >= worth // 2, "it was used"


def test_five_thousand_engineers_under_one_wallet_each_stop_at_their_own_cap(
    clients: Clients,
) -> None:
    """Worked example 36: each may run twice, a team of fifty eighty times in all."""
    each, team = 2, 80

    async def run() -> Counter[str]:
        allowed: Counter[str] = Counter()
        async with clients.session() as session:
            await clients.grant(session, CUSTOMER, 1_000_000)
            send(
                clients,
                *(
                    budget(f"engineer-{n}", each * PRICE, scope={"engineer": f"e{n}"})
                    for n in range(ENGINEERS)
                ),
                budget("team", team * PRICE, scope={"team": "t0"}),
            )
            waiting = asyncio.Semaphore(AT_ONCE)

            async def engineer(number: int, times: int) -> None:
                async with waiting:
                    for time in range(times):
                        decision = await ask(
                            clients,
                            session,
                            number,
                            f"e{number}-{time}",
                            engineer=f"e{number}",
                            team=f"t{number // 50}",
                        )
                        allowed[f"e{number}"] += decision["allowed"]

            # Those of the first two teams ask three times, the others once.
            await asyncio.gather(*(engineer(n, 3 if n < 100 else 1) for n in range(100)))
            await asyncio.gather(*(engineer(n, 1) for n in range(100, ENGINEERS, 25)))
        return allowed

    allowed = asyncio.run(run())
    clients.verdict()
    assert sum(allowed[f"e{n}"] for n in range(50)) == team, "the team's cap"
    assert max(allowed[f"e{n}"] for n in range(50)) <= each
    assert all(allowed[f"e{n}"] == each for n in range(50, 100)), "the engineers' own caps"
    assert all(allowed[f"e{n}"] == 1 for n in range(100, ENGINEERS, 25)), "the others go on"


def test_a_block_counts_for_whatever_is_decided_after_its_answer(clients: Clients) -> None:
    async def run() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with clients.session() as session:
            await clients.grant(session, CUSTOMER, 1_000_000)
            decisions: list[dict[str, Any]] = []
            answered = asyncio.Event()

            async def thief(number: int) -> None:
                after = 0
                while after < 5:
                    after += answered.is_set()
                    id = f"thief-{number}-{len(decisions)}"
                    late = answered.is_set()
                    decision = await ask(clients, session, number, id, key="leaked")
                    decisions.append(decision | {"late": late})

            thieves = [asyncio.create_task(thief(number)) for number in range(20)]
            while len(decisions) < 40:
                await asyncio.sleep(0)
            path = f"/v1/customers/{CUSTOMER}/blocks"
            body = {"id": "block", "scope": {"key": "leaked"}, "reason": "in a public repository"}
            block = await clients.ask(session, 0, path, body)
            answered.set()
            await asyncio.gather(*thieves)
            other = await ask(clients, session, 0, "other", key="another")
            assert other["allowed"]
            return decisions, block

    decisions, block = asyncio.run(run())
    clients.verdict()
    assert any(decision["allowed"] for decision in decisions)
    late = [decision for decision in decisions if decision["late"]]
    assert len(late) >= 100
    assert {decision["reason"] for decision in late} == {"blocked"}
    assert all(
        decision["sequence"] < block["sequence"] for decision in decisions if decision["allowed"]
    )
