"""Reading a topic from somewhere to where it ends now: every committed record, and nothing missed.

The end is that of everything appended, open transactions included: a reader of committed records is
told an earlier one while any transaction is open, and would miss what was committed behind it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from drawdown.deadletters.errors import DeadLettersError
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster, Consumer

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.2
QUIET_S_MAX: Final = 60.0
"""How long nothing may come while there is more: longer than any transaction stays open."""


def scan(
    cluster: Cluster,
    topic: str,
    *,
    since_ms: int | None = None,
    starts: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> Iterator[Message]:
    """The records of all partitions, or of those in `starts`: each from its offset there, from what
    was appended at or after `since_ms`, or from the beginning; to the offset in `until`, which is
    not included, or to where the topic ends now.

    Blocks. Raises DeadLettersError where nothing comes for 60 s, KafkaException.
    """
    ends = _ends(cluster, topic)
    if starts is not None:
        ends = {partition: end for partition, end in ends.items() if partition in starts}
    if until is not None:
        ends = {partition: min(end, until.get(partition, end)) for partition, end in ends.items()}
    consumer = cluster.consumer(kafka.reader())
    try:
        firsts = dict(starts or {})
        if since_ms is not None:
            firsts = _offsets_at(consumer, topic, sorted(ends), since_ms, ends)
        left = {partition for partition, end in ends.items() if firsts.get(partition, 0) < end}
        consumer.assign(
            [TopicPartition(topic, p, firsts.get(p, OFFSET_BEGINNING)) for p in sorted(left)]
        )
        yield from _read(consumer, topic, ends, left)
    finally:
        consumer.close()


def _read(
    consumer: Consumer, topic: str, ends: Mapping[int, int], left: set[int]
) -> Iterator[Message]:
    heard_at = time.monotonic()
    while left:
        message = consumer.poll(POLL_S)
        if message is None:
            if time.monotonic() - heard_at > QUIET_S_MAX:
                raise DeadLettersError(
                    f"{topic}: nothing comes any more before the ends of partitions"
                    f" {sorted(left)}; is a transaction open there?"
                )
            continue
        heard_at = time.monotonic()
        partition: Any = message.partition()
        offset: Any = message.offset()
        error = message.error()
        if error is None:
            if offset < ends[partition]:
                yield message
            if offset + 1 >= ends[partition]:
                left.discard(partition)
        elif error.code() == KafkaError._PARTITION_EOF:
            if offset >= ends[partition]:
                left.discard(partition)
        elif not error.retriable():
            raise KafkaException(error)


def _ends(cluster: Cluster, topic: str) -> dict[int, int]:
    """Where each partition ends. Only a reader of uncommitted records is told."""
    consumer = cluster.consumer({**kafka.reader(), "isolation.level": "read_uncommitted"})
    try:
        described = consumer.list_topics(topic, TIMEOUT_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        found = {}
        for partition in described.partitions:
            where = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(where, TIMEOUT_S, cached=False)
            found[partition] = high if high > low else 0
        return found
    finally:
        consumer.close()


def _offsets_at(
    consumer: Consumer, topic: str, partitions: list[int], at_ms: int, ends: Mapping[int, int]
) -> dict[int, int]:
    """The first offset appended at or after a time, of each partition; its end where none was."""
    asked = [TopicPartition(topic, partition, max(at_ms, 0)) for partition in partitions]
    found = {}
    for where in consumer.offsets_for_times(asked, TIMEOUT_S):
        if where.error is not None:
            raise KafkaException(where.error)
        found[where.partition] = where.offset if where.offset >= 0 else ends[where.partition]
    return found
