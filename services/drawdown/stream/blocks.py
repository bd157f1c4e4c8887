"""Files that are compared with what was written, MiB by MiB: damage is said with its place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

BLOCK_BYTES: Final = 1 << 20


class DamagedError(Exception):
    """A file is not as it was written: its name, and the bytes where."""


class File(msgspec.Struct, frozen=True):
    """What a file was when it was written."""

    name: str
    bytes: int
    blocks: list[str]
    """SHA-256 of each MiB, the last one shorter."""


class Hashed:
    """Something to write to that remembers what was written."""

    def __init__(self, to: Any) -> None:
        self._to = to
        self._size = 0
        self._blocks: list[str] = []
        self._open = bytearray()

    def write(self, value: bytes) -> int:
        self._to.write(value)
        self._size += len(value)
        self._open += value
        while len(self._open) >= BLOCK_BYTES:
            self._blocks.append(hashlib.sha256(self._open[:BLOCK_BYTES]).hexdigest())
            del self._open[:BLOCK_BYTES]
        return len(value)

    def flush(self) -> None:
        """For who expects a file."""

    def file(self, name: str) -> File:
        """All of it, under this name."""
        last = [hashlib.sha256(self._open).hexdigest()] if self._open else []
        return File(name, self._size, [*self._blocks, *last])


def checked(file: File, source: Any) -> Iterator[bytes]:
    """The blocks of a file, each compared before it is handed out. Raises DamagedError."""
    at = 0
    for expected in file.blocks:
        size = min(BLOCK_BYTES, file.bytes - at)
        block = cast(bytes, source.read(size))
        if len(block) != size:
            raise DamagedError(f"{file.name} ends at byte {at + len(block)} of {file.bytes}")
        if hashlib.sha256(block).hexdigest() != expected:
            raise DamagedError(
                f"{file.name}: bytes {at} to {at + size - 1} are not those that were written"
            )
        yield block
        at += size
    if source.read(1):
        raise DamagedError(f"{file.name} goes on behind its {file.bytes} bytes")
