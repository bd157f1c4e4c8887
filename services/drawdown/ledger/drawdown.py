"""The drawdown order: which grants a debit takes first, and how much of each.

Only grants in scope and in effect are taken. The order is a total one, down to the id, so that the
same wallet always pays the same way (rule 2 of domain.md). A wallet keeps its grants sorted by it;
a debit walks them from the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drawdown.events.base import Value
from drawdown.ledger.values import NEVER, Account, Grant, Wallet, recognized

PRIORITY_INCLUDED: Final = 50
"""Default priority of a plan's included grants: before top-ups, whichever expires first."""
PRIORITY_DEFAULT: Final = 100

Order = tuple[int, int, bool, int, int, str]


def order(grant: Grant) -> Order:
    """Sort key: priority, soonest expiry, promotional and included before paid, effective time,
    creation, id."""
    return (
        grant.priority,
        NEVER if grant.expires_ms is None else grant.expires_ms,
        grant.category == "paid",
        grant.effective_ms,
        grant.sequence,
        grant.id,
    )


def inserted(grants: tuple[Grant, ...], grant: Grant) -> tuple[Grant, ...]:
    """The grants with one more, in drawdown order."""
    return tuple(sorted((*grants, grant), key=order))


class Slice(Value, frozen=True):
    """The slice of a grant that a debit takes, and the revenue it recognizes."""

    grant: str
    amount: int
    revenue: int


class Taken(Value, frozen=True):
    """How an amount is paid: from grants, then on credit, and what nothing was left for."""

    slices: tuple[Slice, ...]
    credit: int
    overdrawn: int
    revenue: int
    """Recognized by all of it, in the reporting currency."""


def take(
    wallet: Wallet,
    account: Account,
    amount: int,
    meter: str,
    dimensions: Mapping[str, str],
    at_ms: int,
    reporting: str,
) -> Taken:
    """Take `amount` >= 0 of the account's asset for a use of `meter`, at the time `at_ms`.

    Usage that happened is always paid somehow (rule 3): grants in order, then the credit limit,
    then `overdrawn`. Credit in the reporting currency is revenue when used, because it will be
    invoiced; what is overdrawn is revenue only when a grant pays it.
    """
    slices: list[Slice] = []
    left = amount
    revenue = 0
    asset = account.asset
    for grant in wallet.grants:
        if not left:
            break
        remaining = grant.remaining
        if remaining <= 0 or grant.asset != asset or not grant.in_effect(at_ms):
            continue
        if grant.scope is not None and not grant.scope.covers(meter, dimensions):
            continue
        part = min(remaining, left)
        earned = _earned(grant, part)
        slices.append(Slice(grant.id, part, earned))
        revenue += earned
        left -= part
    if not left:
        return Taken(tuple(slices), 0, 0, revenue)
    credit = min(left, account.credit_left)
    if credit and asset == reporting:
        revenue += credit
    return Taken(tuple(slices), credit, left - credit, revenue)


def _earned(grant: Grant, part: int) -> int:
    """Revenue that spending `part` of what remains of a grant recognizes."""
    spent = grant.amount - grant.held - grant.remaining
    return recognized(grant.paid, grant.amount, spent + part) - recognized(
        grant.paid, grant.amount, spent
    )


def available(
    wallet: Wallet, asset: str, meter: str, dimensions: Mapping[str, str], at_ms: int
) -> int:
    """What a use of `meter` could be paid with: grants in scope, in effect, and unused credit."""
    return wallet.account(asset).credit_left + sum(
        grant.remaining
        for grant in wallet.grants
        if grant.asset == asset
        and grant.in_effect(at_ms)
        and (grant.scope is None or grant.scope.covers(meter, dimensions))
    )


def spendable(wallet: Wallet, asset: str, at_ms: int) -> int:
    """What could be spent on anything at all in scope of some grant: `available` on the API."""
    total = wallet.account(asset).credit_left
    for grant in wallet.grants:
        if grant.asset == asset and grant.in_effect(at_ms):
            total += grant.remaining
    return total
