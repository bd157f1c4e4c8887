"""The shelf of price books: read from their topic, so that every partition knows the same ones.

A version counts from its commit record on, if the records before it are those the commit digested;
the first complete version of a name wins. A process that has not been at the topic's end for 30 s
does not know what is in effect and lets its inputs rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition

from drawdown.events.catalogue import PRICE_BOOK, Environment
from drawdown.events.codec import BookRecord, RecordError, decode_book_record, kind_of
from drawdown.events.pricebook import (
    Asset,
    AssetRecord,
    CommitRecord,
    Meter,
    MeterRecord,
    Plan,
    PlanRecord,
    Rate,
    RateRecord,
)
from drawdown.ledger.book import Book, BookError, Books
from drawdown.stream.clock import Clock
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.books")


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo | None:
    """A time zone by its IANA name; None where there is none. Reads its table once."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


CONFIRMED_S_MAX: Final = 30.0
CONFIRM_EVERY_S: Final = 5.0


@dataclass(slots=True)
class Upload:
    """The records of one attempt to publish a version, so far."""

    assets: list[Asset] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    prices: list[Rate] = field(default_factory=list)
    costs: list[Rate] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    hash: Any = field(default_factory=sha256)
    records: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """A version as it was published, and compiled."""

    commit: CommitRecord
    book: Book
    assets: list[Asset]
    meters: list[Meter]
    prices: list[Rate]
    costs: list[Rate]
    plans: list[Plan]


class BookReader:
    """Makes versions of the records of the topic, in their order.

    `keep` keeps the records as well, in `contents`: for whoever shows or explains prices. A process
    that only prices has no use for them, and a catalogue of models is 7 MB.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.books = Books(zone=zone)
        self.contents: dict[str, Content] = {}
        """By version, where they are kept."""
        self.problems: list[str] = []
        """What was wrong, in words, oldest first."""
        self.refused: BookError | None = None
        """Why the last version that contradicts itself is refused."""
        self._keep = keep
        self._uploads: dict[tuple[str, str], Upload] = {}
        self._versions: set[str] = set()

    def read(self, offset: int, value: bytes) -> None:
        """Take the next record. What is wrong with it is a problem to be told, never raised: the
        topic is read by every process, and one bad publisher must not stop them."""
        try:
            record = decode_book_record(value)
        except RecordError as error:
            self._problem(offset, str(error))
            return
        key = (record.version, record.upload)
        if kind_of(record) != "commit":
            upload = self._uploads.setdefault(key, Upload())
            upload.hash.update(value + b"\n")
            upload.records += 1
            _collect(upload, record)
            return
        commit = cast(CommitRecord, record)
        upload = self._uploads.pop(key, Upload())
        if commit.version in self._versions:
            self._problem(
                offset, f"version {commit.version!r} was published before; this one is ignored"
            )
            return
        if upload.records != commit.records or upload.hash.hexdigest() != commit.digest:
            self._problem(offset, f"version {commit.version!r} is incomplete; it is ignored")
            return
        try:
            book = Book(
                commit,
                offset,
                upload.assets,
                upload.meters,
                upload.prices,
                upload.costs,
                upload.plans,
            )
        except BookError as error:
            self.refused = error
            self._problem(offset, f"version {commit.version!r} is refused: {error}")
            return
        self._versions.add(commit.version)
        self.books = self.books.with_book(book)
        if self._keep:
            self.contents[commit.version] = Content(
                commit,
                book,
                upload.assets,
                upload.meters,
                upload.prices,
                upload.costs,
                upload.plans,
            )

    def _problem(self, offset: int, detail: str) -> None:
        self.problems.append(f"price-book@{offset}: {detail}")
        log.error("price-book@%d: %s", offset, detail)


def _collect(upload: Upload, record: BookRecord) -> None:
    kind = kind_of(record)
    if kind == "asset":
        upload.assets.append(cast(AssetRecord, record).asset)
    elif kind == "meter":
        upload.meters.append(cast(MeterRecord, record).meter)
    elif kind == "plan":
        upload.plans.append(cast(PlanRecord, record).plan)
    else:
        rate = cast(RateRecord, record)
        (upload.prices if rate.side == "price" else upload.costs).append(rate.rate)


class BookShelf:
    """The price books of an environment, followed while they are published."""

    def __init__(
        self, cluster: Cluster, environment: Environment, config: dict[str, Any], clock: Clock
    ) -> None:
        self._clock = clock
        self._reader = BookReader()
        self._consumer = cluster.consumer(config)
        self._where = TopicPartition(environment.topic(PRICE_BOOK), 0, OFFSET_BEGINNING)
        self._consumer.assign([self._where])
        self._next = 0
        self._asked_at = -CONFIRM_EVERY_S
        self._confirmed_at: float | None = None

    @property
    def books(self) -> Books:
        return self._reader.books

    @property
    def problems(self) -> list[str]:
        """What was wrong on the topic, oldest first."""
        return self._reader.problems

    def confirmed(self) -> bool:
        """Whether the topic's end was reached within the last 30 s. Reads what is there; asks the
        broker for the end every 5 s, which may block for a second."""
        self._read()
        now = self._clock.monotonic()
        if now - self._asked_at >= CONFIRM_EVERY_S or self._confirmed_at is None:
            self._asked_at = now
            self._confirm(now)
        return self._confirmed_at is not None and now - self._confirmed_at < CONFIRMED_S_MAX

    def _confirm(self, now: float) -> None:
        try:
            _, end = self._consumer.get_watermark_offsets(self._where, 1.0, cached=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the end is not confirmed
            log.warning("the end of the price-book topic is not known: %s", error)
            return
        self._read()
        if self._next >= end:
            self._confirmed_at = now

    def _read(self) -> None:
        first = self._consumer.poll(0)
        if first is None:
            return
        for message in [first, *self._consumer.consume(10_000, 0)]:
            error = message.error()
            if error is None:
                offset = cast(int, message.offset())
                self._reader.read(offset, message.value() or b"")
                self._next = offset + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                self._next = max(self._next, cast(int, message.offset()))
            else:
                log.warning("price-book: %s", error.str())

    def close(self) -> None:
        self._consumer.close()


def read_books(records: Iterable[tuple[int, bytes]], *, keep: bool = False) -> BookReader:
    """The versions of records that are at hand; `keep` as in BookReader."""
    reader = BookReader(keep=keep)
    for offset, value in records:
        reader.read(offset, value)
    return reader
