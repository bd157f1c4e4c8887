"""The state of a partition as a transaction sees it: an overlay of touched rows over the store.

Reads go overlay -> cache -> store. Nothing reaches the cache or the store before the transaction
committed; an abort drops the overlay and that is all there is to undo.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from drawdown.stream.application import Row
from drawdown.stream.store import Changes, Positions, Store, Timer

_MISSING: Final = object()


class RowCodec(Protocol):
    """What a view asks of the application."""

    def row_bytes(self, row: Row) -> bytes: ...

    def row_of(self, value: bytes) -> Row: ...

    def due_ms(self, row: Row) -> int | None: ...

    def due_of(self, value: bytes) -> int | None: ...


class RowCache:
    """Decoded rows of the partitions a process owns, least recently used out first.

    Bounded by the bytes of the rows as encoded; in memory they take about three times that.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._rows: OrderedDict[str, tuple[Row | None, int]] = OrderedDict()

    def get(self, key: str) -> Row:
        """The row, None where the store is known to have none, or `_MISSING`."""
        found = self._rows.get(key)
        if found is None:
            return _MISSING
        self._rows.move_to_end(key)
        return found[0]

    def put(self, key: str, row: Row | None, size_bytes: int) -> None:
        size_bytes += 100
        before = self._rows.pop(key, None)
        self._bytes += size_bytes - (before[1] if before is not None else 0)
        self._rows[key] = (row, size_bytes)
        while self._bytes > self._bytes_max:
            _, (_, freed) = self._rows.popitem(last=False)
            self._bytes -= freed

    def clear(self) -> None:
        """A partition was lost: its rows may change elsewhere from now on."""
        self._rows.clear()
        self._bytes = 0


class PartitionView:
    """The view of one partition. `seal` closes a transaction's changes, `commit` writes them,
    `drop` forgets them."""

    def __init__(self, store: Store, codec: RowCodec, cache: RowCache) -> None:
        self.store = store
        self._codec = codec
        self._cache = cache
        self._rows: dict[str, Row | None] = {}
        """Every row the transaction has read, as it now sees it."""
        self._before: dict[str, Row | None] = {}
        """The rows it has changed, as they were."""
        self._identities: dict[bytes, bytes] = {}
        self._known: dict[bytes, bytes | None] = {}

    def prefetch(self, row_keys: Iterable[str], identity_keys: Iterable[bytes]) -> None:
        """Read what a batch will need with one call each: a lone read costs five times as much."""
        rows = self._rows
        missing = []
        for key in row_keys:
            if key not in rows:
                row = self._cache.get(key)
                if row is _MISSING:
                    missing.append(key)
                else:
                    rows[key] = row
        if missing:
            for key, value in zip(missing, self.store.rows(missing), strict=True):
                self._load(key, value)
        identities = [key for key in identity_keys if key not in self._identities]
        if identities:
            self._known.update(zip(identities, self.store.identities(identities), strict=True))

    def row(self, key: str) -> Row | None:
        try:
            return self._rows[key]
        except KeyError:
            row = self._cache.get(key)
            if row is not _MISSING:
                self._rows[key] = row
                return row
            (value,) = self.store.rows([key])
            return self._load(key, value)

    def identity(self, key: bytes) -> bytes | None:
        value = self._identities.get(key)
        if value is not None:
            return value
        try:
            return self._known[key]
        except KeyError:
            (value,) = self.store.identities([key])
            return value

    def put(self, key: str, row: Row | None) -> None:
        if key not in self._before:
            self._before[key] = self.row(key)
        self._rows[key] = row

    def remember(self, key: bytes, value: bytes) -> None:
        self._identities[key] = value

    def _load(self, key: str, value: bytes | None) -> Row | None:
        row = None if value is None else self._codec.row_of(value)
        self._cache.put(key, row, 0 if value is None else len(value))
        self._rows[key] = row
        return row

    @property
    def touched(self) -> bool:
        return bool(self._before or self._identities)

    def seal(self) -> dict[str, bytes | None]:
        """The bytes of the rows the transaction changed; None where a row is gone."""
        row_bytes = self._codec.row_bytes
        rows = self._rows
        sealed: dict[str, bytes | None] = {}
        for key in self._before:
            row = rows[key]
            sealed[key] = None if row is None else row_bytes(row)
        return sealed

    def commit(self, sealed: Mapping[str, bytes | None], positions: Positions, at_ms: int) -> bool:
        """The transaction is committed: write it to the store in one batch. Says whether any
        row's timer changed."""
        gone: list[Timer] = []
        new: list[Timer] = []
        due_of = self._codec.due_ms
        for key, before in self._before.items():
            after = self._rows[key]
            due_before = None if before is None else due_of(before)
            due_after = None if after is None else due_of(after)
            if due_before != due_after:
                if due_before is not None:
                    gone.append(Timer(due_before, key))
                if due_after is not None:
                    new.append(Timer(due_after, key))
        self.store.write(Changes(sealed, self._identities, at_ms, gone, new, positions))
        for key, value in sealed.items():
            self._cache.put(key, self._rows[key], 0 if value is None else len(value))
        self.drop()
        return bool(gone or new)

    def restore(self, rows: Mapping[str, bytes | None]) -> None:
        """Write rows as they were published, in the order they were, into a store that has no
        position yet."""
        due_of = self._codec.due_of
        gone: list[Timer] = []
        new: list[Timer] = []
        keys = list(rows)
        for key, before in zip(keys, self.store.rows(keys), strict=True):
            if before is not None and (due := due_of(before)) is not None:
                gone.append(Timer(due, key))
            after = rows[key]
            if after is not None and (due := due_of(after)) is not None:
                new.append(Timer(due, key))
        # One that stays is in both: what is gone is taken out first.
        self.store.write(Changes(rows, {}, 0, gone, new, Positions()))

    def drop(self) -> None:
        """Forget what the transaction changed."""
        self._rows = {}
        self._before = {}
        self._identities = {}
        self._known = {}
