"""A replica: the rows of `balances`, followed into a local store and always a little behind.

Every answer says how far behind it may be. The query service uses it; any Python service can embed
one. It is read by any number of threads and written by one of its own.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
BEHIND_SEPARATOR: Final = b"\x20"
PASSED_MAX: Final = 64
"""Rows of one customer that are stepped over before it is quicker to look for the next one."""
CONFIRM_S: Final = 0.5
SOON_S: Final = 0.02
"""The end is asked for again so soon where it seems to have been reached."""
META: Final = b"\x00"
"""Keys of the replica's own: no customer begins so."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition was followed."""

    partition: int
    next_offset: int = 0
    """All before it is in the table."""
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
        self._confirm_at = 0.0

    def start(self) -> None:
        """Begin where the table ends. Blocks up to 10 s.

        Raises KafkaException, and OtherTopicError where the table is of other records.
        """
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
            low, high = self._consumer.get_watermark_offsets(where, 10.0, cached=False)
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
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is None:
            self._consumer.close()
        else:
            self._thread.join(10)

    def caught_up(self) -> bool:
        """Whether the end of every partition was reached once."""
        return bool(self.positions) and all(
            position.caught_up_at is not None for position in self.positions.values()
        )

    def position(self, key: bytes) -> Position:
        """How far the partition of a customer was followed: what is read after asking has all of
        it, and perhaps more."""
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
        if first is not None:
            self._take([first, *self._consumer.consume(BATCH, 0)])
        now = time.monotonic()
        if now >= self._confirm_at:
            self._confirm_at = now + CONFIRM_S
            self._confirm()

    def _take(self, messages: list[Any]) -> None:
        """Write records into the table, and only then say that they are there."""
        changes: dict[bytes, bytes | None] = {}
        told: list[bytes] = []
        followed: dict[int, int] = {}
        for message in messages:
            partition: int = message.partition()
            error = message.error()
            if error is not None:
                self._heard(error)
                if error.code() == KafkaError._PARTITION_EOF:
                    followed[partition] = message.offset()
                continue
            key: bytes = message.key()
            value: bytes | None = message.value()
            stored = self._keyed(key, value)
            if stored is not None:
                changes[stored] = value
                told.append(key)
            followed[partition] = message.offset() + 1
        for partition, next_offset in followed.items():
            changes[META + b"%d" % partition] = b"%d" % next_offset
        self._table.write(changes)
        for partition, next_offset in followed.items():
            before = self.positions[partition]
            self.positions[partition] = replace(before, next_offset=next_offset)
        if self._changed is not None:
            for key in told:
                self._changed(key)

    def _heard(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # Perhaps all was read: asking tells, and not only when it is time to ask again.
            self._confirm_at = min(self._confirm_at, time.monotonic() + SOON_S)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OtherTopicError(error.str())  # records were deleted that were not read
        elif not error.retriable():
            log.warning("%s: %s", self._topic, error.str())

    def _confirm(self) -> None:
        """Ask the broker for the ends: silence alone does not say that nothing is missing, and
        neither does an end that was told some time ago."""
        for partition, position in self.positions.items():
            asked_at = time.monotonic()
            where = TopicPartition(self._topic, partition)
            try:
                _, end = self._consumer.get_watermark_offsets(where, 0.5, cached=False)
            except KafkaException:
                return
            if position.next_offset >= end:
                self.positions[partition] = replace(position, caught_up_at=asked_at)


class OtherTopicError(Exception):
    """The local copy is of another cluster or topic: it is to be made anew."""


def follow(
    cluster: Cluster,
    topic: str,
    directory: Path,
    keyed: Callable[[bytes, bytes | None], bytes | None],
    changed: Callable[[bytes], None] | None = None,
) -> tuple[Follower, Table]:
    """Follow a topic into a table on disk. One that is damaged or of other records is deleted and
    made anew: the topic has everything. Raises KafkaException."""
    path = directory / topic
    try:
        return _follow(cluster, topic, path, keyed, changed)
    except KafkaException:
        raise
    except Exception as error:  # noqa: BLE001 - rocksdict raises bare exceptions
        log.warning("%s: the local copy is made anew: %s", topic, error)
    shutil.rmtree(path, ignore_errors=True)
    return _follow(cluster, topic, path, keyed, changed)


def _follow(
    cluster: Cluster,
    topic: str,
    path: Path,
    keyed: Callable[[bytes, bytes | None], bytes | None],
    changed: Callable[[bytes], None] | None,
) -> tuple[Follower, Table]:
    table = RocksTable(path)
    follower = Follower(cluster, topic, table, keyed, changed)
    try:
        follower.start()
    except BaseException:
        follower.stop()
        table.close()
        raise
    return follower, table


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
        self.follower, self._table = follow(
            self.cluster, topic, self.directory, lambda key, _: key, self._tell
        )

    def stop(self) -> None:
        self.follower.stop()
        self._table.close()

    def caught_up(self) -> bool:
        return self.follower.caught_up()

    def row(self, key: str) -> bytes | None:
        """A row as it stands on the topic: JSON, see `events.rows`."""
        return self._table.get(key.encode())

    def position(self, customer: str) -> Position:
        """How far behind an answer about this customer may be that is read after asking."""
        return self.follower.position(customer.encode())

    def positions(self) -> list[Position]:
        """The same of every partition."""
        return list(self.follower.positions.values())

    def customers(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Wallets by customer id, from behind `after` on."""
        found: list[tuple[str, bytes]] = []
        start: bytes | None = after.encode() + b"\x00" if after else b"\x01"
        while start is not None:
            start = self._wallets_from(start, limit, found)
        return found

    def _wallets_from(
        self, start: bytes, limit: int, found: list[tuple[str, bytes]]
    ) -> bytes | None:
        """Add the wallets from a key on; returns where to go on, past a customer's many rows."""
        passed = 0
        for key, value in self._table.scan(start):
            if SEPARATOR in key:
                passed += 1
                if passed == PASSED_MAX:
                    return key.partition(SEPARATOR)[0] + BEHIND_SEPARATOR
                continue
            passed = 0
            found.append((key.decode(), value))
            if len(found) == limit:
                break
        return None

    def rows(self, customer: str, kind: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """A customer's rows of a kind by their id, from behind `after` on."""
        prefix = customer.encode() + SEPARATOR + kind.encode() + SEPARATOR
        found: list[tuple[str, bytes]] = []
        for key, value in self._table.scan(prefix + after.encode() + (b"\x00" if after else b"")):
            if not key.startswith(prefix) or len(found) == limit:
                break
            found.append((key[len(prefix) :].decode(), value))
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
        self.follower, self._table = follow(self.cluster, topic, self.directory, _entry_key)

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

    def oldest(self, customer: str, limit: int) -> list[bytes]:
        """The customer's first entries, oldest first."""
        prefix = customer.encode() + SEPARATOR
        found: list[bytes] = []
        for key, value in self._table.scan(prefix):
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
