"""Decide: what a command or a timer changes, and what is answered; `usage` decides usage events.

Pure: from rows, the record, the price books and the moment to entries and an answer. Nothing is
read but what is passed in, so that a replay decides the same. What is no fact of the ledger is a
`RecordError`: for usage it becomes a dead letter, for a command a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import Command, RecordError, encode, kind_of
from drawdown.events.commands import Authorize, Block, Capture, Rerate, Reverse, SetState, Void
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.answers import answer_of
from drawdown.ledger.authorize import authorize
from drawdown.ledger.book import Books
from drawdown.ledger.captures import capture
from drawdown.ledger.corrections import adjust, convert, set_state, void
from drawdown.ledger.counters import ended_period
from drawdown.ledger.evolve import Rows, RowsAfter, evolve
from drawdown.ledger.grants import REPORTING_DEFAULT, grant_entry
from drawdown.ledger.holds import expired, extend, release
from drawdown.ledger.identity import command_fingerprint, recall
from drawdown.ledger.issuing import issue
from drawdown.ledger.journal import Entry, Origin, Sealed, seal
from drawdown.ledger.limits import Counting, closed, limited
from drawdown.ledger.outcome import Decided, Moment, crossings
from drawdown.ledger.rates.running import RunningRate
from drawdown.ledger.replay import first_answer
from drawdown.ledger.rerating import rerate
from drawdown.ledger.reversal import reverse, with_settled
from drawdown.ledger.set_limits import LIMITS, limits_entry
from drawdown.ledger.subscriptions import (
    SUBSCRIPTIONS,
    AnySubscriptionCommand,
    all_ended,
    decide_subscription,
)
from drawdown.ledger.terms import terms_entry
from drawdown.ledger.timers import begun, due
from drawdown.ledger.topup_values import Topup, TopupRequest
from drawdown.ledger.topups import looked_after, set_auto_topup, settle_topup, topup_due
from drawdown.ledger.usage import EARLY_MS_MAX, LATENESS_MS_DEFAULT
from drawdown.ledger.values import Hold, Running, Seen, Wallet

AUTHORIZE: Final = "authorize"
CAPTURE: Final = "capture"
REVERSE: Final = "reverse"
SET_STATE: Final = "set_state"
CLOSED: Final = "closed"
RERATE: Final = "rerate"
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
MOVES: Final[Mapping[str, Callable[..., tuple[Decided, Entry]]]] = {
    "void": void,
    "adjust": adjust,
    "convert": convert,
    "set_state": set_state,
    "issue_statement": issue,
}
"""What makes it of other commands of operators that move money, and what else comes of them."""
TOPUPS: Final[Mapping[str, Callable[..., Decided]]] = {
    "set_auto_topup": set_auto_topup,
    "settle_topup": settle_topup,
}
"""What decides those about auto top-ups."""
OF_CLOSED: Final = frozenset({AUTHORIZE, CAPTURE, "release", "issue_statement", "settle_topup"})
"""Commands that a closed wallet takes: two end a hold, one is denied, statements go on, and money
that was taken is booked."""

_Decision = struct_of(Decision)


def decide_command(
    rows: Rows, command: Command, key: bytes, origin: Origin, books: Books, now: Moment
) -> Decided:
    """Decide a command: always with an answer. `key` is its `command_key`.

    Raises RecordError with Reason.CONFLICT for an id that was used before with other content, and
    with other reasons for what cannot be done; `refused` makes the answer of it.
    """
    decided = _new_or_known(rows, command, key, origin, books, now)
    # A check that only finds a cycle begun leaves the rest to what comes of its own cause.
    return decided if decided.identity is None else looked_after(rows, decided, now)


def _new_or_known(
    rows: Rows, command: Command, key: bytes, origin: Origin, books: Books, now: Moment
) -> Decided:
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
        return Decided(answer=replaced(first_answer(before.result), duplicate=True))
    if command.deadline_at is not None:
        taken_up_ms = max(now.at_ms, now.taken_up_ms)
        if taken_up_ms > milliseconds(command.deadline_at):
            raise RecordError(
                Reason.DEADLINE_PASSED,
                f"taken up at {at_text(taken_up_ms)}, after the deadline",
                "deadline_at",
            )
    _check_time(milliseconds(command.time), books, now)
    wallet: Wallet | None = rows.row(command.customer)
    if wallet is not None:
        if wallet.policy is not None:
            _check_open(wallet, kind_of(command))
        if wallet.due_ms is not None and wallet.due_ms <= now.at_ms:
            ahead = begun(rows, wallet, books, now)
            if ahead.entries:
                decided = _decide(ahead, command, fingerprint, origin, books, now)
                return ahead.before(decided, wallet)
    return _decide(rows, command, fingerprint, origin, books, now)


def _decide(
    rows: Rows,
    command: Command,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Decided:
    """Decide a command that is new, in time, and for a wallet that takes it."""
    kind = kind_of(command)
    if kind == AUTHORIZE:
        return authorize(rows, cast(Authorize, command), fingerprint, origin, books, now)
    if kind in TOPUPS:
        return TOPUPS[kind](rows, command, fingerprint, origin, books, now)
    if kind in SUBSCRIPTIONS:
        asked_of = cast(AnySubscriptionCommand, command)
        return decide_subscription(rows, asked_of, fingerprint, origin, books, now)
    wallet: Wallet = rows.row(command.customer) or Wallet(command.customer)
    then: Entry | None = None
    if kind == CAPTURE:
        decided, entry = capture(rows, cast(Capture, command), fingerprint, origin, books, now)
    elif kind in HOLDS:
        decided, entry = HOLDS[kind](rows, command, fingerprint, origin, now)
    else:
        if wallet.subscriptions and kind == SET_STATE and cast(SetState, command).state == CLOSED:
            ended = all_ended(rows, wallet, origin, now)
            decided = _decide(ended, command, fingerprint, origin, books, now)
            return ended.before(decided, wallet)
        if kind in ENTRIES:
            decided = Decided(wallet=wallet)
            entry = ENTRIES[kind](wallet, command, fingerprint, origin, books, now)
        elif kind in LIMITS:
            decided = Decided(wallet=wallet)
            entry = replaced(
                limits_entry(rows, wallet, command, origin, books, now),
                id=command.id,
                fingerprint=fingerprint.hex(),
                reason=cast(Block, command).reason,
            )
        else:
            if kind == REVERSE:
                asked = cast(Reverse, command)
                decided, entry = reverse(rows, wallet, asked, origin, books, now)
            elif kind == RERATE:
                again = cast(Rerate, command)
                decided, entry = rerate(rows, wallet, again, origin, books, now)
            else:
                decided, entry = MOVES[kind](wallet, command, origin, books, now)
            entry = replaced(
                entry,
                id=command.id,
                fingerprint=fingerprint.hex(),
                reason=cast(Void, command).reason,
            )
            for first in decided.entries:
                rows = RowsAfter(rows, evolve(rows, first))
                wallet = rows.row(command.customer)
            then = with_settled(entry, wallet, books, now)
    sealed = seal(limited(rows, wallet, entry))
    answer = answer_of(sealed)
    entries = (*decided.entries, sealed)
    if then is not None:
        rows = RowsAfter(rows, evolve(rows, sealed))
        then = replaced(then, previous=sealed.digest)
        entries += (seal(limited(rows, rows.row(command.customer), then)),)
    return replaced(
        decided,
        entries=entries,
        answer=answer,
        identity=fingerprint + encode(answer),
    )


def _check_open(wallet: Wallet, kind: str) -> None:
    if wallet.state == "closed" and kind not in OF_CLOSED:
        raise RecordError(
            Reason.WALLET_CLOSED,
            "the wallet is closed for good: use another customer id",
            "customer",
        )


def decide_timer(rows: Rows, key: str, books: Books, now: Moment) -> Decided:
    """What a row's timer brings about at `now`, if it is due: a hold expires, a period ends, a
    top-up's wait is over, or grants of a wallet come again, lapse or roll over."""
    return looked_after(rows, _fired(rows, key, books, now), now)


def _fired(rows: Rows, key: str, books: Books, now: Moment) -> Decided:
    row = rows.row(key)
    if row is None or row.due_ms is None or row.due_ms > now.at_ms:
        return Decided()
    if isinstance(row, Seen):
        return Decided()  # goes with its running row
    if isinstance(row, Running):
        return _period_ends(rows, key, row, books, now)
    if isinstance(row, Hold):
        owner = rows.row(row.customer)
        return Decided((expired(rows, owner, row, now),), wallet=owner)
    if isinstance(row, Counting):
        return Decided((closed(rows, row, now),), wallet=rows.row(row.customer))
    if isinstance(row, Topup | TopupRequest):
        return topup_due(rows, row, now)
    if not isinstance(row, Wallet):
        return Decided()  # no other row has a timer
    return due(rows, row, books, now)


def _period_ends(rows: Rows, key: str, row: Running, books: Books, now: Moment) -> Decided:
    """Its true-up, its close, or one after the other where the time is over for both."""
    owner: Wallet = rows.row(row.customer)
    book = books.at(now.at_ms)
    reporting = REPORTING_DEFAULT if book is None else book.reporting
    order = None if book is None else book.order
    entry = ended_period(owner, row, reporting, order, now, _holding(row, books))
    first = seal(limited(rows, owner, entry))
    entries: tuple[Sealed, ...] = (first,)
    after = evolve(rows, first)
    left = after[key]
    if left is not None and left.due_ms is not None and left.due_ms <= now.at_ms:
        wallet = cast(Wallet, after[row.customer])
        last = ended_period(wallet, cast(Running, left), reporting, order, now)
        entries += (seal(limited(RowsAfter(rows, after), wallet, last)),)
    spent = entry.amount - entry.overdrawn  # nothing, where the period is only closed
    crossed = crossings(owner, book, row.asset, spent, now.at_ms)
    return Decided(entries, crossed=crossed, overdrawn=entry.overdrawn, wallet=owner)


def _holding(row: Running, books: Books) -> RunningRate | None:
    """The rate that prices what held to a period's end: as the version in effect then has it, or
    the last one before that had it."""
    if not row.holds or row.rate is None:
        return None
    for book in books.before(row.ends_ms):
        rate = book.counting.get(row.rate)
        if isinstance(rate, RunningRate) and rate.counter.name == row.counter:
            return rate
    return None


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
