"""One partition in memory: records and transaction markers, each with an offset of its own.

Relies on nobody reading with a clock: time is handed in. What a reader may see follows from three
offsets: `start` (older ones are gone), the last stable offset (the first record of an open
transaction) and `end` (the high watermark: one past the last entry, markers included).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final, Protocol

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

OPEN: Final = 0
COMMITTED: Final = 1
ABORTED: Final = 2

MESSAGE_BYTES_MAX: Final = 1_048_588
"""Kafka's default for `max.message.bytes`."""
RECORD_OVERHEAD_BYTES: Final = 70
"""About what a batch adds to its only record."""

_OFFSET = attrgetter("offset")


class Offsets(Protocol):
    """A group's offsets, as a transaction sees them: pending until its end."""

    def end(self, txn: Txn, committed: bool) -> None: ...


class Txn:
    """A transaction as the broker sees it: from its first record or offset to its marker."""

    __slots__ = ("logs", "offsets", "status")

    def __init__(self) -> None:
        self.status = OPEN
        self.logs: list[PartitionLog] = []
        self.offsets: list[Offsets] = []

    def decide(self, committed: bool) -> None:
        """How it ends; nobody sees it yet."""
        self.status = COMMITTED if committed else ABORTED

    def settle(self) -> None:
        """Settle the offsets: their marker is written."""
        offsets, self.offsets = self.offsets, []
        for held in offsets:
            held.end(self, self.status == COMMITTED)

    def finish(self, stamp_ms: int) -> None:
        """Write the markers and settle the offsets."""
        for log in self.logs:
            log.mark(self, stamp_ms)
        self.settle()

    def end_where(self, other: Txn) -> None:
        """End this transaction where another one of its producer ends, and as that one does."""
        for log in [log for log in self.logs if log in other.logs]:
            self.status = other.status
            self.logs.remove(log)
            log.open.pop(self, None)
        for offsets in [offsets for offsets in self.offsets if offsets in other.offsets]:
            self.offsets.remove(offsets)
            offsets.end(self, other.status == COMMITTED)


class Entry:
    """What takes one offset: a record, or a marker. `timestamp` is (type, ms)."""

    __slots__ = ("headers", "key", "marker", "message", "offset", "timestamp", "txn", "value")

    def __init__(
        self,
        offset: int,
        txn: Txn | None,
        value: bytes | None,
        key: bytes | None,
        headers: Any,
        timestamp: tuple[int, int],
        marker: bool,
    ) -> None:
        self.offset = offset
        self.txn = txn
        self.value = value
        self.key = key
        self.headers = headers
        self.timestamp = timestamp
        self.marker = marker
        self.message: Message | None = None  # made when first read, shared by all readers


class PartitionLog:
    """The entries of one partition, by offset. Gaps are what compaction took."""

    __slots__ = ("_gaps", "deleted", "end", "entries", "open", "partition", "start", "topic")

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.entries: list[Entry] = []
        self.start = 0
        self.end = 0
        # First offset of each open transaction, in that order: the first is the last stable offset.
        self.open: dict[Txn, int] = {}
        self.deleted = False
        self._gaps = False

    @property
    def last_stable(self) -> int:
        """Where a read_committed reader must stop."""
        for offset in self.open.values():
            return offset
        return self.end

    def append(
        self,
        txn: Txn | None,
        value: bytes | None,
        key: bytes | None,
        headers: Any,
        timestamp: tuple[int, int],
    ) -> Entry:
        """Add one record."""
        offset = self.end
        if txn is not None and txn not in self.open:
            self.open[txn] = offset
            txn.logs.append(self)
        entry = Entry(offset, txn, value, key, headers, timestamp, marker=False)
        self.entries.append(entry)
        self.end = offset + 1
        return entry

    def mark(self, txn: Txn, stamp_ms: int) -> None:
        """Add the marker that ends a transaction here."""
        del self.open[txn]
        stamp = (TIMESTAMP_LOG_APPEND_TIME, stamp_ms)
        self.entries.append(Entry(self.end, txn, None, None, None, stamp, marker=True))
        self.end += 1

    def message(self, entry: Entry) -> Message:
        """A record as it is handed out."""
        message = entry.message
        if message is None:
            message = entry.message = Message(
                topic=self.topic,
                partition=self.partition,
                offset=entry.offset,
                key=entry.key,
                value=entry.value,
                headers=entry.headers,
                timestamp=entry.timestamp,
                leader_epoch=0,
            )
        return message

    def index(self, offset: int) -> int:
        """Where in `entries` the first one at or after `offset` is."""
        if self._gaps:
            return bisect_left(self.entries, offset, key=_OFFSET)
        return offset - self.start

    def first_at(self, at_ms: int) -> int | None:
        """The offset of the first entry, a marker too, that is stamped at or after a time."""
        for entry in self.entries:
            if entry.timestamp[1] >= at_ms:
                return entry.offset
        return None

    def records(self, committed: bool) -> Iterator[Message]:
        """What a reader from the start would be handed: read_committed, or everything."""
        end = self.last_stable if committed else self.end
        for entry in self.entries:
            if entry.offset >= end:
                return
            aborted = entry.txn is not None and entry.txn.status == ABORTED
            if not entry.marker and not (committed and aborted):
                yield self.message(entry)

    def trim(self, offset: int) -> None:
        """Forget what is before `offset`, as retention does."""
        if not self.start <= offset <= self.last_stable:
            raise ValueError(
                f"{self.topic}[{self.partition}] can be trimmed from {self.start} to"
                f" {self.last_stable}, not to {offset}"
            )
        del self.entries[: self.index(offset)]
        self.start = offset

    def compact(self, tombstones: bool) -> None:
        """Keep the last committed record of each key below the last stable offset, and all from
        there on. With `tombstones`, tombstones and markers go as well. Offsets stay."""
        stable = self.last_stable
        last = {
            entry.key: entry.offset
            for entry in self.entries
            if entry.offset < stable
            and not entry.marker
            and (entry.txn is None or entry.txn.status == COMMITTED)
        }

        def stays(entry: Entry) -> bool:
            if entry.offset >= stable:
                return True
            if entry.marker:
                return not tombstones
            return last.get(entry.key) == entry.offset and not (tombstones and entry.value is None)

        self.entries = [entry for entry in self.entries if stays(entry)]
        self._gaps = True


class Topic:
    """Partitions under a name, with the settings that matter here."""

    __slots__ = ("append_time", "bytes_max", "compacted", "logs", "name")

    def __init__(self, name: str, partitions: int, config: dict[str, str]) -> None:
        self.name = name
        self.logs = [PartitionLog(name, partition) for partition in range(partitions)]
        self.append_time = config.get("message.timestamp.type") == "LogAppendTime"
        self.bytes_max = int(config.get("max.message.bytes", MESSAGE_BYTES_MAX))
        self.compacted = "compact" in config.get("cleanup.policy", "delete")
