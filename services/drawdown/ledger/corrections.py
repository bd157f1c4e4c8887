"""Corrections and other commands of operators that move money: void, adjust, convert, state."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from drawdown.events.base import milliseconds, moment
from drawdown.events.codec import RecordError
from drawdown.events.commands import Adjust, Convert, SetState, Void
from drawdown.events.entries import ConversionFacts, GrantFacts, VoidFacts
from drawdown.events.numbers import AMOUNT_MAX, amount_text, step_of
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Books
from drawdown.ledger.drawdown import PRIORITY_DEFAULT, Slice, Taken, earned, take
from drawdown.ledger.evolve import evolve_wallet
from drawdown.ledger.grants import (
    REPORTING_DEFAULT,
    check_new,
    check_room,
    checked_amount,
    given,
    paid_for,
)
from drawdown.ledger.journal import Entry, Origin, Rare, seal
from drawdown.ledger.outcome import Decided, Moment, blank, booked, crossings
from drawdown.ledger.values import NEVER, Grant, Wallet

_GrantFacts = struct_of(GrantFacts)
_VoidFacts = struct_of(VoidFacts)
_ConversionFacts = struct_of(ConversionFacts)


def taken_by(
    wallet: Wallet, entry: Entry, asset: str, amount: int, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """The entry with `amount` paid as usage is, by what pays for anything; and what to tell."""
    book = books.at(now.at_ms)
    account = wallet.account(asset)
    if amount > AMOUNT_MAX - account.debited:
        raise RecordError(Reason.INVALID, f"makes more than 38 digits of {asset}", "amount")
    taken = taken_of(wallet, asset, amount, books, now)
    paid = booked(entry, account, amount, taken)
    crossed = crossings(wallet, book, asset, amount - taken.overdrawn, now.at_ms)
    return Decided(crossed=crossed, overdrawn=taken.overdrawn, wallet=wallet), paid


def taken_of(wallet: Wallet, asset: str, amount: int, books: Books, now: Moment) -> Taken:
    """How an amount would be paid by what pays for anything: by no use of a meter."""
    book = books.at(now.at_ms)
    reporting = REPORTING_DEFAULT if book is None else book.reporting
    order = None if book is None else book.order
    return take(wallet, wallet.account(asset), amount, "", {}, now.at_ms, reporting, order)


def void(
    wallet: Wallet, command: Void, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """End a grant. Raises RecordError for one that does not live, or not come again."""
    grant = _named(wallet, command.grant_id)
    terms = grant.terms
    if command.keep and terms.next_ms == NEVER:
        raise RecordError(
            Reason.INVALID, f"{terms.id!r} does not come again: leave keep out to end it", "keep"
        )
    if command.keep and command.refund:
        raise RecordError(Reason.INVALID, "nothing is taken of what is kept", "refund")
    amount = 0 if command.keep else _taken_out(grant, command, books, now)
    entry = void_entry(
        wallet,
        grant,
        amount,
        origin,
        now,
        refund=command.refund,
        kept=command.keep,
        part=amount < grant.remaining and not command.keep,
    )
    there = amount if grant.in_effect(now.at_ms) else 0
    crossed = crossings(wallet, books.at(now.at_ms), terms.asset, there, now.at_ms)
    return Decided(crossed=crossed, wallet=wallet), entry


def void_entry(
    wallet: Wallet,
    grant: Grant,
    amount: int,
    origin: Origin,
    now: Moment,
    *,
    refund: bool = False,
    **facts: Any,
) -> Entry:
    """The entry that ends a grant, and `amount` of it; `facts` are those of the void. What was paid
    for it is breakage, or with `refund` paid back."""
    terms = grant.terms
    account = wallet.account(terms.asset)
    worth = earned(terms, grant, amount)
    refunded = amount_text(worth) if refund else None
    return replaced(
        blank(wallet, "void", origin, now),
        asset=terms.asset,
        amount=amount,
        before=account.balance,
        after=account.balance - amount,
        slices=(Slice(terms.id, amount, 0),) if amount else (),
        rare=Rare(
            breakage=0 if refund else worth,
            void=_VoidFacts(grant=terms.id, sequence=terms.sequence, refunded=refunded, **facts),
        ),
    )


def _taken_out(grant: Grant, command: Void, books: Books, now: Moment) -> int:
    """How much of a grant a void takes: what is left, or so much of it as is refunded."""
    if command.amount is None:
        return grant.remaining
    asset = grant.terms.asset
    if not command.refund:
        raise RecordError(
            Reason.INVALID, "is for a refund: leave it out to end the grant", "amount"
        )
    amount = checked_amount(command.amount, asset, "amount", books.at(now.at_ms))
    if not amount:
        raise RecordError(Reason.INVALID, "is zero; refund more than that", "amount")
    if amount > grant.remaining:
        raise RecordError(
            Reason.INVALID,
            f"of grant {grant.terms.id!r} {amount_text(grant.remaining)} {asset} are left: refund"
            " no more, or reverse the entry that granted it",
            "amount",
        )
    return amount


def _named(wallet: Wallet, grant_id: str) -> Grant:
    """The live grant of an id, or the cycle now of the recurring grant of that id."""
    for grant in wallet.grants:
        terms = grant.terms
        recurring = terms.current and terms.recurrence is not None and terms.recurrence.id
        ended = grant.held and not grant.remaining and terms.expires_ms <= wallet.at_ms
        if grant_id in (terms.id, recurring) and not terms.succeeded and not ended:
            return grant
    raise RecordError(
        Reason.GRANT_UNKNOWN,
        f"{wallet.customer} has no live grant {grant_id!r}: it was spent, lapsed or voided, or"
        " never was; name one that the wallet shows",
        "grant_id",
    )


def adjust(
    wallet: Wallet, command: Adjust, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Add to a wallet, or take from it. Raises RecordError."""
    book = books.at(now.at_ms)
    asset = command.asset
    up = not command.amount.startswith("-")
    amount = checked_amount(command.amount.removeprefix("-"), asset, "amount", book)
    if not amount:
        raise RecordError(Reason.INVALID, "is zero; adjust by more than that", "amount")
    if not up:
        stated = ("grant_id", "cost_basis", "expires_at")
        for field in stated:
            if getattr(command, field) is not None:
                raise RecordError(Reason.INVALID, "is for what is added", field)
        return taken_by(wallet, blank(wallet, "adjust", origin, now), asset, amount, books, now)
    expires_ms = NEVER if command.expires_at is None else milliseconds(command.expires_at)
    if expires_ms <= now.at_ms:
        raise RecordError(Reason.INVALID, "is not after now", "expires_at")
    grant_id = command.grant_id or command.id
    check_new(wallet, grant_id, asset, amount)
    paid = paid_for(command.category, command.cost_basis, asset, amount, book)
    facts = replaced(
        plain_grant(grant_id, paid, now),
        category=command.category,
        expires_at=command.expires_at,
        metadata=command.metadata,
    )
    check_room(wallet, facts)
    return Decided(wallet=wallet), given(wallet, "adjust", asset, amount, facts, origin, book, now)


def plain_grant(grant_id: str, paid: int, now: Moment) -> GrantFacts:
    """The facts of a grant that is in effect at once and for good, and pays for anything."""
    return _GrantFacts(
        id=grant_id,
        category="paid" if paid else "promotional",
        priority=PRIORITY_DEFAULT,
        effective_at=moment(now.at_ms),
        at_once=True,
        paid=amount_text(paid),
    )


def convert(
    wallet: Wallet, command: Convert, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Turn one asset into another by the book: two entries, of what is given and what is got. The
    first is in the outcome, the second is returned: it is the answer.

    What was paid for the grants that are given was paid for the new one, and the soonest of their
    ends is its end. Raises RecordError.
    """
    book = books.at(now.at_ms)
    amount = checked_amount(command.amount, command.asset, "amount", book)
    rate = None if book is None else book.conversions.get((command.asset, command.to))
    if rate is None or book is None:
        raise RecordError(
            Reason.NO_CONVERSION, f"no rate from {command.asset} to {command.to}", "to"
        )
    step = step_of(book.assets[command.to].scale)
    exact = amount * Fraction(Decimal(rate.price))
    got = exact.numerator // (exact.denominator * step) * step
    if not amount or not got:
        raise RecordError(Reason.INVALID, f"makes no {command.to}: give more", "amount")
    taken = taken_of(wallet, command.asset, amount, books, now)
    if taken.credit or taken.overdrawn:
        short = amount_text(taken.credit + taken.overdrawn)
        raise RecordError(
            Reason.INSUFFICIENT_BALANCE, f"{short} {command.asset} more would be needed", "amount"
        )
    grants = {grant.terms.id: grant for grant in wallet.grants}
    paid = sum(part.revenue for part in taken.slices)
    ends_ms = min(grants[part.grant].terms.expires_ms for part in taken.slices)
    account = wallet.account(command.asset)
    facts = _ConversionFacts(asset=command.to, amount=amount_text(got), price=rate.price)
    given_away = replaced(
        blank(wallet, "convert", origin, now),
        asset=command.asset,
        amount=amount,
        before=account.balance,
        after=account.balance - amount,
        slices=tuple([Slice(part.grant, part.amount, 0) for part in taken.slices]),
        rare=Rare(conversion=facts),
    )
    first = seal(given_away)
    after = evolve_wallet(wallet, first)
    grant_id = command.grant_id or command.id
    check_new(after, grant_id, command.to, got)
    grant = replaced(
        plain_grant(grant_id, paid, now),
        expires_at=None if ends_ms == NEVER else moment(ends_ms),
    )
    check_room(after, grant)
    facts = replaced(facts, asset=command.asset, amount=amount_text(amount))
    entry = replaced(
        given(after, "convert", command.to, got, grant, origin, book, now),
        rare=Rare(conversion=facts),
    )
    crossed = crossings(wallet, book, command.asset, amount, now.at_ms)
    return Decided((first,), crossed=crossed, wallet=wallet), entry


def set_state(
    wallet: Wallet, command: SetState, origin: Origin, _: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Suspend, activate or close; a closed wallet is refused before it comes here."""
    entry = replaced(blank(wallet, "state", origin, now), rare=Rare(state=command.state))
    return Decided(wallet=wallet), entry
