"""Scenarios on a real broker: settlement's own worker, topics of their own, and a settable clock.

The topics take the producer's times (CreateTime), and the worker's clock is ours: it stands still
until the scenario says it is later, and stops at every instant at which a timer is due. Nothing is
waited for by the clock of the machine but answers of the broker.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition
from prometheus_client import CollectorRegistry

from drawdown import topics
from drawdown.events.base import moment
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    PRICE_BOOK,
    SCENARIO,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.events.deadletters import HEADER_PREFIX
from drawdown.events.pricebook import PriceBook
from drawdown.scenarios.happenings import Sent
from drawdown.scenarios.world import Outcome
from drawdown.settlement.books import BookShelf
from drawdown.settlement.publish import publish
from drawdown.settlement.service import GROUP, make_worker
from drawdown.stream import kafka
from drawdown.stream.clock import SystemClock
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.partition import partition_of
from drawdown.stream.partition_log import Ends
from drawdown.stream.ports import Consumer
from drawdown.stream.store import RocksStores

PARTITIONS: Final = 2
WAIT_S: Final = 60.0
"""For the broker and the worker to do what they were asked to."""
INPUTS: Final = {topic.name: topic for topic in (USAGE_EVENTS, COMMANDS)}
OUTPUTS: Final = (BALANCE_CHANGES, BALANCES, DECISIONS, DEAD_LETTERS)


class KafkaWorldError(Exception):
    """Settlement or the broker did not do what it was asked to; says what."""


class SettableClock(SystemClock):
    """The machine's clock for how long something takes, and a time of its own for what time it
    is."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms


class KafkaWorld:
    """A `World` on a broker; made by `kafka_world`."""

    def __init__(self, cluster: KafkaCluster, environment: Environment, directory: Path) -> None:
        self._cluster = cluster
        self._environment = environment
        self._clock = SettableClock()
        self._shelf = BookShelf(cluster, environment, kafka.reader(), self._clock)
        self._worker = make_worker(
            cluster,
            environment,
            SCENARIO,
            RocksStores(directory),
            self._clock,
            metrics=StreamMetrics(CollectorRegistry()),
            shelf=self._shelf,
        )
        self._producer = cluster.producer(kafka.plain_producer())
        self._group = cluster.consumer(kafka.reader(f"{environment.name}.{GROUP}"))
        self._outputs = _Outputs(cluster, environment)
        self.places: defaultdict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
        """Where the records landed: partitions and offsets by topic, customer and id."""

    def close(self) -> None:
        self._worker.close()
        self._shelf.close()
        self._group.close()
        self._outputs.close()

    def publish(self, book: PriceBook, effective_at_ms: int) -> None:
        now = moment(self._clock.ms) if self._clock.ms else datetime.now(UTC)
        at, environment = moment(effective_at_ms), self._environment
        _, offset = publish(self._cluster, environment, book, now=now, effective_at=at, force=True)
        self.places[PRICE_BOOK.name, "", book.version].append((0, offset))
        self._turn_until(
            lambda: any(known.version == book.version for known in self._shelf.books),
            f"price book {book.version} is not known to settlement",
        )

    def advance(self, at_ms: int) -> None:
        while (due_ms := self._due_ms(at_ms)) is not None:
            self._clock.ms = max(self._clock.ms, due_ms)
            self._turn_until(
                lambda: self._due_ms(self._clock.ms) is None, "a timer that is due does not fire"
            )
        self._clock.ms = max(self._clock.ms, at_ms)

    def _due_ms(self, until_ms: int) -> int | None:
        """When the next timer is due, if it is by then."""
        # One that recovers, as after a commit that took long, has no store to ask meanwhile.
        self._turn_until(
            lambda: len(self._worker.serving) == PARTITIONS, "not every partition is served"
        )
        due = [
            timer.due_ms
            for store in self._worker.stores.values()
            for timer in store.due(until_ms, 1)
        ]
        return min(due, default=None)

    def take(self, records: Sequence[Sent]) -> list[Outcome]:
        # Records of two topics have no order: those of one are decided before the next are sent.
        outcomes: list[Outcome] = []
        for topic, together in groupby(records, lambda record: record.topic):
            outcomes += self._take(INPUTS[topic], list(together))
        return outcomes

    def _take(self, topic: Topic, records: Sequence[Sent]) -> list[Outcome]:
        landed = [self._send(topic, record) for record in records]
        if self._producer.flush(WAIT_S):
            raise KafkaWorldError(f"{topic.name}: no answer from the broker within {WAIT_S:.0f} s")
        places = [place() for place in landed]
        ends = {partition: offset + 1 for partition, offset in places}
        self._turn_until(lambda: self._decided(topic, ends), f"{topic.name} is not decided")
        self._outputs.read()
        for record, place in zip(records, places, strict=True):
            self.places[topic.name, record.customer, record.id].append(place)
        return [
            self._outputs.outcome(topic, record, place)
            for record, place in zip(records, places, strict=True)
        ]

    def _send(self, topic: Topic, record: Sent) -> Callable[[], tuple[int, int]]:
        """Produce a record; what is returned says where it landed, once it has."""
        told: list[tuple[KafkaError | None, Message]] = []
        key = record.customer.encode()
        self._producer.produce(
            self._environment.topic(topic),
            record.value,
            key,
            partition_of(key, PARTITIONS),
            timestamp=self._clock.ms,
            on_delivery=lambda error, message: told.append((error, message)),
        )
        self._producer.poll(0)

        def place() -> tuple[int, int]:
            ((error, message),) = told
            if error is not None:
                raise KafkaWorldError(f"{topic.name}: {error.str()}")
            return message.partition() or 0, message.offset() or 0

        return place

    def _decided(self, topic: Topic, ends: Mapping[int, int]) -> bool:
        name = self._environment.topic(topic)
        asked = [TopicPartition(name, partition) for partition in ends]
        return all(
            found.offset >= ends[found.partition] for found in self._group.committed(asked, WAIT_S)
        )

    def _turn_until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not done():
            if self._worker.stopped:
                raise KafkaWorldError(f"{what}: {self._worker.stopped}")
            if time.monotonic() > deadline:
                raise KafkaWorldError(f"{what} within {WAIT_S:.0f} s")
            self._worker.turn()

    def journal(self, customer: str) -> Sequence[bytes]:
        self._outputs.read()
        return self._outputs.journal[customer]

    def wallet(self, customer: str) -> Mapping[str, Any] | None:
        value = self.rows().get(customer)
        return None if value is None else json.loads(value)

    def rows(self) -> Mapping[str, bytes]:
        self._outputs.read()
        return self._outputs.rows


class _Outputs:
    """What settlement wrote, read_committed, as anybody would read it."""

    def __init__(self, cluster: KafkaCluster, environment: Environment) -> None:
        self._consumer: Consumer = cluster.consumer(kafka.reader())
        # Not asked of the one that reads: there each end waits behind a fetch that finds nothing.
        self._ends = Ends(cluster)
        self._topics = {environment.topic(topic): topic for topic in OUTPUTS}
        self._next = {(name, number): 0 for name in self._topics for number in range(PARTITIONS)}
        self._consumer.assign(
            [TopicPartition(name, number, OFFSET_BEGINNING) for name, number in self._next]
        )
        self.journal: defaultdict[str, list[bytes]] = defaultdict(list)
        self.rows: dict[str, bytes] = {}
        self._answers: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._refused: dict[tuple[str, int, int], tuple[str, str]] = {}

    def read(self) -> None:
        """Everything there is by now, also what was committed and is not marked yet."""
        ends = {
            (topic, number): self._ends.bounds(topic, number, WAIT_S)[1]
            for topic, number in self._next
        }
        deadline = time.monotonic() + WAIT_S
        while any(self._next[where] < end for where, end in ends.items()):
            message = self._consumer.poll(WAIT_S)
            if message is None or time.monotonic() > deadline:
                raise KafkaWorldError("what settlement wrote cannot be read")
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaWorldError(f"what settlement wrote cannot be read: {error.str()}")
            where = (message.topic() or "", message.partition() or 0)
            offset = message.offset() or 0
            self._next[where] = max(self._next[where], offset + (error is None))
            if error is None:
                self._take(self._topics[where[0]], message)

    def _take(self, topic: Topic, message: Message) -> None:
        key, value = (message.key() or b"").decode(), message.value()
        if topic is BALANCE_CHANGES:
            self.journal[key].append(value or b"")
        elif topic is DECISIONS:
            decision = json.loads(value or b"")
            self._answers[key, decision["id"]] = decision
        elif topic is DEAD_LETTERS:
            headers: dict[str, Any] = dict(message.headers() or [])
            name, partition, offset, reason, detail = (
                headers[HEADER_PREFIX + field].decode()
                for field in ("topic", "partition", "offset", "reason", "detail")
            )
            self._refused[name, int(partition), int(offset)] = reason, detail
        elif value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value

    def outcome(self, topic: Topic, record: Sent, place: tuple[int, int]) -> Outcome:
        refused = self._refused.get((topic.name, *place))
        answer = None if topic is USAGE_EVENTS else self._answers.get((record.customer, record.id))
        if refused is None:
            return Outcome(answer)
        return Outcome(answer, *refused)

    def close(self) -> None:
        self._consumer.close()
        self._ends.close()


@contextmanager
def kafka_world(cluster: KafkaCluster) -> Iterator[KafkaWorld]:
    """A world on a broker, with topics that are deleted in the end. Raises KafkaWorldError, and
    what Kafka raises."""
    environment = Environment(f"{SCENARIO}-{secrets.token_hex(4)}")
    admin = cluster.admin()
    topics.create(admin, environment, PARTITIONS)
    try:
        with tempfile.TemporaryDirectory(prefix="drawdown-scenario-") as directory:
            world = KafkaWorld(cluster, environment, Path(directory))
            try:
                yield world
            finally:
                world.close()
    finally:
        topics.delete(admin, environment)
