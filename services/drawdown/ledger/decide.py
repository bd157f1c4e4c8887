"""Decide: what a command or a timer changes, and what is answered; `usage` decides usage events.

Pure: from rows, the record, the price books and the moment to entries and an answer. Nothing is
read but what is passed in, so that a replay decides the same. What is no fact of the ledger is a
`RecordError`: for usage it becomes a dead letter, for a command a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import Command, RecordError, decode_decision, encode, kind_of
from drawdown.events.commands import Authorize
from drawdown.events.decisions import Decision
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.authorize import authorize
from drawdown.ledger.book import Books
from drawdown.ledger.evolve import Rows, evolve_wallet
from drawdown.ledger.grants import grant_entry, lapse_entry
from drawdown.ledger.identity import command_fingerprint, recall
from drawdown.ledger.journal import Entry, Origin, Sealed, seal
from drawdown.ledger.outcome import Crossing, Decided, Moment, crossings
from drawdown.ledger.terms import terms_entry
from drawdown.ledger.usage import EARLY_MS_MAX, LATENESS_MS_DEFAULT
from drawdown.ledger.values import Wallet

AUTHORIZE: Final = "authorize"
ENTRIES: Final[Mapping[str, Callable[..., Entry]]] = {
    "grant": grant_entry,
    "set_terms": terms_entry,
}
"""What makes the entry of each command that is one."""

_Decision = struct_of(Decision)


def decide_command(
    rows: Rows, command: Command, key: bytes, origin: Origin, books: Books, now: Moment
) -> Decided:
    """Decide a command: always with an answer. `key` is its `command_key`.

    Raises RecordError with Reason.CONFLICT for an id that was used before with other content, and
    with other reasons for what cannot be done; `refused` makes the answer of it.
    """
    known = rows.identity(key)
    fingerprint = command_fingerprint(command)
    if known is not None:
        before = recall(known)
        if before.fingerprint != fingerprint:
            raise RecordError(
                Reason.CONFLICT,
                f"command {command.id!r} was used before with other content",
                "id",
            )
        return Decided(answer=replaced(decode_decision(before.result), duplicate=True))
    if command.deadline_at is not None:
        taken_up_ms = max(now.at_ms, now.taken_up_ms)
        if taken_up_ms > milliseconds(command.deadline_at):
            raise RecordError(
                Reason.DEADLINE_PASSED,
                f"taken up at {at_text(taken_up_ms)}, after the deadline",
                "deadline_at",
            )
    _check_time(milliseconds(command.time), books, now)
    kind = kind_of(command)
    if kind == AUTHORIZE:
        asked = cast(Authorize, command)
        if asked.require == "hold" or asked.capture:
            raise RecordError(Reason.INVALID, "is not settled by this version", "require")
        return authorize(rows, cast(Authorize, command), books, now)
    wallet = rows.row(command.customer) or Wallet(command.customer)
    if kind not in ENTRIES:
        raise RecordError(Reason.INVALID, f"{kind} is not settled by this version", "type")
    entry = ENTRIES[kind](wallet, command, fingerprint, origin, books.at(now.at_ms), now)
    sealed = seal(entry)
    answer = answer_of(sealed)
    return Decided((sealed,), answer, fingerprint + encode(answer), wallet=wallet)


def decide_timer(rows: Rows, customer: str, origin: Origin, books: Books, now: Moment) -> Decided:
    """What a wallet's timer brings about at `now`: grants whose time is over lapse."""
    wallet = rows.row(customer)
    if wallet is None:
        return Decided()
    first = wallet
    entries: list[Sealed] = []
    crossed: list[Crossing] = []
    for grant in wallet.grants:
        terms = grant.terms
        if terms.expires_ms > now.at_ms or not grant.remaining:
            continue
        # What lapses was there until now: the crossing is measured just before its expiry.
        crossed.extend(
            crossings(
                wallet,
                books.at(now.at_ms),
                terms.asset,
                grant.remaining,
                terms.expires_ms - 1,
            )
        )
        sealed = seal(lapse_entry(wallet, grant, origin, now))
        entries.append(sealed)
        wallet = evolve_wallet(wallet, sealed)
    return Decided(tuple(entries), crossed=tuple(crossed), wallet=first)


def refused(command: Command, error: RecordError, now: Moment) -> Decision:
    """The answer to a command that was refused."""
    return _Decision(
        kind="authorization" if kind_of(command) == AUTHORIZE else "command",
        id=command.id,
        customer=command.customer,
        command=kind_of(command),
        at=moment(now.at_ms),
        allowed=False,
        reason=error.reason,
        detail=error.detail,
        field=error.field,
    )


def _check_time(time_ms: int, books: Books, now: Moment) -> None:
    """A command's time is bounded like an event's: an id is remembered no longer than that."""
    book = books.at(now.at_ms)
    lateness_ms = book.lateness_ms if book is not None else LATENESS_MS_DEFAULT
    if now.at_ms - time_ms > lateness_ms:
        raise RecordError(
            Reason.TOO_LATE, f"{at_text(time_ms)} is more than {lateness_ms // 1000} s back", "time"
        )
    if time_ms - now.at_ms > EARLY_MS_MAX:
        raise RecordError(
            Reason.TOO_EARLY,
            f"{at_text(time_ms)} is more than {EARLY_MS_MAX // 1000} s ahead",
            "time",
        )


COMMANDS: Final = {"grant": "grant", "terms": "set_terms"}
"""The command behind each kind of entry that a command causes."""


def answer_of(sealed: Sealed) -> Decision:
    """The answer to a command that became an entry, from the entry alone: a store rebuilt from the
    journal gives the same answer again."""
    entry = sealed.entry
    assert entry.id is not None
    return _Decision(
        kind="command",
        id=entry.id,
        customer=entry.customer,
        command=COMMANDS[entry.kind],
        at=moment(entry.at_ms),
        allowed=True,
        reason=Reason.OK,
        asset=entry.asset,
        amount=None if entry.asset is None else amount_text(entry.amount),
        balance=None if entry.asset is None else amount_text(entry.after),
        grant=None if entry.grant is None else entry.grant.id,
        sequence=entry.sequence,
        digest=sealed.digest,
    )
