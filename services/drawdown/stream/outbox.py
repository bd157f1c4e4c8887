"""The outbox of a transaction: what was decided, on its way to the topics.

Everything names its partition: that of the record it came from. Records without headers go out in
batches (half the cost per record of single ones).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message

from drawdown.events.base import at_text
from drawdown.events.deadletters import HEADER_PREFIX
from drawdown.stream.application import Record
from drawdown.stream.layout import Layout
from drawdown.stream.ports import Headers, Producer

REPLY_HEADERS: Final = ("reply_to", "attempt_id")
FORWARDED: Final = HEADER_PREFIX + "forwarded-from"
"""Header of a record that was moved to the partition its key belongs to: `partition:offset`."""


class Outbox:
    """Collects the records of one transaction and hands them to the producer.

    Implements `application.Effects` for the partition it is `at`.
    """

    def __init__(self, layout: Layout, input_names: dict[str, str]) -> None:
        self._layout = layout
        self._journal = layout.journal
        self._input_names = input_names
        self._plain: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        self._headed: list[tuple[str, bytes | None, bytes | None, int, Headers]] = []
        self.journal_next: dict[int, int] = {}
        """Per partition written to: the offset behind the last entry, known after the commit."""
        self.journal_at: dict[int, int] = {}
        """Per partition: append time of the last entry, where the broker's clock stamps it."""
        self.journaled: set[int] = set()
        """Partitions whose journal was written to."""
        self.at = 0
        self.journal_count = 0
        self.count = 0

    # what an application may do

    def journal(self, key: bytes, value: bytes) -> None:
        self._plain[self._journal, self.at].append({"key": key, "value": value})
        self.journal_count += 1

    def answer(self, record: Record, value: bytes) -> None:
        headers = [(name, text) for name, text in record.headers or () if name in REPLY_HEADERS]
        if headers:
            self._headed.append((self._layout.answers, record.key, value, self.at, headers))
        else:
            self._put(self._layout.answers, record.key, value)

    def tell(self, topic: str, key: bytes, value: bytes) -> None:
        self._put(topic, key, value)

    def reject(self, record: Record, reason: str, detail: str, field: str | None) -> None:
        said = {
            "reason": reason,
            "detail": detail[:2000],
            "field": field,
            "topic": self._input_names[record.input],
            "partition": record.partition,
            "offset": record.offset,
            "appended_at": at_text(record.at_ms),
        }
        headers = [*(record.headers or ())]
        headers += [
            (HEADER_PREFIX + name, str(value).encode("utf-8", "replace"))
            for name, value in said.items()
            if value is not None
        ]
        self._headed.append((self._layout.dead_letters, record.key, record.value, self.at, headers))

    # what the loop does

    def row(self, key: str, value: bytes | None) -> None:
        """A row as it stands now; None is its tombstone."""
        self._put(self._layout.rows, key.encode(), value)

    def forward(self, topic: str, record: Record, partition: int) -> None:
        """Move a record to the partition its key belongs to."""
        origin = f"{record.partition}:{record.offset}".encode()
        headers = [*(record.headers or ()), (FORWARDED, origin)]
        self._headed.append((topic, record.key, record.value, partition, headers))

    def _put(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        self._plain[topic, self.at].append({"key": key, "value": value})

    @property
    def waiting(self) -> int:
        """Records not handed to the producer yet."""
        return len(self._headed) + sum(map(len, self._plain.values()))

    def flush(self, producer: Producer) -> None:
        """Hand everything to the producer. Raises KafkaException where its queue is full."""
        for (topic, partition), messages in self._plain.items():
            if topic == self._layout.journal:
                # Only the last entry is asked back about: where it landed is how far the journal
                # goes, and a delivery report per record would cost 1 us each.
                messages[-1]["callback"] = self._landed
                self.journaled.add(partition)
            # A partition named in a message would be passed over in silence.
            queued = producer.produce_batch(topic, messages, partition)
            if queued != len(messages):
                error = next((m["_error"] for m in messages if "_error" in m), "queue full")
                raise _queue_full(f"{topic}[{partition}]: {error}")
            self.count += queued
        self._plain.clear()
        for topic, key, value, partition, headers in self._headed:
            try:
                producer.produce(topic, value, key, partition, headers=headers)
            except BufferError as error:
                raise _queue_full(str(error)) from None
            self.count += 1
        self._headed = []

    def _landed(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                self.journal_next[partition] = offset + 1
                kind, at_ms = message.timestamp()
                if kind == TIMESTAMP_LOG_APPEND_TIME:
                    self.journal_at[partition] = at_ms


def _queue_full(detail: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._QUEUE_FULL, detail, txn_requires_abort=True))
