"""Issuing a statement: the entry by which a period's sums stand for good.

The ledger has the wallet and not the journal, so the sums come with the command, made from the
journal by `statements`. What can be checked here is: that they add up, that the range of entries
continues the one before and is within the wallet's, and, where no entry came since, that they are
the wallet's own. Whoever reads the journal can add up the rest again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drawdown.events.base import at_text, milliseconds
from drawdown.events.codec import RecordError
from drawdown.events.commands import IssueStatement
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.statements import AssetSums, RevenueSums, StatementFacts, StatementSums
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Books
from drawdown.ledger.grants import REPORTING_DEFAULT
from drawdown.ledger.journal import Entry, Origin, Rare
from drawdown.ledger.outcome import Decided, Moment, blank
from drawdown.ledger.slices import deferred_revenue
from drawdown.ledger.statements import statement_digest
from drawdown.ledger.values import GENESIS, Wallet

_StatementFacts: Callable[..., StatementFacts] = struct_of(StatementFacts)

AGAIN: Final = "read the journal again"


def issue(
    wallet: Wallet, command: IssueStatement, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Issue the statement of a period that is over. Raises RecordError."""
    sums = command.statement
    _check_period(wallet, sums, books, now)
    _check_range(wallet, sums)
    for number, each in enumerate(sums.assets):
        _check_asset(each, f"statement.assets.{number}")
    if len({each.asset for each in sums.assets}) < len(sums.assets):
        raise _invalid("names an asset twice", "assets")
    _check_revenue(sums.revenue)
    if sums.last_sequence == wallet.sequence:
        _check_wallet(wallet, sums)
    before = wallet.issued
    facts = _StatementFacts(
        number=1 if before is None else before.number + 1,
        sums=sums,
        previous=GENESIS if before is None else before.digest,
        statement_digest=GENESIS,
    )
    facts = replaced(facts, statement_digest=statement_digest(facts))
    entry = replaced(blank(wallet, "statement", origin, now), rare=Rare(statement=facts))
    return Decided(wallet=wallet), entry


def _invalid(detail: str, field: str) -> RecordError:
    return RecordError(Reason.INVALID, detail, f"statement.{field}")


def _check_period(wallet: Wallet, sums: StatementSums, books: Books, now: Moment) -> None:
    starts_ms, ends_ms = milliseconds(sums.starts_at), milliseconds(sums.ends_at)
    if ends_ms <= starts_ms:
        raise _invalid("is not after starts_at", "ends_at")
    if ends_ms > now.at_ms:
        raise _invalid(f"is not over: issue it from {at_text(ends_ms)} on", "ends_at")
    if books.zone(sums.zone) is None:
        raise _invalid(f"no time zone {sums.zone!r}: give an IANA name", "zone")
    book = books.at(ends_ms - 1)
    reporting = REPORTING_DEFAULT if book is None else book.reporting
    if sums.reporting != reporting:
        raise _invalid(f"the price book says {reporting}", "reporting")
    if not wallet.sequence:
        raise RecordError(
            Reason.INVALID, "has no wallet: there is nothing to be stated", "customer"
        )
    issued = wallet.issued
    if issued is None or starts_ms == issued.ends_ms:
        return
    where = f"statement {issued.number} goes to {at_text(issued.ends_ms)}"
    if starts_ms < issued.ends_ms:
        raise RecordError(
            Reason.ALREADY_ISSUED,
            f"{where} and does not change: begin there",
            "statement.starts_at",
        )
    raise _invalid(f"{where}: begin there, so that nothing is left out", "starts_at")


def _check_range(wallet: Wallet, sums: StatementSums) -> None:
    issued, first, last = wallet.issued, sums.first_sequence, sums.last_sequence
    if issued is not None and first != issued.last_sequence + 1:
        raise _invalid(
            f"is {first}; statement {issued.number} ended with entry {issued.last_sequence}",
            "first_sequence",
        )
    if last < first - 1 or last > wallet.sequence:
        raise _invalid(f"is {last}; the wallet has {wallet.sequence} entries", "last_sequence")
    if wallet.at_ms < milliseconds(sums.ends_at) and last != wallet.sequence:
        raise _invalid(
            f"is {last}; entries up to {wallet.sequence} belong to the period: {AGAIN}",
            "last_sequence",
        )


def _check_asset(sums: AssetSums, field: str) -> None:
    moved = sum(amount_of(text) for text in sums.movements.values())
    if amount_of(sums.opening) + moved != amount_of(sums.closing):
        raise RecordError(
            Reason.INVALID,
            f"opens with {sums.opening} and moves by {amount_text(moved)}; that is not"
            f" {sums.closing}",
            f"{field}.closing",
        )


def _check_revenue(said: RevenueSums) -> None:
    if amount_of(said.recognized) - amount_of(said.cost) != amount_of(said.margin):
        raise _invalid("is not recognized less cost", "revenue.margin")
    expected = (
        amount_of(said.deferred_opening)
        + amount_of(said.unbilled_closing)
        - amount_of(said.unbilled_opening)
        + amount_of(said.paid_in)
        - amount_of(said.recognized)
        - amount_of(said.breakage)
        - amount_of(said.refunded)
        + amount_of(said.repriced)
    )
    if expected != amount_of(said.deferred_closing):
        raise _invalid(
            f"is {said.deferred_closing}; the sums make it {amount_text(expected)}",
            "revenue.deferred_closing",
        )


def _check_wallet(wallet: Wallet, sums: StatementSums) -> None:
    """The period ends where the wallet is: its closing is what the wallet has."""
    if sums.closing_digest != wallet.digest:
        raise _invalid(f"is not that of entry {wallet.sequence}: {AGAIN}", "closing_digest")
    closing = {each.asset: amount_of(each.closing) for each in sums.assets}
    for asset, account in wallet.accounts.items():
        if closing.pop(asset, 0) != account.balance:
            raise _invalid(
                f"does not close {asset} with {account.balance_text}, which it has: {AGAIN}",
                "assets",
            )
    if any(closing.values()):
        raise _invalid(f"has {', '.join(closing)}, which the wallet has not", "assets")
    deferred = amount_text(deferred_revenue(wallet))
    if sums.revenue.deferred_closing != deferred:
        raise _invalid(f"is not {deferred}: {AGAIN}", "revenue.deferred_closing")
