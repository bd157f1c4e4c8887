"""An input read again, record by record, as settlement read it."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from drawdown.events.codec import RecordError
from drawdown.settlement.application import Settlement
from drawdown.stream.application import Item, Record
from drawdown.stream.outbox import FORWARDED
from drawdown.stream.partition import partition_of
from drawdown.stream.partition_log import PartitionLog
from drawdown.stream.view import PartitionView

CHUNK: Final = 256
"""Records read and looked up together: a lone look-up costs five times as much."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A record of an input, and what it was read as."""

    record: Record
    item: Item | None = None
    error: RecordError | None = None
    """Why it is no such record."""
    home: int | None = None
    """The partition its key belongs to, where that is another."""

    @property
    def forwarded(self) -> bool:
        """Moved here from a partition its key does not belong to."""
        return self.record.header(FORWARDED) is not None


class Input:
    """The records of one input's partition, in order. `start` is the first there is."""

    def __init__(
        self,
        name: str,
        log: PartitionLog,
        partitions: int,
        application: Settlement,
        view: PartitionView,
    ) -> None:
        self.name = name
        self.topic = log.topic
        self.start = log.start
        self.first_ms: int | None = None
        """Append time of the first there is."""
        self._log = log
        self._partitions = partitions
        self._application = application
        self._view = view
        self._ready: deque[Incoming] = deque()

    def peek(self) -> Incoming | None:
        """The next record; None at the end."""
        if not self._ready:
            self._refill()
        return self._ready[0] if self._ready else None

    def take(self) -> Incoming | None:
        """The next record, to be handed out once."""
        found = self.peek()
        if found is not None:
            self._ready.popleft()
        return found

    def _refill(self) -> None:
        rows: list[str] = []
        identities: list[bytes] = []
        while len(self._ready) < CHUNK:
            message = self._log.take()
            if message is None:
                break
            incoming = self._read(message)
            self._ready.append(incoming)
            if incoming.item is not None:
                rows.extend(incoming.item.row_keys)
                identities.extend(incoming.item.identity_keys)
        self._view.prefetch(rows, identities)

    def _read(self, message: Any) -> Incoming:
        record = Record(
            self.name,
            message.partition(),
            message.offset(),
            message.key(),
            message.value() or b"",
            message.timestamp()[1],
            message.headers(),
        )
        if self.first_ms is None:
            self.first_ms = record.at_ms
        if record.key is not None:
            home = partition_of(record.key, self._partitions)
            if home != record.partition:
                return Incoming(record, home=home)
        try:
            return Incoming(record, self._application.read(record))
        except RecordError as error:
            return Incoming(record, error=error)

    def close(self) -> None:
        self._log.close()
