"""Grants: what puts value into a wallet, and its lapse when its time is over."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from drawdown.events.base import milliseconds, moment
from drawdown.events.codec import RecordError, encode
from drawdown.events.commands import Grant as GrantCommand
from drawdown.events.entries import GrantFacts
from drawdown.events.numbers import AMOUNT_MAX, EXACT, PLACES, amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.book import Book
from drawdown.ledger.drawdown import PRIORITY_DEFAULT, PRIORITY_INCLUDED, Slice
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Moment
from drawdown.ledger.rows import scope_of, scope_record
from drawdown.ledger.values import GRANTS_LENGTH_MAX, GRANTS_MAX, Grant, Wallet, recognized

REPORTING_DEFAULT: Final = "USD"
"""The reporting currency while no price book says another."""
SCALES_DEFAULT: Final = {"USD": 12}
"""Assets that exist without a price book."""

_GrantFacts = struct_of(GrantFacts)


def grant_entry(
    wallet: Wallet,
    command: GrantCommand,
    fingerprint: bytes,
    origin: Origin,
    book: Book | None,
    now: Moment,
) -> Entry:
    """The entry of a grant. Raises RecordError, naming the field, for an impossible one.

    What the wallet owes is paid first: `overdrawn`, then used credit; only the rest is left to
    spend. Credit that is held is not owed: it is used when it is captured, or given back.
    """
    amount = checked_amount(command.amount, command.asset, "amount", book)
    if not amount:
        raise RecordError(Reason.INVALID, "is zero; grant more than that", "amount")
    effective_ms = now.at_ms if command.effective_at is None else milliseconds(command.effective_at)
    expires_ms = None if command.expires_at is None else milliseconds(command.expires_at)
    if expires_ms is not None and expires_ms <= max(effective_ms, now.at_ms):
        raise RecordError(
            Reason.INVALID, "is not after the grant takes effect, nor after now", "expires_at"
        )
    grant_id = command.grant_id or command.id
    if any(grant.terms.id == grant_id for grant in wallet.grants):
        raise RecordError(
            Reason.INVALID, f"the wallet has a live grant {grant_id!r}; use another id", "grant_id"
        )
    if len(wallet.grants) >= GRANTS_MAX:
        raise RecordError(Reason.TOO_MANY_GRANTS, f"{GRANTS_MAX} live grants is the most")
    account = wallet.account(command.asset)
    if account.granted + amount > AMOUNT_MAX:
        raise RecordError(
            Reason.INVALID, f"makes more than 38 digits of {command.asset} granted in all", "amount"
        )
    overdrawn = credit = 0
    paid = _paid(command, amount, book)
    if effective_ms <= now.at_ms and scope_of(command.scope) is None:
        overdrawn = min(amount, account.overdrawn)
        credit = min(amount - overdrawn, account.credit_used - account.credit_held)
    facts = _GrantFacts(
        id=grant_id,
        category=command.category,
        priority=_priority(command),
        effective_at=moment(effective_ms),
        at_once=command.effective_at is None,
        expires_at=None if expires_ms is None else moment(expires_ms),
        scope=scope_record(scope_of(command.scope)),
        paid=amount_text(paid),
        metadata=command.metadata,
    )
    _check_room(wallet, facts)
    reporting = book.reporting if book is not None else REPORTING_DEFAULT
    # Credit in the reporting currency was revenue when it was used; see `drawdown.take`.
    earned = overdrawn if command.asset == reporting else overdrawn + credit
    return Entry(
        customer=command.customer,
        sequence=wallet.sequence + 1,
        kind="grant",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        id=command.id,
        fingerprint=fingerprint.hex(),
        asset=command.asset,
        amount=amount,
        before=account.balance,
        after=account.balance + amount,
        credit=-credit,
        overdrawn=-overdrawn,
        revenue=recognized(paid, amount, earned),
        grant=facts,
        reason=command.reason,
    )


def _check_room(wallet: Wallet, facts: GrantFacts) -> None:
    """Every debit writes the wallet with its live grants: what they say is bounded."""
    length = len(encode(facts)) + sum(len(grant.json) for grant in wallet.grants)
    if length > GRANTS_LENGTH_MAX:
        raise RecordError(
            Reason.TOO_MANY_GRANTS,
            f"the live grants would take {length} characters; at most {GRANTS_LENGTH_MAX}: say less"
            " in scope and metadata, or let some be spent",
        )


def checked_amount(
    text: str, asset: str, field: str, book: Book | None, *, asset_field: str = "asset"
) -> int:
    """An amount of a known asset, no finer than the asset's scale. Raises RecordError, naming
    `field`, or `asset_field` for an asset there is not."""
    scale = _scale(asset, book)
    if scale is None:
        raise RecordError(
            Reason.INVALID,
            f"no asset {asset!r}; the price book has " + ", ".join(sorted(_assets(book))),
            asset_field,
        )
    amount = amount_of(text)
    if amount % 10 ** (PLACES - scale):
        raise RecordError(
            Reason.INVALID, f"{text} is finer than {asset}, which has {scale} places", field
        )
    return amount


def _assets(book: Book | None) -> set[str]:
    return set(SCALES_DEFAULT) if book is None else set(book.assets)


def _scale(asset: str, book: Book | None) -> int | None:
    if book is None:
        return SCALES_DEFAULT.get(asset)
    found = book.assets.get(asset)
    return None if found is None else found.scale


def _priority(command: GrantCommand) -> int:
    if command.priority is not None:
        return command.priority
    return PRIORITY_INCLUDED if command.category == "included" else PRIORITY_DEFAULT


def _paid(command: GrantCommand, amount: int, book: Book | None) -> int:
    """What was paid for all of a grant, in pico-units of the reporting currency."""
    reporting = book.reporting if book is not None else REPORTING_DEFAULT
    if command.cost_basis is not None:
        basis = Decimal(command.cost_basis)
        if basis < 0:
            raise RecordError(Reason.INVALID, "is negative", "cost_basis")
        # Rounded to the reporting currency's last place, once, for the whole grant.
        paid = int(EXACT.multiply(Decimal(amount), basis).to_integral_value())
        if paid > AMOUNT_MAX:
            raise RecordError(Reason.INVALID, "makes more than 38 digits", "cost_basis")
        return paid
    if command.category != "paid":
        return 0
    if command.asset != reporting:
        raise RecordError(
            Reason.INVALID,
            f"say what one {command.asset} was sold for in {reporting}: a paid grant of another"
            " asset recognizes revenue by it",
            "cost_basis",
        )
    return amount


def lapse_entry(wallet: Wallet, grant: Grant, origin: Origin, now: Moment) -> Entry:
    """The entry of a grant whose time is over: what is left of it is gone."""
    account = wallet.account(grant.terms.asset)
    return Entry(
        customer=wallet.customer,
        sequence=wallet.sequence + 1,
        kind="lapse",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        asset=grant.terms.asset,
        amount=grant.remaining,
        before=account.balance,
        after=account.balance - grant.remaining,
        slices=(Slice(grant.terms.id, grant.remaining, 0),),
    )
