"""One topic followed into a table, always a little behind, and knowing how much.

A follower that cannot reach Kafka, or has failed, leaves its table as it is: what it knows of the
end of the topic grows old, and `Position.stale_ms` says so.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from drawdown.query.errors import NotFollowedError, OtherTopicError, PartitionsError
from drawdown.query.tables import MemoryTable, RocksTable, Table
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.replica")

BATCH: Final = 500
"""Records written at a time. Between two batches other threads get their turn at once, and not only
after the interpreter's 5 ms."""
CONFIRM_S: Final = 0.5
"""The end of the topic is asked for so often."""
SOON_S: Final = 0.02
"""The end is asked for again so soon where it seems to have been reached for the first time."""
AHEAD: Final = {"queued.min.messages": 4_000, "queued.max.messages.kbytes": 4 * 1024}
"""What is fetched ahead, per partition: less than where money is decided, since a copy in memory is
what a process can spare, and what the client once took for its queues it keeps."""
TIMEOUT_S: Final = 10.0
META: Final = b"\x00"
"""Keys of the follower's own: no customer begins so."""

Taken = tuple[bytes, bytes | None]
"""What the table is to have: a key, and its value or None to take it away."""
Take = Callable[[bytes, bytes | None], Taken | None]
"""Of a record's key and value what is kept; None to pass it over."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition was followed."""

    partition: int
    next_offset: int = 0
    """All before it is in the table."""
    caught_up_at: float | None = None
    """By the follower's clock, the last time of which all that was readable on the topic then is in
    the table; None before the end was ever reached."""
    recorded_at_ms: int | None = None
    """When the last record that was read was appended, Unix time; None where none was yet."""

    def stale_ms(self, now: float) -> int | None:
        """How old an answer may be: 0 where nothing is known to be missing; None where the end was
        not reached yet."""
        if self.caught_up_at is None:
            return None
        return int((now - self.caught_up_at) * 1000)


class Follower:
    """Follows one topic into a table: in a thread of its own once it is started, or turn by turn
    for whoever calls `turn`."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        table: Table,
        take: Take,
        changed: Callable[[bytes], None] | None = None,
        *,
        partitions: Collection[int] | None = None,
        kept: str = "",
        confirm_s: float = CONFIRM_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`changed` is told the key of every record that was taken, in the follower's thread, and
        must not raise. `partitions` are those to follow; None is all of them. `kept` says what
        `take` keeps where it is not everything: a table of something else is not gone on with."""
        self._topic = topic
        self._table = table
        self._take = take
        self._changed = changed
        self._wanted = None if partitions is None else frozenset(partitions)
        self._kept = kept
        self._confirm_s = confirm_s
        self._now = now
        self._consumer = cluster.consumer({**kafka.reader(), **AHEAD})
        # Asks for the ends. A broker answers one connection's requests in turn, so on the reading
        # one each question would wait for a fetch to end, 50 ms where nothing comes.
        self._asking = cluster.consumer(kafka.reader())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{topic}", daemon=True)
        self._confirm_at = 0.0
        self._ends: dict[int, tuple[float, int]] = {}
        """Per partition an end that was told and is not reached, and when it was asked for."""
        self._count = 1
        self.positions: dict[int, Position] = {}
        self.failed: str | None = None
        self.settled = threading.Event()
        """Set once every end was reached, or nothing more will be read."""

    def open(self) -> None:
        """Begin where the table ends. Blocks up to 10 s a call.

        Raises KafkaException; OtherTopicError where the table is of other records; PartitionsError.
        """
        described = self._asking.list_topics(self._topic, TIMEOUT_S)
        topic = described.topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        self._count = len(topic.partitions)
        followed = sorted(topic.partitions if self._wanted is None else self._wanted)
        for partition in followed:
            if partition not in topic.partitions:
                raise PartitionsError(
                    f"partitions: {partition} is none of {self._topic}: give 0 to {self._count - 1}"
                )
        owner = [str(described.cluster_id), self._topic, self._count]
        self._own(json.dumps([*owner, self._kept] if self._kept else owner))
        starts = []
        for partition in followed:
            where = TopicPartition(self._topic, partition)
            low, high = self._asking.get_watermark_offsets(where, TIMEOUT_S, cached=False)
            at = self._table.get(META + b"%d" % partition)
            next_offset = low if at is None else int(at)
            if not low <= next_offset <= high:
                raise OtherTopicError(
                    f"the local copy of partition {partition} ends at {next_offset}, and the topic"
                    f" has {low} to {high}"
                )
            self.positions[partition] = Position(partition, next_offset)
            starts.append(TopicPartition(self._topic, partition, next_offset or OFFSET_BEGINNING))
        self._consumer.assign(starts)

    def _own(self, owner: str) -> None:
        stored = self._table.get(META + b"owner")
        if stored is not None and stored.decode() != owner:
            raise OtherTopicError(f"the local copy is of {stored.decode()}, not of {owner}")
        self._table.write({META + b"owner": owner.encode()})

    def start(self) -> None:
        """Go on in a thread, once it is open."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Waits up to 10 s for the thread."""
        self._stop.set()
        if self._thread.ident is None:
            self._close()
        else:
            self._thread.join(TIMEOUT_S)

    def caught_up(self) -> bool:
        """Whether the end of every partition was reached once."""
        return bool(self.positions) and all(
            position.caught_up_at is not None for position in self.positions.values()
        )

    def position(self, key: bytes) -> Position:
        """How far the partition of a customer was followed: what is read after asking has all of
        it, and perhaps more. Raises NotFollowedError."""
        partition = partition_of(key, self._count)
        try:
            return self.positions[partition]
        except KeyError:
            raise NotFollowedError(
                f"{key.decode()} is on partition {partition} of {self._topic}, and only"
                f" {sorted(self.positions)} are followed here: give `partitions` that one too"
            ) from None

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.turn(0.1)
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}"
            log.exception("following %s stopped", self._topic)
        finally:
            self._close()

    def _close(self) -> None:
        self._consumer.close()
        self._asking.close()
        self.settled.set()

    def turn(self, wait_s: float = 0.0) -> None:
        """Take what is there, up to a batch, waiting for the first record at most so long; ask for
        the ends where it is time to. Raises OtherTopicError where records were deleted unread."""
        first = self._consumer.poll(wait_s)
        if first is not None:
            self._write([first, *self._consumer.consume(BATCH - 1, 0)])
        now = self._now()
        if now >= self._confirm_at:
            self._confirm_at = now + self._confirm_s
            self._confirm()

    def _write(self, messages: list[Any]) -> None:
        """Write records into the table, and only then say that they are there."""
        changes: dict[bytes, bytes | None] = {}
        told: list[bytes] = []
        followed: dict[int, int] = {}
        last: dict[int, Any] = {}
        for message in messages:
            partition: int = message.partition()
            error = message.error()
            if error is not None:
                self._heard(error)
                if error.code() == KafkaError._PARTITION_EOF:
                    followed[partition] = message.offset()
                continue
            key: bytes | None = message.key()
            taken = None if key is None else self._take(key, message.value())
            if key is not None and taken is not None:
                changes[taken[0]] = taken[1]
                told.append(key)
            followed[partition] = message.offset() + 1
            last[partition] = message
        for partition, next_offset in followed.items():
            changes[META + b"%d" % partition] = b"%d" % next_offset
        self._table.write(changes)
        for partition, next_offset in followed.items():
            before = self.positions[partition]
            read = last.get(partition)
            recorded_at_ms = before.recorded_at_ms if read is None else read.timestamp()[1]
            self._moved(replace(before, next_offset=next_offset, recorded_at_ms=recorded_at_ms))
        if self._changed is not None:
            for key in told:
                self._changed(key)

    def _moved(self, position: Position) -> None:
        """Say how far a partition was followed, and whether that is an end that was told."""
        asked_at, end = self._ends.get(position.partition, (0.0, None))
        if end is not None and position.next_offset >= end:
            del self._ends[position.partition]
            position = replace(position, caught_up_at=asked_at)
        self.positions[position.partition] = position
        if position.caught_up_at is not None and not self.settled.is_set() and self.caught_up():
            self.settled.set()

    def _heard(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # Perhaps all was read for the first time: asking tells, and not only when it is due.
            # Later the end is reached again and again, and each question keeps records waiting.
            if not self.settled.is_set():
                self._confirm_at = min(self._confirm_at, self._now() + SOON_S)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OtherTopicError(error.str())  # records were deleted that were not read
        elif not error.retriable():
            log.warning("%s: %s", self._topic, error.str())

    def _confirm(self) -> None:
        """Ask the broker for the ends: silence alone does not say that nothing is missing, and
        neither does an end that was told some time ago.

        Where more comes all the time the end is never reached as it is; what is reached is an end
        that was told, and then all of when it was asked for is there.
        """
        for partition, position in list(self.positions.items()):
            if partition in self._ends:
                continue
            asked_at = self._now()
            where = TopicPartition(self._topic, partition)
            try:
                _, end = self._asking.get_watermark_offsets(where, 0.5, cached=False)
            except KafkaException:
                return
            self._ends[partition] = (asked_at, end)
            self._moved(position)


def follow(
    cluster: Cluster,
    topic: str,
    directory: Path | None,
    take: Take,
    changed: Callable[[bytes], None] | None = None,
    **how: Any,
) -> tuple[Follower, Table]:
    """An open follower of a topic, and its table: in memory, or in a directory. There one that is
    damaged or of other records is deleted and made anew: the topic has everything. `how` is as for
    `Follower`. Raises KafkaException, PartitionsError."""
    if directory is None:
        return _opened(cluster, topic, MemoryTable(), take, changed, **how)
    path = directory / topic
    try:
        return _opened(cluster, topic, RocksTable(path), take, changed, **how)
    except (KafkaException, PartitionsError):
        raise
    except Exception as error:  # noqa: BLE001 - rocksdict raises bare exceptions
        log.warning("%s: the local copy is made anew: %s", topic, error)
    shutil.rmtree(path, ignore_errors=True)
    return _opened(cluster, topic, RocksTable(path), take, changed, **how)


def _opened(
    cluster: Cluster,
    topic: str,
    table: Table,
    take: Take,
    changed: Callable[[bytes], None] | None,
    **how: Any,
) -> tuple[Follower, Table]:
    follower = Follower(cluster, topic, table, take, changed, **how)
    try:
        follower.open()
    except BaseException:
        follower.stop()
        table.close()
        raise
    return follower, table
