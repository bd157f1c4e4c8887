"""The world of a history: one time, a broker, machines with clocks and disks of their own.

Nothing here is random and nothing runs by itself: the same calls make the same world.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final

from prometheus_client import CollectorRegistry

from drawdown.events.base import at_text
from drawdown.events.catalogue import TOPICS, Environment
from drawdown.stream import identities
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.store import Changes, MemoryStore, MemoryStores, Owner

START_MS: Final = 1_800_000_000_000
"""2027-01-15T08:00:00Z: when time begins."""
ENVIRONMENT: Final = Environment("sim")
METRICS: Final = StreamMetrics(CollectorRegistry())
"""Of all workers: nobody looks at them, and making them takes as long as a history."""
TOPIC_CONFIGS: Final = [
    (ENVIRONMENT.topic(topic), topic.by_customer, topic.config(ENVIRONMENT)) for topic in TOPICS
]


@contextmanager
def small_pieces() -> Iterator[None]:
    """A history is short: ids are restored in pieces of a few entries."""
    before = identities.PIECE_FIRST, identities.PIECE_MAX
    identities.PIECE_FIRST, identities.PIECE_MAX = 2, 4  # type: ignore[misc]
    try:
        yield
    finally:
        identities.PIECE_FIRST, identities.PIECE_MAX = before  # type: ignore[misc]


Moment = Callable[[str], None]
"""Told where a process has come to; may end or hold up that process."""


class Time:
    """Milliseconds since the epoch, as they truly are. Moves when somebody waits."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.alarm_ms: int | None = None
        self.ring: Callable[[], None] = lambda: None
        """Called once when time has come to `alarm_ms`, whoever waits then."""

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.ms += max(int(seconds * 1000), 1)
        if self.alarm_ms is not None and self.ms >= self.alarm_ms:
            self.alarm_ms = None
            self.ring()


class MachineClock:
    """A machine's clocks: the wall's may be wrong, the other never jumps."""

    def __init__(self, time: Time, ahead_ms: int = 0) -> None:
        self._time = time
        self.ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return self._time.ms + self.ahead_ms

    def monotonic(self) -> float:
        return (self._time.ms - START_MS) / 1000

    def sleep(self, seconds: float) -> None:
        self._time.sleep(seconds)


class DiskStore(MemoryStore):
    """A store whose writes are moments: a process may die before or after one, never in it."""

    def __init__(self, owner: Owner, moment: Moment) -> None:
        super().__init__(owner)
        self._moment = moment

    def write(self, changes: Changes) -> None:
        self._moment("store")
        super().write(changes)
        self._moment("store done")

    def copied(self) -> DiskStore:
        other = DiskStore(self.owner, self._moment)
        other.positions = self.positions
        other._rows = dict(self._rows)
        other._generations = {name: dict(ids) for name, ids in self._generations.items()}
        other._timers = set(self._timers)
        return other


class Disk(MemoryStores):
    """What a machine has on its disk; survives the machine's processes."""

    def __init__(self, moment: Moment) -> None:
        super().__init__()
        self._moment = moment

    def open(self, owner: Owner) -> MemoryStore:
        if owner.partition not in self._stores:
            self._stores[owner.partition] = DiskStore(owner, self._moment)
        return super().open(owner)

    def copied(self) -> Disk:
        """As it is now: what a backup, or a machine that lost its last writes, comes back with."""
        other = Disk(self._moment)
        for partition, store in self._stores.items():
            assert isinstance(store, DiskStore)
            other._stores[partition] = store.copied()
        return other


def book_records(version: int, effective_ms: int) -> list[bytes]:
    """A version of the price book as it stands on its topic: tokens at `version` times 2 USD per
    million. Written by hand, so that the same history makes the same bytes."""
    name = {"version": f"v{version}", "upload": f"upload-{version}"}
    parts: list[dict[str, Any]] = [
        {"record": "asset", **name, "asset": {"code": "USD", "scale": 12}},
        {
            "record": "meter",
            **name,
            "meter": {"id": "llm", "event_types": ["llm"], "fields": {"input": "input"}},
        },
        {
            "record": "rate",
            **name,
            "side": "price",
            "rate": {
                "id": "tokens",
                "meter": "llm",
                "asset": "USD",
                "price": {
                    "model": "token_map",
                    "prices": {"input": str(2 * version)},
                    "per": 1_000_000,
                },
                "rounding": {},
            },
        },
    ]
    values = [json.dumps(part, separators=(",", ":")).encode() for part in parts]
    commit = {
        "record": "commit",
        **name,
        "effective_at": at_text(effective_ms),
        "published_at": at_text(START_MS),
        "reporting": "USD",
        "lateness_seconds": 35 * 86_400,
        "records": len(values),
        "digest": sha256(b"".join(value + b"\n" for value in values)).hexdigest(),
    }
    return [*values, json.dumps(commit, separators=(",", ":")).encode()]
