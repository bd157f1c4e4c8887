"""The two worlds of the contract, behind one face, and the words its tests are written in.

`MemoryWorld` is the in-memory log on a clock that moves when somebody waits; `KafkaWorld`, in a
file of its own, is a broker. A test says what must come true, and lets `until` get there.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from drawdown.stream import kafka, ports
from drawdown.stream.memory import MemoryCluster, MemoryProcess

LIMIT_S = 20.0
"""How long anything may take before a test fails."""
SESSION_S = 1.5
TRANSACTION_S = 1.0
POLL_INTERVAL_S = 2.0
SEGMENT_MS = 100


class Process(ports.Cluster, ABC):
    """Where clients live that are killed or stopped together."""

    @abstractmethod
    def kill(self) -> None: ...

    @abstractmethod
    def pause(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...


class World(ABC):
    """A cluster to be tested."""

    threads = 8

    def __init__(self, cluster: ports.Cluster) -> None:
        self.cluster = cluster
        self.consumers: list[ports.Consumer] = []

    def topic(self, partitions: int = 1, **settings: Any) -> str:
        """A new topic; settings with underscores for dots."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.create(name, partitions, {k.replace("_", "."): str(v) for k, v in settings.items()})
        return name

    @abstractmethod
    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None: ...

    @abstractmethod
    def delete(self, topic: str) -> None: ...

    @abstractmethod
    def trim(self, topic: str, partition: int, offset: int) -> None: ...

    @abstractmethod
    def compact(self, topic: str, until_gone: int) -> None:
        """Compact partition 0 until the record at that offset is gone."""

    @abstractmethod
    def end_segment(self) -> None:
        """Compaction is to reach up to here at least, where segments end after `SEGMENT_MS`."""

    @abstractmethod
    def process(self) -> Process: ...

    @abstractmethod
    def stop_broker(self) -> None:
        """It answers nothing; connections stay."""

    @abstractmethod
    def start_broker(self) -> None: ...

    @abstractmethod
    def elapse(self, seconds: float) -> None:
        """Let a little time pass."""

    @abstractmethod
    def now_s(self) -> float: ...

    @contextmanager
    def broker_away(self) -> Iterator[None]:
        self.stop_broker()
        try:
            yield
        finally:
            self.start_broker()

    # The cast

    def consumer(self, config: Mapping[str, Any], process: ports.Cluster | None = None) -> Actor:
        """A consumer, closed after the test."""
        actor = Actor(self, (process or self.cluster).consumer(config))
        if process is None:
            self.consumers.append(actor.consumer)
        return actor

    def close(self) -> None:
        """The test is over. A real consumer that is a member and is collected without having been
        closed spins for ever in its destructor."""
        for consumer in self.consumers:
            consumer.close()

    def producer(self, transactional_id: str | None = None, **settings: Any) -> ports.Producer:
        """A transactional producer that is ready, or a plain one if it has no id."""
        if transactional_id is None:
            return self.cluster.producer(kafka.plain_producer() | dotted(settings))
        return self.producers(transactional_id, **settings)[0]

    def producers(self, *transactional_ids: str, **settings: Any) -> list[ports.Producer]:
        """Several at once: each waits half a second for a transaction that it has to end."""
        # However slow the machine, no transaction is to time out that is not meant to.
        config = {"transaction.timeout.ms": 60_000} | dotted(settings)
        producers = [
            self.cluster.producer(kafka.money_producer(id) | config) for id in transactional_ids
        ]
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(lambda producer: producer.init_transactions(LIMIT_S), producers):
                pass
        return producers

    def reader(self, *positions: tuple[str, int, int], **settings: Any) -> Actor:
        """A read_committed reader of these (topic, partition, offset)."""
        reader = self.consumer(kafka.reader(new_id()) | dotted(settings))
        reader.consumer.assign([TopicPartition(*position) for position in positions])
        return reader

    def member(
        self,
        group: str,
        topic: str,
        instance: str | None = None,
        process: ports.Cluster | None = None,
        **settings: Any,
    ) -> Actor:
        """A member of a group; a static one if it has an instance."""
        member = self.consumer(member_config(group, instance) | dotted(settings), process)
        member.subscribe(topic)
        return member

    def until(self, condition: Callable[[], bool], *actors: Actor) -> None:
        """Let the actors work, in turn, until something is true."""
        end_s = self.now_s() + LIMIT_S
        while not condition():
            assert self.now_s() < end_s, f"not within {LIMIT_S:.0f} s"
            for actor in actors:
                actor.step()
            if not actors:
                self.elapse(0.02)

    def settle(self, topic: str, *ends: int) -> None:
        """Wait until all is stable up to these ends, by partition: a commit is answered before its
        markers are written."""
        reader = self.reader()
        for partition, end in enumerate(ends):
            self.until(lambda p=partition, e=end: reader.watermarks(topic, p)[1] >= e)

    def during(self, seconds: float, *actors: Actor) -> None:
        """Let the actors work for a while: for what must not happen."""
        end_s = self.now_s() + seconds
        self.until(lambda: self.now_s() >= end_s, *actors)


class Actor:
    """A consumer, and what happened to it."""

    def __init__(self, world: World, consumer: ports.Consumer) -> None:
        self.world = world
        self.consumer = consumer
        self.messages: list[Message] = []
        self.errors: list[KafkaError] = []
        self.ends: list[int] = []
        self.calls: list[tuple[str, list[int]]] = []
        self.owned: set[int] = set()

    def subscribe(self, *topics: str) -> None:
        def assigned(_: object, partitions: list[TopicPartition]) -> None:
            self.calls.append(("assigned", [p.partition for p in partitions]))
            self.owned.update(p.partition for p in partitions)

        def revoked(_: object, partitions: list[TopicPartition]) -> None:
            self.calls.append(("revoked", [p.partition for p in partitions]))
            self.owned.difference_update(p.partition for p in partitions)

        def lost(_: object, partitions: list[TopicPartition]) -> None:
            self.calls.append(("lost", [p.partition for p in partitions]))
            self.owned.difference_update(p.partition for p in partitions)

        self.consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def step(self, timeout_s: float = 0.02) -> None:
        """Poll once."""
        self.take(self.consumer.poll(timeout_s))

    def take(self, message: Message | None) -> None:
        if message is None:
            return
        error = message.error()
        if error is None:
            self.messages.append(message)
        elif error.code() == KafkaError._PARTITION_EOF:
            self.ends.append(message.offset() or 0)
        else:
            self.errors.append(error)

    @property
    def values(self) -> list[bytes | None]:
        return [message.value() for message in self.messages]

    @property
    def offsets(self) -> list[int | None]:
        return [message.offset() for message in self.messages]

    @property
    def gained(self) -> list[list[int]]:
        """What it was assigned, call by call, leaving out the empty ones."""
        return [partitions for call, partitions in self.calls if call == "assigned" and partitions]

    def names(self) -> list[str]:
        """Its errors by name."""
        return [error.name() for error in self.errors]

    def read_to(self, *ends: int) -> list[bytes | None]:
        """Read until the end was reported at each of these offsets; all values so far."""
        self.world.until(lambda: set(ends) <= set(self.ends), self)
        return self.values

    def position(self, topic: str, partition: int = 0) -> int:
        return self.consumer.position([TopicPartition(topic, partition)])[0].offset

    def committed(self, topic: str, partition: int = 0, timeout_s: float = LIMIT_S) -> int:
        return self.consumer.committed([TopicPartition(topic, partition)], timeout_s)[0].offset

    def watermarks(self, topic: str, partition: int = 0) -> tuple[int, int]:
        return self.consumer.get_watermark_offsets(TopicPartition(topic, partition), LIMIT_S)


class Reports:
    """A delivery callback that keeps what it is told: error, offset, value."""

    def __init__(self) -> None:
        self.told: list[tuple[str | None, int | None, bytes | None]] = []

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        name = None if error is None else error.name()
        self.told.append((name, message.offset(), message.value()))


class MemoryWorld(World):
    """The in-memory log. A wait takes no time, and moves the clock by all that it may take."""

    threads = 1

    def __init__(self) -> None:
        self.clock_ms = 1_700_000_000_000
        self.meanwhile: Callable[[], object] = lambda: None
        self.memory = MemoryCluster(lambda: self.clock_ms, self._idle)
        super().__init__(self.memory)

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        self.memory.create_topic(topic, partitions, settings)

    def delete(self, topic: str) -> None:
        self.memory.delete_topic(topic)

    def trim(self, topic: str, partition: int, offset: int) -> None:
        self.memory.trim(topic, partition, offset)

    def compact(self, topic: str, until_gone: int) -> None:
        self.memory.compact(topic)

    def end_segment(self) -> None:
        pass

    def process(self) -> MemoryProcess:  # type: ignore[override]
        return self.memory.process()

    def stop_broker(self) -> None:
        self.memory.stop_broker()

    def start_broker(self) -> None:
        self.memory.start_broker()

    def elapse(self, seconds: float) -> None:
        self.clock_ms += max(1, round(seconds * 1000))

    def now_s(self) -> float:
        return self.clock_ms / 1000

    def _idle(self, seconds: float) -> None:
        self.elapse(seconds)
        self.meanwhile()


def new_id() -> str:
    """A name nobody has used."""
    return uuid.uuid4().hex[:12]


def dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in settings.items()}


def member_config(group: str, instance: str | None) -> dict[str, Any]:
    """A member whose session is short enough to wait for."""
    config = kafka.money_consumer(group, instance or "") | {
        "session.timeout.ms": round(SESSION_S * 1000),
        "heartbeat.interval.ms": 100,
        # librdkafka looks at its clock once a second unless something wakes it, and then only sends
        # heartbeats: this does.
        "statistics.interval.ms": 50,
    }
    if instance is None:
        del config["group.instance.id"]
    return config


def error_of(call: Callable[..., object], *arguments: Any) -> KafkaError:
    """The error a call raises."""
    try:
        call(*arguments)
    except KafkaException as raised:
        error: KafkaError = raised.args[0]
        return error
    raise AssertionError(f"{call} raised nothing")


def kind(error: KafkaError) -> tuple[str, list[str]]:
    """An error as what is decided on: its name, and the flags that are set."""
    flags = {
        "fatal": error.fatal(),
        "retriable": error.retriable(),
        "must abort": error.txn_requires_abort(),
    }
    return error.name(), [name for name, is_set in flags.items() if is_set]


Kind = tuple[str, list[str]]
FENCED: Kind = ("_FENCED", ["fatal"])
WRONG_STATE: Kind = ("_STATE", [])
UNANSWERED: Kind = ("_TIMED_OUT", ["retriable"])
