"""One partition of a topic, read in order to an end that was fixed before.

Ends are last stable offsets, taken when everything appended before had become stable. One process
writes a partition, one transaction after the other, so such an end lies between two transactions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

ANSWER_S: Final = 10.0
"""How long the broker may take to answer a question."""
SILENCE_S: Final = 60.0
"""How long nothing may come while there is something to be read, or a transaction stay open."""
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

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset there is, and the end once all that was appended before this call is
        stable. Waits up to 60 s for an open transaction. Raises LogError, KafkaException."""
        where = TopicPartition(topic, partition)
        low, high = self._all.get_watermark_offsets(where, ANSWER_S, cached=False)
        deadline = time.monotonic() + SILENCE_S
        while True:
            _, end = self._stable.get_watermark_offsets(where, ANSWER_S, cached=False)
            if end >= high:
                return low, end
            if time.monotonic() > deadline:
                raise LogError(
                    f"{topic}[{partition}]: a transaction has been open at {end} for"
                    f" {SILENCE_S:.0f} s: see `drawdown doctor`"
                )
            time.sleep(0.02)

    def close(self) -> None:
        self._stable.close()
        self._all.close()


class PartitionLog:
    """The records of a partition from `start` up to `end`, in order. Reads when first asked."""

    def __init__(self, cluster: Cluster, topic: str, partition: int, start: int, end: int) -> None:
        self.topic = topic
        self.partition = partition
        self.start = start
        self.end = end
        self._cluster = cluster
        self._consumer: Any = None
        self._ready: deque[Message] = deque()
        self._ended = start >= end

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
        """The next record; None at the end. Blocks up to 60 s. Raises LogError, KafkaException."""
        return self._ready[0] if self._more() else None

    def take(self) -> Message | None:
        """The next record, to be handed out once."""
        return self._ready.popleft() if self._more() else None

    def _more(self) -> bool:
        """Whether there is a record; reads on until there is, or the end is reached."""
        if self._ready:
            return True
        silent_since = time.monotonic()
        while not self._ready and not self._ended:
            self._read()
            if time.monotonic() - silent_since > SILENCE_S:
                raise LogError(
                    f"{self.topic}[{self.partition}]: nothing came for {SILENCE_S:.0f} s"
                )
        return bool(self._ready)

    def _read(self) -> None:
        if self._consumer is None:
            self._consumer = self._cluster.consumer(reader_config())
            self._consumer.assign([TopicPartition(self.topic, self.partition, self.start)])
        first = self._consumer.poll(POLL_S)
        if first is None:
            return
        for message in [first, *self._consumer.consume(BATCH, 0)]:
            error = message.error()
            offset = cast(int, message.offset())
            if error is None:
                if offset >= self.end:
                    self._end()
                    return
                self._ready.append(message)
                if offset == self.end - 1:
                    self._end()
                    return
            elif error.code() == KafkaError._PARTITION_EOF:
                if offset >= self.end:
                    self._end()
                    return
            else:
                raise KafkaException(error)

    def _end(self) -> None:
        self._ended = True
        self.close()

    def close(self) -> None:
        """Let go of the client; what was read can still be taken."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
