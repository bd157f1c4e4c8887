"""Which price books a process knew when it decided.

All of them, as a rule: a version is published ahead, and a process that could not confirm the
topic's end for 30 s decides nothing. But one that was published after a record was appended, and
counts from before that, may not have been known yet; then either is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from drawdown.events.catalogue import PRICE_BOOK, Environment
from drawdown.ledger.book import Books
from drawdown.settlement.books import CONFIRMED_S_MAX, BookReader
from drawdown.stream.partition_log import PartitionLog, bounds_of
from drawdown.stream.ports import Cluster

UNKNOWN_MS: Final = int(CONFIRMED_S_MAX * 1000)
"""How long after its publication a process may decide without a version."""


class KnownBooks:
    """The versions of an environment. A shelf of settlement's application: `books` are those to be
    decided by just now."""

    def __init__(self, versions: list[tuple[int, Books]]) -> None:
        self._versions = versions
        """Per version: when it was published, and the books with it, oldest first."""
        self.every = versions[-1][1] if versions else Books()
        self.books = self.every

    def confirmed(self) -> bool:
        """They are read to the end before anything is decided."""
        return True

    def earlier(self, at_ms: int) -> Iterator[Books]:
        """Smaller sets that a process may have known when it decided a record appended at `at_ms`:
        without the last version, the last two, ..."""
        for place in range(len(self._versions) - 1, -1, -1):
            if self._versions[place][0] <= at_ms - UNKNOWN_MS:
                return
            yield self._versions[place - 1][1] if place else Books()


def read_known(cluster: Cluster, environment: Environment) -> KnownBooks:
    """All versions on the topic. Blocks until its end is reached. Raises LogError."""
    topic = environment.topic(PRICE_BOOK)
    low, end = bounds_of(cluster, topic, 0)
    reader = BookReader()
    versions: list[tuple[int, Books]] = []
    for message in PartitionLog(cluster, topic, 0, low, end):
        reader.read(message.offset() or 0, message.value() or b"")
        if len(reader.books) > len(versions):
            versions.append((message.timestamp()[1], reader.books))
    return KnownBooks(versions)
