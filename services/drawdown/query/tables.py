"""Where a follower keeps what it reads: in memory, or in RocksDB.

Keys are those of the topic: a customer's id, or it with a separator and what follows. A table is
written by one thread and read by any.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, cast

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteBufferManager

from drawdown.events.base import KEY_SEPARATOR

SEPARATOR: Final = KEY_SEPARATOR.encode()


class Table(Protocol):
    """Values by key, in the order of their keys."""

    def get(self, key: bytes) -> bytes | None: ...

    def write(self, changes: dict[bytes, bytes | None]) -> None:
        """Put values, and take away the keys whose value is None."""

    def scan(
        self, start: bytes, *, prefix: bytes = b"", backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin with `prefix`, from `start` on, itself included."""

    def close(self) -> None: ...


class MemoryTable:
    """A table in memory. `scan` within a customer costs what the customer has; over all of them it
    sorts every key there is (a second for a million), so it is for tools."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._more: dict[bytes, dict[bytes, bytes]] = {}
        """Of keys that go on behind a separator, by what is before it."""

    def get(self, key: bytes) -> bytes | None:
        if SEPARATOR in key:
            return self._more.get(key.partition(SEPARATOR)[0], {}).get(key)
        return self._values.get(key)

    def write(self, changes: dict[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if SEPARATOR in key:
                self._write_more(key, value)
            elif value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def _write_more(self, key: bytes, value: bytes | None) -> None:
        group = key.partition(SEPARATOR)[0]
        if value is not None:
            self._more.setdefault(group, {})[key] = value
        elif group in self._more:
            self._more[group].pop(key, None)
            if not self._more[group]:
                del self._more[group]

    def scan(
        self, start: bytes, *, prefix: bytes = b"", backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        group, within, _ = prefix.partition(SEPARATOR)
        # Lists are made at once: the writer goes on meanwhile.
        if within:
            keys = list(self._more.get(group, ()))
        else:
            keys = [*self._values, *(key for more in list(self._more.values()) for key in [*more])]
        wanted = (
            key
            for key in keys
            if key.startswith(prefix) and (key <= start if backwards else key >= start)
        )
        for key in sorted(wanted, reverse=backwards):
            value = self.get(key)
            if value is not None:
                yield key, value

    def close(self) -> None:
        """Nothing to do: what is here can be read to the end of the process."""


class RocksTable:
    """A table on disk; memory is bounded by its cache and write buffer."""

    def __init__(self, path: Path, *, cache_bytes: int = 32 << 20) -> None:
        path.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        blocks = BlockBasedOptions()
        blocks.set_bloom_filter(10, False)
        blocks.set_block_cache(Cache(cache_bytes))
        blocks.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(blocks)
        self._buffers = WriteBufferManager(32 << 20, False)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(16 << 20)
        options.set_max_open_files(64)
        options.set_keep_log_file_num(2)
        options.set_max_background_jobs(2)
        self._db = Rdict(str(path), options=options)

    def get(self, key: bytes) -> bytes | None:
        return cast(bytes | None, self._db.get(key))

    def write(self, changes: dict[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch)

    def scan(
        self, start: bytes, *, prefix: bytes = b"", backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        items = cast(
            Iterator[tuple[bytes, bytes]], self._db.items(backwards=backwards, from_key=start)
        )
        for key, value in items:
            if not key.startswith(prefix):
                return
            yield key, value

    def close(self) -> None:
        self._db.close()
