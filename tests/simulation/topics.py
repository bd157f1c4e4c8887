"""What stands on the topics, as the judge reads it: read_committed, with a parser of its own.

Nothing here is Drawdown's: not the partitioner, not the times, not the money.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from drawdown.stream.memory import MemoryCluster

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
PLACES = 12
PREFIX = "sim."
FORWARDED = "drawdown-forwarded-from"


class Record(NamedTuple):
    """One record that a reader sees."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    stamp_ms: int


class Book(NamedTuple):
    """A version of the price book."""

    effective_ms: int
    version: str
    offset: int
    """Of its commit record."""
    per_token: int
    """Pico-USD."""


@dataclass
class Topics:
    """All topics of a history."""

    partitions: int
    usage: list[list[Record]]
    commands: list[list[Record]]
    journal: list[list[Record]]
    rows: list[list[Record]]
    decisions: list[list[Record]]
    dead_letters: list[list[Record]]
    books: list[Book]
    truly_ms: Callable[[int, Record], int] = lambda partition, record: record.stamp_ms
    """When a journal's record was truly appended; its stamp, where the broker's clock is right."""
    steady: bool = True
    """No clock was ever wrong."""
    dead: dict[tuple[str, int, int], list[Record]] = field(default_factory=dict)
    """Dead letters by what they are of."""

    def __post_init__(self) -> None:
        for partition in self.dead_letters:
            for letter in partition:
                said = letter.headers
                of = (
                    said["drawdown-topic"].decode(),
                    int(said["drawdown-partition"]),
                    int(said["drawdown-offset"]),
                )
                self.dead.setdefault(of, []).append(letter)

    def books_at(self, at_ms: int) -> list[Book]:
        """The versions that may be in effect at a time, the one that should be last."""
        return sorted(book for book in self.books if book.effective_ms <= at_ms)


def read(cluster: MemoryCluster, partitions: int) -> Topics:
    """Everything that a reader of committed records sees."""

    def of(name: str) -> list[list[Record]]:
        return [_records(cluster, PREFIX + name, partition) for partition in range(partitions)]

    return Topics(
        partitions,
        of("usage-events"),
        of("commands"),
        of("balance-changes"),
        of("balances"),
        of("decisions"),
        of("dead-letters"),
        _books(_records(cluster, PREFIX + "price-book", 0)),
    )


def _records(cluster: MemoryCluster, topic: str, partition: int) -> list[Record]:
    found = []
    for message in cluster.records(topic, partition):
        said: Any = message.headers() or ()
        headers = {name: value or b"" for name, value in said}
        at = message.timestamp()[1]
        found.append(Record(message.offset() or 0, message.key(), message.value(), headers, at))
    return found


def _books(records: list[Record]) -> list[Book]:
    books = []
    price = 0
    for record in records:
        said = json.loads(record.value or b"")
        if said["record"] == "rate":
            form = said["rate"]["price"]
            price = pico(form["prices"]["input"]) // form["per"]
        elif said["record"] == "commit":
            books.append(Book(ms(said["effective_at"]), said["version"], record.offset, price))
    return books


def ms(text: str) -> int:
    """Milliseconds since the epoch."""
    return (datetime.fromisoformat(text) - EPOCH) // MILLISECOND


def pico(text: str) -> int:
    """An amount in 10^-12, exactly."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, places = text.partition(".")
    assert len(places) <= PLACES, text
    return sign * int(whole + places.ljust(PLACES, "0"))


@lru_cache(maxsize=256)
def home(key: bytes, partitions: int) -> int:
    """Where a key belongs: Kafka's murmur2, written down from its Java client."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    if len(key) > whole:
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions
