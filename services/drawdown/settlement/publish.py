"""Publishing a price book: from the book to the records of its topic, checked before and after.

The records are read back by the very reader every process uses, before anything is sent: a book
that would be refused is refused here, with the rule it breaks.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, cast

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from drawdown.events.base import EPOCH, milliseconds
from drawdown.events.catalogue import PRICE_BOOK, Environment
from drawdown.events.codec import encode
from drawdown.events.pricebook import (
    AssetRecord,
    CommitRecord,
    MeterRecord,
    PlanRecord,
    PriceBook,
    RateRecord,
)
from drawdown.events.structs import struct_of, to_struct
from drawdown.ledger.book import Book, BookError
from drawdown.ledger.digits import check_digits
from drawdown.settlement.books import BookReader, Content
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

NOTICE: Final = timedelta(seconds=60)
"""How far ahead a version is published, so that every process knows it before it counts."""


_AssetRecord = struct_of(AssetRecord)
_MeterRecord = struct_of(MeterRecord)
_RateRecord = struct_of(RateRecord)
_PlanRecord = struct_of(PlanRecord)
_CommitRecord = struct_of(CommitRecord)


class PublishError(Exception):
    """The book was not published; says why."""


def records_of(
    book: PriceBook,
    effective_at: datetime,
    published_at: datetime,
    *,
    restores: str | None = None,
    supersedes: Sequence[str] = (),
) -> tuple[list[bytes], Book]:
    """The records of a book, ending in its commit, and the book as processes will compile it;
    `restores` and `supersedes` as in its commit.

    Raises BookError where the book contradicts itself.
    """
    version, upload = book.version, uuid.uuid4().hex
    content = to_struct(book)
    parts: list[object] = [
        *(_AssetRecord(version=version, upload=upload, asset=asset) for asset in content.assets),
        *(_MeterRecord(version=version, upload=upload, meter=meter) for meter in content.meters),
        *(
            _RateRecord(version=version, upload=upload, side="price", rate=rate)
            for rate in content.rates
        ),
        *(
            _RateRecord(version=version, upload=upload, side="cost", rate=rate)
            for rate in content.costs
        ),
        *(_PlanRecord(version=version, upload=upload, plan=plan) for plan in content.plans),
    ]
    check_digits(content)
    values = [encode(part) for part in parts]
    commit = _CommitRecord(
        version=version,
        upload=upload,
        effective_at=effective_at,
        published_at=published_at,
        reporting=content.reporting,
        thresholds=content.thresholds,
        lateness_seconds=content.lateness_days * 86_400,
        records=len(values),
        digest=sha256(b"".join(value + b"\n" for value in values)).hexdigest(),
        title=content.title,
        drawdown=content.drawdown,
        conversions=content.conversions,
        restores=restores,
        supersedes=list(supersedes),
    )
    values.append(encode(commit))
    reader = BookReader()
    for offset, value in enumerate(values):
        reader.read(offset, value)
    if reader.refused is not None:
        raise reader.refused
    if reader.problems:
        raise BookError("book", reader.problems[0])
    (compiled,) = reader.books
    return values, compiled


def publish(
    cluster: Cluster,
    environment: Environment,
    book: PriceBook,
    *,
    now: datetime,
    effective_at: datetime | None = None,
    force: bool = False,
    supersedes: Sequence[str] = (),
) -> tuple[datetime, int]:
    """Publish a version; returns when it takes effect and its commit's offset. Blocks up to 30 s.

    The first version of an environment is in effect from the beginning of time unless said
    otherwise; a later one 60 s from now at the earliest, unless forced. `supersedes` names versions
    that were to take effect with it or later, and then never do. The same version with the same
    content again is published once. Raises PublishError, BookError.
    """
    existing = read_topic(cluster, environment, keep=True)
    known = existing.contents.get(book.version)
    if known is not None:
        return _published(book, known, effective_at)
    at = _effective_at(existing, now, effective_at, force=force)
    for version in supersedes:
        _check_superseded(existing, version, at)
    values, _ = records_of(book, at, now, supersedes=supersedes)
    return at, _send(cluster, environment.topic(PRICE_BOOK), book.version, values)


class RolledBack(msgspec.Struct, frozen=True):
    """A version that was published as a former one had been."""

    version: str
    effective_at: datetime
    offset: int
    superseded: list[str]
    """Versions that were to take effect later, and never do."""


def roll_back(
    cluster: Cluster,
    environment: Environment,
    version: str,
    *,
    now: datetime,
    name: str | None = None,
    effective_at: datetime | None = None,
    force: bool = False,
    keep_scheduled: bool = False,
) -> RolledBack:
    """Publish the content of a former version as a new one, by default named after it. What was to
    take effect then or later never does, unless it is to be kept. Blocks up to 30 s.

    Nothing that was debited changes. Raises PublishError.
    """
    existing = read_topic(cluster, environment, keep=True)
    content = existing.contents.get(version)
    if content is None:
        raise PublishError(f"no version {version!r}: see `drawdown price-book list`")
    at = _effective_at(existing, now, effective_at, force=force)
    before = existing.books.at(milliseconds(at))
    scheduled = [
        book.version
        for book in existing.books
        if existing.contents[book.version].commit.effective_at >= at
        and book.version not in existing.books.superseded
    ]
    if before is not None and before.version == version and (keep_scheduled or not scheduled):
        raise PublishError(f"version {version!r} is in effect then: there is nothing to roll back")
    name = name or _again(version, set(existing.contents))
    if name in existing.contents:
        raise PublishError(f"version {name!r} was published before: give another --as NAME")
    superseded = [] if keep_scheduled else scheduled
    book = PriceBook.model_validate({**document_of(content), "version": name})
    values, _ = records_of(book, at, now, restores=version, supersedes=superseded)
    offset = _send(cluster, environment.topic(PRICE_BOOK), name, values)
    return RolledBack(name, at, offset, superseded)


def _again(version: str, taken: set[str]) -> str:
    """`2026-09+2` for 2026-09 again, or the next number that is free."""
    number = 2
    while f"{version}+{number}" in taken:
        number += 1
    return f"{version}+{number}"


def document_of(content: Content) -> dict[str, Any]:
    """A version in the form of a file, with what differs from the default."""
    commit = content.commit
    document = {
        "version": commit.version,
        "title": commit.title,
        "reporting": commit.reporting,
        "lateness_days": commit.lateness_seconds // 86_400,
        "assets": content.assets,
        "meters": content.meters,
        "rates": content.prices,
        "costs": content.costs,
        "thresholds": commit.thresholds,
        "drawdown": commit.drawdown,
        "conversions": commit.conversions,
        "plans": content.plans,
    }
    return cast(dict[str, Any], msgspec.to_builtins(document))


def _published(
    book: PriceBook, known: Content, effective_at: datetime | None
) -> tuple[datetime, int]:
    """When a version that is there takes effect, and where it is. Raises PublishError where what is
    to be published is another one."""
    at = known.commit.effective_at
    if book != PriceBook.model_validate(document_of(known)):
        what = "with other content"
    elif effective_at not in (None, at):
        what = f"in effect from {at.isoformat()}"
    else:
        return at, known.book.offset
    raise PublishError(
        f"version {book.version!r} was published before, {what}, and never changes: give it another"
        " name"
    )


def _effective_at(
    existing: BookReader, now: datetime, effective_at: datetime | None, *, force: bool
) -> datetime:
    """When a new version takes effect. Raises PublishError."""
    if effective_at is None:
        return now + NOTICE if len(existing.books) else EPOCH
    if len(existing.books) and effective_at < now + NOTICE and not force:
        if effective_at < now:
            raise PublishError(
                "effective_at is in the past, where usage was priced already: give a time at least"
                f" {NOTICE.seconds} s from now; `drawdown rerate` prices the past anew"
            )
        raise PublishError(
            f"effective_at is less than {NOTICE.seconds} s from now, so that some process might"
            " not know it in time: give a later one, or --force"
        )
    return effective_at


def _check_superseded(existing: BookReader, version: str, at: datetime) -> None:
    """Raises PublishError for what cannot be superseded by a version that takes effect at `at`."""
    content = existing.contents.get(version)
    if content is None:
        raise PublishError(f"--supersede: no version {version!r}")
    if content.commit.effective_at < at:
        raise PublishError(
            f"--supersede: version {version!r} is in effect from"
            f" {content.commit.effective_at.isoformat()}, before this one: it ends where this one"
            " begins, as any"
        )


def _send(cluster: Cluster, topic: str, version: str, values: Sequence[bytes]) -> int:
    producer = cluster.producer(kafka.plain_producer())
    landed: list[int] = []
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            landed.append(message.offset() or 0)

    for value in values:
        producer.produce(topic, value, version.encode(), 0, on_delivery=report)
        producer.poll(0)
    producer.flush(30.0)
    if failed or len(landed) != len(values):
        why = failed[0].str() if failed else "no answer from the broker within 30 s"
        raise PublishError(f"{topic}: {why}; what was sent has no commit record and does not count")
    return landed[-1]


def read_topic(cluster: Cluster, environment: Environment, *, keep: bool = False) -> BookReader:
    """All versions on the topic; `keep` as in BookReader. Blocks until its end is reached."""
    reader = BookReader(keep=keep)
    consumer = cluster.consumer(kafka.reader())
    try:
        consumer.assign([TopicPartition(environment.topic(PRICE_BOOK), 0, OFFSET_BEGINNING)])
        while True:
            message = consumer.poll(10.0)
            if message is None:
                raise PublishError("the price-book topic cannot be read: no answer within 10 s")
            error = message.error()
            if error is None:
                reader.read(message.offset() or 0, message.value() or b"")
            elif error.code() == KafkaError._PARTITION_EOF:
                return reader
            else:
                raise PublishError(f"the price-book topic cannot be read: {error.str()}")
    finally:
        consumer.close()
