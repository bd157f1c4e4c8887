"""The local store of one partition: rows, identities, timers and how far they go.

A store is a cache of the journal: whatever it holds can be rebuilt, so a store that is damaged, of
another cluster, topic or format is set aside, never patched. It is written only after the Kafka
transaction that made its content was committed, in one batch with the position that says so.

Two implementations: RocksDB on disk, and dictionaries for the simulator and fast tests;
`tests/stream/test_store.py` runs one suite over both.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Protocol, cast
from uuid import uuid4

import msgspec
from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
)

from drawdown.stream.upgrades import UPGRADES, upgraded

log = logging.getLogger("drawdown.store")

FORMAT: Final = 2
"""Of what a store holds and how. An older one is brought up to it (`UPGRADES`); any other is
rebuilt from the journal."""
GENERATION_MS: Final = 7 * 86_400_000
"""Identities of a week live together and are dropped together."""


class StoreUnusableError(Exception):
    """A store that cannot be used: damaged, or another's. It is to be set aside. Damage of a part
    that is seldom read is found when it is: any call may raise this."""


class Owner(msgspec.Struct, frozen=True):
    """Whose store it is: a store of another owner is never read."""

    cluster: str
    topic: str
    partition: int
    partitions: int
    format: int = FORMAT


class Positions(msgspec.Struct, frozen=True):
    """How far a store goes. All are next offsets: the first record that is not in it."""

    journal: int = 0
    inputs: Mapping[str, int] = {}
    """Per input topic: behind the highest cause that is in it."""
    identities_from: int = 0
    """Of the journal: the identities of its entries from here to `journal` are in the store."""
    identities_from_ms: int = 0
    """The entries below that, whose identities may be missing, are of records appended before this
    time. 0: none is missing. See `identities`."""


class Timer(msgspec.Struct, frozen=True):
    """A row and when it is due."""

    due_ms: int
    key: str


class Changes(msgspec.Struct, frozen=True):
    """What one transaction changes in a store."""

    rows: Mapping[str, bytes | None]
    identities: Mapping[bytes, bytes]
    at_ms: int
    """Append time of the newest record decided: names the generation of the identities."""
    timers_gone: Sequence[Timer]
    timers_new: Sequence[Timer]
    positions: Positions


class Store(Protocol):
    """The state of one partition. Calls may block on the disk; they hold the GIL."""

    positions: Positions

    def rows(self, keys: Sequence[str]) -> list[bytes | None]:
        """The rows under these keys, in order."""

    def identities(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """What is remembered under these keys, in order; what was last remembered counts."""

    def write(self, changes: Changes) -> None:
        """All of the changes or none."""

    def due(self, until_ms: int, limit: int) -> list[Timer]:
        """The first timers due at or before a time, soonest first."""

    def all_rows(self) -> Iterable[tuple[str, bytes]]:
        """Every row, by key."""

    def forget(self, before_ms: int) -> None:
        """Drop the generations of identities that ended before a time."""

    def close(self) -> None: ...


class Source(Protocol):
    """Where snapshots of stores come from."""

    def fetch(self, owner: Owner, journal: range, into: Path) -> str | None:
        """Put the newest good snapshot of a partition into a new directory; says which, None where
        there is none. Blocks as long as it takes."""


class Stores(Protocol):
    """Where the stores of a process are."""

    def open(self, owner: Owner) -> Store:
        """The store of a partition, made if there is none.

        Raises StoreUnusableError; `set_aside` then makes room for a new one.
        """

    def set_aside(self, owner: Owner) -> str:
        """Put an unusable store where it can be looked at; says where."""

    def fetch(self, owner: Owner, journal: range) -> Future[Path | None] | None:
        """Begin to fetch the newest good snapshot whose position is within `journal`; None where
        there are no snapshots. Does not wait."""

    def install(self, owner: Owner, fetched: Path) -> None:
        """Put what was fetched in the place of the store, which is closed and empty."""


# --- in memory ---------------------------------------------------------------------------------


class MemoryStore:
    """A store of dictionaries. It survives its process as long as its `MemoryStores` does."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.positions = Positions()
        self._rows: dict[str, bytes] = {}
        self._generations: dict[int, dict[bytes, bytes]] = {}
        self._timers: set[tuple[int, str]] = set()

    def rows(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._rows.get(key) for key in keys]

    def identities(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(keys)
        for _, ids in sorted(self._generations.items()):
            for place, key in enumerate(keys):
                found[place] = ids.get(key, found[place])
        return found

    def write(self, changes: Changes) -> None:
        for key, value in changes.rows.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        if changes.identities:
            generation = self._generations.setdefault(changes.at_ms // GENERATION_MS, {})
            generation.update(changes.identities)
        for timer in changes.timers_gone:
            self._timers.discard((timer.due_ms, timer.key))
        self._timers.update((timer.due_ms, timer.key) for timer in changes.timers_new)
        self.positions = changes.positions

    def due(self, until_ms: int, limit: int) -> list[Timer]:
        found = sorted(timer for timer in self._timers if timer[0] <= until_ms)
        return [Timer(*timer) for timer in found[:limit]]

    def all_rows(self) -> Iterable[tuple[str, bytes]]:
        return sorted(self._rows.items())

    def forget(self, before_ms: int) -> None:
        for generation in [g for g in self._generations if (g + 1) * GENERATION_MS <= before_ms]:
            del self._generations[generation]

    def close(self) -> None:
        pass


class MemoryStores:
    """Stores in memory, by partition: what a simulated machine has on its disk."""

    def __init__(self) -> None:
        self._stores: dict[int, MemoryStore] = {}
        self.set_aside_count = 0

    def open(self, owner: Owner) -> MemoryStore:
        store = self._stores.setdefault(owner.partition, MemoryStore(owner))
        if store.owner != owner:
            raise StoreUnusableError(f"the store is that of {store.owner}, not of {owner}")
        return store

    def set_aside(self, owner: Owner) -> str:
        self._stores.pop(owner.partition, None)
        self.set_aside_count += 1
        return "memory"

    def fetch(self, owner: Owner, journal: range) -> Future[Path | None] | None:  # noqa: ARG002
        return None

    def install(self, owner: Owner, fetched: Path) -> None:
        raise NotImplementedError("stores in memory have no snapshots")


# --- on disk -----------------------------------------------------------------------------------

META: Final = "meta"
TIMERS: Final = "timers"
IDENTITIES: Final = "identities-"
ASIDE: Final = ".unusable-"
FETCHED: Final = ".fetched-"
"""In the name of a directory that a snapshot is being fetched into."""
OWNER_KEY: Final = b"owner"
POSITIONS_KEY: Final = b"positions"

IN_USE: Final = re.compile(r"While lock file|lock hold by")
"""What RocksDB says of a store that is open already; of damage it says "block checksum"."""
DAMAGED: Final = "Corruption"

_encode = msgspec.json.Encoder().encode
_decode_owner = msgspec.json.Decoder(Owner).decode
_decode_positions = msgspec.json.Decoder(Positions).decode


class RocksStores:
    """Stores in a directory, one RocksDB each; one cache and one write buffer bound the memory."""

    def __init__(
        self,
        directory: Path,
        *,
        cache_bytes: int = 48 << 20,
        write_buffer_bytes: int = 64 << 20,
        snapshots: Source | None = None,
    ) -> None:
        self._directory = directory
        self._snapshots = snapshots
        for left in directory.glob(f"*{FETCHED}*"):  # of a process that died meanwhile
            shutil.rmtree(left)
        self._cache = Cache(cache_bytes)
        self._buffers = WriteBufferManager(write_buffer_bytes, False)

    def open(self, owner: Owner) -> RocksStore:
        path = self._path(owner)
        path.mkdir(parents=True, exist_ok=True)
        try:
            return RocksStore(path, owner, self._options())
        except StoreUnusableError:
            raise
        except Exception as error:  # rocksdict raises bare exceptions
            if IN_USE.search(str(error)):
                raise  # another process lives in it: that is no damage
            raise StoreUnusableError(f"{path.name} does not open: {error}") from error

    def has(self, owner: Owner) -> bool:
        """Whether there is a store, or anything, in the place of a partition's."""
        return self._path(owner).exists()

    def fetched_path(self, owner: Owner) -> Path:
        """Where to fetch a snapshot to, beside the store."""
        path = self._path(owner)
        return path.with_name(f"{path.name}{FETCHED}{uuid4().hex}")

    def set_aside(self, owner: Owner) -> str:
        path = self._path(owner)
        for number in range(1, 1000):
            aside = path.with_name(f"{path.name}{ASIDE}{number}")
            if not aside.exists():
                path.rename(aside)
                return str(aside)
        shutil.rmtree(path)
        return "nowhere: a thousand are set aside already"

    def fetch(self, owner: Owner, journal: range) -> Future[Path | None] | None:
        if self._snapshots is None:
            return None
        into = self.fetched_path(owner)
        source, result = self._snapshots, Future[Path | None]()

        def work() -> None:
            try:
                found = source.fetch(owner, journal, into)
                result.set_result(into if found is not None else None)
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                result.set_exception(error)

        # A daemon: a process that ends does not wait for a download.
        threading.Thread(target=work, name=f"fetch-{owner.partition}", daemon=True).start()
        return result

    def install(self, owner: Owner, fetched: Path) -> None:
        path = self._path(owner)
        shutil.rmtree(path, ignore_errors=True)
        fetched.rename(path)

    def found(self) -> list[Owner]:
        """Whose stores are in the directory, going by what each says. Raises StoreUnusableError, or
        whatever RocksDB does about a store that a process lives in."""
        return [
            owner_of(path.parent)
            for path in sorted(self._directory.glob("*/CURRENT"))
            if FETCHED not in path.parent.name and ASIDE not in path.parent.name
        ]

    def _path(self, owner: Owner) -> Path:
        return self._directory / f"{owner.topic}-{owner.partition}"

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.create_missing_column_families(True)
        table = BlockBasedOptions()
        table.set_bloom_filter(10, False)
        table.set_block_cache(self._cache)
        table.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(16 << 20)
        options.set_max_write_buffer_number(3)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_max_background_jobs(2)
        options.set_max_open_files(128)
        options.set_keep_log_file_num(2)
        options.set_max_total_wal_size(64 << 20)
        return options


class RocksStore:
    """A store on disk. It has a write-ahead log, not synced: what a crash of the machine takes
    from it, the journal's tail gives back, because the position goes in the same batch."""

    def __init__(self, path: Path, owner: Owner, options: Options) -> None:
        self._options = options
        self._path = path
        self.owner = owner
        names = {META, TIMERS}
        with contextlib.suppress(Exception):  # a new directory lists nothing, by an exception
            names |= set(Rdict.list_cf(str(path), options)) - {"default"}
        self._db = Rdict(
            str(path), options=options, column_families=dict.fromkeys(sorted(names), options)
        )
        self._meta = self._db.get_column_family(META)
        self._timers = self._db.get_column_family(TIMERS)
        self._meta_handle = self._db.get_column_family_handle(META)
        self._timers_handle = self._db.get_column_family_handle(TIMERS)
        self._generations: dict[int, tuple[Rdict, Any]] = {}
        for name in names:
            if name.startswith(IDENTITIES):
                self._open_generation(int(name.removeprefix(IDENTITIES)))
        try:
            self._check(owner)
            stored = self._meta.get(POSITIONS_KEY)
            self.positions = _decode_positions(stored) if stored is not None else Positions()
        except (StoreUnusableError, msgspec.MsgspecError) as error:
            self.close()
            raise StoreUnusableError(f"{path.name}: {error}") from error

    def _check(self, owner: Owner) -> None:
        stored = self._meta.get(OWNER_KEY)
        if stored is None:
            if next(iter(self._db.keys()), None) is not None:
                raise StoreUnusableError("it has rows and does not say whose")
            self._meta.put(OWNER_KEY, _encode(owner))
        elif (found := _decode_owner(stored)) != owner:
            if msgspec.structs.replace(found, format=owner.format) != owner:
                raise StoreUnusableError(f"it is that of {found}, not of {owner}")
            self._upgrade(found, owner)

    def _upgrade(self, found: Owner, owner: Owner) -> None:
        """Bring the store to the format that is wanted, in one batch."""
        meta = {
            cast(bytes, key): cast(bytes, value) for key, value in cast(Any, self._meta).items()
        }
        changed = upgraded(meta, found.format, owner.format)
        if changed is None:
            raise StoreUnusableError(
                f"it is of format {found.format}; formats {sorted({*UPGRADES, FORMAT})} are known"
            )
        batch = WriteBatch(raw_mode=True)
        for key, value in {**changed, OWNER_KEY: _encode(owner)}.items():
            batch.put(key, value, self._meta_handle)
        self._db.write(batch)
        log.info("%s: format %d brought to %d", self._path.name, found.format, owner.format)

    def checkpoint(self, path: Path) -> None:
        """A copy as of now in a directory that is not there yet: hard links where the file system
        has them. Blocks for a flush."""
        checkpoint = Checkpoint(self._db)
        checkpoint.create_checkpoint(str(path))

    def rows(self, keys: Sequence[str]) -> list[bytes | None]:
        with _finding_damage():
            return cast(list[bytes | None], self._db.get([key.encode() for key in keys]))

    def identities(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = [None] * len(keys)
        if not keys:
            return found
        with _finding_damage():
            for ids, _ in self._generations.values():
                # One call for all keys: a bloom-filtered miss costs 0.4 us so, 2.4 us alone.
                for place, value in enumerate(cast(list[bytes | None], ids.get(list(keys)))):
                    if value is not None:
                        found[place] = value
        return found

    def write(self, changes: Changes) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.rows.items():
            if value is None:
                batch.delete(key.encode())
            else:
                batch.put(key.encode(), value)
        if changes.identities:
            handle = self._generation(changes.at_ms // GENERATION_MS)
            for identity, value in changes.identities.items():
                batch.put(identity, value, handle)
        for timer in changes.timers_gone:
            batch.delete(_timer_key(timer), self._timers_handle)
        for timer in changes.timers_new:
            batch.put(_timer_key(timer), b"", self._timers_handle)
        batch.put(POSITIONS_KEY, _encode(changes.positions), self._meta_handle)
        with _finding_damage():
            self._db.write(batch)
        self.positions = changes.positions

    def due(self, until_ms: int, limit: int) -> list[Timer]:
        found: list[Timer] = []
        with _finding_damage():
            for key, _ in _items(self._timers):
                due_ms = int.from_bytes(key[:8], "big")
                if due_ms > until_ms or len(found) == limit:
                    break
                found.append(Timer(due_ms, key[8:].decode()))
        return found

    def all_rows(self) -> Iterable[tuple[str, bytes]]:
        with _finding_damage():
            for key, value in _items(self._db):
                yield key.decode(), value

    def forget(self, before_ms: int) -> None:
        for generation in [g for g in self._generations if (g + 1) * GENERATION_MS <= before_ms]:
            del self._generations[generation]
            with _finding_damage():
                self._db.drop_column_family(f"{IDENTITIES}{generation}")

    def close(self) -> None:
        # rocksdict keeps the LOCK while any handle lives: all of them go first.
        self._generations.clear()
        del self._meta, self._timers, self._meta_handle, self._timers_handle
        self._db.close()

    def _generation(self, generation: int) -> Any:
        if generation not in self._generations:
            self._db.create_column_family(f"{IDENTITIES}{generation}", self._options)
            self._open_generation(generation)
        return self._generations[generation][1]

    def _open_generation(self, generation: int) -> None:
        name = f"{IDENTITIES}{generation}"
        self._generations[generation] = (
            self._db.get_column_family(name),
            self._db.get_column_family_handle(name),
        )
        # Oldest first, whichever was opened last: what was remembered later counts.
        self._generations = dict(sorted(self._generations.items()))


def owner_of(path: Path) -> Owner:
    """Whose store a directory holds. Raises StoreUnusableError."""
    options = Options(raw_mode=True)
    try:
        names = Rdict.list_cf(str(path), options)
        db = Rdict(
            str(path),
            options=options,
            column_families=dict.fromkeys(names, options),
            access_type=AccessType.read_only(),
        )
        stored = db.get_column_family(META).get(OWNER_KEY)
        db.close()
        return _decode_owner(cast(bytes, stored))
    except Exception as error:  # rocksdict raises bare exceptions
        raise StoreUnusableError(f"{path.name} does not say whose it is: {error}") from error


def _items(db: Rdict) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in order. The library's own `items()` ends at a damaged block as if it were
    the end, and says nothing."""
    found = db.iter()
    found.seek_to_first()
    while found.valid():
        yield found.key(), found.value()
        found.next()
    found.status()


@contextlib.contextmanager
def _finding_damage() -> Iterator[None]:
    """Says in our words that a block is not what was written; rocksdict raises bare exceptions."""
    try:
        yield
    except Exception as error:
        if not str(error).startswith(DAMAGED):
            raise
        raise StoreUnusableError(str(error)) from error


def _timer_key(timer: Timer) -> bytes:
    return timer.due_ms.to_bytes(8, "big") + timer.key.encode()
