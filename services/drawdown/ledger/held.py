"""What entries about holds do: to the account, to its grants, and to the hold's own row.

A hold takes grants, and the credit limit, as a debit does; but what it took is `held` and not
debited. A capture debits it, a return puts it back where it came from. What goes through a hold
therefore changes the balance once: when it is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from drawdown.events.base import milliseconds
from drawdown.events.entries import HeldPart, HoldFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced
from drawdown.ledger.budgets import number_of
from drawdown.ledger.journal import Sealed
from drawdown.ledger.slices import BrokenInvariantError, Effect, Grants, moved, put_back
from drawdown.ledger.values import Account, HeldLimit, Hold, Part


def _held(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    entry = sealed.entry
    drawn = 0
    for part in entry.slices:
        drawn += part.amount
        grants = moved(grants, part.grant, -part.amount, part.amount, sealed)
    _check_sum(sealed, drawn + entry.credit, entry.amount)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent - drawn,
            held=account.held + entry.amount,
            credit_used=account.credit_used + entry.credit,
            credit_held=account.credit_held + entry.credit,
        ),
        grants,
    )


def _captured(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """Of the debited slices, what the hold did not pay comes from what is free."""
    entry = sealed.entry
    facts = _facts(sealed)
    if entry.amount < 0:
        return _gave_back(account, grants, sealed)
    debited = Counter({part.grant: part.amount for part in entry.slices})
    _check_sum(sealed, debited.total() + entry.credit + entry.overdrawn, entry.amount)
    taken, returned = _sums(facts.taken), _sums(facts.returned)
    taken_credit, returned_credit = amount_of(facts.taken_credit), amount_of(facts.returned_credit)
    free = Counter(debited)
    free.subtract(taken)
    if min(free.values(), default=0) < 0 or taken_credit > entry.credit:
        raise BrokenInvariantError(
            "allocations-sum",
            f"{entry.customer}: entry {entry.sequence} captures more than it debits",
        )
    for grant in dict.fromkeys((*debited, *returned)):
        out = taken[grant] + returned[grant]
        grants = moved(grants, grant, returned[grant] - free[grant], -out, sealed)
    gone = taken.total() + taken_credit + returned.total() + returned_credit
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + returned.total() - free.total(),
            held=account.held - gone,
            credit_used=account.credit_used + entry.credit - taken_credit - returned_credit,
            credit_held=account.credit_held - taken_credit - returned_credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            debited=account.debited + entry.amount,
        ),
        grants,
    )


def _gave_back(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """A capture below zero takes nothing of the hold; what it held returns where it is closed."""
    entry = sealed.entry
    facts = _facts(sealed)
    drawn = sum(part.amount for part in entry.slices)
    _check_sum(sealed, drawn + entry.credit + entry.overdrawn, entry.amount)
    for part in entry.slices:
        grants = put_back(grants, part.grant, -part.amount, sealed)
    returned = _sums(facts.returned)
    credit = amount_of(facts.returned_credit)
    for grant, amount in returned.items():
        grants = moved(grants, grant, amount, -amount, sealed)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + returned.total() - drawn,
            held=account.held - returned.total() - credit,
            credit_used=account.credit_used + entry.credit - credit,
            credit_held=account.credit_held - credit,
            overdrawn=account.overdrawn + entry.overdrawn,
            debited=account.debited + entry.amount,
        ),
        grants,
    )


def _returned(account: Account, grants: Grants, sealed: Sealed) -> Effect:
    """Released or expired: all of it back to the very grants it came from."""
    entry = sealed.entry
    facts = _facts(sealed)
    returned = _sums(facts.returned)
    credit = amount_of(facts.returned_credit)
    _check_sum(sealed, returned.total() + credit, entry.amount)
    for grant, amount in returned.items():
        grants = moved(grants, grant, amount, -amount, sealed)
    return (
        replaced(
            account,
            balance=entry.after,
            balance_text=sealed.after_text,
            unspent=account.unspent + returned.total(),
            held=account.held - entry.amount,
            credit_used=account.credit_used - credit,
            credit_held=account.credit_held - credit,
        ),
        grants,
    )


HOLD_EFFECTS: Final[Mapping[str, Callable[[Account, Grants, Sealed], Effect]]] = {
    "hold": _held,
    "capture": _captured,
    "release": _returned,
    "expire": _returned,
}
"""`extend` moves no amount."""


def evolve_hold(hold: Hold | None, sealed: Sealed) -> Hold | None:
    """The hold's row after an entry; None where that closed it.

    Raises BrokenInvariantError where the entry does not follow from the row.
    """
    entry = sealed.entry
    facts = _facts(sealed)
    if (hold is None) != (entry.kind == "hold"):
        state = "is open already" if hold is not None else "is not open"
        raise BrokenInvariantError(
            "hold-states",
            f"{entry.customer}: entry {entry.sequence} is a {entry.kind} of hold {facts.id!r},"
            f" which {state}",
        )
    if hold is None:
        return _opened(sealed, facts)
    gone = _sums(facts.taken) + _sums(facts.returned)
    parts = tuple(
        [
            Part(part.grant, part.amount - gone[part.grant])
            for part in hold.parts
            if part.amount != gone[part.grant]
        ]
    )
    credit = hold.credit - amount_of(facts.taken_credit) - amount_of(facts.returned_credit)
    held = sum(part.amount for part in parts) + credit
    if (
        amount_of(facts.before) != hold.held
        or amount_of(facts.after) != held
        or hold.held - held != gone.total() + hold.credit - credit
        or min((part.amount for part in parts), default=0) < 0
        or credit < 0
        or (facts.closed and held)
    ):
        raise BrokenInvariantError(
            "hold-states",
            f"{entry.customer}: entry {entry.sequence} takes hold {facts.id!r} from"
            f" {facts.before} to {facts.after}; it has {amount_text(hold.held)}",
        )
    if facts.closed:
        return None
    return replaced(
        hold,
        held=held,
        captured=hold.captured + entry.amount,
        parts=parts,
        credit=credit,
        expires_ms=milliseconds(facts.expires_at),
        sequence=entry.sequence,
        limits=_held_limits(hold.limits, sealed) if hold.limits else (),
    )


def _held_limits(before: tuple[HeldLimit, ...], sealed: Sealed) -> tuple[HeldLimit, ...]:
    """What the hold counts in budgets after an entry about it."""
    held = {(each.budget, each.scope): each.held for each in before}
    for each in sealed.entry.rare.limits:
        key = each.budget, each.scope
        if key in held or sealed.entry.kind == "hold":
            more = number_of(each.held) - number_of(each.held_before)
            held[key] = held.get(key, 0) + more
    return tuple([HeldLimit(*key, left) for key, left in held.items() if left])


def _opened(sealed: Sealed, facts: HoldFacts) -> Hold:
    entry = sealed.entry
    assert facts.use is not None
    assert entry.asset is not None
    assert entry.id is not None
    return Hold(
        customer=entry.customer,
        id=facts.id,
        authorization=entry.id,
        asset=entry.asset,
        amount=entry.amount,
        held=entry.amount,
        captured=0,
        parts=tuple([Part(part.grant, part.amount) for part in entry.slices]),
        credit=entry.credit,
        meter=facts.use.meter,
        dimensions=facts.use.dimensions,
        created_ms=milliseconds(facts.created_at),
        expires_ms=milliseconds(facts.expires_at),
        sequence=entry.sequence,
        limits=_held_limits((), sealed) if entry.rare.limits else (),
    )


def _facts(sealed: Sealed) -> HoldFacts:
    if sealed.entry.hold is None:
        raise BrokenInvariantError(
            "hold-states", f"{sealed.entry.customer}: entry {sealed.entry.sequence} has no hold"
        )
    return sealed.entry.hold


def _sums(parts: list[HeldPart]) -> Counter[str]:
    return Counter({part.grant: amount_of(part.amount) for part in parts})


def _check_sum(sealed: Sealed, parts: int, amount: int) -> None:
    if parts != amount:
        raise BrokenInvariantError(
            "allocations-sum",
            f"{sealed.entry.customer}: the parts of entry {sealed.entry.sequence} are"
            f" {amount_text(parts)}, not {amount_text(amount)}",
        )
