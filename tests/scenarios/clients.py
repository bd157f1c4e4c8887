"""A settlement process, two gateway processes, and many clients who ask before they run.

A response costs 12 credits. Clients repeat what was not answered under the same id, at the other
gateway. What they were told is held against the journal, which `judge` judges besides.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from tests.scenarios.gate import Gate
from tests.scenarios.settler import Settler
from tests.scenarios.world import until
from tests.support import judge
from tests.web.live import PARTITIONS, prepare

from drawdown.access import new_key, write_setting
from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES, Environment, Topic
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

PRICE = 12
TIMEOUT_S = 2.0
"""How long a client lets a gateway wait."""
LATE_S = 2.0
"""An answer may come that much after it, on a machine that does everything at once."""

_numbers = count(1)


class Clients:
    """Where clients ask."""

    def __init__(self, broker: LocalKafka, directory: Path) -> None:
        self.broker = broker
        self.cluster = KafkaCluster(broker.bootstrap)
        self.environment = Environment(f"a{os.getpid()}-{next(_numbers)}")
        self._directory = directory
        prepare(self.cluster, self.environment)
        secret, record = new_key(("admin",), datetime.now(UTC))
        write_setting(self.cluster, self.environment, "api_key", record.id, record)
        self.headers = {"Authorization": f"Bearer {secret}", "Request-Timeout": f"{TIMEOUT_S:g}"}
        self.settler = self._settler()
        name = self.environment.name
        self.gates = [Gate(broker.bootstrap, name, str(n), directory) for n in range(2)]
        self.allowed: Counter[str] = Counter()
        """By customer, as clients were told."""
        self.slowest_s = 0.0

    def _settler(self) -> Settler:
        home = self._directory / "settlement"
        return Settler(self.broker.bootstrap, self.environment.name, "0", home)

    def ready(self) -> None:
        until(lambda: all(gate.ready() for gate in self.gates), what="gateways")
        until(lambda: len(self.settler.serving()) == PARTITIONS, what="settlement")

    def restart_settlement(self) -> None:
        self.settler.kill()
        self.settler = self._settler()

    def close(self) -> None:
        for gate in self.gates:
            gate.kill()
        if self.settler.running:
            self.settler.kill()

    def session(self) -> aiohttp.ClientSession:
        """Of many clients; to be used in an `async with`."""
        return aiohttp.ClientSession(
            headers=self.headers | {"Content-Type": "application/json"},
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S + LATE_S),
        )

    # clients

    async def ask(
        self, session: aiohttp.ClientSession, number: int, path: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """The decision; asked for at one gateway and the other until there is one."""
        payload = json.dumps(body)
        for tries in count(number):
            address = self.gates[tries % 2].address + path
            began = time.monotonic()
            try:
                async with session.post(address, data=payload) as answer:
                    said: dict[str, Any] = await answer.json(content_type=None)
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError):
                status, said = 0, {}
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if status in (200, 201):
                return said
            assert status in (0, 429, 503), said
            await asyncio.sleep(0.05)
        raise AssertionError("count ends never")

    async def grant(self, session: aiohttp.ClientSession, customer: str, requests: int) -> None:
        body = {
            "id": "grant",
            "asset": "credit",
            "amount": str(PRICE * requests),
            "cost_basis": "0.01",
        }
        await self.ask(session, 0, f"/v1/customers/{customer}/grants", body)

    async def authorize(
        self, session: aiohttp.ClientSession, number: int, customer: str, id: str
    ) -> bool:
        """Whether it may run: then its price is held."""
        body = {
            "id": id,
            "customer": customer,
            "meter": "responses",
            "estimate": {"quantities": {"responses": 1}},
            "require": "hold",
        }
        decision = await self.ask(session, number, "/v1/authorizations", body)
        assert (decision["id"], decision["customer"]) == (id, customer)
        if decision["allowed"]:
            self.allowed[customer] += 1
            assert decision["hold"]["amount"] == str(PRICE)
        else:
            assert decision["reason"] == "insufficient_balance"
        return bool(decision["allowed"])

    async def capture(
        self, session: aiohttp.ClientSession, number: int, customer: str, id: str
    ) -> None:
        body = {"id": f"{id}/capture", "customer": customer, "quantities": {"responses": 1}}
        decision = await self.ask(session, number, f"/v1/holds/{id}/capture", body)
        assert decision["amount"] == str(PRICE)

    # verdict

    def verdict(self) -> list[dict[str, Any]]:
        """The journal's entries, when it and the rows are found right."""
        journal, rows = self._all(BALANCE_CHANGES), self._all(BALANCES)
        assert judge.wrongs([(key, value or b"") for key, value in journal], rows) == []
        return [json.loads(value or b"") for _, value in journal]

    def _all(self, topic: Topic) -> list[tuple[bytes, bytes | None]]:
        consumer = self.cluster.consumer(kafka.reader())
        name = self.environment.topic(topic)
        consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
        found: list[tuple[bytes, bytes | None]] = []
        ended: set[Any] = set()
        while len(ended) < PARTITIONS:
            message = consumer.poll(30.0)
            assert message is not None
            if message.error() is not None:
                ended.add(message.partition())
            else:
                found.append((message.key() or b"", message.value()))
        consumer.close()
        return found
