"""Terms: credit limits and thresholds of a wallet."""

from __future__ import annotations

from drawdown.events.codec import RecordError
from drawdown.events.commands import SetTerms
from drawdown.events.entries import TermsFacts
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.book import Book
from drawdown.ledger.grants import checked_amount
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Moment
from drawdown.ledger.values import Wallet

_TermsFacts = struct_of(TermsFacts)


def terms_entry(
    wallet: Wallet,
    command: SetTerms,
    fingerprint: bytes,
    origin: Origin,
    book: Book | None,
    now: Moment,
) -> Entry:
    """The entry that changes a wallet's terms; it carries all of them as they stand after it."""
    if not command.credit_limits and not command.thresholds:
        raise RecordError(
            Reason.INVALID, "nothing to change: give credit_limits or thresholds", "credit_limits"
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
    return Entry(
        customer=command.customer,
        sequence=wallet.sequence + 1,
        kind="terms",
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
        id=command.id,
        fingerprint=fingerprint.hex(),
        terms=_TermsFacts(credit_limits=limits, thresholds=thresholds),
        reason=command.reason,
    )
