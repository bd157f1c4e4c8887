"""Gateway, settlement or broker die while clients authorize and capture, and come back.

Clients repeat what was not answered, at the other gateway. In the end each customer was allowed
exactly what they had money for, each hold was captured once, and nobody waited longer than they
said. DRAWDOWN_TEST_OUTAGE_S=300 is how long the broker is away; 20 s otherwise.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.clients import LATE_S, PRICE, TIMEOUT_S, Clients

from drawdown.broker.local import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CUSTOMERS = 8
WORTH = 30
"""Requests each customer has money for."""
ASKED = 45
"""Requests each customer makes."""
WORKERS = 16
PAUSE_S = 0.05
END_S = 90.0
"""After an outage everything is served again and asked to its end within this."""
OUTAGE_S = float(os.environ.get("DRAWDOWN_TEST_OUTAGE_S", "20"))


@pytest.mark.parametrize("what", ["gateway", "settlement", "broker"])
def test_killed_in_the_middle_nothing_is_held_twice_and_nothing_lost(
    broker: LocalKafka, tmp_path: Path, what: str
) -> None:
    clients = Clients(broker, tmp_path)
    try:
        clients.ready()
        asyncio.run(bounded(flow(clients, what), clients))
        entries = clients.verdict()
    finally:
        clients.close()
    worth = Counter({f"customer-{number}": WORTH for number in range(CUSTOMERS)})
    assert clients.allowed == worth
    for kind in ("hold", "capture"):
        found = [e for e in entries if e["type"] == f"drawdown.entry.{kind}"]
        assert Counter(e["subject"] for e in found) == worth, kind
        assert {e["data"]["amount"] for e in found} == {str(PRICE)}
    assert clients.slowest_s < TIMEOUT_S + LATE_S + 0.5


async def bounded(flow: Coroutine[Any, Any, None], clients: Clients) -> None:
    """Fails, and says how things stand, where it does not come to an end."""
    try:
        async with asyncio.timeout(OUTAGE_S + END_S):
            await flow
    except TimeoutError:
        ready = [gate.ready() for gate in clients.gates]
        log = clients.settler.log()[-3000:]
        pytest.fail(f"not at its end: gateways {ready}, {clients.settler.status()}, {log}")


async def flow(clients: Clients, what: str) -> None:
    """All requests of all customers, by so many at a time, and a death after a third of them."""
    waiting: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    for number in range(CUSTOMERS * ASKED):
        waiting.put_nowait((number, f"customer-{number % CUSTOMERS}"))
    third = asyncio.Event()
    async with clients.session() as session:
        for number in range(CUSTOMERS):
            await clients.grant(session, f"customer-{number}", WORTH)

        async def work() -> None:
            while not waiting.empty():
                number, customer = waiting.get_nowait()
                if number > CUSTOMERS * ASKED // 3:
                    third.set()
                id = f"run-{number}"
                if await clients.authorize(session, number, customer, id):
                    await asyncio.sleep(PAUSE_S)
                    await clients.capture(session, number + 1, customer, id)

        async def death() -> None:
            await third.wait()
            if what == "gateway":
                clients.gates[0].kill()
                await asyncio.sleep(1.0)
                clients.gates[0].start()
            elif what == "settlement":
                await asyncio.to_thread(clients.restart_settlement)
            else:
                await asyncio.to_thread(clients.broker.broker(1).kill)
                await asyncio.sleep(OUTAGE_S)
                await asyncio.to_thread(clients.broker.broker(1).restart)

        await asyncio.gather(death(), *(work() for _ in range(WORKERS)))
