"""Publishing a price book: from the book to the records of its topic, checked before and after.

The records are read back by the very reader every process uses, before anything is sent: a book
that would be refused is refused here, with the rule it breaks.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from drawdown.events.base import EPOCH
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
from drawdown.settlement.books import BookReader
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
    book: PriceBook, effective_at: datetime, published_at: datetime
) -> tuple[list[bytes], Book]:
    """The records of a book, ending in its commit, and the book as processes will compile it.

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
) -> tuple[datetime, int]:
    """Publish a version; returns when it takes effect and its commit's offset. Blocks up to 30 s.

    The first version of an environment is in effect from the beginning of time unless said
    otherwise; a later one 60 s from now at the earliest, unless forced. Raises PublishError,
    BookError.
    """
    existing = read_topic(cluster, environment)
    versions = {known.version for known in existing.books}
    if book.version in versions:
        raise PublishError(
            f"version {book.version!r} was published before and never changes: give it another name"
        )
    if effective_at is None:
        effective_at = now + NOTICE if versions else EPOCH
    elif versions and effective_at < now + NOTICE and not force:
        raise PublishError(
            f"effective_at is less than {NOTICE.seconds} s from now, so that some process might"
            " not know it in time: give a later one, or --force"
        )
    values, _ = records_of(book, effective_at, now)
    offset = _send(cluster, environment.topic(PRICE_BOOK), book.version, values)
    return effective_at, offset


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
