"""Holds: what an authorization sets aside, until it is captured (`captures`), released or expired.

A hold takes grants in drawdown order and then the unused credit limit, as a debit would; what it
took, nobody else can spend. It ends at the very instant it expires, by the append time of whatever
names it, whether or not its timer has fired. What is left of it returns to the grants it came from,
also to one that expired meanwhile: there it lapses.

A closed hold has no row any more. How it ended is remembered as an identity is, so that whoever
asks for it again gets a clear answer.
"""

from __future__ import annotations

from typing import Final, cast

from drawdown.events.base import KEY_SEPARATOR, Timestamp, at_text, milliseconds, moment
from drawdown.events.codec import Command, RecordError, kind_of
from drawdown.events.commands import Authorize, Extend, HoldTerms, Release
from drawdown.events.entries import HoldFacts, UsageFacts
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.drawdown import Slice, Taken
from drawdown.ledger.evolve import Rows
from drawdown.ledger.journal import Entry, Origin, Sealed, seal
from drawdown.ledger.limits import limited
from drawdown.ledger.outcome import Decided, Moment, blank
from drawdown.ledger.rows import held_parts
from drawdown.ledger.values import Hold, Wallet, hold_key

HOLD_MS_DEFAULT: Final = 900_000
HOLD_MS_MAX: Final = 86_400_000
"""From when it is made to its end, extensions included."""

_HoldFacts = struct_of(HoldFacts)


def hold_named(command: Command) -> str | None:
    """The hold a command makes or is about."""
    match kind_of(command):
        case "authorize":
            asked = cast(Authorize, command)
            return hold_id_of(asked) if asked.require == "hold" else None
        case "capture" | "release" | "extend":
            return cast(Release, command).hold_id
    return None


def hold_id_of(command: Authorize) -> str:
    hold_id = None if command.hold is None else command.hold.hold_id
    return hold_id or command.id


def ended_key(customer: str, hold_id: str) -> bytes:
    """Where the end of a hold is remembered: no command's id begins with a separator."""
    return f"{customer}{KEY_SEPARATOR * 3}{hold_id}".encode()


def ended(sealed: Sealed) -> tuple[bytes, bytes] | None:
    """Key and value to remember of an entry that closed a hold."""
    hold = sealed.entry.hold
    if hold is None or not hold.closed:
        return None
    entry = sealed.entry
    return ended_key(entry.customer, hold.id), f"{entry.kind} {entry.sequence}".encode()


def open_hold(rows: Rows, customer: str, hold_id: str, now: Moment) -> Hold:
    """The hold, to be acted on at `now`. Raises RecordError where that cannot be."""
    hold: Hold | None = rows.row(hold_key(customer, hold_id))
    if hold is None:
        end = rows.identity(ended_key(customer, hold_id))
        if end is None:
            raise RecordError(Reason.HOLD_UNKNOWN, f"{customer} has no hold {hold_id!r}", "hold_id")
        kind, sequence = end.decode().split(" ")
        if kind == "expire":
            raise RecordError(
                Reason.HOLD_EXPIRED, f"it expired: entry {sequence} of {customer}", "hold_id"
            )
        raise RecordError(
            Reason.HOLD_CLOSED,
            f"it was {kind}d by entry {sequence} of {customer}",
            "hold_id",
        )
    if now.at_ms >= hold.expires_ms:
        raise RecordError(
            Reason.HOLD_EXPIRED, f"it expired at {at_text(hold.expires_ms)}", "hold_id"
        )
    return hold


def why_ended(rows: Rows, customer: str, hold_id: str) -> str:
    """The reason why a hold that has no row cannot be captured."""
    end = rows.identity(ended_key(customer, hold_id))
    if end is None:
        return str(Reason.HOLD_UNKNOWN)
    return str(Reason.HOLD_EXPIRED if end.startswith(b"expire") else Reason.HOLD_CLOSED)


def end_ms(
    expires_at: Timestamp | None,
    expires_in_s: int | None,
    created_ms: int,
    now: Moment,
    within: str = "",
) -> int | None:
    """When a hold is to end, as a command says it. Raises RecordError, naming the field."""
    if expires_at is not None and expires_in_s is not None:
        raise RecordError(
            Reason.INVALID, "give either expires_at or expires_in_s", f"{within}expires_at"
        )
    if expires_at is not None:
        field, until_ms = f"{within}expires_at", milliseconds(expires_at)
    elif expires_in_s is not None:
        field, until_ms = f"{within}expires_in_s", now.at_ms + expires_in_s * 1000
    else:
        return None
    if until_ms <= now.at_ms:
        raise RecordError(Reason.INVALID, "is not after now", field)
    if until_ms - created_ms > HOLD_MS_MAX:
        raise RecordError(
            Reason.HOLD_TOO_LONG,
            f"{at_text(until_ms)} is more than {HOLD_MS_MAX // 3_600_000} hours after"
            f" {at_text(created_ms)}, when it was made",
            field,
        )
    return until_ms


def made_until_ms(terms: HoldTerms | None, now: Moment) -> int:
    """When a new hold is to end."""
    default_ms = now.at_ms + HOLD_MS_DEFAULT
    if terms is None:
        return default_ms
    return end_ms(terms.expires_at, terms.expires_in_s, now.at_ms, now, "hold.") or default_ms


def held_entry(entry: Entry, hold_id: str, taken: Taken, until_ms: int, use: UsageFacts) -> Entry:
    """An authorization's entry as one that sets `taken` aside: nothing is revenue yet."""
    return replaced(
        entry,
        kind="hold",
        slices=tuple([Slice(part.grant, part.amount, 0) for part in taken.slices]),
        credit=taken.credit,
        hold=_HoldFacts(
            id=hold_id,
            amount=amount_text(entry.amount),
            created_at=moment(entry.at_ms),
            expires_at=moment(until_ms),
            before="0",
            after=amount_text(entry.amount),
            use=use,
        ),
    )


def release(
    rows: Rows, command: Release, fingerprint: bytes, origin: Origin, now: Moment
) -> tuple[Decided, Entry]:
    """Release a hold by command. Raises RecordError."""
    hold = open_hold(rows, command.customer, command.hold_id, now)
    wallet: Wallet = rows.row(command.customer)
    entry = replaced(
        return_entry(wallet, hold, "release", origin, now),
        id=command.id,
        fingerprint=fingerprint.hex(),
        reason=command.reason,
    )
    return Decided(wallet=wallet), entry


def return_entry(wallet: Wallet, hold: Hold, kind: str, origin: Origin, now: Moment) -> Entry:
    """The entry that gives all a hold has back: `release` or `expire`."""
    account = wallet.account(hold.asset)
    return replaced(
        blank(wallet, kind, origin, now),
        asset=hold.asset,
        amount=hold.held,
        before=account.balance,
        after=account.balance + hold.held,
        hold=_HoldFacts(
            id=hold.id,
            amount=amount_text(hold.amount),
            created_at=moment(hold.created_ms),
            expires_at=moment(hold.expires_ms),
            before=amount_text(hold.held),
            after="0",
            closed=True,
            returned=held_parts(hold.parts),
            returned_credit=amount_text(hold.credit),
        ),
    )


def expired(rows: Rows, wallet: Wallet, hold: Hold, now: Moment) -> Sealed:
    """The entry of a hold whose time is over, whoever finds that out: its timer, or usage that
    names it."""
    origin = Origin(timer="hold", due_ms=hold.expires_ms)
    return seal(limited(rows, wallet, return_entry(wallet, hold, "expire", origin, now)))


def extend(
    rows: Rows, command: Extend, fingerprint: bytes, origin: Origin, now: Moment
) -> tuple[Decided, Entry]:
    """Move a hold's end by command. Raises RecordError."""
    hold = open_hold(rows, command.customer, command.hold_id, now)
    wallet: Wallet = rows.row(command.customer)
    until_ms = end_ms(command.expires_at, command.expires_in_s, hold.created_ms, now)
    if until_ms is None:
        raise RecordError(Reason.INVALID, "say when: expires_at or expires_in_s", "expires_at")
    entry = replaced(
        blank(wallet, "extend", origin, now),
        id=command.id,
        fingerprint=fingerprint.hex(),
        hold=_HoldFacts(
            id=hold.id,
            amount=amount_text(hold.amount),
            created_at=moment(hold.created_ms),
            expires_at=moment(until_ms),
            before=amount_text(hold.held),
            after=amount_text(hold.held),
        ),
    )
    return Decided(wallet=wallet), entry
