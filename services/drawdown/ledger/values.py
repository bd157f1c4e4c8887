"""What the ledger reckons with: grants, accounts and wallets, as immutable values.

Amounts are integers of 10^-12 of their asset (`events.numbers`); times are Unix milliseconds. A
wallet is never changed: `evolve` makes the next one. Nothing here knows bytes, topics or clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drawdown.events.base import Value
from drawdown.events.commands import Category

GENESIS: Final = "0" * 64
"""What the first entry of a customer has as its previous digest."""
GRANTS_MAX: Final = 64
"""Live grants of one wallet: its row stays within 16 KiB."""
NEVER: Final = 1 << 62
"""Later than any time there is: the expiry of a grant that has none, where times are compared."""


class Scope(Value, frozen=True):
    """What a grant may pay for: one of the meters, if any are named, and for each dimension named
    one of its values."""

    meters: tuple[str, ...] = ()
    dimensions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def covers(self, meter: str, dimensions: Mapping[str, str]) -> bool:
        if self.meters and meter not in self.meters:
            return False
        return all(dimensions.get(name) in values for name, values in self.dimensions)


class Grant(Value, frozen=True):
    """A live grant. It is in effect from `effective_ms`, included, to `expires_ms`, excluded."""

    id: str
    asset: str
    category: Category
    priority: int
    amount: int
    remaining: int
    held: int
    effective_ms: int
    expires_ms: int | None
    scope: Scope | None
    paid: int
    """For all of it, in the reporting currency."""
    sequence: int
    metadata: tuple[tuple[str, str], ...] = ()
    terms_json: str = ""
    """All but `held` and `remaining` as `rows` writes it: derived, made once per grant."""

    def in_effect(self, at_ms: int) -> bool:
        return self.effective_ms <= at_ms and (self.expires_ms is None or at_ms < self.expires_ms)


def recognized(paid: int, amount: int, spent: int) -> int:
    """Revenue recognized by `spent` of a grant of `amount` that `paid` was paid for.

    Half-even on the running total, so that the parts of a grant's revenue always sum to what was
    paid for it: a debit recognizes the difference of two of these.
    """
    if paid == amount:
        return spent
    if not paid:
        return 0
    whole, rest = divmod(paid * spent, amount)
    return whole + (2 * rest > amount or (2 * rest == amount and bool(whole & 1)))


class Account(Value, frozen=True):
    """A wallet's holdings of one asset, and the totals of all that ever moved in it."""

    asset: str
    unspent: int = 0
    held: int = 0
    credit_limit: int = 0
    credit_used: int = 0
    overdrawn: int = 0
    granted: int = 0
    debited: int = 0
    lapsed: int = 0

    @property
    def balance(self) -> int:
        """What the customer is worth here: negative where more was used than there was."""
        return self.unspent - self.credit_used - self.overdrawn

    @property
    def credit_left(self) -> int:
        return max(self.credit_limit - self.credit_used, 0)

    @property
    def imbalance(self) -> int:
        """Zero, or money was made or lost: the one formula of conservation (domain.md)."""
        return self.granted - (
            self.debited
            + self.lapsed
            + self.held
            + self.unspent
            - self.credit_used
            - self.overdrawn
        )


class Wallet(Value, frozen=True):
    """The wallet of one customer after its entry number `sequence`."""

    customer: str
    sequence: int = 0
    at_ms: int = 0
    accounts: Mapping[str, Account] = {}
    grants: tuple[Grant, ...] = ()
    """Live grants of all assets, in drawdown order."""
    thresholds: Mapping[str, tuple[int, ...]] = {}
    revenue: int = 0
    cost: int = 0
    digest: str = GENESIS

    def account(self, asset: str) -> Account:
        return self.accounts.get(asset) or Account(asset)

    @property
    def due_ms(self) -> int | None:
        """When the next grant expires: the wallet's timer."""
        return min(
            (
                grant.expires_ms
                for grant in self.grants
                if grant.expires_ms is not None and grant.remaining
            ),
            default=None,
        )
