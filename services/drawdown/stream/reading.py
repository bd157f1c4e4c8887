"""Reading a partition of a topic from here to there, piece by piece, for whoever rebuilds a store.

One consumer reads for all that is rebuilt in a process; each task has one topic at a time, and
takes what came in its own steps, so that nothing waits for anything but itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, TypeVar

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from drawdown.stream.ports import Cluster

BATCH: Final = 2000
"""Records handed out at once, and written to the store at once."""

T = TypeVar("T")


class Reader:
    """The consumer, and what it has to say about the ends of logs."""

    def __init__(self, cluster: Cluster, config: Mapping[str, Any]) -> None:
        self._consumer = cluster.consumer(config)
        # Only a read_uncommitted client is told the high watermark; others get the stable end.
        self._watermarks = cluster.consumer({**config, "isolation.level": "read_uncommitted"})
        self.hanging: set[tuple[str, int]] = set()
        """Partitions in which a transaction has been open for long: of outputs, and of the usage
        topic where it holds the group's offsets. For the worker to end, if they are its own."""

    def hand_out(self, tasks: Callable[[int], Task | None], wait_s: float) -> None:
        """Give what was read to the task of its partition. Waits up to `wait_s` for the first."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return
        for message in [first, *self._consumer.consume(BATCH, 0)]:
            partition: Any = message.partition()
            task = tasks(partition)
            if task is None or message.topic() != task.reading:
                continue
            error = message.error()
            if error is None:
                task.inbox.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                task.at_end = True
            else:
                task.error = KafkaException(error)

    def read(self, topic: str, partition: int, offset: int) -> None:
        """Read this of the partition, and nothing else of it."""
        self.rest(partition)
        self._consumer.incremental_assign([TopicPartition(topic, partition, offset)])

    def rest(self, partition: int) -> None:
        """Read nothing of a partition any more."""
        mine = [p for p in self._consumer.assignment() if p.partition == partition]
        if mine:
            self._consumer.incremental_unassign(mine)

    def high_watermark(self, topic: str, partition: int, timeout_s: float = 2.0) -> int:
        """The end of everything appended, open transactions included. Blocks."""
        _, high = self._watermarks.get_watermark_offsets(
            TopicPartition(topic, partition), timeout_s, cached=False
        )
        return high

    def stable_end(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset there is, and the end below which no transaction is open. Blocks."""
        return self._consumer.get_watermark_offsets(
            TopicPartition(topic, partition), 2.0, cached=False
        )

    def first_since(self, topic: str, partition: int, at_ms: int) -> int:
        """The first offset appended then or later; -1 where there is none. Blocks."""
        (found,) = self._consumer.offsets_for_times(
            [TopicPartition(topic, partition, at_ms)], timeout=2.0
        )
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset

    def group_metadata(self) -> Any:
        """Of the group whose name it has, without a place in it."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        self._consumer.close()
        self._watermarks.close()


class Task:
    """Something that is rebuilt from one partition: a generator that yields when it has to wait."""

    def __init__(self, reader: Reader, partition: int) -> None:
        self.partition = partition
        self.inbox: list[Any] = []
        self.at_end = False
        self.reading: str | None = None
        """The topic it reads now."""
        self.error: Exception | None = None
        self.doing = ""
        """What it does or waits for, in words, with what the broker last said to it."""
        self.remaining = 0
        """Offsets still to be read, as far as known."""
        self._reader = reader

    def asked(
        self, what: str, question: Callable[[], T], patience: Iterator[None] | None = None
    ) -> Generator[bool, None, T]:
        """The broker's answer, as soon as there is one: it may be away for a while. `patience` is
        looked at each time there is none."""
        self.doing = what
        while True:
            try:
                return question()
            except KafkaException as error:
                if not passing(error.args[0]):
                    raise
                self.doing = f"{what}: {error.args[0].str()}"
            if patience is not None:
                next(patience)
            yield False

    def messages(self, topic: str, start: int, end: int) -> Iterator[list[Any]]:
        """Read from an offset on until a record at or behind `end` came, or the log's end; an empty
        list means: wait. What is behind `end` is handed out as well where it came along."""
        self.doing = f"reading {topic}[{self.partition}] from {start} to {end}"
        self.inbox = []
        self.at_end = False
        if start != OFFSET_BEGINNING and start >= end:
            return
        self.reading = topic
        self._reader.read(topic, self.partition, start)
        while True:
            # The end is looked at first: what came before it is in the inbox by then.
            at_end = self.at_end
            messages, self.inbox = self.inbox, []
            if messages:
                last: int = messages[-1].offset()
                self.remaining = max(end - last - 1, 0)
                yield messages
                if last >= end:
                    break
            elif at_end:
                break
            else:
                yield []
        self.rest()

    def rest(self) -> None:
        """Read no more: also for who has seen enough of `messages`."""
        self.reading = None
        self._reader.rest(self.partition)


def passing(cause: KafkaError) -> bool:
    """An error that goes away by itself: a pending transaction, a coordinator on its way."""
    return not cause.fatal() and cause.code() not in (
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
