"""A whole Drawdown in memory, for tests: producers, settlement processes, and what they wrote.

Time is the test's: it moves when the test says, or when somebody waits. Settlement is the real
one, loop, ledger and all; only the cluster and the stores are in memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message
from prometheus_client import CollectorRegistry
from tests.support import judge

from drawdown.events.base import at_text, moment
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    PRICE_BOOK,
    TOPICS,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.events.pricebook import Asset, Meter, PerUnit, PriceBook, Rate, TokenMap
from drawdown.settlement.publish import records_of
from drawdown.settlement.service import GROUP, make_worker
from drawdown.stream import kafka, loop
from drawdown.stream.memory import MemoryCluster, MemoryProcess
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.partition import partition_of
from drawdown.stream.store import MemoryStores, Stores

START_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z: when a desk's time begins."""
ENVIRONMENT = Environment("test")


@dataclass
class DeskClock:
    """A clock that stands still until somebody moves it."""

    ms: int = START_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        self.ms += max(int(seconds * 1000), 1)


def book(version: str = "v1", **changes: Any) -> PriceBook:
    """A small price book: tokens of two models in USD, images in credits."""
    content: dict[str, Any] = {
        "version": version,
        "assets": [Asset(code="USD", scale=12), Asset(code="credit", scale=2)],
        "meters": [
            Meter(
                id="llm",
                event_types=["llm.completion"],
                fields={"input": "input", "cached_input": "cached_input", "output": "output"},
            ),
            Meter(id="image", event_types=["image"], fields={"images": "images"}),
        ],
        "rates": [
            Rate(
                id="gpt-5",
                meter="llm",
                match={"model": "gpt-5"},
                asset="USD",
                price=TokenMap(
                    prices={"input": "2", "cached_input": "0.2", "output": "10"}, per=1_000_000
                ),
            ),
            Rate(
                id="image",
                meter="image",
                asset="credit",
                price=PerUnit(quantity="images", price="12"),
            ),
        ],
        "costs": [
            Rate(
                id="gpt-5",
                meter="llm",
                match={"model": "gpt-5"},
                asset="USD",
                price=TokenMap(
                    prices={"input": "1", "cached_input": "0.1", "output": "5"}, per=1_000_000
                ),
            )
        ],
        "thresholds": {"USD": ["5", "1", "0"]},
    }
    return PriceBook(**{**content, **changes})


@dataclass
class Settler:
    """One settlement process: its machine's disk outlives it."""

    desk: Desk
    instance: str
    stores: Stores
    process: MemoryProcess
    worker: loop.Worker

    def turn(self) -> int:
        return self.worker.turn()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.desk.settlers.remove(self)

    def restart(self, *, disk: Stores | None = None) -> Settler:
        """The same name again, on its own disk or another."""
        if self in self.desk.settlers:
            self.kill()
        return self.desk.start(self.instance, disk or self.stores)


@dataclass
class Desk:
    """The world of a test."""

    partitions: int = 4
    clock: DeskClock = field(default_factory=DeskClock)
    settlers: list[Settler] = field(default_factory=list)
    crash: Callable[[str], None] = loop.no_crash

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(self.clock.now_ms, self.clock.sleep)
        for topic in TOPICS:
            partitions = self.partitions if topic.by_customer else 1
            config = topic.config(ENVIRONMENT)
            self.cluster.create_topic(ENVIRONMENT.topic(topic), partitions, config)
        self._producer = self.cluster.producer(kafka.plain_producer())
        self._ids = itertools.count(1)
        self.publish(book())

    # given

    def publish(self, version: PriceBook, effective_at: datetime | None = None) -> None:
        """A price book, in effect from the beginning unless said otherwise."""
        values, _ = records_of(version, effective_at or datetime(1970, 1, 1, tzinfo=UTC), self.now)
        for value in values:
            self.produce(PRICE_BOOK, b"book", value, partition=0)

    def start(self, instance: str = "0", stores: Stores | None = None) -> Settler:
        """A settlement process that has joined; it serves after a few turns."""
        stores = stores or MemoryStores()
        process = self.cluster.process(f"settlement-{instance}")
        worker = make_worker(
            process,
            ENVIRONMENT,
            instance,
            stores,
            self.clock,
            metrics=StreamMetrics(CollectorRegistry()),
            crash=lambda point: self.crash(point),
        )
        settler = Settler(self, instance, stores, process, worker)
        self.settlers.append(settler)
        return settler

    # when

    @property
    def now(self) -> datetime:
        return moment(self.clock.ms)

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    def produce(
        self,
        topic: Topic,
        key: bytes | None,
        value: bytes | None,
        *,
        partition: int | None = None,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        """Any record at all."""
        if partition is None:
            partition = 0 if key is None else partition_of(key, self.partitions)
        self._producer.produce(ENVIRONMENT.topic(topic), value, key, partition, headers=headers)

    def use(self, customer: str, *, event_id: str | None = None, **data: Any) -> str:
        """Usage of gpt-5 unless the data says otherwise; returns the event's id."""
        return self.event(
            customer, {"model": "gpt-5", **data} if "images" not in data else data, id=event_id
        )

    def event(self, customer: str, data: dict[str, Any], **fields: Any) -> str:
        """A usage event with any field of the envelope replaced; None takes the default."""
        event = {
            "specversion": "1.0",
            "id": f"e{next(self._ids)}",
            "source": "test",
            "type": "image" if "images" in data else "llm.completion",
            "subject": customer,
            "time": at_text(self.clock.ms),
            **{name: value for name, value in fields.items() if value is not None},
            "data": data,
        }
        self.produce(USAGE_EVENTS, customer.encode(), json.dumps(event).encode())
        return str(event["id"])

    def command(self, kind: str, customer: str, **fields: Any) -> str:
        """A command; returns its id."""
        content = {
            "type": kind,
            "id": f"c{next(self._ids)}",
            "customer": customer,
            "time": at_text(self.clock.ms),
            **{name: value for name, value in fields.items() if value is not None},
        }
        self.produce(COMMANDS, customer.encode(), json.dumps(content).encode())
        return str(content["id"])

    def grant(self, customer: str, amount: str, asset: str = "USD", **terms: Any) -> str:
        if asset == "credit" and terms.get("category", "paid") == "paid":
            terms.setdefault("cost_basis", "0.01")
        return self.command("grant", customer, asset=asset, amount=amount, **terms)

    def authorize(self, customer: str, **fields: Any) -> str:
        fields.setdefault("meter", "llm")
        fields.setdefault("dimensions", {"model": "gpt-5"})
        return self.command("authorize", customer, **fields)

    def settle(self, turns_max: int = 400) -> None:
        """Let every process turn until all that is there was decided."""
        quiet = 0
        for _ in range(turns_max):
            busy = sum(settler.turn() for settler in list(self.settlers))
            served = sum(len(settler.worker.serving) for settler in self.settlers)
            stopped = sum(len(settler.worker.stopped) for settler in self.settlers)
            quiet = 0 if busy or served + stopped < self.partitions else quiet + 1
            if quiet == 3:
                return
        raise AssertionError(f"not settled after {turns_max} turns")

    # then

    def records(self, topic: Topic, *, committed: bool = True) -> list[Message]:
        """All records of a topic, as a read_committed reader sees them."""
        partitions = self.partitions if topic.by_customer else 1
        return [
            message
            for partition in range(partitions)
            for message in self.cluster.records(
                ENVIRONMENT.topic(topic), partition, committed=committed
            )
        ]

    def _values(self, topic: Topic, customer: str | None) -> list[dict[str, Any]]:
        return [
            json.loads(message.value() or b"null")
            for message in self.records(topic)
            if customer is None or message.key() == customer.encode()
        ]

    def entries(self, customer: str | None = None) -> list[dict[str, Any]]:
        """Journal entries as they stand on the topic."""
        return self._values(BALANCE_CHANGES, customer)

    def kinds(self, customer: str) -> list[str]:
        return [entry["type"].rpartition(".")[2] for entry in self.entries(customer)]

    def wallet(self, customer: str) -> dict[str, Any]:
        """The last row of a customer's wallet."""
        rows = self._values(BALANCES, customer)
        assert rows, f"{customer} has no wallet"
        return rows[-1]

    def balance(self, customer: str, asset: str = "USD") -> str:
        accounts = {account["asset"]: account for account in self.wallet(customer)["accounts"]}
        return str(accounts[asset]["balance"])

    def decision(self, command_id: str) -> dict[str, Any]:
        """The last decision about a command."""
        found = [d for d in self._values(DECISIONS, None) if d["id"] == command_id]
        assert found, f"no decision about {command_id}"
        return found[-1]

    def low_balances(self, customer: str) -> list[str]:
        return [notice["data"]["threshold"] for notice in self._values(LOW_BALANCE, customer)]

    def notices(self, customer: str) -> list[str]:
        return [notice["type"] for notice in self._values(NOTIFICATIONS, customer)]

    def dead_letters(self) -> list[tuple[bytes | None, dict[str, str]]]:
        """Value and what was said about it."""
        letters = []
        for message in self.records(DEAD_LETTERS):
            headers = dict(message.headers() or [])
            said = {
                name.removeprefix("drawdown-"): (text or b"").decode()
                for name, text in headers.items()
                if name.startswith("drawdown-")
            }
            letters.append((message.value(), said))
        return letters

    def wrongs(self) -> list[str]:
        """What the judge finds wrong with the journal and the rows."""
        return judge.wrongs(
            [(m.key() or b"", m.value() or b"") for m in self.records(BALANCE_CHANGES)],
            [(m.key() or b"", m.value()) for m in self.records(BALANCES)],
        )

    @property
    def group(self) -> str:
        return f"{ENVIRONMENT.name}.{GROUP}"
