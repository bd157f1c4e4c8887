"""What a store has beside its rows - event ids and timers - compared with what the journal makes.

Ids are remembered of entries, under the same keys and with the same values wherever a store came
from; only a command's answer may stand there as its entry, of which it is made (`ledger.replay`). A
store need not have them all: those of entries below `identities_from` may not be restored yet, and
whole weeks are forgotten, oldest first. What it has must be right; what is younger must be there.
Timers are those of the rows, no more and no fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

import msgspec

from drawdown.events.codec import RecordError
from drawdown.ledger.identity import FINGERPRINT_BYTES
from drawdown.ledger.journal import Sealed, unseal
from drawdown.ledger.replay import WHOLE, remembered
from drawdown.ledger.rows import due_of
from drawdown.replay.compare import pairs
from drawdown.replay.live_store import LiveStore
from drawdown.stream.store import GENERATION_MS, Changes, Positions, Store

BATCH: Final = 8_000
_head: Final = Struct(">qq")
"""Before the value of an id: offset and `at` of its entry."""


class Remembered:
    """The ids of the entries folded so far, in a store of their own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, bytes | None] = {}

    def entry(self, offset: int, sealed: Sealed) -> None:
        """Remember what an entry identifies; what is remembered last counts."""
        head = _head.pack(offset, sealed.entry.at_ms)
        for key, value in remembered(sealed):
            self._waiting[key.decode()] = head + value
        if len(self._waiting) >= BATCH:
            self.commit()

    def commit(self) -> None:
        """Write what was remembered."""
        _put(self._store, self._waiting)
        self._waiting = {}

    def all_ids(self) -> Iterator[tuple[str, Expected]]:
        """Every id, by key."""
        for key, value in self._store.all_rows():
            offset, at_ms = _head.unpack_from(value)
            yield key, Expected(offset, at_ms // GENERATION_MS, value[_head.size :])

    def close(self) -> None:
        self._store.close()


class Expected(msgspec.Struct, frozen=True):
    """What must be remembered under a key."""

    offset: int
    week: int
    """That of its entry: it may lie in this one or a later one."""
    value: bytes


class Wrong(msgspec.Struct, frozen=True):
    """Something that is not as the journal makes it."""

    what: str
    """`identity` or `timer`."""
    key: str
    detail: str


def ids_wrong(expected: Remembered, live: LiveStore, scratch: Store) -> Iterator[Wrong]:
    """The ids of a store that are not as they must be. `scratch` is empty; it is filled."""
    weeks = live.weeks()
    for week in weeks:  # the oldest first: what was remembered later counts
        _copy(live.identities(week), scratch)
    oldest = weeks[0] if weeks else None
    since = live.positions.identities_from
    mine = ((key, found) for key, found in expected.all_ids())
    for key, must, found in pairs(mine, scratch.all_rows()):
        if must is None:
            yield Wrong("identity", key, "is remembered; no entry of the journal has it")
        elif found is None:
            if must.offset >= since and oldest is not None and must.week >= oldest:
                yield Wrong("identity", key, f"is not remembered; entry @{must.offset} has it")
        elif _as_decided(key, found) != must.value:
            yield Wrong(
                "identity", key, f"is remembered otherwise than entry @{must.offset} has it"
            )


def _as_decided(key: str, value: bytes) -> bytes:
    """The value as it is remembered by whoever decides."""
    if not value[FINGERPRINT_BYTES:].startswith(WHOLE):
        return value
    try:
        made = remembered(unseal(value[FINGERPRINT_BYTES + len(WHOLE) :]))
    except RecordError:
        return value
    return dict(made).get(key.encode(), value)


def timers_wrong(
    rows: Iterable[tuple[str, bytes]], live: LiveStore, scratch: Store
) -> Iterator[Wrong]:
    """The timers of a store that are not those of the rows. `scratch` is empty; it is filled."""
    seen: set[str] = set()
    told: dict[str, bytes | None] = {}
    for at_ms, key in live.timers():
        if key in told or scratch.rows([key]) != [None]:
            seen.add(key)
        told[key] = str(at_ms).encode()
        if len(told) >= BATCH:
            _put(scratch, told)
            told = {}
    _put(scratch, told)
    due = (
        (key, str(due_ms).encode()) for key, value in rows if (due_ms := due_of(value)) is not None
    )
    for key, must, found in pairs(due, scratch.all_rows()):
        if key in seen:
            yield Wrong("timer", key, "has more than one timer")
        elif must != found:
            yield Wrong("timer", key, f"is due at {_text(found)} there; its row at {_text(must)}")


def _text(due: bytes | None) -> str:
    return "no time" if due is None else f"{due.decode()} ms"


def _copy(found: Iterable[tuple[str, bytes]], to: Store) -> None:
    rows: dict[str, bytes | None] = {}
    for key, value in found:
        rows[key] = value
        if len(rows) >= BATCH:
            _put(to, rows)
            rows = {}
    _put(to, rows)


def _put(store: Store, rows: dict[str, bytes | None]) -> None:
    if rows:
        store.write(Changes(rows, {}, 0, (), (), Positions()))
