"""What a replay of one partition is told, and how it says how far it is."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from drawdown.events.catalogue import Environment
from drawdown.stream.store import MemoryStores, Owner, RocksStores, Store

Progress = Callable[[int, int], None]
"""Told now and then: entries done, and about how many there are in all."""

TELL_EVERY: Final = 2_000
"""Entries between two words of progress."""


class Job(msgspec.Struct, frozen=True):
    """One partition of one environment."""

    environment: str
    partition: int
    partitions: int
    cluster_id: str
    scratch: str | None = None
    """Directory for what is rebuilt; None keeps it in memory."""
    stores: tuple[str, ...] = ()
    """Directories with stores of settlement to be compared."""

    @property
    def topics(self) -> Environment:
        return Environment(self.environment)

    def store(self, name: str) -> Store:
        """A store of its own for what is read or made, empty."""
        owner = Owner(self.cluster_id, name, self.partition, self.partitions)
        if self.scratch is None:
            return MemoryStores().open(owner)
        directory = Path(self.scratch) / str(self.partition)
        return RocksStores(directory, cache_bytes=16 << 20, write_buffer_bytes=32 << 20).open(owner)


def rss_mb() -> int:
    """The most memory this process ever had resident, in MB of 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
