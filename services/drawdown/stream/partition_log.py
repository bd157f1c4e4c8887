"""Partitions of a topic, read in order from here to an end that was fixed before.

For whoever looks at what is there and has nothing else to do meanwhile: replay, backup, dead
letters. Who rebuilds a store beside serving reads with `stream.reading`.

Ends are last stable offsets, taken when everything appended before had become stable. One process
writes a partition, one transaction after the other, so such an end lies between two transactions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from drawdown.stream import kafka
from drawdown.stream.ports import Cluster, Consumer

ANSWER_S: Final = 10.0
"""How long the broker may take to answer a question."""
SILENCE_S: Final = 60.0
"""How long nothing may come while there is something to be read, or a transaction stay open: longer
than any transaction does."""
POLL_S: Final = 0.2
BATCH: Final = 1000
AHEAD: Final = {"queued.min.messages": 5_000, "queued.max.messages.kbytes": 8 * 1024}
"""What is fetched ahead: several topics are read side by side, by several processes."""


class LogError(Exception):
    """A topic cannot be read as it must be; one line that names it."""


def reader_config() -> dict[str, Any]:
    """A consumer that reads committed records and leaves no trace."""
    return {**kafka.reader(), **AHEAD}


class Ends:
    """Asks where partitions begin and end. Two clients: only one that reads uncommitted records is
    told the high watermark, only one that does not the last stable offset."""

    def __init__(self, cluster: Cluster) -> None:
        config = reader_config()
        self._stable = cluster.consumer(config)
        self._all = cluster.consumer({**config, "isolation.level": "read_uncommitted"})

    def partitions(self, topic: str) -> list[int]:
        """The partitions a topic has. Raises KafkaException where there is no such topic."""
        described = self._all.list_topics(topic, ANSWER_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        return sorted(described.partitions)

    def bounds(self, topic: str, partition: int, silence_s: float = SILENCE_S) -> tuple[int, int]:
        """The first offset there is, and the end once all that was appended before this call is
        stable. Waits up to `silence_s` for an open transaction. Raises LogError, KafkaException."""
        where = TopicPartition(topic, partition)
        low, high = self._all.get_watermark_offsets(where, ANSWER_S, cached=False)
        deadline = time.monotonic() + silence_s
        while True:
            _, end = self._stable.get_watermark_offsets(where, ANSWER_S, cached=False)
            if end >= high:
                return low, end
            if time.monotonic() > deadline:
                raise LogError(
                    f"{topic}[{partition}]: a transaction has been open at {end} for"
                    f" {silence_s:.0f} s: see `drawdown doctor`"
                )
            time.sleep(0.02)

    def since(self, topic: str, partition: int, at_ms: int) -> int | None:
        """The first offset appended at or after a time; None where there is none."""
        asked = [TopicPartition(topic, partition, max(at_ms, 0))]
        (found,) = self._stable.offsets_for_times(asked, ANSWER_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def close(self) -> None:
        self._stable.close()
        self._all.close()


def bounds_of(cluster: Cluster, topic: str, partition: int) -> tuple[int, int]:
    """The `bounds` of one partition, for who asks for no other. Blocks. Raises LogError,
    KafkaException."""
    ends = Ends(cluster)
    try:
        return ends.bounds(topic, partition)
    finally:
        ends.close()


def batches(
    cluster: Cluster, topic: str, spans: Mapping[int, range], silence_s: float = SILENCE_S
) -> Generator[list[Message], None, None]:
    """The records of these partitions, each from the start of its span up to the end of it, as many
    at a time as have come: in order within a partition, in any between them.

    Blocks. Raises LogError where nothing comes for `silence_s` before an end, KafkaException. The
    client is let go of before the last batch is handed out.
    """
    ends = {partition: span.stop for partition, span in spans.items() if span}
    if not ends:
        return
    consumer = cluster.consumer(reader_config())
    batch: list[Message] = []
    try:
        consumer.assign([TopicPartition(topic, p, spans[p].start) for p in sorted(ends)])
        heard_at = time.monotonic()
        while ends:
            if _read(consumer, ends, batch):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > silence_s:
                waiting = ", ".join(f"{topic}[{p}] to {end}" for p, end in sorted(ends.items()))
                raise LogError(
                    f"{waiting}: nothing came for {silence_s:.0f} s; is a transaction open there?"
                )
            if batch and ends:
                yield batch
                batch = []
                heard_at = time.monotonic()
    finally:
        consumer.close()
    if batch:
        yield batch


def _read(consumer: Consumer, ends: dict[int, int], batch: list[Message]) -> bool:
    """Put what came into a batch, and take out of `ends` whose end was reached; False where
    nothing came."""
    first = consumer.poll(POLL_S)
    if first is None:
        return False
    for message in [first, *consumer.consume(BATCH, 0)]:
        partition, offset = cast(int, message.partition()), cast(int, message.offset())
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            if error.retriable():
                continue
            raise KafkaException(error)
        end = ends.get(partition)
        if end is None:
            continue
        if error is None and offset < end:
            batch.append(message)
        if offset + (error is None) >= end:
            del ends[partition]
    return True


class PartitionLog:
    """The records of a partition from `start` up to `end`, in order. Reads when first asked."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        partition: int,
        start: int,
        end: int,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.start = start
        self.end = end
        self._batches = batches(cluster, topic, {partition: range(start, end)}, silence_s)
        self._ready: deque[Message] = deque()

    def __iter__(self) -> Iterator[Message]:
        while (message := self.take()) is not None:
            yield message

    def batches(self) -> Iterator[list[Message]]:
        """All records, as many at a time as have come."""
        while self._more():
            batch = list(self._ready)
            self._ready.clear()
            yield batch

    def peek(self) -> Message | None:
        """The next record; None at the end. Blocks. Raises LogError, KafkaException."""
        return self._ready[0] if self._more() else None

    def take(self) -> Message | None:
        """The next record, to be handed out once."""
        return self._ready.popleft() if self._more() else None

    def _more(self) -> bool:
        """Whether there is a record; reads on until there is, or the end is reached."""
        if not self._ready:
            self._ready.extend(next(self._batches, ()))
        return bool(self._ready)

    def close(self) -> None:
        """Let go of the client; what was read can still be taken."""
        self._batches.close()
