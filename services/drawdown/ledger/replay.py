"""What a journal entry alone still tells: the identity of its cause, and the first answer to it.

A store that was rebuilt from the journal must answer a repeated command exactly as the one that
decided it would have.
"""

from __future__ import annotations

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.codec import encode
from drawdown.ledger.answers import answer_of
from drawdown.ledger.holds import ended
from drawdown.ledger.identity import command_key, usage_result
from drawdown.ledger.journal import Sealed


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
