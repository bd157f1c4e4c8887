"""The journal's entries, followed into a local store for whoever asks for a customer's history."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from drawdown.events.catalogue import BALANCE_CHANGES, Environment
from drawdown.events.codec import RecordError, decode_any
from drawdown.query.follower import Follower, Position, follow
from drawdown.query.tables import SEPARATOR, Table
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.replica")


@dataclass(slots=True)
class Entries:
    """The journal's entries, by customer and sequence, in a local store."""

    cluster: Cluster
    environment: Environment
    directory: Path
    follower: Follower = field(init=False)
    _table: Table = field(init=False)

    def start(self) -> None:
        topic = self.environment.topic(BALANCE_CHANGES)
        self.follower, self._table = follow(self.cluster, topic, self.directory, _by_sequence)
        self.follower.start()

    def stop(self) -> None:
        self.follower.stop()
        self._table.close()

    def caught_up(self) -> bool:
        return self.follower.caught_up()

    def position(self, customer: str) -> Position:
        return self.follower.position(customer.encode())

    def latest(self, customer: str, before: int | None, limit: int) -> list[bytes]:
        """The customer's entries, newest first, those below sequence `before`."""
        prefix = customer.encode() + SEPARATOR
        top = prefix + (b"\xff" * 8 if before is None else (before - 1).to_bytes(8, "big"))
        found: list[bytes] = []
        for _, value in self._table.scan(top, prefix=prefix, backwards=True):
            if len(found) == limit:
                break
            found.append(value)
        return found

    def oldest(self, customer: str, limit: int) -> list[bytes]:
        """The customer's first entries, oldest first."""
        prefix = customer.encode() + SEPARATOR
        found: list[bytes] = []
        for _, value in self._table.scan(prefix, prefix=prefix):
            if len(found) == limit:
                break
            found.append(value)
        return found

    def entry(self, customer: str, sequence: int) -> bytes | None:
        """One entry."""
        return self._table.get(customer.encode() + SEPARATOR + sequence.to_bytes(8, "big"))


def _by_sequence(key: bytes, value: bytes | None) -> tuple[bytes, bytes | None] | None:
    if value is None:
        return None
    try:
        sequence = int(decode_any(value)["data"]["sequence"])
    except (RecordError, KeyError, TypeError, ValueError):
        log.warning("an entry of %r is unreadable", key[:64])
        return None
    return key + SEPARATOR + sequence.to_bytes(8, "big"), value
