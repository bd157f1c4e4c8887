"""Terms of a wallet: credit limits, thresholds, and what holds for holds and outages."""

from __future__ import annotations

from typing import Final

from drawdown.events.codec import RecordError, encode
from drawdown.events.commands import NO_PLAN, Outage, SetTerms
from drawdown.events.entries import TermsFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.plans import PlanTerms
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.grants import REPORTING_DEFAULT, checked_amount
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Moment, blank
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
    said = (
        command.capture_policy,
        command.outage,
        command.holds_max,
        command.drawdown,
        command.plan,
    )
    if (
        not command.credit_limits
        and not command.thresholds
        and not any(each is not None for each in said)
    ):
        raise RecordError(
            Reason.INVALID,
            "nothing to change: give credit_limits, thresholds, capture_policy, outage, holds_max,"
            " drawdown or plan",
            "credit_limits",
        )
    limits = _limits(wallet)
    for asset, text in command.credit_limits.items():
        field = f"credit_limits.{asset}"
        limits[asset] = amount_text(checked_amount(text, asset, field, book, asset_field=field))
    thresholds = _thresholds(wallet)
    for asset, texts in command.thresholds.items():
        field = f"thresholds.{asset}"
        amounts = {checked_amount(text, asset, field, book, asset_field=field) for text in texts}
        thresholds[asset] = _falling(amounts)
    policy = wallet.policy or NO_POLICY
    return replaced(
        blank(wallet, "terms", origin, now),
        id=command.id,
        fingerprint=fingerprint.hex(),
        terms=_TermsFacts(
            credit_limits=limits,
            thresholds=thresholds,
            capture_policy=command.capture_policy or policy.capture,
            outage=policy.outage if command.outage is None else _outage(command.outage, book),
            holds_max=policy.holds_max if command.holds_max is None else command.holds_max,
            drawdown=command.drawdown or policy.drawdown,
            plan=None if command.plan == NO_PLAN else command.plan or policy.plan,
        ),
        reason=command.reason,
    )


def plan_terms_entry(
    wallet: Wallet,
    old: PlanTerms | None,
    new: PlanTerms | None,
    book: Book,
    origin: Origin,
    now: Moment,
) -> Entry | None:
    """The entry that sets what a plan says of the wallet's terms, and unsets what only the plan
    before it said; None where both say the same."""
    was, is_ = old or NO_TERMS, new or NO_TERMS
    if encode(was) == encode(is_):
        return None
    limits = _limits(wallet)
    limits.update(dict.fromkeys(was.credit_limits, "0"))
    limits.update(
        {asset: amount_text(amount_of(text)) for asset, text in is_.credit_limits.items()}
    )
    thresholds = _thresholds(wallet)
    for asset in was.thresholds:
        thresholds.pop(asset, None)
    for asset, texts in is_.thresholds.items():
        thresholds[asset] = _falling({amount_of(text) for text in texts})
    policy = wallet.policy or NO_POLICY
    outage = None if was.outage is not None else policy.outage
    kept = {
        name: None if getattr(was, name) is not None else known
        for name, known in (
            ("capture_policy", policy.capture),
            ("holds_max", policy.holds_max),
            ("drawdown", policy.drawdown),
            ("plan", policy.plan),
        )
    }
    own = {name: getattr(is_, name) for name in kept if getattr(is_, name) is not None}
    facts = _TermsFacts(
        credit_limits=limits,
        thresholds=thresholds,
        outage=outage if is_.outage is None else _outage(is_.outage, book),
        **{**kept, **own},
    )
    return replaced(blank(wallet, "terms", origin, now), terms=facts)


def _limits(wallet: Wallet) -> dict[str, str]:
    """The credit limits there are, as an entry states them."""
    return {
        asset: amount_text(account.credit_limit)
        for asset, account in wallet.accounts.items()
        if account.credit_limit
    }


def _thresholds(wallet: Wallet) -> dict[str, list[str]]:
    """The wallet's own thresholds, as an entry states them."""
    return {
        asset: [amount_text(amount) for amount in amounts]
        for asset, amounts in wallet.thresholds.items()
    }


def _falling(amounts: set[int]) -> list[str]:
    return [amount_text(amount) for amount in sorted(amounts, reverse=True)]


NO_TERMS: Final = struct_of(PlanTerms)()


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
