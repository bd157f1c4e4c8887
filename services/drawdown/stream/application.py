"""What is plugged into the stream: the application that decides, and what it may do.

The stream knows offsets, bytes, keys and times, and never credits. An application says how a
record is read, which rows it needs, what it changes and what is told to whom; the stream sees to
it that all of that happens once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from drawdown.stream.ports import Headers

USAGE = "usage"
COMMANDS = "commands"

Row = Any
"""A row of the application, decoded; opaque here."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of an input."""

    input: str
    """USAGE or COMMANDS."""
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    """None is a record without a value, which is not the same as an empty one."""
    at_ms: int
    """Append time."""
    headers: Headers | None

    def header(self, name: str) -> bytes | None:
        """The last header of that name."""
        value = None
        for key, text in self.headers or ():
            if key == name:
                value = text
        return value


class Item(msgspec.Struct, frozen=True, gc=False):
    """A record that was read, with the keys of what deciding it needs."""

    record: Record
    content: Any
    row_keys: tuple[str, ...]
    identity_keys: tuple[bytes, ...]
    first_at_ms: int = 0
    """If this repeats a record that was decided, that one was appended at this time or later, going
    by what its producer says of its time; 0 where nothing says so."""


class Lag(msgspec.Struct, frozen=True, gc=False):
    """How far usage is behind on a partition when a command is taken up, and when that is."""

    records: int = 0
    age_ms: int = 0
    taken_up_ms: int = 0
    """The process's clock: whoever waits for an answer waits by a clock, not by append times."""


class View(Protocol):
    """The state of a partition as the transaction in flight sees it."""

    def row(self, key: str) -> Row | None: ...

    def identity(self, key: bytes) -> bytes | None: ...

    def put(self, key: str, row: Row | None) -> None:
        """Change a row, or remove it; published with the transaction."""

    def remember(self, key: bytes, value: bytes) -> None:
        """Remember an identity for the lateness window."""


class Memory(Protocol):
    """What identities are remembered in."""

    def remember(self, key: bytes, value: bytes) -> None: ...


class Effects(Protocol):
    """What a decision tells the world. Nothing is told before the transaction commits."""

    def journal(self, key: bytes, value: bytes) -> None:
        """Append to the journal; one entry per change of a row."""

    def answer(self, record: Record, value: bytes) -> None:
        """The decision, to whoever the record names in `reply_to`."""

    def tell(self, topic: str, key: bytes, value: bytes) -> None:
        """A notice on a topic of the application's."""

    def reject(self, record: Record, reason: str, detail: str, field: str | None) -> None:
        """Set a record aside whole, as a dead letter."""


class Folded(msgspec.Struct, frozen=True, gc=False):
    """What a journal entry says about its cause: the input record it came from, if any."""

    input: str | None
    offset: int
    at_ms: int


class Application(Protocol):
    """The rules: pure but for what it does through `View` and `Effects`."""

    def read(self, record: Record) -> Item:
        """Decode a record. Raises RecordError: it becomes a dead letter."""

    def decide(self, item: Item, view: View, effects: Effects, lag: Lag) -> None:
        """Decide a record. Raises RecordError before it changed anything: a dead letter.

        Any other exception stops the partition: nothing continues on wrong money.
        """

    def fire(self, key: str, at_ms: int, view: View, effects: Effects) -> None:
        """A row's timer is due at or before `at_ms`."""

    def fold(self, value: bytes, view: View) -> Folded:
        """Apply a journal entry to the rows, in recovery. Raises where it does not follow."""

    def identify(self, value: bytes, memory: Memory) -> Folded:
        """Only remember what a journal entry's cause is identified by; its rows are there."""

    def ready(self) -> bool:
        """Whether decisions can be made now; while not, inputs rest."""

    def row_bytes(self, row: Row) -> bytes: ...

    def row_of(self, value: bytes) -> Row: ...

    def due_ms(self, row: Row) -> int | None:
        """When the row's timer is due."""

    def due_of(self, value: bytes) -> int | None:
        """The same of a row's bytes, without making the row of them where that can be saved."""


Items = Sequence[Item]
