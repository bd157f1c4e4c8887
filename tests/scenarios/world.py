"""A Drawdown on a real broker: topics of its own, load, settlement processes, and the verdict."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition
from tests.scenarios.reckoning import Load
from tests.scenarios.settler import Settler
from tests.support import judge
from tests.support.desk import book

from drawdown import topics
from drawdown.broker.local import LocalKafka
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.ledger.evolve import evolve
from drawdown.ledger.journal import unseal
from drawdown.ledger.rows import Row, row_bytes
from drawdown.settlement.publish import publish
from drawdown.settlement.service import GROUP, partitions_of
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.partition import partition_of
from drawdown.stream.store import Owner, RocksStores

_numbers = count(1)


def seed() -> int:
    """A new one each time, unless DRAWDOWN_TEST_SEED says which; printed, to have it again."""
    found = int(os.environ.get("DRAWDOWN_TEST_SEED", "0")) or time.time_ns() % 1_000_000
    print(f"DRAWDOWN_TEST_SEED={found}")
    return found


def until(true: Callable[[], object], limit_s: float = 90.0, what: str = "") -> None:
    """Wait for something to come true. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"{what or 'not'} within {limit_s:.0f} s"
        time.sleep(0.05)


class Follower:
    """Reads a topic, read_committed, from its beginning on."""

    def __init__(self, world: World, topic: Topic) -> None:
        self._consumer = world.cluster.consumer(kafka.reader())
        self._consumer.assign(
            [
                TopicPartition(world.environment.topic(topic), number, OFFSET_BEGINNING)
                for number in range(world.partitions)
            ]
        )
        self._partitions = [
            TopicPartition(world.environment.topic(topic), number)
            for number in range(world.partitions)
        ]
        self._ended: dict[Any, int] = {}
        self.messages: list[Message] = []
        self.next: dict[Any, int] = {}
        """Per partition: behind the last record read."""

    def read(self) -> list[Message]:
        """What has come since the last time; all of it is in `messages`."""
        before = len(self.messages)
        while (message := self._consumer.poll(0.0)) is not None:
            if message.error() is None:
                self.messages.append(message)
                self.next[message.partition()] = (message.offset() or 0) + 1
            else:
                self._ended[message.partition()] = message.offset() or 0
        return self.messages[before:]

    def read_to_the_end(self) -> list[Message]:
        """All there is by now."""
        ends = {
            where.partition: self._consumer.get_watermark_offsets(where, 10.0)[1]
            for where in self._partitions
        }
        until(
            lambda: (
                self.read() is not None
                and all(self._ended.get(number, -1) >= end for number, end in ends.items())
            ),
            what="not read to the end",
        )
        return self.messages

    def close(self) -> None:
        self._consumer.close()


class World:
    """One environment on the broker."""

    def __init__(
        self,
        broker: LocalKafka,
        directory: Path,
        partitions: int,
        load: Load,
        restored: Environment | None = None,
    ) -> None:
        """`restored` is an environment that is on the broker already, with what `load` granted."""
        self.broker = broker
        self.cluster = KafkaCluster(broker.bootstrap)
        self.environment = restored or Environment(f"s{os.getpid()}-{next(_numbers)}")
        self.partitions = partitions
        self.load = load
        self.random = Random(load.seed)
        self.settlers: list[Settler] = []
        self._directory = directory
        if restored is None:
            topics.create(self.cluster.admin(), self.environment, partitions)
            publish(self.cluster, self.environment, book(), now=datetime.now(UTC))
        self._producer = self.cluster.producer(kafka.plain_producer())
        self._failed: list[KafkaError] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._followers: dict[str, Follower] = {}
        self._group = self.cluster.consumer(kafka.reader(f"{self.environment.name}.{GROUP}"))
        if restored is None:
            for customer, value in load.grants(_now()):
                self._send(COMMANDS, customer, value)
        self._producer.flush(10.0)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for settler in self.settlers:
            if settler.running:
                settler.resume()
                settler.kill()
        for follower in self._followers.values():
            follower.close()
        self._group.close()

    # settlement

    def home(self, instance: str) -> Path:
        return self._directory / instance

    def start(self, instance: str = "0") -> Settler:
        settler = Settler(
            self.broker.bootstrap, self.environment.name, instance, self.home(instance)
        )
        self.settlers.append(settler)
        return settler

    def ready(self, *settlers: Settler, limit_s: float = 90.0) -> None:
        """Wait until every partition is served, by these."""

        def served() -> bool:
            for settler in settlers:
                assert settler.running, settler.log()[-3000:]
            numbers = [number for settler in settlers for number in settler.serving()]
            return sorted(numbers) == list(range(self.partitions))

        until(served, limit_s, "not every partition is served")

    # load

    def flow(self, per_second: int) -> None:
        """Send usage, and now and then a command, until `dry`."""

        def run() -> None:
            started, sent = time.monotonic(), 0
            while not self._stop.is_set():
                due = int((time.monotonic() - started) * per_second)
                now = _now()
                for _ in range(due - sent):
                    customer, value, astray = self.load.event(now)
                    self._send(USAGE_EVENTS, customer, value, astray)
                    if self.random.random() < 0.01:
                        self._send(COMMANDS, *self.load.authorize(now))
                sent = due
                self._producer.poll(0)
                time.sleep(0.01)

        self._thread = threading.Thread(target=run, name="load")
        self._thread.start()

    def dry(self) -> None:
        """No more load; everything that was sent arrived."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        assert self._producer.flush(30.0) == 0
        assert not self._failed, self._failed[0]

    def _send(self, topic: Topic, customer: str, value: bytes, astray: bool = False) -> None:
        key = customer.encode()
        partition = partition_of(key, self.partitions)
        if astray:
            partition = (partition + 1) % self.partitions
        name = self.environment.topic(topic)
        self._producer.produce(name, value, key, partition, on_delivery=self._report)

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error)

    # what came of it

    def follower(self, topic: Topic) -> Follower:
        if topic.name not in self._followers:
            self._followers[topic.name] = Follower(self, topic)
        return self._followers[topic.name]

    def decided(self, limit_s: float = 90.0) -> None:
        """Wait until all that was sent is decided."""

        missing = set(self.load.sent)
        unanswered = set(self.load.commands)
        journal, decisions = self.follower(BALANCE_CHANGES), self.follower(DECISIONS)
        letters = self.follower(DEAD_LETTERS)

        def done() -> bool:
            for message in journal.read():
                entry = json.loads(message.value() or b"")
                missing.discard((entry["subject"], entry["data"].get("id")))
            for message in decisions.read():
                unanswered.discard(json.loads(message.value() or b"")["id"])
            letters.read()
            return not missing and not unanswered and len(letters.messages) >= self.load.broken

        until(done, limit_s, "not everything is decided")
        until(self._taken, limit_s, "not everything is taken")

    def _taken(self) -> bool:
        """Whether the group's offsets are behind the last record of each input."""
        for topic in (USAGE_EVENTS, COMMANDS):
            follower = self.follower(topic)
            follower.read_to_the_end()
            asked = [
                TopicPartition(self.environment.topic(topic), number) for number in follower.next
            ]
            for found in self._group.committed(asked, 10.0):
                if found.offset < follower.next[found.partition]:
                    return False
        return True

    def debited(self) -> int:
        """How many events the group has behind it, about."""
        asked = [
            TopicPartition(self.environment.topic(USAGE_EVENTS), number)
            for number in range(self.partitions)
        ]
        return sum(max(where.offset, 0) for where in self._group.committed(asked, 10.0))

    def trim(self, topic: Topic) -> None:
        """Delete what the group has behind it, as retention does."""
        asked = [
            TopicPartition(self.environment.topic(topic), number)
            for number in range(self.partitions)
        ]
        decided = [where for where in self._group.committed(asked, 10.0) if where.offset > 0]
        assert decided
        admin = self.cluster.admin()  # answers come only while it lives
        for trimmed in admin.delete_records(decided).values():
            trimmed.result()

    def verdict(self) -> None:
        """Nothing is lost, nothing counted twice, and every digit is right."""
        journal = self.follower(BALANCE_CHANGES).read_to_the_end()
        rows = self.follower(BALANCES).read_to_the_end()
        letters = self.follower(DEAD_LETTERS).read_to_the_end()
        decisions = self.follower(DECISIONS).read_to_the_end()
        wrongs = judge.wrongs(
            [(m.key() or b"", m.value() or b"") for m in journal],
            [(m.key() or b"", m.value()) for m in rows],
            {m.value() or b"": str(m.headers()) for m in journal if m.headers()},
        )
        assert wrongs == []
        entries = [json.loads(m.value() or b"") for m in journal]
        debited = Counter(
            (entry["subject"], entry["data"]["id"])
            for entry in entries
            if "source" in entry["data"]
        )
        assert debited == Counter(self.load.sent.keys())
        answers = Counter(json.loads(m.value() or b"")["id"] for m in decisions)
        assert answers == Counter(self.load.commands)
        assert len(letters) == self.load.broken
        last = {(m.key() or b"").decode(): m.value() or b"" for m in rows}
        assert self._balances(last) == self.load.balances()
        assert _folded([m.value() or b"" for m in journal]) == last
        self._last = last

    def _balances(self, rows: dict[str, bytes]) -> dict[tuple[str, str], Decimal]:
        return {
            (customer, account["asset"]): Decimal(account["balance"])
            for customer, row in rows.items()
            for account in json.loads(row)["accounts"]
        }

    def verdict_on_stores(self, *settlers: Settler) -> None:
        """Each partition's store, at the process that served it last, holds the rows that were
        published. Stops the processes."""
        _, cluster_id = partitions_of(self.cluster, self.environment)
        serving = {settler: settler.serving() for settler in settlers}
        found: dict[str, bytes] = {}
        for settler, numbers in serving.items():
            assert settler.stop() == 0, settler.log()[-3000:]
            directory = settler.home / "stores" / self.environment.name / settler.instance
            stores = RocksStores(directory)
            for number in numbers:
                topic = self.environment.topic(BALANCE_CHANGES)
                store = stores.open(Owner(cluster_id, topic, number, self.partitions))
                found.update(store.all_rows())
                store.close()
        assert found == self._last


def _folded(journal: list[bytes]) -> dict[str, bytes]:
    """The rows that the journal alone makes."""
    rows: dict[str, Row] = {}

    class View:
        def row(self, key: str) -> Row | None:
            return rows.get(key)

        def identity(self, key: bytes) -> bytes | None:
            return None

    for value in journal:
        for key, row in evolve(View(), unseal(value)).items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
    return {key: row_bytes(row) for key, row in rows.items()}


def _now() -> str:
    return timestamp_text(datetime.now(UTC))
