"""The consumer of the in-memory log: the calls, and what each says when it cannot be answered.

What it reads is the `fetcher`'s, its place in a group the `membership`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

from confluent_kafka import OFFSET_END, OFFSET_INVALID, KafkaError, Message, TopicPartition
from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata, TopicMetadata

from . import errors
from .client import Client, Process
from .faults import Fault
from .fetcher import Fetcher
from .group import Group, Partition
from .membership import Callback, Membership

CLUSTER_ID: Final = "memory"


class MemoryConsumer(Client):
    """See `stream.ports.Consumer`."""

    def __init__(self, process: Process, config: Mapping[str, Any]) -> None:
        super().__init__(process, config)
        if not config.get("group.id"):
            raise ValueError("Failed to create consumer: group.id must be set")
        self.group_id = str(config["group.id"])
        self.instance: str | None = config.get("group.instance.id")
        self._committed_only = config.get("isolation.level", "read_committed") == "read_committed"
        self._fetcher = Fetcher(
            self._broker,
            self.group_id,
            self._committed_only,
            str(config.get("enable.partition.eof", False)).lower() in ("true", "1"),
            str(config.get("auto.offset.reset", "largest")),
        )
        self._membership: Membership | None = None
        self._closed = False

    # Reading

    def poll(self, timeout: float = -1) -> Message | None:
        """The next message or event. With none there, one chance for time to pass."""
        if self._begin("poll") is not None:
            self._wait(timeout)
            return None
        message = self._next()
        if message is None and self._wait(timeout):
            message = self._next()
        self._leave("poll")
        return message

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """What is there, up to `num_messages`; if that is less, one chance for time to pass."""
        messages: list[Message] = []
        if self._begin("consume") is not None:
            self._wait(timeout)
            return messages
        self._fill(messages, num_messages)
        if len(messages) < num_messages and self._wait(timeout):
            self._fill(messages, num_messages)
        self._leave("consume")
        return messages

    def _fill(self, messages: list[Message], count: int) -> None:
        while len(messages) < count:
            message = self._next()
            if message is None:
                return
            messages.append(message)

    def _next(self) -> Message | None:
        if self._membership is not None:
            self._membership.serve()
        if not self.process.reachable:
            return self._fetcher.events.popleft() if self._fetcher.events else None
        return self._fetcher.next()

    # Positions

    def seek(self, partition: TopicPartition) -> None:
        """Go on from another offset. Raises _STATE where the partition is not being fetched."""
        self._begin("seek")
        fetch = self._fetcher.of(partition)
        if fetch is None and not any(t == partition.topic for t, _ in self._fetcher.fetches):
            raise errors.failed(
                KafkaError._UNKNOWN_PARTITION,
                f"Failed to seek to offset {partition.offset}: Local: Unknown partition",
            )
        if fetch is None or fetch.stopped:
            raise errors.state(
                f"Failed to seek to offset {partition.offset}: Local: Erroneous state"
            )
        fetch.start = partition.offset
        fetch.seen = OFFSET_INVALID
        fetch.eof_at = -1

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """One past the last entry passed, markers included; -1001 before the first."""
        self._begin("position")
        positions = []
        for asked in partitions:
            fetch = self._fetcher.of(asked)
            offset = OFFSET_INVALID if fetch is None else fetch.seen
            positions.append(TopicPartition(asked.topic, asked.partition, offset))
        return positions

    def committed(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """The group's offsets, -1001 for none. Raises _TIMED_OUT while one is pending."""
        fault = self._begin("committed")
        group = self._broker.group(self.group_id)
        keys = [(asked.topic, asked.partition) for asked in partitions]
        if fault is not None or not self._stable(group, keys):
            waited = self._wait(timeout)
            if fault is not None or not waited or not self._stable(group, keys):
                raise errors.failed(
                    KafkaError._TIMED_OUT, "Failed to get committed offsets: Local: Timed out"
                )
        found = [
            TopicPartition(topic, partition, group.offsets.get((topic, partition), OFFSET_INVALID))
            for topic, partition in keys
        ]
        self._leave("committed")
        return found

    def commit(
        self,
        *,
        offsets: list[TopicPartition],
        asynchronous: Literal[False],  # noqa: ARG002 - the port has no other
    ) -> list[TopicPartition]:
        """Set the group's offsets."""
        fault = self._begin("commit")
        if fault is not None or not self.process.reachable:
            raise errors.failed(KafkaError._TIMED_OUT, "Commit failed: Local: Timed out")
        group, membership = self._broker.group(self.group_id), self._membership
        code = group.refusal(
            -1 if membership is None else membership.generation,
            "" if membership is None else membership.member_id,
            self.instance,
        )
        if code is not None:
            raise errors.failed(code, f"Commit failed: {KafkaError(code).str()}")
        group.offsets.update({(each.topic, each.partition): each.offset for each in offsets})
        self._leave("commit")
        return offsets

    def _stable(self, group: Group, keys: list[Partition]) -> bool:
        if not self.process.reachable:
            return False
        return not (self._committed_only and group.pending(keys))

    def get_watermark_offsets(
        self, partition: TopicPartition, timeout: float = -1, cached: bool = False
    ) -> tuple[int, int]:
        """(low, high); see the port for which high. Cached ones are unknown before a fetch."""
        fault = self._begin("get_watermark_offsets")
        if cached:
            fetch = self._fetcher.of(partition)
            if fetch is None or fetch.log is None or fetch.start is not None:
                return OFFSET_INVALID, OFFSET_INVALID
            return fetch.log.start, fetch.log.end
        if fault is not None or not self._answered(timeout):
            raise errors.failed(
                KafkaError._TIMED_OUT, "Failed to get watermark offsets: Local: Timed out"
            )
        log = self._broker.log(partition.topic, partition.partition)
        if log is None:
            raise errors.failed(
                KafkaError._UNKNOWN_PARTITION,
                "Failed to get watermark offsets: Local: Unknown partition",
            )
        self._leave("get_watermark_offsets")
        return log.start, self._fetcher.end(log)

    def offsets_for_times(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        """For each time (in `offset`, ms) the first entry stamped then or later, which may be a
        marker; -1 where there is none that this reader may see."""
        fault = self._begin("offsets_for_times")
        if fault is not None or not self._answered(timeout):
            raise errors.failed(KafkaError._TIMED_OUT, "Failed to get offsets: Local: Timed out")
        found = []
        for asked in partitions:
            log = self._broker.log(asked.topic, asked.partition)
            if log is None:
                raise errors.failed(
                    KafkaError._UNKNOWN_PARTITION, "Failed to get offsets: Local: Unknown partition"
                )
            offset = log.first_at(asked.offset)
            if offset is None or offset >= self._fetcher.end(log):
                offset = OFFSET_END
            found.append(TopicPartition(asked.topic, asked.partition, offset))
        self._leave("offsets_for_times")
        return found

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Hand out nothing of these; those that are not assigned are passed over."""
        self._begin("pause")
        for asked in partitions:
            fetch = self._fetcher.of(asked)
            if fetch is not None:
                fetch.paused = True

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Go on where `pause` stopped; the end is reported again."""
        self._begin("resume")
        for asked in partitions:
            fetch = self._fetcher.of(asked)
            if fetch is not None and fetch.paused:
                fetch.paused = False
                fetch.eof_at = -1

    # Assignment

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these and nothing else, from their offsets; -1001 is the group's."""
        self._begin_assignment("assign")
        self._fetcher.clear()
        self._fetcher.add(partitions)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Read these as well. Raises _CONFLICT for one that is assigned already."""
        self._begin_assignment("incremental_assign")
        for asked in partitions:
            if self._fetcher.of(asked) is not None:
                raise errors.failed(
                    KafkaError._CONFLICT,
                    f"{asked.topic} [{asked.partition}] is already part of the current assignment",
                )
        self._fetcher.add(partitions)

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Read these no more. Raises _INVALID_ARG for one that is not assigned."""
        self._begin_assignment("incremental_unassign")
        for asked in partitions:
            if self._fetcher.of(asked) is None:
                raise errors.failed(
                    KafkaError._INVALID_ARG,
                    f"{asked.topic} [{asked.partition}] can't be unassigned since it is not in the"
                    " current assignment",
                )
        self._fetcher.drop((asked.topic, asked.partition) for asked in partitions)

    def assignment(self) -> list[TopicPartition]:
        """What is assigned, with the offsets asked for then."""
        self._begin("assignment")
        return [
            TopicPartition(fetch.topic, fetch.partition, fetch.assigned_at)
            for fetch in self._fetcher.fetches.values()
        ]

    def _begin_assignment(self, call: str) -> None:
        self._begin(call)
        if self._membership is not None:
            self._membership.assigned_by_callback = True

    # Group

    def subscribe(
        self,
        topics: list[str],
        on_assign: Callback | None = None,
        on_revoke: Callback | None = None,
        on_lost: Callback | None = None,
    ) -> None:
        """Join the group. Subscribing to the same topics again only changes the callbacks."""
        self._begin("subscribe")
        if self._membership is None:
            group = self._broker.group(self.group_id)
            self._membership = Membership(self, self.process, group, self._fetcher, self.config)
        self._membership.subscribe(topics, on_assign, on_revoke, on_lost)

    def unsubscribe(self) -> None:
        """Give everything back, with the next poll. Subscribing again then asks for a rebalance,
        which a static member's restart does not."""
        self._begin("unsubscribe")
        if self._membership is not None:
            self._membership.unsubscribe()

    def consumer_group_metadata(self) -> bytes:
        """The member as the group knew it at the last poll, in librdkafka's own encoding."""
        self._begin("consumer_group_metadata")
        membership = self._membership
        instance = b"\1" if self.instance is None else b"\0%s\0" % self.instance.encode()
        return b"CGMDv2:%s%s\0%s\0%s" % (
            struct.pack("<i", -1 if membership is None else membership.generation),
            self.group_id.encode(),
            b"" if membership is None else membership.member_id.encode(),
            instance,
        )

    def close(self) -> None:
        """Give everything back and leave; a static member's place stays until its session ends."""
        if self._closed:
            return
        self._begin("close")
        if self._membership is not None:
            self._membership.close()
        self._fetcher.clear()
        self._closed = True
        self.process.clients.remove(self)

    def silence(self) -> None:
        """Its process sends no heartbeats from now on."""
        if self._membership is not None:
            self._membership.silence()

    def speak(self) -> None:
        """Its process sends heartbeats again."""
        if self._membership is not None:
            self._membership.speak()

    # The cluster

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        """Topics and their partitions; one that is asked for and missing carries an error."""
        fault = self._begin("list_topics")
        if fault is not None or not self._answered(timeout):
            raise errors.failed(
                KafkaError._TRANSPORT, "Failed to get metadata: Local: Broker transport failure"
            )
        metadata: Any = ClusterMetadata()
        metadata.cluster_id = CLUSTER_ID
        for name in self._broker.topics if topic is None else (topic,):
            metadata.topics[name] = self._describe(name)
        self._leave("list_topics")
        return metadata

    def _describe(self, name: str) -> Any:
        described: Any = TopicMetadata()
        described.topic = name
        found = self._broker.topics.get(name)
        if found is None:
            described.error = KafkaError(
                KafkaError.UNKNOWN_TOPIC_OR_PART, "Broker: Unknown topic or partition"
            )
            return described
        for log in found.logs:
            partition = PartitionMetadata()
            partition.id, partition.leader = log.partition, 1
            partition.replicas, partition.isrs = [1], [1]
            described.partitions[log.partition] = partition
        return described

    # Calls

    def _begin(self, call: str) -> Fault | None:
        if self._closed:
            raise RuntimeError("Consumer closed")
        return self._enter(call)

    def _answered(self, timeout: float) -> bool:
        """Whether the broker answers within the timeout."""
        if self.process.reachable:
            return True
        return self._wait(timeout) and self.process.reachable
