"""What a journal entry alone still tells: the identity of its cause, and the first answer to it.

A store that was rebuilt from the journal must answer a repeated command exactly as the one that
decided it would have.
"""

from __future__ import annotations

from typing import Final

from drawdown.events.base import KEY_SEPARATOR, Value, milliseconds
from drawdown.events.codec import decode_decision, encode
from drawdown.events.decisions import Decision
from drawdown.events.entries import kind_of_type
from drawdown.events.numbers import amount_of
from drawdown.ledger.answers import answer_of
from drawdown.ledger.holds import ended, ended_key
from drawdown.ledger.identity import command_key, usage_result
from drawdown.ledger.journal import Sealed, checked_record, unseal

WHOLE: Final = b"\0"
"""Before the entry's own bytes, where they are remembered in place of the answer made from them."""


class Identified(Value, frozen=True):
    """What a store without identities takes from an entry whose rows it has."""

    remembered: list[tuple[bytes, bytes]]
    topic: str | None
    """Of the record that caused it; None for a timer."""
    offset: int
    at_ms: int


def identified(value: bytes) -> Identified:
    """The same as `remembered` from an entry's bytes, in a third of the time: nothing is made of
    the amounts, and a command's answer not before it is asked for (`first_answer`). Raises
    RecordError."""
    record = checked_record(value)
    data, customer = record.data, record.subject
    found: list[tuple[bytes, bytes]] = []
    if data.id is not None and data.fingerprint is not None:
        fingerprint = bytes.fromhex(data.fingerprint)
        if data.source is not None:
            key = f"{customer}{KEY_SEPARATOR}{data.source}{KEY_SEPARATOR}{data.id}".encode()
            amount = amount_of(data.amount or "0")
            result = f"{data.sequence} {data.asset or ''} {amount}".encode()
            found.append((key, fingerprint + result))
        else:
            found.append((command_key(customer, data.id), fingerprint + WHOLE + value))
    if data.hold is not None and data.hold.closed:
        end = f"{kind_of_type(record.type)} {data.sequence}".encode()
        found.append((ended_key(customer, data.hold.id), end))
    return Identified(found, data.cause.topic, data.cause.offset or 0, milliseconds(record.time))


def first_answer(result: bytes) -> Decision:
    """The answer that is remembered of a command."""
    if result.startswith(WHOLE):
        return answer_of(unseal(result[len(WHOLE) :]))
    return decode_decision(result)


def remembered(sealed: Sealed) -> list[tuple[bytes, bytes]]:
    """Keys and values to remember of an entry: who caused it, and the hold it closed."""
    return [found for found in (identity_of(sealed), ended(sealed)) if found is not None]


def identity_of(sealed: Sealed) -> tuple[bytes, bytes] | None:
    """Key and value to remember for an entry; None for one that no record caused."""
    entry = sealed.entry
    if entry.id is None or entry.fingerprint is None:
        return None
    fingerprint = bytes.fromhex(entry.fingerprint)
    if entry.source is not None:
        key = f"{entry.customer}{KEY_SEPARATOR}{entry.source}{KEY_SEPARATOR}{entry.id}".encode()
        return key, fingerprint + usage_result(entry)
    key = command_key(entry.customer, entry.id)
    return key, fingerprint + encode(answer_of(sealed))
