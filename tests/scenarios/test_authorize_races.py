"""Many clients race for a balance that is worth exactly so many requests, at two gateways.

20 seconds of rounds in the test run; DRAWDOWN_TEST_RACES=1000 makes it a thousand rounds.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.scenarios.clients import PRICE, Clients
from tests.scenarios.world import seed

from drawdown.broker.local import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RACERS = 64
ROUNDS = int(os.environ.get("DRAWDOWN_TEST_RACES", "0"))
SECONDS = 20.0


def test_exactly_as_many_are_allowed_as_there_is_money_for(
    broker: LocalKafka, tmp_path: Path
) -> None:
    clients = Clients(broker, tmp_path)
    try:
        clients.ready()
        worth = asyncio.run(race(clients, random.Random(seed())))
        entries = clients.verdict()
    finally:
        clients.close()
    print(f"{len(worth)} rounds of {RACERS}")
    assert len(worth) >= (ROUNDS or 10)
    assert clients.allowed == Counter(worth)
    held = Counter(e["subject"] for e in entries if e["type"] == "drawdown.entry.hold")
    assert held == Counter(worth)
    assert all(e["data"]["hold"]["after"] == str(PRICE) for e in entries if "hold" in e["data"])


async def race(clients: Clients, chance: random.Random) -> dict[str, int]:
    """Rounds, until there were enough; returns what each customer's balance was worth."""
    worth: dict[str, int] = {}
    began = time.monotonic()
    async with clients.session() as session:
        while len(worth) < ROUNDS if ROUNDS else time.monotonic() - began < SECONDS:
            customer = f"customer-{len(worth)}"
            worth[customer] = chance.randint(1, RACERS - 1)
            await clients.grant(session, customer, worth[customer])
            allowed = await asyncio.gather(
                *(clients.authorize(session, n, customer, f"run-{n}") for n in range(RACERS))
            )
            assert sum(allowed) == worth[customer], customer
    return worth
