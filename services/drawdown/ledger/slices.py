"""Slices of grants on the move: what entries take from a wallet's grants, hold of them and give
back. What cannot be raises `BrokenInvariantError`, and the partition stops rather than go on with
wrong money.
"""

from __future__ import annotations

from drawdown.events.base import milliseconds
from drawdown.events.numbers import amount_of, amount_text
from drawdown.ledger.drawdown import inserted
from drawdown.ledger.journal import Sealed
from drawdown.ledger.rows import grant_terms, scope_of
from drawdown.ledger.values import NEVER, Account, Grant, GrantTerms, live_grant

Grants = tuple[Grant, ...]
Effect = tuple[Account, Grants]


class BrokenInvariantError(Exception):
    """Something that must always hold does not. `rule` names the runbook's entry."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def spent(grants: Grants, grant_id: str, amount: int, sealed: Sealed) -> Grants:
    """The grants after `amount` was taken from one; one with nothing left is gone."""
    entry = sealed.entry
    for place, grant in enumerate(grants):
        if grant.terms.id == grant_id:
            remaining = grant.remaining - amount
            if remaining < 0:
                raise BrokenInvariantError(
                    "grant-not-negative",
                    f"{entry.customer}: entry {entry.sequence} takes {amount_text(amount)} from"
                    f" grant {grant_id!r}, which has {amount_text(grant.remaining)}",
                )
            if remaining or grant.held:
                # Where one grant is all there is, its rest is the balance.
                text = sealed.after_text if remaining == entry.after else None
                changed = live_grant(grant.terms, remaining, grant.held, text)
                if len(grants) == 1:
                    return (changed,)
                return (*grants[:place], changed, *grants[place + 1 :])
            return (*grants[:place], *grants[place + 1 :])
    raise BrokenInvariantError(
        "grant-exists", f"{entry.customer}: entry {entry.sequence} takes from grant {grant_id!r}"
    )


def given_back(grants: Grants, grant_id: str, amount: int, sealed: Sealed) -> Grants:
    """The grants after `amount` was given back to one; or to a new one, whose terms are in the
    entry."""
    facts = sealed.entry.grant
    if facts is None or facts.id != grant_id:
        return moved(grants, grant_id, amount, 0, sealed)
    return inserted(grants, live_grant(granted_terms(sealed, amount), amount))


def granted_terms(sealed: Sealed, amount: int) -> GrantTerms:
    """The terms of the grant that an entry makes."""
    entry = sealed.entry
    facts = entry.grant
    if facts is None or entry.asset is None:
        raise BrokenInvariantError("grant-exists", f"{entry.customer}: a grant without its terms")
    return grant_terms(
        id=facts.id,
        asset=entry.asset,
        category=facts.category,
        priority=facts.priority,
        amount=amount,
        effective_ms=milliseconds(facts.effective_at),
        at_once=facts.at_once,
        expires_ms=NEVER if facts.expires_at is None else milliseconds(facts.expires_at),
        scope=scope_of(facts.scope),
        paid=amount_of(facts.paid),
        sequence=entry.sequence,
        metadata=tuple(facts.metadata.items()),
    )


def moved(grants: Grants, grant_id: str, remaining: int, held: int, sealed: Sealed) -> Grants:
    """The grants after one of them changed by so much `remaining` and so much `held`; one with
    nothing of either is gone."""
    entry = sealed.entry
    for place, grant in enumerate(grants):
        if grant.terms.id == grant_id:
            changed = live_grant(grant.terms, grant.remaining + remaining, grant.held + held)
            if changed.remaining < 0 or changed.held < 0:
                raise BrokenInvariantError(
                    "grant-not-negative",
                    f"{entry.customer}: entry {entry.sequence} leaves grant {grant_id!r} with"
                    f" {amount_text(changed.remaining)}, and {amount_text(changed.held)} held",
                )
            kept = (changed,) if changed.remaining or changed.held else ()
            return (*grants[:place], *kept, *grants[place + 1 :])
    raise BrokenInvariantError(
        "grant-exists", f"{entry.customer}: entry {entry.sequence} is about grant {grant_id!r}"
    )
