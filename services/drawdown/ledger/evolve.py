"""Evolve: the rows after an entry. State is nothing but the fold of the journal over this.

Pure: from the rows as they are and an entry to the rows that changed. What is checked here holds
in production too: an entry that does not follow from the rows raises `BrokenInvariantError`, and
the partition stops rather than go on with wrong money.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from drawdown.events.base import milliseconds
from drawdown.events.commands import WalletState
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.statements import StatementFacts
from drawdown.events.structs import replaced
from drawdown.ledger.counters import evolve_counters
from drawdown.ledger.drawdown import ORDERS
from drawdown.ledger.flows import FLOW_EFFECTS
from drawdown.ledger.held import HOLD_EFFECTS, evolve_hold
from drawdown.ledger.journal import NOTHING_RARE, Entry, Sealed
from drawdown.ledger.rows import Row
from drawdown.ledger.slices import (
    BrokenInvariantError,
    Effect,
    Grants,
    put_back,
    retermed,
    spent,
)
from drawdown.ledger.spent import evolve_limits
from drawdown.ledger.subscribed import evolve_subscriptions, still_due
from drawdown.ledger.topped_up import assets_of, evolve_topups
from drawdown.ledger.values import (
    NEVER,
    NO_POLICY,
    Account,
    Issued,
    Policy,
    Reversed,
    Wallet,
    hold_key,
    next_due,
    reversed_key,
)

__all__ = ["BrokenInvariantError", "Rows", "RowsAfter", "evolve", "evolve_wallet", "marked"]


class Rows(Protocol):
    """The rows a decision or an entry reads, by key."""

    def row(self, key: str) -> Any:
        """The row as it stands, or None where there is none: a Wallet under a customer's id, a
        Hold under its `hold_key`, a Running under its `running_key`, a Seen under its
        `seen_key`."""

    def identity(self, key: bytes) -> bytes | None:
        """What is remembered under an identity's key."""


class RowsAfter:
    """Rows with those that a decision under way has changed."""

    def __init__(self, rows: Rows, changed: dict[str, Row | None]) -> None:
        self._rows = rows
        self._changed = changed

    def row(self, key: str) -> Any:
        return self._changed[key] if key in self._changed else self._rows.row(key)

    def identity(self, key: bytes) -> bytes | None:
        return self._rows.identity(key)


def evolve(rows: Rows, sealed: Sealed) -> dict[str, Row | None]:
    """The rows that `sealed` changes, by key; None where a row is gone."""
    customer = sealed.entry.customer
    wallet = evolve_wallet(rows.row(customer) or Wallet(customer), sealed)
    changed: dict[str, Row | None] = {customer: wallet}
    hold = sealed.entry.hold
    if hold is not None:
        key = hold_key(customer, hold.id)
        changed[key] = evolve_hold(rows.row(key), sealed)
    if sealed.entry.running is not None:
        changed.update(evolve_counters(rows, sealed))
    if sealed.entry.rare is not NOTHING_RARE:
        changed.update(evolve_subscriptions(rows, sealed))
        changed.update(evolve_limits(rows, sealed))
    if wallet.topups or sealed.entry.rare.topup is not None:
        changed.update(evolve_topups(rows, sealed, wallet))
    changed.update(marked(sealed))
    return changed


def marked(sealed: Sealed) -> dict[str, Row]:
    """The entry that cannot be reversed (again) after this one, by key: at most one."""
    entry = sealed.entry
    rare = entry.rare
    if rare.rerates is not None:
        sequence = rare.rerates.sequence
    elif rare.reverses is not None:
        sequence = rare.reverses.sequence
    elif rare.void is not None and not rare.void.kept:
        sequence = rare.void.sequence
    else:
        return {}
    key = reversed_key(entry.customer, sequence)
    return {key: Reversed(entry.customer, sequence, entry.sequence)}


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
        accounts, thresholds, policy = _terms(accounts, entry, wallet.state)
    elif entry.rare.state is not None:
        policy, grants = _state(policy, grants, entry)
    if policy is not None and (entry.terms is not None or entry.grant is not None):
        by = ORDERS[policy.drawdown or "drawdown"]
        grants = tuple(sorted(grants, key=by))
    subscriptions = wallet.subscriptions
    if entry.rare.subscription is not None:
        subscriptions = still_due(subscriptions, entry.rare.subscription)
    holds = wallet.holds
    hold = entry.hold
    # A grant that is only smaller expires when it did; held ones stay where nothing remains.
    same_timer = (
        entry.kind == "debit"
        and entry.amount >= 0
        and not holds
        and hold is None
        and len(grants) == len(wallet.grants)
    )
    if hold is not None:
        holds += (entry.kind == "hold") - hold.closed
    topups = wallet.topups
    if entry.rare.topup is not None:
        topups = assets_of(topups, entry.rare.topup)
    issued = wallet.issued
    if entry.rare.statement is not None:
        issued = issued_by(entry.rare.statement)
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
        wallet.due_ms if same_timer else next_due(grants, subscriptions),
        holds,
        policy,
        wallet.breakage + entry.rare.breakage,
        issued,
        subscriptions,
        wallet.scopes if entry.rare.scopes is None else entry.rare.scopes,
        topups,
    )


def issued_by(facts: StatementFacts) -> Issued:
    """What the wallet keeps of a statement."""
    ends_ms = milliseconds(facts.sums.ends_at)
    return Issued(facts.number, ends_ms, facts.sums.last_sequence, facts.statement_digest)


def _debited(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry = sealed.entry
    drawn = 0
    for part in entry.slices:
        drawn += part.amount
        if part.amount >= 0:
            grants = spent(grants, part.grant, part.amount, sealed)
        else:
            grants = put_back(grants, part.grant, -part.amount, sealed)
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
            account.flows,
        ),
        grants,
    )


EFFECTS: Final[Mapping[str, Callable[[Account, Grants, Sealed], Effect]]] = {
    "debit": _debited,
    **FLOW_EFFECTS,
    **HOLD_EFFECTS,
}
"""What each kind of entry with an amount does to its account and to the grants."""


def _state(policy: Policy | None, grants: Grants, entry: Entry) -> tuple[Policy | None, Grants]:
    """In a closed wallet nothing comes again."""
    assert entry.rare.state is not None
    if entry.rare.state == "closed":
        for grant in grants:
            if grant.terms.next_ms != NEVER and not grant.terms.succeeded:
                grants = retermed(grants, grant.terms.id, next_ms=NEVER)
    changed = replaced(policy or NO_POLICY, state=entry.rare.state)
    return None if changed == NO_POLICY else changed, grants


def _terms(
    accounts: Mapping[str, Account], entry: Entry, state: WalletState
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
    policy = Policy(
        terms.capture_policy, terms.outage, terms.holds_max, terms.drawdown, state, terms.plan
    )
    return changed, thresholds, None if policy == NO_POLICY else policy
