"""What settlement told of records that made no entry: decisions and dead letters, looked up.

They stand on their topics nearly in the order of their causes, not quite: those with headers leave
after those without. So a few are read ahead, and each is taken out when its cause comes by.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

import msgspec
from confluent_kafka import Message

from drawdown.events.codec import RecordError, decode_decision
from drawdown.events.deadletters import HEADER_PREFIX
from drawdown.events.decisions import Decision
from drawdown.settlement.application import TOPICS
from drawdown.stream.partition_log import PartitionLog

AHEAD_MAX: Final = 50_000
"""How many are read ahead at most in search of one: what is not among them is not there."""

T = TypeVar("T")


class Told(msgspec.Struct, Generic[T], frozen=True):
    """A record of theirs, with its place."""

    key: Hashable
    offset: int
    at_ms: int
    content: T
    value: bytes


class Ahead(Generic[T]):
    """Looks records of a topic up by key, as their causes come by."""

    def __init__(
        self, log: PartitionLog, read: Callable[[Message], tuple[Hashable, T] | None]
    ) -> None:
        self.topic = log.topic
        self.head_gone = log.start > 0
        self.first_ms: int | None = None
        """Append time of the first record there is, once read."""
        self._log = log
        self._read = read
        self._waiting: dict[Hashable, deque[Told[T]]] = {}
        self._count = 0

    def find(self, key: Hashable, value: bytes | None = None) -> Told[T] | None:
        """Take out the first record of a key; the one with this `value` if there is one."""
        while key not in self._waiting:
            if self._count >= AHEAD_MAX or not self._next():
                return None
        found = self._waiting[key]
        place = next((n for n, told in enumerate(found) if told.value == value), 0)
        told = found[place]
        del found[place]
        if not found:
            del self._waiting[key]
        self._count -= 1
        return told

    def _next(self) -> bool:
        message = self._log.take()
        if message is None:
            return False
        if self.first_ms is None:
            self.first_ms = message.timestamp()[1]
        read = self._read(message)
        if read is not None:
            key, content = read
            offset, at_ms = message.offset() or 0, message.timestamp()[1]
            told = Told(key, offset, at_ms, content, message.value() or b"")
            self._waiting.setdefault(key, deque()).append(told)
            self._count += 1
        return True

    def gone(self, at_ms: int) -> bool:
        """Whether what was told of a record of that time is gone from the topic, with its head."""
        if not self.head_gone:
            return False
        if self.first_ms is None:
            self._next()
        return self.first_ms is None or at_ms <= self.first_ms

    def rest(self) -> list[Told[T]]:
        """Those that nobody asked for, after all causes came by: so many as are looked at."""
        while self._count < AHEAD_MAX and self._next():
            pass
        found = [told for queue in self._waiting.values() for told in queue]
        return sorted(found, key=lambda told: told.offset)

    def close(self) -> None:
        self._log.close()


class Letter(msgspec.Struct, frozen=True):
    """What a dead letter says of the record it holds."""

    reason: str
    detail: str
    field: str | None = None


USAGE_MARK: Final = b'{"kind":"usage"'


def decision_of_command(message: Message) -> tuple[Hashable, Decision | None] | None:
    """Reads decisions about commands, by customer and id."""
    return None if (message.value() or b"").startswith(USAGE_MARK) else _decision(message)


def decision_of_usage(message: Message) -> tuple[Hashable, Decision | None] | None:
    """Reads answers to usage events, by customer and id."""
    return _decision(message) if (message.value() or b"").startswith(USAGE_MARK) else None


def _decision(message: Message) -> tuple[Hashable, Decision | None]:
    """None for what is no decision, under a key that nobody asks for: it is left over."""
    try:
        decision = decode_decision(message.value() or b"")
    except RecordError:
        return message.offset(), None
    return (decision.customer, decision.id), decision


def letter_of(name: str) -> Callable[[Message], tuple[Hashable, Letter] | None]:
    """Reads dead letters of an input, by the offset of the rejected record."""
    topic = TOPICS[name].encode()

    def read(message: Message) -> tuple[Hashable, Letter] | None:
        headers: Any = message.headers() or ()
        said = {
            header.removeprefix(HEADER_PREFIX): text
            for header, text in headers
            if header.startswith(HEADER_PREFIX)
        }
        if said.get("topic") != topic:
            return None
        field = said.get("field")
        offset = _text(said.get("offset"))
        letter = Letter(
            _text(said.get("reason")), _text(said.get("detail")), field and _text(field)
        )
        return int(offset) if offset.isdigit() else -1, letter

    return read


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
