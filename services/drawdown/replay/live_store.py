"""The stores of settlement, read as they stand while settlement goes on.

A store is opened read-only: RocksDB then takes no lock, and shows what was written up to that
moment, positions and rows of one batch together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, cast

import msgspec
from rocksdict import AccessType, Options, Rdict

from drawdown.stream.store import (
    IDENTITIES,
    META,
    OWNER_KEY,
    POSITIONS_KEY,
    TIMERS,
    Owner,
    Positions,
    StoreUnusableError,
)

TRIES: Final = 5
"""A store that is being written may drop a file while it is opened."""


class LiveStore:
    """A store on disk at one moment. Raises StoreUnusableError, naming its path."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path = path
        self._db, self._families = _opened(path)
        try:
            meta = self._db.get_column_family(META)
            said = meta.get(OWNER_KEY)
            positions = meta.get(POSITIONS_KEY)
            del meta
            if said is None:
                raise StoreUnusableError(f"{path}: it does not say whose it is")
            found = msgspec.json.decode(cast(bytes, said), type=Owner)
            if found != owner:
                raise StoreUnusableError(f"{path}: it is that of {found}, not of {owner}")
            self.positions = Positions()
            if positions is not None:
                self.positions = msgspec.json.decode(cast(bytes, positions), type=Positions)
            if self.positions == Positions() and next(iter(self.all_rows()), None) is not None:
                raise StoreUnusableError(f"{path}: its restore is not finished")
        except (StoreUnusableError, msgspec.MsgspecError) as error:
            self.close()
            raise StoreUnusableError(str(error)) from error

    def all_rows(self) -> Iterable[tuple[str, bytes]]:
        """Every row, by key."""
        for key, value in cast(Iterable[tuple[bytes, bytes]], self._db.items()):
            yield key.decode(), value

    def timers(self) -> Iterator[tuple[int, str]]:
        """When, in Unix ms, and of which row; soonest first."""
        for key, _ in self._items(TIMERS):
            yield int.from_bytes(key[:8], "big"), key[8:].decode()

    def weeks(self) -> list[int]:
        """The generations of event ids there are, oldest first."""
        return sorted(
            int(name.removeprefix(IDENTITIES))
            for name in self._families
            if name.startswith(IDENTITIES)
        )

    def identities(self, week: int) -> Iterator[tuple[str, bytes]]:
        """The event ids of a generation, by key."""
        for key, value in self._items(f"{IDENTITIES}{week}"):
            yield key.decode(), value

    def _items(self, family: str) -> Iterator[tuple[bytes, bytes]]:
        yield from cast(Iterable[tuple[bytes, bytes]], self._db.get_column_family(family).items())

    def close(self) -> None:
        self._db.close()


def _opened(path: Path) -> tuple[Rdict, list[str]]:
    options = Options(raw_mode=True)
    # Every file is open from the start: one that is deleted meanwhile can still be read.
    options.set_max_open_files(-1)
    for left in range(TRIES, 0, -1):
        try:
            names = Rdict.list_cf(str(path), options)
            opened = Rdict(
                str(path),
                options=options,
                column_families=dict.fromkeys(names, options),
                access_type=AccessType.read_only(False),
            )
        except Exception as error:  # rocksdict raises bare exceptions
            if left == 1:
                raise StoreUnusableError(f"{path}: it cannot be read: {error}") from error
            time.sleep(0.1)
        else:
            return opened, names
    raise AssertionError


def paths_of(stores: Path, topic: str, partition: int) -> list[Path]:
    """The stores of a partition below a directory: of each instance that ever served it, or the one
    that is there where the directory is an instance's own."""
    name = f"{topic}-{partition}"
    candidates = [stores / name, *sorted(stores.glob(f"*/{name}"))]
    return [path for path in candidates if (path / "CURRENT").exists()]
