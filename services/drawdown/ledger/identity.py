"""Identity: which usage event or command this is, and whether its content is the same as before.

A usage event is (customer, source, id), a command (customer, id). What is remembered under that
key is the fingerprint of the content and the first result, so that the same content gets the first
result again and other content is told apart (rule 6 of domain.md).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from drawdown.events.base import EPOCH, KEY_SEPARATOR, Value
from drawdown.events.codec import Command, RecordError, canonical
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced
from drawdown.events.usage import UsageEvent
from drawdown.ledger.journal import Entry

FINGERPRINT_BYTES: Final = 16


def usage_key(event: UsageEvent) -> bytes:
    return f"{event.subject}{KEY_SEPARATOR}{event.source}{KEY_SEPARATOR}{event.id}".encode()


def command_key(customer: str, command_id: str) -> bytes:
    """No source is empty, so no command can have the key of a usage event."""
    return f"{customer}{KEY_SEPARATOR}{KEY_SEPARATOR}{command_id}".encode()


def usage_fingerprint(event: UsageEvent) -> bytes:
    """Of type, subject, data and the producer's time.

    A time that a gateway filled in is left out: a retry through it gets another one. Raises
    RecordError for data nested too deeply to be written.
    """
    time = event.time if event.timesource is None else None
    try:
        content = canonical((event.type, event.subject, time, event.data))
    except RecursionError:  # read a little nearer to the bottom of the stack, it was not too deep
        raise RecordError(Reason.MALFORMED, "nested too deeply", "data") from None
    return sha256(content).digest()[:FINGERPRINT_BYTES]


def command_fingerprint(command: Command) -> bytes:
    """Of everything but when the caller stops waiting, and a time that a gateway filled in."""
    time = command.time if command.timesource is None else EPOCH
    content = canonical(replaced(command, deadline_at=None, time=time))
    return sha256(content).digest()[:FINGERPRINT_BYTES]


class Remembered(Value, frozen=True):
    """What stands under an identity's key."""

    fingerprint: bytes
    result: bytes
    """Of a usage event: `sequence asset amount`, in pico-units; of a command: its decision."""


def recall(value: bytes) -> Remembered:
    return Remembered(value[:FINGERPRINT_BYTES], value[FINGERPRINT_BYTES:])


def usage_result(entry: Entry) -> bytes:
    """What is remembered of a usage event's entry, to answer the same event again."""
    return f"{entry.sequence} {entry.asset or ''} {entry.amount}".encode()
