"""Slices of grants on the move: what entries take from a wallet's grants, hold of them and give
back. What cannot be raises `BrokenInvariantError`, and the partition stops rather than go on with
wrong money.
"""

from __future__ import annotations

from drawdown.events.numbers import amount_text
from drawdown.ledger.journal import Sealed
from drawdown.ledger.values import Account, Grant, live_grant

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
