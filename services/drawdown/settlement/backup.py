"""Backup of an environment to files, and its restore on another cluster.

What is copied is what is the truth, and what cannot be made from it: the journal, `balances`,
price books, settings, and of both inputs what was not decided yet; the rest (`decisions`, dead
letters, notices) if asked for. Settlement is stopped meanwhile, so that all of it is of one moment.
A restore writes into topics that are empty, and only after every byte was compared; while it
writes, a mark says so (`settlement.restoring`), and settlement does not start on half of it.

What is not the same over there, and what follows:

- Records are appended anew, so their append times are those of the restore. Entries carry `at`, and
  rows and digests are made from that alone: a fold of the copy gives the same rows, byte for byte.
  For identities the later append time only means that more is waited for (`stream.identities`).
- Offsets begin at 0. The cause of a copied entry is an offset of the old cluster; a header of the
  entry says so (`ORIGIN`), and recovery compares only causes without it. The group's offsets are
  set to where the inputs begin. Price books keep theirs, which entries name: without gaps.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from struct import Struct
from typing import Any, Final

import fsspec
import msgspec
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from drawdown import topics
from drawdown.access import AccessError
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    PRICE_BOOK,
    SETTINGS,
    USAGE_EVENTS,
    Environment,
)
from drawdown.settlement import restoring
from drawdown.settlement.service import layout_of, partitions_of
from drawdown.stream import kafka
from drawdown.stream.blocks import DamagedError, File, Hashed, checked
from drawdown.stream.identities import ORIGIN
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.partition_log import LogError, PartitionLog
from drawdown.stream.reading import Reader, passing

VERSION: Final = 1
MANIFEST: Final = "backup.json"
INPUTS: Final = (USAGE_EVENTS, COMMANDS)
ALWAYS: Final = (PRICE_BOOK, SETTINGS, BALANCE_CHANGES, BALANCES, *INPUTS)
HISTORY: Final = (DECISIONS, DEAD_LETTERS, LOW_BALANCE, NOTIFICATIONS)
WAIT_S: Final = 30.0

Told = Callable[[str], None]


class BackupError(Exception):
    """It cannot be done: one line that says why, and what was written."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of one topic."""

    topic: str
    """Without the environment."""
    partition: int
    records: int
    file: File


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is."""

    version: int = VERSION
    environment: str
    cluster: str
    partitions: int
    created_at: datetime
    parts: list[Part]


class Copied(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record as it is in a file."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None


_length: Final = Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Copied).decode
_encode_manifest = msgspec.json.Encoder().encode
_decode_manifest = msgspec.json.Decoder(Manifest).decode


# --- create ------------------------------------------------------------------------------------


def create(
    cluster: KafkaCluster, environment: Environment, url: str, *, history: bool, told: Told
) -> Manifest:
    """Copy an environment to files under a URL where there is no backup yet. Raises BackupError.

    Blocks as long as it takes.
    """
    partitions, cluster_id = partitions_of(cluster, environment)
    fs, root = _place(url)
    if fs.exists(f"{root}/{MANIFEST}"):
        raise BackupError(f"{url}: there is a backup already: give another place")
    _require_stopped(cluster, environment)
    try:
        restoring.require_whole(cluster, environment)
    except (restoring.HalfWrittenError, LogError) as error:
        raise BackupError(str(error)) from None
    committed = _committed(cluster, environment, partitions)
    fs.makedirs(root, exist_ok=True)
    parts = []
    reader = Reader(cluster, kafka.reader())
    try:
        for topic in (*ALWAYS, *(HISTORY if history else ())):
            for partition in range(partitions if topic.by_customer else 1):
                name = environment.topic(topic)
                low, end, high = _ends(reader, name, partition)
                if high != end:
                    raise BackupError(
                        f"{name}[{partition}]: a transaction is open at {end}: it ends by itself"
                        " within seconds; try again"
                    )
                start = committed[name, partition] if topic in INPUTS else low
                start = low if start < 0 else start
                if not low <= start <= end:
                    raise BackupError(
                        f"{name}[{partition}]: record {start} comes next, the log goes from {low}"
                        f" to {end}: what was not decided is gone, so nothing is copied"
                    )
                told(f"{name}[{partition}], {end - start} offsets")
                file_name = f"{topic.name}-{partition}.records.gz"
                with fs.open(f"{root}/{file_name}", "wb") as to:
                    hashed = Hashed(to)
                    count = _copy_out(cluster, name, partition, start, end, hashed)
                    parts.append(
                        Part(
                            topic=topic.name,
                            partition=partition,
                            records=count,
                            file=hashed.file(file_name),
                        )
                    )
    except LogError as error:
        raise BackupError(str(error)) from None
    finally:
        reader.close()
    _require_stopped(cluster, environment)
    manifest = Manifest(
        environment=environment.name,
        cluster=cluster_id,
        partitions=partitions,
        created_at=datetime.now(UTC),
        parts=parts,
    )
    with fs.open(f"{root}/{MANIFEST}", "wb") as to:  # last: without it there is no backup
        to.write(_encode_manifest(manifest))
    return manifest


def _ends(reader: Reader, topic: str, partition: int) -> tuple[int, int, int]:
    """Where a partition begins, up to where it is stable, and where it ends. Asks again for a while
    where the broker does not know: a topic that was just made has no leader yet."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            low, end = reader.stable_end(topic, partition)
            return low, end, reader.high_watermark(topic, partition)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if not passing(cause) or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def _require_stopped(cluster: KafkaCluster, environment: Environment) -> None:
    group = layout_of(environment, 0, "0").group
    members = cluster.group(group).result(WAIT_S).members
    if members:
        raise BackupError(
            f"settlement runs ({', '.join(sorted(members))}): stop it first. One that was stopped"
            " keeps its place for 6 seconds"
        )


def _committed(
    cluster: KafkaCluster, environment: Environment, partitions: int
) -> dict[tuple[str, int], int]:
    consumer = cluster.consumer(kafka.reader(layout_of(environment, partitions, "0").group))
    try:
        found = consumer.committed(
            [
                TopicPartition(environment.topic(topic), partition)
                for topic in INPUTS
                for partition in range(partitions)
            ],
            WAIT_S,
        )
    finally:
        consumer.close()
    return {(where.topic, where.partition): where.offset for where in found}


def _copy_out(
    cluster: KafkaCluster, topic: str, partition: int, start: int, end: int, to: Hashed
) -> int:
    count = 0
    # No time in its head: the same records make the same file.
    with gzip.GzipFile(fileobj=to, mode="wb", compresslevel=4, mtime=0) as packed:
        for message in PartitionLog(cluster, topic, partition, start, end, WAIT_S):
            if message.key() == restoring.KEY:
                continue  # of a restore into this one, which says nothing of another
            record = _encode(
                Copied(
                    message.offset() or 0,
                    message.timestamp()[1],
                    message.key(),
                    message.value(),
                    _headers(message),
                )
            )
            packed.write(_length.pack(len(record)) + record)
            count += 1
    return count


def _headers(message: Message) -> Any:
    return message.headers()


# --- look --------------------------------------------------------------------------------------


def manifest_of(url: str) -> Manifest:
    """What the backup at a URL is. Raises BackupError."""
    fs, root = _place(url)
    try:
        with fs.open(f"{root}/{MANIFEST}", "rb") as source:
            manifest = _decode_manifest(source.read())
    except FileNotFoundError:
        raise BackupError(f"{url}: {MANIFEST} is missing: no backup, or not finished") from None
    except msgspec.MsgspecError as error:
        raise BackupError(f"{url}/{MANIFEST}: {error}") from None
    if manifest.version != VERSION:
        raise BackupError(f"{url}: of version {manifest.version}; this program reads {VERSION}")
    return manifest


def verify(url: str, manifest: Manifest) -> None:
    """Compare every byte, and read every record. Raises BackupError, with file and position."""
    for part in manifest.parts:
        offset, count = -1, 0
        for record in _records(url, part):
            if record.offset <= offset:
                raise BackupError(f"{part.file.name}: record {record.offset} after {offset}")
            offset, count = record.offset, count + 1
        if count != part.records:
            raise BackupError(f"{part.file.name}: {count} records of {part.records}")
        if part.topic == PRICE_BOOK.name and count and offset != count - 1:
            raise BackupError(
                f"{part.file.name}: offsets have gaps, and entries name them: they cannot be kept"
            )


def _records(url: str, part: Part) -> Iterator[Copied]:
    fs, root = _place(url)
    unpack = zlib.decompressobj(wbits=31)
    rest = bytearray()
    try:
        with fs.open(f"{root}/{part.file.name}", "rb") as source:
            for block in checked(part.file, source):
                rest += unpack.decompress(block)
                at = 0
                while len(rest) - at >= _length.size:
                    (size,) = _length.unpack_from(rest, at)
                    if len(rest) - at - _length.size < size:
                        break
                    at += _length.size
                    yield _decode(rest[at : at + size])
                    at += size
                del rest[:at]
    except (DamagedError, OSError, msgspec.MsgspecError, zlib.error) as error:
        raise BackupError(f"{part.file.name}: {error}") from None
    if rest:
        raise BackupError(f"{part.file.name} ends within a record")


# --- restore -----------------------------------------------------------------------------------


def restore(cluster: KafkaCluster, environment: Environment, url: str, *, told: Told) -> Manifest:
    """Write a backup into an environment whose topics are there and empty. Raises BackupError.

    Everything is looked at before anything is written. Blocks as long as it takes.
    """
    manifest = manifest_of(url)
    partitions, _ = partitions_of(cluster, environment)
    if partitions != manifest.partitions:
        raise BackupError(
            f"the backup has {manifest.partitions} partitions, {environment.name!r} here has"
            f" {partitions}: delete its topics and run `drawdown topics create --partitions"
            f" {manifest.partitions}`; nothing was written"
        )
    _require_stopped(cluster, environment)
    begins = _require_empty(cluster, environment, manifest)
    told("comparing every byte")
    verify(url, manifest)
    producer = cluster.producer(kafka.plain_producer())
    failed: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    origin = f"{manifest.cluster}/{manifest.environment}"
    _marked(lambda: restoring.mark(cluster, environment, origin, datetime.now(UTC)))
    for part in manifest.parts:
        topic = _topic(environment, part)
        told(f"{topic}[{part.partition}], {part.records} records")
        of_journal = part.topic == BALANCE_CHANGES.name
        for record in _records(url, part):
            headers = record.headers
            if of_journal and not any(name == ORIGIN for name, _ in headers or ()):
                headers = [*(headers or ()), (ORIGIN, origin.encode())]
            while not failed:
                try:
                    producer.produce(
                        topic,
                        record.value,
                        record.key,
                        part.partition,
                        headers=headers,
                        timestamp=record.at_ms,
                        on_delivery=delivered,
                    )
                    break
                except BufferError:  # its queue is full
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(120.0) or failed:
            raise BackupError(
                f"stopped within {topic}[{part.partition}] ({(failed or ['no answer'])[0]}): the"
                " environment is half written: delete its topics, create them and restore again"
            )
    _set_offsets(cluster, environment, begins)
    _marked(lambda: restoring.unmark(cluster, environment))
    return manifest


def _marked(write: Callable[[], None]) -> None:
    try:
        write()
    except AccessError as error:
        raise BackupError(
            f"{error}: the environment counts as half written: delete its topics, create them and"
            " restore again"
        ) from None


def _topic(environment: Environment, part: Part) -> str:
    return f"{environment.name}.{part.topic}"


def _require_empty(
    cluster: KafkaCluster, environment: Environment, manifest: Manifest
) -> dict[tuple[str, int], int]:
    """Where each partition begins, all being empty."""
    begins: dict[tuple[str, int], int] = {}
    reader = Reader(cluster, kafka.reader())
    try:
        for part in manifest.parts:
            topic = _topic(environment, part)
            low, _, high = _ends(reader, topic, part.partition)
            if low != high or (part.topic == PRICE_BOOK.name and high):
                raise BackupError(
                    f"{topic}[{part.partition}] is not empty (offsets {low} to {high}): restore"
                    " into new topics; nothing was written"
                )
            begins[part.topic, part.partition] = high
    finally:
        reader.close()
    return begins


def _set_offsets(
    cluster: KafkaCluster, environment: Environment, begins: dict[tuple[str, int], int]
) -> None:
    """Settlement begins with both inputs where they begin."""
    names: tuple[str, ...] = tuple(topic.name for topic in INPUTS)
    request = ConsumerGroupTopicPartitions(
        layout_of(environment, 0, "0").group,
        [
            TopicPartition(f"{environment.name}.{name}", partition, begin)
            for (name, partition), begin in begins.items()
            if name in names
        ],
    )
    admin = cluster.admin()
    for answer in admin.alter_consumer_group_offsets([request]).values():
        for where in answer.result(topics.TIMEOUT_S).topic_partitions:
            if where.error is not None:
                raise BackupError(
                    f"the offset of {where.topic} was not set ({where.error.str()}): the"
                    " environment counts as half written: delete its topics, create them and"
                    " restore again"
                )


def _place(url: str) -> tuple[Any, str]:
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise BackupError(f"{url}: {error}") from None
    return fs, root
