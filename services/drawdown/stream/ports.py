"""What the stream asks of a log: the narrow part of confluent-kafka it uses, as protocols.

Two implementations stand behind these: `stream.kafka` (a real cluster) and `stream.memory` (the
in-memory log of the tests and the simulator). One contract suite, `tests/stream/contract/`, runs
over both, so that what a fast test shows is what a broker does. Messages, topic partitions and
errors are confluent-kafka's own classes in both: an error's `fatal()`, `retriable()` and
`txn_requires_abort()` decide what the loop does next, and must mean the same everywhere.

Nothing here adds a feature or hides a habit of Kafka; where a call may block, it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from confluent_kafka import KafkaError, Message, TopicPartition

RebalanceCallback = Callable[[Any, list[TopicPartition]], None]
DeliveryCallback = Callable[[KafkaError | None, Message], None]
Headers = list[tuple[str, bytes | None]]


class Consumer(Protocol):
    """Reads a log, read_committed. Not thread-safe in the memory log."""

    def subscribe(
        self,
        topics: list[str],
        on_assign: RebalanceCallback = ...,
        on_revoke: RebalanceCallback = ...,
        on_lost: RebalanceCallback = ...,
    ) -> None:
        """Join the group; the callbacks run inside `poll` and `consume`, cooperatively: they are
        handed only what is added or taken away. Subscribing to the same topics again changes only
        the callbacks."""

    def unsubscribe(self) -> None:
        """Give everything back with the next poll. Subscribing again then asks for a rebalance,
        which a static member's restart does not: a restart between the two steps of a cooperative
        rebalance leaves partitions without an owner until somebody asks for another one."""

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def incremental_assign(self, partitions: list[TopicPartition]) -> None: ...

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None: ...

    def assignment(self) -> list[TopicPartition]: ...

    def poll(self, timeout: float = ...) -> Message | None:
        """The next message or event, waiting at most `timeout` seconds. Compare with None: a
        message without a value (a tombstone) counts as false. A fenced static member is told once,
        in a message of code _FATAL whose `fatal()` is False, and is handed nothing from then on."""

    def consume(self, num_messages: int = ..., timeout: float = ...) -> list[Message]:
        """Up to `num_messages`. Waits for all of them or the timeout: 0 takes what is there."""

    def seek(self, partition: TopicPartition) -> None: ...

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The next offset to be handed out; OFFSET_INVALID (-1001) before the first."""

    def committed(
        self, partitions: list[TopicPartition], timeout: float = ...
    ) -> list[TopicPartition]:
        """The group's offsets; waits for offsets that are pending in an open transaction.
        -1001 where the group has none. Raises KafkaException when the timeout passes."""

    def commit(
        self, *, offsets: list[TopicPartition], asynchronous: Literal[False]
    ) -> list[TopicPartition]:
        """Set the group's offsets outside of any transaction, and wait for the answer. Raises
        KafkaException where the member is none any more. Not for money: there they are in the
        transaction."""

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = ..., cached: bool = ...
    ) -> tuple[int, int]:
        """(low, high). Asked of the broker, the high one depends on the reader: read_committed is
        told the last stable offset, read_uncommitted the high watermark, where every appended
        record counts, also those of open transactions. With `cached`, it is the high watermark of
        the last fetch for both; (-1001, -1001) before one."""

    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float = ...
    ) -> list[TopicPartition]:
        """The first offset appended at or after each given time (in `offset`, Unix ms); -1 where
        there is none."""

    def pause(self, partitions: list[TopicPartition]) -> None: ...

    def resume(self, partitions: list[TopicPartition]) -> None: ...

    def consumer_group_metadata(self) -> Any:
        """Opaque; the member's generation, for `send_offsets_to_transaction`."""

    def list_topics(self, topic: str | None = ..., timeout: float = ...) -> Any:
        """Cluster metadata: `.topics[name].partitions`, `.cluster_id`."""

    def close(self) -> None:
        """Leave the group (a static member keeps its place until its session ends)."""


class Producer(Protocol):
    """Writes a log; transactional when configured with a `transactional.id`."""

    def init_transactions(self, timeout: float = ...) -> None:
        """Take the next epoch of the transactional id: older producers are fenced and their open
        transaction is ended."""

    def begin_transaction(self) -> None: ...

    def produce(
        self,
        topic: str,
        value: bytes | None = ...,
        key: bytes | None = ...,
        partition: int = ...,
        *,
        headers: Headers | None = ...,
        timestamp: int = ...,
        on_delivery: DeliveryCallback | None = ...,
    ) -> None:
        """Queue one record. `timestamp` (ms; 0: now) counts on a CreateTime topic. What became of
        it is told to `on_delivery`, if given, inside a later `poll`, `flush`, commit or abort.
        Raises BufferError when the local queue is full."""

    def produce_batch(
        self, topic: str, messages: list[dict[str, Any]], partition: int = ...
    ) -> int:
        """Queue records without headers: dicts of `value`, `key` and, where one is asked back
        about, `callback`, called as `on_delivery` is. A `partition` in a dict is passed over in
        silence: only the argument counts. Returns how many were queued; those that were not carry
        `_error`."""

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float = ...
    ) -> None: ...

    def commit_transaction(self, timeout: float = ...) -> None: ...

    def abort_transaction(self, timeout: float = ...) -> None: ...

    def poll(self, timeout: float = ...) -> int: ...

    def flush(self, timeout: float = ...) -> int: ...

    def purge(self, in_queue: bool = ..., in_flight: bool = ...) -> None: ...


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group as its coordinator sees it."""

    stable: bool
    """No rebalance is going on."""
    members: Mapping[str, frozenset[tuple[str, int]]]
    """Topics and partitions assigned to each, by instance id, or member id where it has none."""
    clients: Mapping[str, str]
    """The `client.id` of each."""


class Cluster(Protocol):
    """Where consumers and producers come from: one per process or test."""

    def consumer(self, config: Mapping[str, Any]) -> Consumer:
        """A consumer with librdkafka's property names (`group.id`, `group.instance.id`,
        `isolation.level`, `auto.offset.reset`, `enable.partition.eof`, ...)."""

    def producer(self, config: Mapping[str, Any]) -> Producer:
        """A producer with librdkafka's property names (`transactional.id`, ...)."""

    def group(self, name: str) -> Future[GroupState]:
        """Ask the coordinator for a group; does not wait. The answer may be a KafkaException."""


Positions = Sequence[TopicPartition]
