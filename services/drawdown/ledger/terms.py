"""Terms of a wallet: credit limits, thresholds, and what holds for holds and outages."""

from __future__ import annotations

from drawdown.events.codec import RecordError
from drawdown.events.commands import Outage, SetTerms
from drawdown.events.entries import TermsFacts
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.grants import REPORTING_DEFAULT, checked_amount
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Moment
from drawdown.ledger.values import NO_POLICY, Wallet

_TermsFacts = struct_of(TermsFacts)
_Outage = struct_of(Outage)


def terms_entry(
    wallet: Wallet,
    command: SetTerms,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Entry:
    """The entry that changes a wallet's terms; it carries all of them as they stand after it."""
    book = books.at(now.at_ms)
    said = (command.capture_policy, command.outage, command.holds_max, command.drawdown)
    if (
        not command.credit_limits
        and not command.thresholds
        and not any(each is not None for each in said)
    ):
        raise RecordError(
            Reason.INVALID,
            "nothing to change: give credit_limits, thresholds, capture_policy, outage, holds_max"
            " or drawdown",
            "credit_limits",
        )
    limits = {
        asset: amount_text(account.credit_limit)
        for asset, account in wallet.accounts.items()
        if account.credit_limit
    }
    for asset, text in command.credit_limits.items():
        field = f"credit_limits.{asset}"
        limits[asset] = amount_text(checked_amount(text, asset, field, book, asset_field=field))
    thresholds = {
        asset: [amount_text(amount) for amount in amounts]
        for asset, amounts in wallet.thresholds.items()
    }
    for asset, texts in command.thresholds.items():
        field = f"thresholds.{asset}"
        amounts = {checked_amount(text, asset, field, book, asset_field=field) for text in texts}
        thresholds[asset] = [amount_text(amount) for amount in sorted(amounts, reverse=True)]
    policy = wallet.policy or NO_POLICY
    return Entry(
        customer=command.customer,
        sequence=wallet.sequence + 1,
        kind="terms",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        id=command.id,
        fingerprint=fingerprint.hex(),
        terms=_TermsFacts(
            credit_limits=limits,
            thresholds=thresholds,
            capture_policy=command.capture_policy or policy.capture,
            outage=policy.outage if command.outage is None else _outage(command.outage, book),
            holds_max=policy.holds_max if command.holds_max is None else command.holds_max,
            drawdown=command.drawdown or policy.drawdown,
        ),
        reason=command.reason,
    )


def _outage(asked: Outage, book: Book | None) -> Outage | None:
    """As it is kept: None is closed, the default."""
    if asked.mode == "closed":
        if asked.amount is not None or asked.asset is not None:
            raise RecordError(Reason.INVALID, "closed lets nothing run", "outage.amount")
        return None
    if asked.amount is None:
        raise RecordError(Reason.INVALID, "say up to what amount", "outage.amount")
    asset = asked.asset or (REPORTING_DEFAULT if book is None else book.reporting)
    amount = checked_amount(asked.amount, asset, "outage.amount", book, asset_field="outage.asset")
    return _Outage(mode="open", amount=amount_text(amount), asset=asset)
