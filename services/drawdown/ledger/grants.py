"""Grants: what puts value into a wallet, once or every cycle. Cycles and lapses are `timers`."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import RecordError, encode
from drawdown.events.commands import CYCLES_MAX, Category, Recurrence, Rollover
from drawdown.events.commands import Grant as GrantCommand
from drawdown.events.entries import GrantFacts, RecurrenceFacts
from drawdown.events.numbers import AMOUNT_MAX, EXACT, amount_of, amount_text, step_of
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.calendar import cycles_until, next_after
from drawdown.ledger.drawdown import priority_of
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Moment, blank
from drawdown.ledger.rows import scope_of, scope_record
from drawdown.ledger.slices import joined
from drawdown.ledger.values import (
    GRANTS_LENGTH_MAX,
    GRANTS_MAX,
    NEVER,
    Wallet,
    recognized,
)

REPORTING_DEFAULT: Final = "USD"
"""The reporting currency while no price book says another."""
SCALES_DEFAULT: Final = {"USD": 12}
"""Assets that exist without a price book."""

_GrantFacts = struct_of(GrantFacts)
_RecurrenceFacts = struct_of(RecurrenceFacts)
_Rollover = struct_of(Rollover)


def grant_entry(
    wallet: Wallet,
    command: GrantCommand,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Entry:
    """The entry of a grant. Raises RecordError, naming the field, for an impossible one."""
    book = books.at(now.at_ms)
    amount = checked_amount(command.amount, command.asset, "amount", book)
    if not amount:
        raise RecordError(Reason.INVALID, "is zero; grant more than that", "amount")
    effective_ms = now.at_ms if command.effective_at is None else milliseconds(command.effective_at)
    expires_ms = None if command.expires_at is None else milliseconds(command.expires_at)
    if expires_ms is not None and expires_ms <= max(effective_ms, now.at_ms):
        raise RecordError(
            Reason.INVALID,
            f"is not after {at_text(max(effective_ms, now.at_ms))}, when the grant takes effect:"
            " give a later time, or none",
            "expires_at",
        )
    grant_id = command.grant_id or command.id
    check_new(wallet, grant_id, command.asset, amount)
    paid = paid_for(command.category, command.cost_basis, command.asset, amount, book)
    facts = _GrantFacts(
        id=grant_id,
        category=command.category,
        priority=priority_of(command.priority, command.category),
        effective_at=moment(effective_ms),
        at_once=command.effective_at is None,
        expires_at=None if expires_ms is None else moment(expires_ms),
        scope=scope_record(scope_of(command.scope)),
        paid=amount_text(paid),
        metadata=command.metadata,
    )
    if command.recurrence is not None:
        facts = recurring(facts, command.recurrence, command.asset, amount, book, books, now)
    check_room(wallet, facts)
    return replaced(
        given(wallet, "grant", command.asset, amount, facts, origin, book, now),
        id=command.id,
        fingerprint=fingerprint.hex(),
        reason=command.reason,
    )


def check_new(wallet: Wallet, grant_id: str, asset: str, amount: int) -> None:
    """Raises RecordError where the wallet cannot have one more grant, of this id and amount."""
    for grant in wallet.grants:
        terms = grant.terms
        recurring = terms.recurrence.id if terms.recurrence is not None else None
        if grant_id in (terms.id, recurring):
            raise RecordError(
                Reason.INVALID,
                f"the wallet has a live grant {grant_id!r}; use another id",
                "grant_id",
            )
    if len(wallet.grants) >= GRANTS_MAX:
        raise RecordError(Reason.TOO_MANY_GRANTS, f"{GRANTS_MAX} live grants is the most")
    if wallet.account(asset).granted + amount > AMOUNT_MAX:
        raise RecordError(
            Reason.INVALID,
            f"makes more than 38 digits of {asset} granted in all: grant less",
            "amount",
        )


def given(
    wallet: Wallet,
    kind: str,
    asset: str,
    amount: int,
    facts: GrantFacts,
    origin: Origin,
    book: Book | None,
    now: Moment,
) -> Entry:
    """An entry that puts `amount` into the wallet as the grant that `facts` says.

    What the wallet pays is paid first: `overdrawn`, then used credit; only the rest is left to
    spend. Credit that is held is not owed: it is used when it is captured, or given back. What a
    plan includes is for use and pays no debts: those are money.
    """
    account = wallet.account(asset)
    overdrawn = credit = 0
    pays = facts.scope is None and facts.subscription is None
    if pays and milliseconds(facts.effective_at) <= now.at_ms:
        overdrawn = min(amount, account.overdrawn)
        credit = min(amount - overdrawn, account.credit_used - account.credit_held)
    reporting = book.reporting if book is not None else REPORTING_DEFAULT
    # Credit in the reporting currency was revenue when it was used; see `drawdown.take`.
    earned = overdrawn if asset == reporting else overdrawn + credit
    whole, paid = amount, amount_of(facts.paid)
    for grant in wallet.grants:
        if grant.terms.id == facts.id:
            whole, paid = joined(grant, amount, paid)
    return replaced(
        blank(wallet, kind, origin, now),
        asset=asset,
        amount=amount,
        before=account.balance,
        after=account.balance + amount,
        credit=-credit,
        overdrawn=-overdrawn,
        revenue=recognized(paid, whole, earned),
        grant=facts,
    )


def check_room(wallet: Wallet, facts: GrantFacts) -> None:
    """Every debit writes the wallet with its live grants: what they say is bounded."""
    length = len(encode(facts)) + sum(len(grant.json) for grant in wallet.grants)
    if length > GRANTS_LENGTH_MAX:
        raise _too_long(length)


def check_room_of(wallet: Wallet) -> None:
    """As for one more, where a decision has made the grants already. Raises RecordError."""
    if len(wallet.grants) > GRANTS_MAX:
        raise RecordError(Reason.TOO_MANY_GRANTS, f"{GRANTS_MAX} live grants is the most")
    length = sum(len(grant.json) for grant in wallet.grants)
    if length > GRANTS_LENGTH_MAX:
        raise _too_long(length)


def _too_long(length: int) -> RecordError:
    return RecordError(
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
    if amount % step_of(scale):
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


def paid_for(
    category: Category, cost_basis: str | None, asset: str, amount: int, book: Book | None
) -> int:
    """What was paid for all of a grant, in pico-units of the reporting currency. Raises
    RecordError."""
    reporting = book.reporting if book is not None else REPORTING_DEFAULT
    if cost_basis is not None:
        basis = Decimal(cost_basis)
        if basis < 0:
            raise RecordError(Reason.INVALID, "is negative", "cost_basis")
        # Rounded to the reporting currency's last place, once, for the whole grant.
        paid = int(EXACT.multiply(Decimal(amount), basis).to_integral_value())
        if paid > AMOUNT_MAX:
            raise RecordError(
                Reason.INVALID, "makes more than 38 digits: give a smaller one", "cost_basis"
            )
        return paid
    if category != "paid":
        return 0
    if asset != reporting:
        raise RecordError(
            Reason.INVALID,
            f"say what one {asset} was sold for in {reporting}: a paid grant of another asset"
            " recognizes revenue by it",
            "cost_basis",
        )
    return amount


def recurring(
    facts: GrantFacts,
    asked: Recurrence,
    asset: str,
    amount: int,
    book: Book | None,
    books: Books,
    now: Moment,
) -> GrantFacts:
    """The facts of a first cycle. Raises RecordError for a recurrence that cannot be.

    The first cycle is the one under way when the grant is decided, or else takes effect.
    """
    end = facts.expires_at
    zone = books.zone(asked.zone)
    if zone is None:
        raise RecordError(
            Reason.INVALID,
            f"no time zone {asked.zone!r}: give an IANA name, such as Europe/Berlin",
            "recurrence.zone",
        )
    if asked.cycles is None and end is None:
        raise RecordError(
            Reason.INVALID,
            f"no end is in sight: give cycles, {CYCLES_MAX:,} at most, or the grant's expires_at",
            "recurrence.cycles",
        )
    anchor = facts.effective_at if asked.anchor is None else asked.anchor
    found = _RecurrenceFacts(
        id=facts.id,
        every=asked.every,
        count=asked.count,
        anchor=moment(milliseconds(anchor)),
        zone=asked.zone,
        mode=asked.mode,
        amount=amount_text(amount),
        paid=facts.paid,
        left=None if asked.cycles is None else asked.cycles - 1,
        ends_at=end,
        rollover=_rollover(asked, asset, book),
    )
    start_ms = max(milliseconds(facts.effective_at), now.at_ms)
    if end is not None and asked.cycles is None:
        cycles = cycles_until(found, start_ms, milliseconds(end))
        if cycles > CYCLES_MAX:
            raise RecordError(
                Reason.INVALID,
                f"is {cycles:,} cycles away: {CYCLES_MAX:,} is the most; end it sooner, or give"
                " recurrence.cycles",
                "expires_at",
            )
    return in_cycle(facts, found, next_after(found, zone, start_ms))


def in_cycle(facts: GrantFacts, recurrence: RecurrenceFacts, next_ms: int) -> GrantFacts:
    """The facts of the cycle that ends at `next_ms`, by its recurrence."""
    ends_ms = NEVER if recurrence.ends_at is None else milliseconds(recurrence.ends_at)
    follows = recurrence.left != 0 and next_ms < ends_ms
    over_ms = min(next_ms, ends_ms) if recurrence.mode == "reset" else ends_ms
    return replaced(
        facts,
        expires_at=None if over_ms == NEVER else moment(over_ms),
        recurrence=recurrence,
        next_at=moment(next_ms) if follows else None,
    )


def _rollover(asked: Recurrence, asset: str, book: Book | None) -> Rollover | None:
    rollover = asked.rollover
    if rollover is None:
        return None
    at = "recurrence.rollover"
    if asked.mode == "accumulate":
        raise RecordError(Reason.INVALID, "accumulate keeps all there is: leave it out", at)
    least = checked_amount(rollover.min, asset, f"{at}.min", book)
    most = None
    if rollover.max is not None:
        most = checked_amount(rollover.max, asset, f"{at}.max", book)
        if most < least:
            raise RecordError(Reason.INVALID, "is less than min", f"{at}.max")
    if least and rollover.cycles != 1:
        raise RecordError(
            Reason.INVALID, "a least amount is for one cycle: give cycles: 1 with it", f"{at}.min"
        )
    return _Rollover(
        min=amount_text(least),
        max=None if most is None else amount_text(most),
        cycles=rollover.cycles,
    )
