"""Slices of grants on the move: what entries take from a wallet's grants, hold of them and give
back. What cannot be raises `BrokenInvariantError`, and the partition stops rather than go on with
wrong money.
"""

from __future__ import annotations

from drawdown.events.numbers import amount_of, amount_text
from drawdown.ledger.drawdown import inserted
from drawdown.ledger.journal import Sealed
from drawdown.ledger.rows import terms_of, written
from drawdown.ledger.values import (
    NEVER,
    Account,
    Grant,
    GrantTerms,
    Wallet,
    live_grant,
    recognized,
)

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
            if remaining or grant.held or grant.terms.next_ms != NEVER:
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


def put_back(grants: Grants, grant_id: str, amount: int, sealed: Sealed) -> Grants:
    """The grants after a debit below zero put `amount` back into one; or into a new one, whose
    terms are in the entry."""
    entry = sealed.entry
    facts = entry.grant
    if facts is None or facts.id != grant_id:
        return moved(grants, grant_id, amount, 0, sealed)
    assert entry.asset is not None
    terms = terms_of(facts, entry.asset, amount, amount_of(facts.paid), entry.sequence)
    return put(grants, terms, amount)


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
            return (*grants[:place], *_kept(changed), *grants[place + 1 :])
    raise BrokenInvariantError(
        "grant-exists", f"{entry.customer}: entry {entry.sequence} is about grant {grant_id!r}"
    )


def put(grants: Grants, terms: GrantTerms, remaining: int) -> Grants:
    """The grants with one more; or, where one of its id lives, with that one joined by it."""
    for place, grant in enumerate(grants):
        if grant.terms.id == terms.id:
            amount, paid = joined(grant, terms.amount, terms.paid)
            changed = written(
                grant.terms,
                amount=amount,
                paid=paid,
                expires_ms=terms.expires_ms,
                recurrence=terms.recurrence,
                next_ms=terms.next_ms,
            )
            both = live_grant(changed, grant.remaining + remaining, grant.held)
            return (*grants[:place], both, *grants[place + 1 :])
    if not remaining and terms.next_ms == NEVER:
        return grants
    return inserted(grants, live_grant(terms, remaining))


def joined(grant: Grant, amount: int, paid: int) -> tuple[int, int]:
    """Amount and price of what is left of a grant with `amount` more that `paid` was paid for: as
    if all of it were granted now, so that its revenue still sums to what was paid."""
    left = grant.remaining + grant.held
    return left + amount, unearned(grant) + paid


def unearned(grant: Grant) -> int:
    """What was paid for a grant and is not recognized: its deferred revenue."""
    terms = grant.terms
    spent = terms.amount - grant.held - grant.remaining
    return terms.paid - recognized(terms.paid, terms.amount, spent)


def deferred_revenue(wallet: Wallet) -> int:
    """What was paid for all that a wallet still has, held or not, and is not recognized; in the
    reporting currency. Sold = recognized of grants + breakage + refunded + this, at every entry."""
    return sum(unearned(grant) for grant in wallet.grants)


def given_back(grants: Grants, grant_id: str, amount: int, paid: int) -> Grants:
    """The grants with `amount` back in one of them. Where it has not spent that much since its
    last cycle, it grows by it and by what was `paid` for it."""
    for place, grant in enumerate(grants):
        if grant.terms.id == grant_id:
            terms = grant.terms
            if not has_spent(grant, amount):
                whole, price = joined(grant, amount, paid)
                terms = written(terms, amount=whole, paid=price)
            changed = live_grant(terms, grant.remaining + amount, grant.held)
            return (*grants[:place], changed, *grants[place + 1 :])
    raise BrokenInvariantError("grant-exists", f"nothing can be given back to {grant_id!r}")


def has_spent(grant: Grant, amount: int) -> bool:
    """Whether so much of what it was granted is spent."""
    return grant.terms.amount - grant.held - grant.remaining >= amount


def retermed(grants: Grants, grant_id: str, **changes: object) -> Grants:
    """The grants with the terms of one changed; gone where it has nothing left to wait for."""
    for place, grant in enumerate(grants):
        if grant.terms.id == grant_id:
            terms = written(grant.terms, **changes)
            changed = live_grant(terms, grant.remaining, grant.held)
            return (*grants[:place], *_kept(changed), *grants[place + 1 :])
    return grants


def _kept(grant: Grant) -> Grants:
    """The grant, if it is to stay: with something left or held, or for its next cycle."""
    stays = grant.remaining or grant.held or grant.terms.next_ms != NEVER
    return (grant,) if stays else ()
