"""Authorization: may this run, against the balance as it is now?

Deny by default (rule 3): a customer nobody has seen, a meter nobody knows, a price nobody set or a
balance that is too small each deny with their own reason. A plain check changes nothing: it is a
decision and no entry, and asked again it is decided again.
"""

from __future__ import annotations

from typing import Final

from drawdown.events.base import moment
from drawdown.events.codec import RecordError
from drawdown.events.commands import Authorize
from drawdown.events.decisions import Decision
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.book import Book, Books, checked_quantity
from drawdown.ledger.drawdown import available
from drawdown.ledger.evolve import Rows
from drawdown.ledger.grants import checked_amount
from drawdown.ledger.outcome import Decided, Moment
from drawdown.ledger.prices import UnpricedError
from drawdown.ledger.values import Wallet

LEAST: Final = 1
"""What an authorization without an estimate needs: any balance above zero."""

_Decision = struct_of(Decision)


def authorize(rows: Rows, command: Authorize, books: Books, now: Moment) -> Decided:
    """Allow or deny. Raises RecordError where the question itself is wrong."""
    wallet = rows.row(command.customer)
    if wallet is None:
        return Decided(answer=_denied(command, now, Reason.UNKNOWN_CUSTOMER))
    book = books.at(now.at_ms)
    if book is None:
        return Decided(answer=_denied(command, now, Reason.NO_PRICE_BOOK, wallet=wallet))
    meter = book.meter(command.meter)
    if meter is None:
        raise RecordError(
            Reason.UNKNOWN_METER,
            f"price book {book.version!r} has no meter {command.meter!r}",
            "meter",
        )
    rate = book.quote(meter, command.dimensions).rate
    if rate is None:
        return Decided(
            answer=_denied(command, now, Reason.UNPRICED, "no rate matches", wallet, book)
        )
    asset = rate.asset
    estimate = command.estimate
    if estimate.amount is not None:
        if estimate.asset is not None and estimate.asset != asset:
            raise RecordError(Reason.INVALID, f"this use is priced in {asset}", "estimate.asset")
        amount = checked_amount(estimate.amount, asset, "estimate.amount", book)
    elif estimate.quantities is not None:
        quantities = {
            name: checked_quantity(name, value, "estimate.quantities")
            for name, value in estimate.quantities.items()
        }
        try:
            amount, _ = rate.charge(quantities)
        except UnpricedError as missing:
            detail = f"rate {rate.id!r} has no price for {missing.what!r}"
            return Decided(answer=_denied(command, now, Reason.UNPRICED, detail, wallet, book))
    else:
        amount = LEAST
    there = available(wallet, asset, meter.id, command.dimensions, now.at_ms)
    allowed = there >= max(amount, LEAST)
    stated = estimate.amount is not None or estimate.quantities is not None
    return Decided(
        answer=_Decision(
            kind="authorization",
            id=command.id,
            customer=command.customer,
            command="authorize",
            at=moment(now.at_ms),
            allowed=allowed,
            reason=Reason.OK if allowed else Reason.INSUFFICIENT_BALANCE,
            asset=asset,
            amount=amount_text(amount) if stated else None,
            shortfall=None if allowed else amount_text(max(amount, LEAST) - there),
            available={asset: amount_text(there)},
            rate=rate.id,
            book=book.version,
            book_offset=book.offset,
            sequence=wallet.sequence,
            digest=wallet.digest,
            usage_lag_records=now.usage_lag_records,
            usage_lag_ms=now.usage_lag_ms,
        )
    )


def _denied(
    command: Authorize,
    now: Moment,
    reason: Reason,
    detail: str | None = None,
    wallet: Wallet | None = None,
    book: Book | None = None,
) -> Decision:
    return _Decision(
        kind="authorization",
        id=command.id,
        customer=command.customer,
        command="authorize",
        at=moment(now.at_ms),
        allowed=False,
        reason=reason,
        detail=detail,
        book=None if book is None else book.version,
        book_offset=None if book is None else book.offset,
        sequence=0 if wallet is None else wallet.sequence,
        digest=None if wallet is None else wallet.digest,
        usage_lag_records=now.usage_lag_records,
        usage_lag_ms=now.usage_lag_ms,
    )
