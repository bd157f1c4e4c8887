"""Reading a topic from somewhere to where it ends now: every committed record, none missed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confluent_kafka import Message

from drawdown.deadletters.errors import DeadLettersError
from drawdown.stream.partition_log import Ends, LogError, batches
from drawdown.stream.ports import Cluster


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
    try:
        spans = _spans(cluster, topic, since_ms, starts or {}, until or {})
        for batch in batches(cluster, topic, spans):
            yield from batch
    except LogError as error:
        raise DeadLettersError(str(error)) from None


def _spans(
    cluster: Cluster,
    topic: str,
    since_ms: int | None,
    starts: Mapping[int, int],
    until: Mapping[int, int],
) -> dict[int, range]:
    """From where to where each partition is read."""
    spans = {}
    ends = Ends(cluster)
    try:
        for partition in ends.partitions(topic):
            if starts and partition not in starts:
                continue
            low, end = ends.bounds(topic, partition)
            first = max(starts.get(partition, low), low)
            if since_ms is not None:
                found = ends.since(topic, partition, since_ms)
                first = end if found is None else max(found, first)
            spans[partition] = range(first, min(end, until.get(partition, end)))
        return spans
    finally:
        ends.close()
