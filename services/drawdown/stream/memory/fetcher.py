"""What a consumer of the in-memory log reads: its partitions, and where it stands in each.

It takes straight from the log, so nothing is ever fetched ahead; a real consumer may hand out what
it fetched before a trim. Which partition comes first is an order of its own, the same in every run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaError,
    Message,
    TopicPartition,
)

from .broker import Broker
from .group import Partition
from .log import ABORTED, PartitionLog

_RUN_MAX = 50
"""How many messages of one partition in a row while others have some too."""


class Fetch:
    """Where the consumer stands in one partition."""

    __slots__ = (
        "assigned_at",
        "eof_at",
        "log",
        "partition",
        "paused",
        "position",
        "seen",
        "start",
        "stopped",
        "topic",
    )

    def __init__(self, topic: str, partition: int, start: int) -> None:
        self.topic = topic
        self.partition = partition
        self.assigned_at = start
        self.start: int | None = start  # None once it is resolved to `position`
        self.log: PartitionLog | None = None
        self.position = 0  # next to be fetched
        self.seen = OFFSET_INVALID  # what position() tells: unknown before the first entry
        self.eof_at = -1  # where the end was last reported
        self.paused = False
        self.stopped = False  # by an error; only a new assignment helps


class Fetcher:
    """The assigned partitions of one consumer, and its queue of events."""

    def __init__(
        self, broker: Broker, group_id: str, committed_only: bool, tells_eof: bool, reset: str
    ) -> None:
        self.events: deque[Message] = deque()
        self.fetches: dict[Partition, Fetch] = {}
        self._broker = broker
        self._group_id = group_id
        self._committed_only = committed_only
        self._tells_eof = tells_eof
        self._reset = reset
        self._order: list[Fetch] = []
        self._turn = 0
        self._run = 0

    def of(self, partition: TopicPartition) -> Fetch | None:
        """The fetch of an assigned partition."""
        return self.fetches.get((partition.topic, partition.partition))

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these as well."""
        for asked in partitions:
            fetch = Fetch(asked.topic, asked.partition, asked.offset)
            self.fetches[asked.topic, asked.partition] = fetch
        self._order = list(self.fetches.values())

    def drop(self, keys: Iterable[Partition]) -> None:
        """Read these no more."""
        for key in keys:
            self.fetches.pop(key, None)
        self._order = list(self.fetches.values())

    def clear(self) -> None:
        """Read nothing."""
        self.fetches.clear()
        self._order = []

    def next(self) -> Message | None:
        """The next message, or the report of an end or an error."""
        if self.events:
            return self.events.popleft()
        order = self._order
        count = len(order)
        for step in range(count):
            at = (self._turn + step) % count
            fetch = order[at]
            if fetch.paused or fetch.stopped:
                continue
            message = self._fetch(fetch)
            if message is None:
                continue
            if step:
                self._run = 0
            self._run += 1
            if self._run < _RUN_MAX:
                self._turn = at
            else:
                self._turn, self._run = at + 1, 0
            return message
        return None

    def end(self, log: PartitionLog) -> int:
        """Where this consumer must stop: the last stable offset, or the high watermark."""
        return log.last_stable if self._committed_only else log.end

    def _fetch(self, fetch: Fetch) -> Message | None:
        log = fetch.log
        if log is None or log.deleted:
            log = fetch.log = self._broker.log(fetch.topic, fetch.partition)
            if log is None:
                return None
        if fetch.start is not None and not self._resolve(fetch, log):
            return self.events.popleft() if self.events else None
        position = fetch.position
        if not log.start <= position <= log.end:
            reason = (
                "fetch failed due to requested offset not available on the broker:"
                " Broker: Offset out of range (broker 1)"
            )
            resumed = self._reset_offset(fetch, log, reason, position)
            return self._fetch(fetch) if resumed else self.events.popleft()
        end = self.end(log)
        if position < end:
            entries = log.entries
            at = log.index(position)
            while at < len(entries):
                entry = entries[at]
                if entry.offset >= end:
                    break
                at += 1
                fetch.position = fetch.seen = entry.offset + 1
                if entry.marker:
                    continue
                txn = entry.txn
                if txn is None or txn.status != ABORTED or not self._committed_only:
                    return log.message(entry)
            fetch.position = end
        if self._tells_eof and fetch.eof_at != fetch.position:
            fetch.eof_at = fetch.position
            return event(
                KafkaError._PARTITION_EOF,
                f"Fetch from broker 1 reached end of partition at offset {fetch.position}"
                f" (HighwaterMark {log.end})",
                fetch.topic,
                fetch.partition,
                fetch.position,
            )
        return None

    def _resolve(self, fetch: Fetch, log: PartitionLog) -> bool:
        """Find out where to start. False if that is not known yet, or if it is an error."""
        start = fetch.start
        if start in (OFFSET_INVALID, OFFSET_STORED):
            group = self._broker.group(self._group_id)
            key = (fetch.topic, fetch.partition)
            if self._committed_only and group.pending((key,)):
                return False
            start = group.offsets.get(key)
        if start is None:
            reason = "no previously committed offset available: Local: No offset stored"
            return self._reset_offset(fetch, log, reason, OFFSET_INVALID)
        if start == OFFSET_BEGINNING:
            start = log.start
        elif start == OFFSET_END:
            start = self.end(log)
        fetch.start, fetch.position = None, start
        return True

    def _reset_offset(self, fetch: Fetch, log: PartitionLog, reason: str, offset: int) -> bool:
        """Do as `auto.offset.reset` says. False if it says that this is an error: the partition
        then stands still until it is assigned anew."""
        if self._reset == "error":
            fetch.stopped = True
            self.events.append(
                event(KafkaError._AUTO_OFFSET_RESET, reason, fetch.topic, fetch.partition, offset)
            )
            return False
        earliest = self._reset in ("earliest", "smallest", "beginning")
        fetch.start, fetch.position = None, log.start if earliest else self.end(log)
        return True


def event(
    code: int,
    reason: str,
    topic: str | None = None,
    partition: int = 0,
    offset: int = OFFSET_INVALID,
) -> Message:
    """A message that is an error. Its value is the reason, as in a real one: without it the message
    would count as false."""
    return Message(
        topic=topic,
        partition=partition,
        offset=offset,
        value=reason.encode(),
        error=KafkaError(code, reason),
        timestamp=(0, -1),
    )
