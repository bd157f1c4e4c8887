"""The in-memory cluster: what a test or a simulator holds in its hands.

Single-threaded and deterministic: the same calls at the same times give the same log. Nothing
sleeps; time is what `now_ms` says, and where a real client would wait, `idle` is called once with
the seconds it would wait at most, and may move that time, or let other processes work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, Message

from drawdown.stream.ports import GroupState

from . import errors
from .broker import Broker
from .client import Client, Process
from .consumer import MemoryConsumer
from .faults import Faults
from .group import Group
from .log import PartitionLog, Topic
from .producer import MemoryProducer


class MemoryProcess(Process):
    """A process of the cluster, and a `stream.ports.Cluster` to what runs in it."""

    def consumer(self, config: Mapping[str, Any]) -> MemoryConsumer:
        """A consumer that lives and dies with this process."""
        return MemoryConsumer(self, config)

    def producer(self, config: Mapping[str, Any]) -> MemoryProducer:
        """A producer that lives and dies with this process."""
        return MemoryProducer(self, config)

    def group(self, name: str) -> Future[GroupState]:
        """What the coordinator says of a group; answered at once."""
        self.broker.tick()
        answer: Future[GroupState] = Future()
        if self.reachable:
            answer.set_result(self.broker.group(name).state())
        else:
            answer.set_exception(errors.failed(KafkaError._TIMED_OUT, "Local: Timed out"))
        return answer


class MemoryCluster:
    """A Kafka cluster in memory; see `stream.ports.Cluster`.

    `now_ms` is the time of the broker and of all clients, ms since the epoch.
    `faults` is where a simulator says what goes wrong.
    """

    def __init__(
        self, now_ms: Callable[[], int], idle: Callable[[float], None] | None = None
    ) -> None:
        self.faults = Faults()
        self._broker = Broker(now_ms, idle)
        self._processes = 0

    # Clients

    def process(self, name: str | None = None) -> MemoryProcess:
        """A new process: a cluster whose clients can be killed, paused or cut off together."""
        self._processes += 1
        return MemoryProcess(name or f"process-{self._processes}", self._broker, self.faults)

    def consumer(self, config: Mapping[str, Any]) -> MemoryConsumer:
        """A consumer in a process of its own."""
        return self.process().consumer(config)

    def producer(self, config: Mapping[str, Any]) -> MemoryProducer:
        """A producer in a process of its own."""
        return self.process().producer(config)

    def group(self, name: str) -> Future[GroupState]:
        """What the coordinator says of a group."""
        return self.process().group(name)

    def kill(self, client: Client) -> None:
        """SIGKILL the process of a client."""
        client.process.kill()

    def pause(self, client: Client) -> None:
        """SIGSTOP the process of a client."""
        client.process.pause()

    def resume(self, client: Client) -> None:
        """SIGCONT the process of a client."""
        client.process.resume()

    # The broker

    def stop_broker(self) -> None:
        """Nothing is answered from now on; what is in the log stays."""
        self._broker.stop()

    def start_broker(self) -> None:
        """The broker is back."""
        self._broker.start()

    def forget_transaction(self, transactional_id: str) -> None:
        """Leave the last transaction of a producer without an end, as Kafka may when the broker is
        killed: the open one, or a committed one whose markers are still to come."""
        self._broker.forget(transactional_id)

    def set_clock(self, ahead_ms: int) -> None:
        """By how much what the broker stamps is ahead of the time; behind where negative. What it
        waits for it times by a clock that does not jump."""
        self._broker.ahead_ms = ahead_ms

    def tick(self) -> None:
        """Let what has come due happen, without any client calling."""
        self._broker.tick()

    # Topics

    def create_topic(
        self, name: str, partitions: int, config: Mapping[str, str] | None = None
    ) -> None:
        """Create a topic. Of its settings `message.timestamp.type`, `max.message.bytes` and
        `cleanup.policy` have a meaning here; their defaults are Kafka's."""
        self._broker.tick()
        if name in self._broker.topics:
            raise ValueError(f"topic {name} exists already")
        self._broker.create(Topic(name, partitions, dict(config or {})))

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all it holds. A new one of that name begins at offset 0 again."""
        self._broker.tick()
        self._broker.delete(name)

    def trim(self, topic: str, partition: int, offset: int) -> None:
        """Forget what is before `offset`, at most up to the last stable offset."""
        self._broker.tick()
        self._log(topic, partition).trim(offset)

    def compact(self, topic: str, *, tombstones: bool = False) -> None:
        """Keep the last committed record of each key, below the last stable offset; aborted records
        go. With `tombstones`, tombstones go as well."""
        self._broker.tick()
        for log in self._broker.topics[topic].logs:
            log.compact(tombstones)

    # For checkers

    def records(self, topic: str, partition: int, *, committed: bool = True) -> list[Message]:
        """What the partition holds: as a read_committed reader sees it, or every record."""
        self._broker.tick()
        return list(self._log(topic, partition).records(committed))

    def watermarks(self, topic: str, partition: int) -> tuple[int, int, int]:
        """(start, last stable offset, high watermark)."""
        self._broker.tick()
        log = self._log(topic, partition)
        return log.start, log.last_stable, log.end

    def offsets(self, group: str) -> dict[tuple[str, int], int]:
        """What a group has committed, by topic and partition."""
        self._broker.tick()
        return dict(self._group(group).offsets)

    def owners(self, group: str) -> dict[tuple[str, int], str]:
        """Which member (its instance id, if it has one) holds which partition, as the members
        themselves believe: in the middle of a takeover two may."""
        self._broker.tick()
        return {
            partition: member.instance or member.id
            for member in self._group(group).members.values()
            for partition in member.owned
        }

    def _log(self, topic: str, partition: int) -> PartitionLog:
        log = self._broker.log(topic, partition)
        if log is None:
            raise KeyError(f"{topic}[{partition}] does not exist")
        return log

    def _group(self, name: str) -> Group:
        return self._broker.group(name)
