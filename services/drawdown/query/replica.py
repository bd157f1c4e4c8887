"""A replica: the rows of `balances`, followed into a local store and always a little behind.

Every answer says how far behind it may be. The query service uses it; any Python service can embed
one. It is read by any number of threads and written by one of its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteBufferManager

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES, Environment
from drawdown.events.codec import RecordError, decode_any
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.replica")

BATCH: Final = 2_000
SEPARATOR: Final = KEY_SEPARATOR.encode()
CONFIRM_S: Final = 0.5
META: Final = b"\x00"
"""Keys of the replica's own: no customer begins so."""


@dataclass(slots=True)
class Position:
    """How far a partition was followed."""

    partition: int
    next_offset: int = 0
    end: int = 0
    """The end of the partition as last heard."""
    caught_up_at: float | None = None
    """When reading last was at the end; None before it ever was."""

    def stale_ms(self, now: float) -> int | None:
        """How old an answer may be: 0 where nothing is known to be missing."""
        if self.caught_up_at is None:
            return None
        return int((now - self.caught_up_at) * 1000)


class Table(Protocol):
    """Where a follower keeps what it reads."""

    def get(self, key: bytes) -> bytes | None: ...

    def write(self, changes: dict[bytes, bytes | None]) -> None: ...

    def scan(self, start: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]: ...

    def close(self) -> None: ...


class RocksTable:
    """A table on disk; memory is bounded by its cache and write buffer."""

    def __init__(self, path: Path, *, cache_bytes: int = 32 << 20) -> None:
        path.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        blocks = BlockBasedOptions()
        blocks.set_bloom_filter(10, False)
        blocks.set_block_cache(Cache(cache_bytes))
        blocks.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(blocks)
        self._buffers = WriteBufferManager(32 << 20, False)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(16 << 20)
        options.set_max_open_files(64)
        options.set_keep_log_file_num(2)
        options.set_max_background_jobs(2)
        self._db = Rdict(str(path), options=options)

    def get(self, key: bytes) -> bytes | None:
        return cast(bytes | None, self._db.get(key))

    def write(self, changes: dict[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch)

    def scan(self, start: bytes, *, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        return cast(
            Iterator[tuple[bytes, bytes]], self._db.items(backwards=backwards, from_key=start)
        )

    def close(self) -> None:
        self._db.close()


class Follower:
    """Follows one topic into a table, in a thread."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        table: Table,
        keyed: Callable[[bytes, bytes | None], bytes | None],
        changed: Callable[[bytes], None] | None = None,
    ) -> None:
        """`keyed` gives a record's key in the table, or None to pass it over; `changed` is told
        the key of every record, in the follower's thread."""
        self._topic = topic
        self._table = table
        self._keyed = keyed
        self._changed = changed
        self._consumer = cluster.consumer(kafka.reader())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{topic}", daemon=True)
        self.positions: dict[int, Position] = {}
        self.failed: str | None = None
        self._confirmed_at = 0.0

    def start(self) -> None:
        """Begin where the table ends. Blocks up to 10 s. Raises KafkaException."""
        described = self._consumer.list_topics(self._topic, 10.0)
        topic = described.topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        owner = json.dumps([str(described.cluster_id), self._topic, len(topic.partitions)])
        stored = self._table.get(META + b"owner")
        if stored is not None and stored.decode() != owner:
            raise OtherTopicError(f"the local copy is of {stored.decode()}, not of {owner}")
        self._table.write({META + b"owner": owner.encode()})
        starts = []
        for partition in sorted(topic.partitions):
            where = TopicPartition(self._topic, partition)
            low, _ = self._consumer.get_watermark_offsets(where, 10.0, cached=False)
            at = self._table.get(META + b"%d" % partition)
            next_offset = max(int(at), low) if at is not None else low
            self.positions[partition] = Position(partition, next_offset)
            starts.append(TopicPartition(self._topic, partition, next_offset or OFFSET_BEGINNING))
        self._consumer.assign(starts)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    @property
    def partitions(self) -> int:
        return len(self.positions)

    def caught_up(self) -> bool:
        """Whether the end of every partition was reached once."""
        return bool(self.positions) and all(
            position.caught_up_at is not None for position in self.positions.values()
        )

    def position(self, key: bytes) -> Position:
        """How far the partition of a customer was followed."""
        return self.positions[partition_of(key, len(self.positions))]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
        except Exception as error:
            self.failed = f"{type(error).__name__}: {error}"
            log.exception("following %s stopped", self._topic)
        finally:
            self._consumer.close()

    def _step(self) -> None:
        first = self._consumer.poll(0.1)
        now = time.monotonic()
        if now - self._confirmed_at >= CONFIRM_S:
            self._confirmed_at = now
            self._confirm()
        if first is None:
            return
        changes: dict[bytes, bytes | None] = {}
        told: list[bytes] = []
        reached: set[int] = set()
        for message in [first, *self._consumer.consume(BATCH, 0)]:
            partition: Any = message.partition()
            offset: Any = message.offset()
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    reached.add(partition)
                    self.positions[partition].next_offset = max(
                        self.positions[partition].next_offset, offset
                    )
                elif not error.retriable():
                    log.warning("%s: %s", self._topic, error.str())
                continue
            reached.discard(partition)
            key: Any = message.key()
            value: Any = message.value()
            stored = self._keyed(key, value)
            if stored is not None:
                changes[stored] = value
                told.append(key)
            self.positions[partition].next_offset = offset + 1
        for partition, position in self.positions.items():
            changes[META + b"%d" % partition] = b"%d" % position.next_offset
            if partition in reached:
                position.caught_up_at = now
        self._table.write(changes)
        if self._changed is not None:
            for key in told:
                self._changed(key)

    def _confirm(self) -> None:
        """Ask the broker for the ends: silence alone does not say that nothing is missing."""
        for position in self.positions.values():
            asked_at = time.monotonic()
            where = TopicPartition(self._topic, position.partition)
            try:
                _, position.end = self._consumer.get_watermark_offsets(where, 0.5, cached=False)
            except KafkaException:
                return
            if position.next_offset >= position.end:
                position.caught_up_at = asked_at


class OtherTopicError(Exception):
    """The local copy is of another cluster or topic: it is to be made anew."""


@dataclass(slots=True)
class Replica:
    """The rows of an environment, in a local store."""

    cluster: Cluster
    environment: Environment
    directory: Path
    follower: Follower = field(init=False)
    _table: Table = field(init=False)
    _listeners: dict[bytes, list[Callable[[], None]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin to follow; answers are there at once, and complete once `caught_up`."""
        topic = self.environment.topic(BALANCES)
        self._table = RocksTable(self.directory / topic)
        self.follower = Follower(
            self.cluster, topic, self._table, lambda key, _: key, changed=self._tell
        )
        self.follower.start()

    def stop(self) -> None:
        self.follower.stop()
        self._table.close()

    def caught_up(self) -> bool:
        return self.follower.caught_up()

    def row(self, key: str) -> bytes | None:
        """A row as it stands on the topic: JSON, see `events.rows`."""
        return self._table.get(key.encode())

    def position(self, customer: str) -> Position:
        """How far behind an answer about this customer may be."""
        return self.follower.position(customer.encode())

    def customers(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Wallets by customer id, from behind `after` on."""
        found: list[tuple[str, bytes]] = []
        start = after.encode() + b"\x00" if after else b"\x01"
        for key, value in self._table.scan(start):
            if SEPARATOR in key:
                continue
            found.append((key.decode(), value))
            if len(found) == limit:
                break
        return found

    def listen(self, customer: str, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called, in the follower's thread, whenever a row of the customer changes.
        Returns what ends it."""
        key = customer.encode()
        with self._lock:
            self._listeners.setdefault(key, []).append(told)

        def end() -> None:
            with self._lock:
                listeners = self._listeners[key]
                listeners.remove(told)
                if not listeners:
                    del self._listeners[key]

        return end

    def _tell(self, key: bytes) -> None:
        if not self._listeners:
            return
        with self._lock:
            told = list(self._listeners.get(key.partition(SEPARATOR)[0], ()))
        for listener in told:
            listener()


@dataclass(slots=True)
class Entries:
    """The journal's entries, by customer and sequence, in a local store."""

    cluster: Cluster
    environment: Environment
    directory: Path
    follower: Follower = field(init=False)
    _table: Table = field(init=False)

    def start(self) -> None:
        topic = self.environment.topic(BALANCE_CHANGES)
        self._table = RocksTable(self.directory / topic)
        self.follower = Follower(self.cluster, topic, self._table, _entry_key)
        self.follower.start()

    def stop(self) -> None:
        self.follower.stop()
        self._table.close()

    def caught_up(self) -> bool:
        return self.follower.caught_up()

    def position(self, customer: str) -> Position:
        return self.follower.position(customer.encode())

    def latest(self, customer: str, before: int | None, limit: int) -> list[bytes]:
        """The customer's entries, newest first, those below sequence `before`."""
        prefix = customer.encode() + SEPARATOR
        top = prefix + (b"\xff" * 8 if before is None else (before - 1).to_bytes(8, "big"))
        found: list[bytes] = []
        for key, value in self._table.scan(top, backwards=True):
            if not key.startswith(prefix) or len(found) == limit:
                break
            found.append(value)
        return found

    def entry(self, customer: str, sequence: int) -> bytes | None:
        """One entry."""
        return self._table.get(customer.encode() + SEPARATOR + sequence.to_bytes(8, "big"))


def _entry_key(key: bytes, value: bytes | None) -> bytes | None:
    if value is None:
        return None
    try:
        sequence = int(decode_any(value)["data"]["sequence"])
    except (RecordError, KeyError, TypeError, ValueError):
        log.warning("an entry of %r is unreadable", key[:64])
        return None
    return key + SEPARATOR + sequence.to_bytes(8, "big")
