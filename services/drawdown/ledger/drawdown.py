"""The drawdown order: which grants a debit takes first, and how much of each.

Only grants in scope and in effect are taken. The order is a total one, down to the id, so that the
same wallet always pays the same way (rule 2 of domain.md). A wallet keeps its grants sorted by it;
a debit walks them from the front.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from drawdown.events.base import Value
from drawdown.events.commands import Category, DrawdownPolicy
from drawdown.ledger.values import Account, Grant, GrantTerms, Wallet, recognized

PRIORITY_INCLUDED: Final = 50
"""Default priority of a plan's included grants: before top-ups, whichever expires first."""
PRIORITY_DEFAULT: Final = 100

Order = Callable[[Grant], tuple[Any, ...]]


def priority_of(priority: int | None, category: Category) -> int:
    """The priority of a grant: the one that is stated, or that of its category."""
    if priority is not None:
        return priority
    return PRIORITY_INCLUDED if category == "included" else PRIORITY_DEFAULT


def order(grant: Grant) -> tuple[int, int, bool, int, int, str]:
    """Sort key: priority, soonest expiry, promotional and included before paid, effective time,
    creation, id."""
    terms = grant.terms
    return (
        terms.priority,
        terms.expires_ms,
        terms.category == "paid",
        terms.effective_ms,
        terms.sequence,
        terms.id,
    )


def _metronome(grant: Grant) -> tuple[Any, ...]:
    """Priority, lowest cost basis, soonest expiry, effective time, creation."""
    terms = grant.terms
    return (
        terms.priority,
        _basis(terms),
        terms.expires_ms,
        terms.effective_ms,
        terms.sequence,
        terms.id,
    )


def _openmeter(grant: Grant) -> tuple[Any, ...]:
    """Priority, soonest expiry, creation."""
    terms = grant.terms
    return terms.priority, terms.expires_ms, terms.sequence, terms.id


def _orb(grant: Grant) -> tuple[Any, ...]:
    """Soonest expiry, lowest cost basis, creation; there are no priorities."""
    terms = grant.terms
    return terms.expires_ms, _basis(terms), terms.sequence, terms.id


def _lago(grant: Grant) -> tuple[Any, ...]:
    """Priority, granted before purchased, creation."""
    terms = grant.terms
    return terms.priority, terms.category == "paid", terms.sequence, terms.id


def _flexprice(grant: Grant) -> tuple[Any, ...]:
    """Priority, soonest expiry, larger first, as they were granted."""
    terms = grant.terms
    return terms.priority, terms.expires_ms, -terms.amount, terms.sequence, terms.id


def _basis(terms: GrantTerms) -> Fraction:
    """What one unit was sold for."""
    return Fraction(terms.paid, terms.amount)


ORDERS: Final[Mapping[DrawdownPolicy, Order]] = {
    "drawdown": order,
    "stigg": order,
    "stripe": order,
    "metronome": _metronome,
    "openmeter": _openmeter,
    "orb": _orb,
    "lago": _lago,
    "flexprice": _flexprice,
}
"""The policies by name: a sort key each, total down to the id (domain.md, "Drawdown orders of the
peers"). Stigg's and Stripe's are ours."""


def inserted(grants: tuple[Grant, ...], grant: Grant) -> tuple[Grant, ...]:
    """The grants with one more, in drawdown order."""
    return tuple(sorted((*grants, grant), key=order))


def book_order(policy: DrawdownPolicy) -> Order | None:
    """What a book's policy sorts by; None for the order that wallets are kept in anyway."""
    found = ORDERS[policy]
    return None if found is order else found


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
    left: int
    """What the last of these grants still has: at least that much is still available."""


def take(
    wallet: Wallet,
    account: Account,
    amount: int,
    meter: str,
    dimensions: Mapping[str, str],
    at_ms: int,
    reporting: str,
    by: Order | None = None,
) -> Taken:
    """Take `amount` >= 0 of the account's asset for a use of `meter`, at the time `at_ms`.

    Usage that happened is always paid somehow (rule 3): grants in order, then the credit limit,
    then `overdrawn`. Credit in the reporting currency is revenue when used, because it will be
    invoiced; what is overdrawn is revenue only when a grant pays it. `by` is the book's order
    where it is not the default one: it counts for wallets that have no policy of their own.
    """
    slices: list[Slice] = []
    left = amount
    revenue = 0
    rest = 0
    asset = account.asset
    grants = wallet.grants
    if by is not None and (wallet.policy is None or wallet.policy.drawdown is None):
        grants = tuple(sorted(grants, key=by))
    for grant in grants:
        if not left:
            break
        remaining = grant.remaining
        terms = grant.terms
        if (
            not remaining
            or terms.asset != asset
            or not terms.start_ms <= at_ms < terms.expires_ms
            or (terms.scope is not None and not terms.scope.covers(meter, dimensions))
        ):
            continue
        part = remaining if remaining < left else left
        revenue_of = part if terms.paid == terms.amount else earned(terms, grant, part)
        slices.append(Slice(terms.id, part, revenue_of))
        revenue += revenue_of
        left -= part
        rest = remaining - part
    if not left:
        return Taken(tuple(slices), 0, 0, revenue, rest)
    credit = min(left, account.credit_left)
    if credit and asset == reporting:
        revenue += credit
    return Taken(tuple(slices), credit, left - credit, revenue, 0)


def earned(terms: GrantTerms, grant: Grant, part: int) -> int:
    """Revenue that spending `part` of what remains of a grant recognizes."""
    spent = terms.amount - grant.held - grant.remaining
    before = recognized(terms.paid, terms.amount, spent)
    return recognized(terms.paid, terms.amount, spent + part) - before


def available(
    wallet: Wallet, asset: str, meter: str, dimensions: Mapping[str, str], at_ms: int
) -> int:
    """What a use of `meter` could be paid with: grants in scope, in effect, and unused credit."""
    return wallet.account(asset).credit_left + sum(
        grant.remaining
        for grant in wallet.grants
        if grant.terms.asset == asset
        and grant.in_effect(at_ms)
        and (grant.terms.scope is None or grant.terms.scope.covers(meter, dimensions))
    )


def spendable(wallet: Wallet, account: Account, at_ms: int) -> int:
    """What could be spent at all, in scope of some grant: `available` on the API."""
    waiting = 0
    for grant in wallet.grants:
        terms = grant.terms
        if not terms.start_ms <= at_ms < terms.expires_ms and terms.asset == account.asset:
            waiting += grant.remaining
    return account.unspent - waiting + account.credit_left
