"""Evolve: the rows after an entry. State is nothing but the fold of the journal over this.

Pure: from the rows as they are and an entry to the rows that changed. What is checked here holds
in production too: an entry that does not follow from the rows raises `BrokenInvariantError`, and
the partition stops rather than go on with wrong money.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced
from drawdown.ledger.counters import evolve_counters
from drawdown.ledger.drawdown import inserted
from drawdown.ledger.held import HOLD_EFFECTS, evolve_hold
from drawdown.ledger.journal import Entry, Sealed
from drawdown.ledger.rows import Row
from drawdown.ledger.slices import (
    BrokenInvariantError,
    Effect,
    Grants,
    given_back,
    granted_terms,
    spent,
)
from drawdown.ledger.values import (
    NO_POLICY,
    Account,
    Policy,
    Wallet,
    hold_key,
    live_grant,
    next_expiry,
)

__all__ = ["BrokenInvariantError", "Rows", "evolve", "evolve_wallet"]


class Rows(Protocol):
    """The rows a decision or an entry reads, by key."""

    def row(self, key: str) -> Any:
        """The row as it stands, or None where there is none: a Wallet under a customer's id, a
        Hold under its `hold_key`, a Running under its `running_key`, a Seen under its
        `seen_key`."""

    def identity(self, key: bytes) -> bytes | None:
        """What is remembered under an identity's key."""


def evolve(rows: Rows, sealed: Sealed) -> dict[str, Row | None]:
    """The rows that `sealed` changes, by key; None where a row is gone."""
    customer = sealed.entry.customer
    changed: dict[str, Row | None] = {
        customer: evolve_wallet(rows.row(customer) or Wallet(customer), sealed)
    }
    hold = sealed.entry.hold
    if hold is not None:
        key = hold_key(customer, hold.id)
        changed[key] = evolve_hold(rows.row(key), sealed)
    if sealed.entry.running is not None:
        changed.update(evolve_counters(rows, sealed))
    return changed


def evolve_wallet(wallet: Wallet, sealed: Sealed) -> Wallet:
    """The wallet after an entry.

    Raises BrokenInvariantError where the entry does not continue the customer's chain, or an
    amount does not add up.
    """
    entry = sealed.entry
    if entry.sequence != wallet.sequence + 1:
        raise BrokenInvariantError(
            "sequence-contiguous",
            f"{entry.customer}: entry {entry.sequence} after {wallet.sequence}",
        )
    if entry.previous != wallet.digest:
        raise BrokenInvariantError(
            "digest-chain",
            f"{entry.customer}: entry {entry.sequence} continues {entry.previous[:12]}..., the"
            f" wallet is at {wallet.digest[:12]}...",
        )
    accounts = wallet.accounts
    grants = wallet.grants
    thresholds = wallet.thresholds
    asset = entry.asset
    if asset is not None:
        account = accounts.get(asset) or Account(asset)
        if entry.before != account.balance:
            raise BrokenInvariantError(
                "before-is-balance",
                f"{entry.customer}: entry {entry.sequence} has {amount_text(entry.before)} before,"
                f" the balance is {amount_text(account.balance)}",
            )
        account, grants = EFFECTS[entry.kind](account, grants, sealed)
        if account.unspent - account.credit_used - account.overdrawn != entry.after:
            raise BrokenInvariantError(
                "after-is-balance",
                f"{entry.customer}: entry {entry.sequence} says {sealed.after_text}; its effect is"
                f" {amount_text(account.unspent - account.credit_used - account.overdrawn)}",
            )
        accounts = {**accounts, asset: account}
    policy = wallet.policy
    if entry.terms is not None:
        accounts, thresholds, policy = _terms(accounts, entry)
    holds = wallet.holds
    hold = entry.hold
    # A grant that is only smaller expires when it did; held ones stay where nothing remains.
    same_timer = not holds and hold is None and len(grants) == len(wallet.grants)
    if hold is not None:
        holds += (entry.kind == "hold") - hold.closed
    return Wallet(
        wallet.customer,
        entry.sequence,
        entry.at_ms,
        accounts,
        grants,
        thresholds,
        wallet.revenue + entry.revenue,
        wallet.cost + entry.cost,
        sealed.digest,
        wallet.due_ms if same_timer else next_expiry(grants),
        holds,
        policy,
    )


def _debited(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry = sealed.entry
    drawn = 0
    for part in entry.slices:
        drawn += part.amount
        if part.amount >= 0:
            grants = spent(grants, part.grant, part.amount, sealed)
        else:
            grants = given_back(grants, part.grant, -part.amount, sealed)
    if drawn + entry.credit + entry.overdrawn != entry.amount:
        raise BrokenInvariantError(
            "allocations-sum",
            f"{entry.customer}: entry {entry.sequence} takes {amount_text(drawn)} from grants,"
            f" {amount_text(entry.credit)} on credit and {amount_text(entry.overdrawn)} overdrawn"
            f" for {amount_text(entry.amount)}",
        )
    return (
        # By position: every debit makes one, and naming the fields costs twice as much.
        Account(
            account.asset,
            entry.after,
            sealed.after_text,
            account.unspent - drawn,
            account.held,
            account.credit_limit,
            account.credit_used + entry.credit,
            account.overdrawn + entry.overdrawn,
            account.granted,
            account.debited + entry.amount,
            account.lapsed,
            account.credit_held,
        ),
        grants,
    )


def _granted(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """A new grant; what it pays of `overdrawn` and of used credit is spent at once."""
    entry = sealed.entry
    terms = granted_terms(sealed, entry.amount)
    remaining = entry.amount + entry.credit + entry.overdrawn
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + remaining,
            credit_used=account.credit_used + entry.credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            granted=account.granted + entry.amount,
        ),
        inserted(grants, live_grant(terms, remaining)) if remaining else grants,
    )


def _lapsed(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry = sealed.entry
    for part in entry.slices:
        grants = spent(grants, part.grant, part.amount, sealed)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent - entry.amount,
            lapsed=account.lapsed + entry.amount,
        ),
        grants,
    )


EFFECTS: Final[Mapping[str, Callable[[Account, Grants, Sealed], Effect]]] = {
    "grant": _granted,
    "debit": _debited,
    "lapse": _lapsed,
    **HOLD_EFFECTS,
}
"""What each kind of entry with an amount does to its account and to the grants."""


def _terms(
    accounts: Mapping[str, Account], entry: Entry
) -> tuple[Mapping[str, Account], Mapping[str, tuple[int, ...]], Policy | None]:
    assert entry.terms is not None
    changed = dict(accounts)
    for asset, text in entry.terms.credit_limits.items():
        account = changed.get(asset) or Account(asset)
        changed[asset] = replaced(account, credit_limit=amount_of(text))
    thresholds = {
        asset: tuple([amount_of(text) for text in texts])
        for asset, texts in entry.terms.thresholds.items()
    }
    terms = entry.terms
    policy = Policy(terms.capture_policy, terms.outage, terms.holds_max)
    return changed, thresholds, None if policy == NO_POLICY else policy
