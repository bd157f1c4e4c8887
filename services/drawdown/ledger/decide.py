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
from drawdown.events.commands import Authorize, Capture
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.answers import answer_of
from drawdown.ledger.authorize import authorize
from drawdown.ledger.book import Books
from drawdown.ledger.captures import capture
from drawdown.ledger.counters import ended_period
from drawdown.ledger.evolve import Rows, evolve_wallet
from drawdown.ledger.grants import REPORTING_DEFAULT, grant_entry, lapse_entry
from drawdown.ledger.holds import expired, extend, release
from drawdown.ledger.identity import command_fingerprint, recall
from drawdown.ledger.journal import Entry, Origin, Sealed, seal
from drawdown.ledger.outcome import Crossing, Decided, Moment, crossings
from drawdown.ledger.terms import terms_entry
from drawdown.ledger.usage import EARLY_MS_MAX, LATENESS_MS_DEFAULT
from drawdown.ledger.values import Hold, Running, Seen, Wallet

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
ENTRIES: Final[Mapping[str, Callable[..., Entry]]] = {
    "grant": grant_entry,
    "set_terms": terms_entry,
}
"""What makes the entry of each command that needs only the wallet."""
HOLDS: Final[Mapping[str, Callable[..., tuple[Decided, Entry]]]] = {
    "release": release,
    "extend": extend,
}
"""What makes it of commands that end a hold or move its end."""

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
        return authorize(rows, cast(Authorize, command), fingerprint, origin, books, now)
    if kind == CAPTURE:
        decided, entry = capture(rows, cast(Capture, command), fingerprint, origin, books, now)
    elif kind in HOLDS:
        decided, entry = HOLDS[kind](rows, command, fingerprint, origin, now)
    else:
        wallet = rows.row(command.customer) or Wallet(command.customer)
        decided = Decided(wallet=wallet)
        entry = ENTRIES[kind](wallet, command, fingerprint, origin, books.at(now.at_ms), now)
    sealed = seal(entry)
    answer = answer_of(sealed)
    return replaced(
        decided, entries=(sealed,), answer=answer, identity=fingerprint + encode(answer)
    )


def decide_timer(rows: Rows, key: str, books: Books, now: Moment) -> Decided:
    """What a row's timer brings about at `now`, if it is due: a hold expires, a period ends, or
    grants of a wallet lapse."""
    row = rows.row(key)
    if row is None or row.due_ms is None or row.due_ms > now.at_ms:
        return Decided()
    if isinstance(row, Seen):
        return Decided()  # goes with its running row
    if isinstance(row, Running):
        owner = rows.row(row.customer)
        sealed = ended_period(owner, row, _reporting(books, now), now)
        entry = sealed.entry
        spent = entry.amount - entry.overdrawn  # nothing, where the period is only closed
        crossed = crossings(owner, books.at(now.at_ms), row.asset, spent, now.at_ms)
        return Decided((sealed,), crossed=crossed, overdrawn=entry.overdrawn, wallet=owner)
    if isinstance(row, Hold):
        owner = rows.row(row.customer)
        return Decided((expired(owner, row, now),), wallet=owner)
    return _lapses(row, Origin(timer="expiry", due_ms=row.due_ms), books, now)


def _reporting(books: Books, now: Moment) -> str:
    book = books.at(now.at_ms)
    return REPORTING_DEFAULT if book is None else book.reporting


def _lapses(wallet: Wallet, origin: Origin, books: Books, now: Moment) -> Decided:
    """Grants whose time is over lapse; what holds have of them stays until they end."""
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
