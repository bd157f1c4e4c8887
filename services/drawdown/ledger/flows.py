"""What the rarer entries do to an account and its grants: lapses and rollovers, voids, adjustments,
reversals, conversions and settled debts. Those of usage and of holds are in `evolve` and `held`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drawdown.events.base import milliseconds
from drawdown.events.entries import GrantFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced
from drawdown.ledger.journal import Sealed
from drawdown.ledger.rows import terms_of
from drawdown.ledger.slices import (
    BrokenInvariantError,
    Effect,
    Grants,
    given_back,
    put,
    retermed,
    spent,
)
from drawdown.ledger.values import NEVER, Account


def granted(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """A new grant, or a cycle's; what it pays of `overdrawn` and used credit is spent at once."""
    entry = sealed.entry
    facts = entry.grant
    if facts is None or entry.asset is None:
        raise BrokenInvariantError("grant-exists", f"{entry.customer}: a grant without its terms")
    terms = terms_of(facts, entry.asset, entry.amount, amount_of(facts.paid), entry.sequence)
    grants = _succeeded(grants, sealed)
    remaining = entry.amount + entry.credit + entry.overdrawn
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + remaining,
            credit_used=account.credit_used + entry.credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            granted=account.granted + (entry.amount if entry.kind == "grant" else 0),
        ),
        put(grants, terms, remaining),
    )


def _succeeded(grants: Grants, sealed: Sealed) -> Grants:
    """The grants with the cycle before this one, if this is one, marked as succeeded.

    One whose rollover has a least amount keeps its timer until that is seen to, although nothing
    may be left in it.
    """
    facts = sealed.entry.grant
    assert facts is not None
    if facts.rolled is not None:
        return _rolled_over(grants, facts)
    if facts.recurrence is None or sealed.entry.origin.timer != RESET:
        return grants
    for grant in grants:
        terms = grant.terms
        if (
            terms.current
            and terms.id != facts.id
            and terms.recurrence is not None
            and terms.recurrence.id == facts.recurrence.id
        ):
            rollover = terms.recurrence.rollover
            waits = rollover is not None and amount_of(rollover.min)
            return retermed(
                grants, terms.id, succeeded=True, next_ms=terms.expires_ms if waits else NEVER
            )
    return grants


RESET: Final = "reset"
"""The timer that begins a cycle."""


def _rolled_over(grants: Grants, into: GrantFacts) -> Grants:
    """The grants without the timer of the cycle that ended where `into` begins: its rollover is
    seen to."""
    for grant in grants:
        terms = grant.terms
        if (
            terms.succeeded
            and terms.next_ms != NEVER
            and terms.recurrence is not None
            and terms.recurrence.id == into.rolled
            and terms.expires_ms == milliseconds(into.effective_at)
        ):
            grants = retermed(grants, terms.id, next_ms=NEVER)
    return grants


def _lapsed(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry = sealed.entry
    grants = _out(grants, sealed)
    return _without(account, sealed, lapsed=account.lapsed + entry.amount), grants


def _rollover(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """From a cycle that is over into the grant of what was carried: nothing comes or goes."""
    entry = sealed.entry
    facts = entry.grant
    assert facts is not None
    assert entry.asset is not None
    for part in entry.slices:
        grants = spent(grants, part.grant, part.amount, sealed)
    grants = _rolled_over(grants, facts)
    terms = terms_of(facts, entry.asset, entry.amount, amount_of(facts.paid), entry.sequence)
    return account, put(grants, terms, entry.amount)


def _settled(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """Debts paid by grants that have something: the balance is the same."""
    entry = sealed.entry
    for part in entry.slices:
        grants = spent(grants, part.grant, part.amount, sealed)
    _check(sealed, sum(part.amount for part in entry.slices))
    _check(sealed, -entry.credit - entry.overdrawn)
    return (
        replaced(
            account,
            unspent=account.unspent - entry.amount,
            credit_used=account.credit_used + entry.credit,
            overdrawn=account.overdrawn + entry.overdrawn,
        ),
        grants,
    )


def _voided(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """What a hold has of a voided grant stays with the hold, and lapses when it is given back."""
    entry = sealed.entry
    facts = entry.rare.void
    assert facts is not None
    grants = _out(grants, sealed)
    if facts.kept:
        grants = retermed(grants, facts.grant, next_ms=NEVER)
    elif facts.part:
        for grant in grants:
            recurrence = grant.terms.recurrence
            if grant.terms.id == facts.grant and recurrence is not None and facts.whole is not None:
                recurrence = replaced(recurrence, amount=facts.whole)
                grants = retermed(grants, facts.grant, recurrence=recurrence)
    else:
        for grant in grants:
            if grant.terms.id == facts.grant:
                over_ms = min(grant.terms.expires_ms, entry.at_ms)
                recurrence = grant.terms.recurrence
                if recurrence is not None:
                    recurrence = replaced(recurrence, rollover=None)
                grants = retermed(
                    grants,
                    facts.grant,
                    next_ms=NEVER,
                    expires_ms=over_ms,
                    recurrence=recurrence,
                )
    flows = replaced(account.flows, voided=account.flows.voided + entry.amount)
    return _without(account, sealed, flows=flows), grants


def _adjusted(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry, flows = sealed.entry, account.flows
    if entry.grant is not None:
        account, grants = granted(account, grants, sealed)
        more = replaced(flows, adjusted_up=flows.adjusted_up + entry.amount)
        return replaced(account, flows=more), grants
    less = replaced(flows, adjusted_down=flows.adjusted_down + entry.amount)
    return _taken(account, grants, sealed, flows=less)


def _converted(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry, flows = sealed.entry, account.flows
    if entry.grant is not None:
        account, grants = granted(account, grants, sealed)
        more = replaced(flows, converted_in=flows.converted_in + entry.amount)
        return replaced(account, flows=more), grants
    less = replaced(flows, converted_out=flows.converted_out + entry.amount)
    return _taken(account, grants, sealed, flows=less)


def _reversed(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry, flows = sealed.entry, account.flows
    assert entry.rare.reverses is not None
    if not entry.rare.reverses.back:
        less = replaced(flows, reversed_out=flows.reversed_out + entry.amount)
        return _taken(account, grants, sealed, flows=less)
    back = 0
    for part in entry.slices:
        back -= part.amount
        grants = given_back(grants, part.grant, -part.amount, -part.revenue)
    rest = entry.amount - back + entry.credit + entry.overdrawn
    facts = entry.grant
    if (facts is None) != (rest == 0) or rest < 0:
        _check(sealed, back - entry.credit - entry.overdrawn)
    if facts is not None:
        assert entry.asset is not None
        paid = amount_of(facts.paid)
        grants = put(grants, terms_of(facts, entry.asset, rest, paid, entry.sequence), rest)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + back + rest,
            credit_used=account.credit_used + entry.credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            flows=replaced(flows, reversed_in=flows.reversed_in + entry.amount),
        ),
        grants,
    )


def _taken(account: Account, grants: Grants, sealed: Sealed, **changes: object) -> Effect:
    """Paid as a debit is: from grants, on credit, overdrawn."""
    entry = sealed.entry
    drawn = 0
    for part in entry.slices:
        drawn += part.amount
        grants = spent(grants, part.grant, part.amount, sealed)
    _check(sealed, drawn + entry.credit + entry.overdrawn)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent - drawn,
            credit_used=account.credit_used + entry.credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            **changes,
        ),
        grants,
    )


def _out(grants: Grants, sealed: Sealed) -> Grants:
    """The grants without the slices of an entry that takes from grants alone."""
    entry = sealed.entry
    for part in entry.slices:
        grants = spent(grants, part.grant, part.amount, sealed)
        grants = _seen_to(grants, part.grant)
    _check(sealed, sum(part.amount for part in entry.slices))
    return grants


def _seen_to(grants: Grants, grant_id: str) -> Grants:
    """A succeeded cycle of which some lapsed waits for nothing more."""
    for grant in grants:
        terms = grant.terms
        if terms.id == grant_id and terms.succeeded and terms.next_ms != NEVER:
            return retermed(grants, grant_id, next_ms=NEVER)
    return grants


def _without(account: Account, sealed: Sealed, **changes: object) -> Account:
    return replaced(
        account,
        balance=sealed.entry.after,
        balance_text=sealed.after_text,
        unspent=account.unspent - sealed.entry.amount,
        **changes,
    )


def _check(sealed: Sealed, parts: int) -> None:
    entry = sealed.entry
    if parts != entry.amount:
        raise BrokenInvariantError(
            "allocations-sum",
            f"{entry.customer}: the parts of entry {entry.sequence} are {amount_text(parts)}, not"
            f" {amount_text(entry.amount)}",
        )


FLOW_EFFECTS: Final[Mapping[str, Callable[[Account, Grants, Sealed], Effect]]] = {
    "grant": granted,
    "lapse": _lapsed,
    "rollover": _rollover,
    "settle": _settled,
    "void": _voided,
    "adjust": _adjusted,
    "convert": _converted,
    "reversal": _reversed,
}
