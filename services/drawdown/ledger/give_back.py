"""Giving back: a debit below zero, because a price fell or what was charged did not hold.

It is the inverse of the debits it takes back, newest first: what is overdrawn is paid, credit used
is free again, and then the very grants get back what they paid, with the revenue they recognized.
`debited` falls by it, so that the formula of conservation stays as it is. A grant that is gone, or
was not the one that paid, cannot take anything back: for that part there is a new grant, in the
entry itself, which carries the revenue that was taken back as what was paid for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from drawdown.events.base import moment
from drawdown.events.entries import GrantFacts
from drawdown.events.numbers import amount_text
from drawdown.events.structs import struct_of
from drawdown.ledger.drawdown import PRIORITY_DEFAULT, Order, Slice, Taken, earned, take
from drawdown.ledger.values import Account, ChargedPart, Wallet, recognized

PARTS_MAX: Final = 64
"""Slices that are remembered of one counter; the oldest go first."""

_GrantFacts: Callable[..., GrantFacts] = struct_of(GrantFacts)
Parts = tuple[ChargedPart, ...]


def pay(
    wallet: Wallet,
    account: Account,
    amount: int,
    back: Parts,
    meter: str,
    dimensions: Mapping[str, str],
    at_ms: int,
    reporting: str,
    by: Order | None = None,
) -> tuple[Taken, GrantFacts | None]:
    """Pay `amount` as any debit, by the book's order (`drawdown.take`); or give it back where it is
    below zero, `back` being who paid."""
    if amount < 0:
        return give_back(wallet, account, -amount, back, at_ms, reporting)
    return take(wallet, account, amount, meter, dimensions, at_ms, reporting, by), None


def give_back(
    wallet: Wallet, account: Account, amount: int, back: Parts, at_ms: int, reporting: str
) -> tuple[Taken, GrantFacts | None]:
    """Give back `amount` > 0 of what `back` paid: slices below zero, and the terms of the new grant
    for what no grant could take back."""
    left = amount
    overdrawn = min(left, account.overdrawn)
    left -= overdrawn
    credit = min(left, account.credit_used - account.credit_held)
    left -= credit
    revenue = -credit if account.asset == reporting else 0
    wanted: dict[str, int] = {}
    gone: list[ChargedPart] = []
    live = {g.terms.id: g for g in wallet.grants if g.terms.asset == account.asset}
    for part in _last(back, left):
        grant = live.get(part.grant)
        if grant is None:
            gone.append(part)
            continue
        spent = grant.terms.amount - grant.held - grant.remaining - wanted.get(part.grant, 0)
        fits = min(part.amount, spent)
        if fits:
            wanted[part.grant] = wanted.get(part.grant, 0) + fits
        if fits < part.amount:
            # It was spent in a cycle before, or the id is another grant's by now.
            more = part.amount - fits
            share = recognized(part.revenue, part.amount, more)
            gone.append(ChargedPart(part.grant, more, share))
    slices = [
        Slice(name, -part, earned(live[name].terms, live[name], -part))
        for name, part in wanted.items()
    ]
    rest = left - sum(wanted.values())
    made = None
    if rest:
        of_gone = sum(part.revenue for part in gone)
        name = f"given-back:{wallet.sequence + 1}"
        slices.append(Slice(name, -rest, -of_gone))
        made = _GrantFacts(
            id=name,
            category="paid" if of_gone else "promotional",
            priority=PRIORITY_DEFAULT,
            effective_at=moment(at_ms),
            at_once=True,
            paid=amount_text(of_gone),
        )
    revenue += sum(part.revenue for part in slices)
    return Taken(tuple(slices), -credit, -overdrawn, revenue, 0), made


def _last(parts: Parts, amount: int) -> Iterable[ChargedPart]:
    """The last `amount` of what was paid, newest first."""
    for part in reversed(parts):
        if not amount:
            return
        if part.amount <= amount:
            yield part
            amount -= part.amount
        else:
            share = recognized(part.revenue, part.amount, amount)
            yield ChargedPart(part.grant, amount, share)
            return


def grown(parts: Parts, slices: Iterable[Slice]) -> Parts:
    """What is remembered, with what these slices paid."""
    found = list(parts)
    for part in slices:
        if found and found[-1].grant == part.grant:
            last = found.pop()
            found.append(
                ChargedPart(part.grant, last.amount + part.amount, last.revenue + part.revenue)
            )
        else:
            found.append(ChargedPart(part.grant, part.amount, part.revenue))
    return tuple(found[-PARTS_MAX:])


def without(parts: Parts, slices: Iterable[Slice]) -> Parts:
    """What is remembered, without what these slices (below zero) gave back to their grants, newest
    first."""
    found = list(parts)
    for given in slices:
        left = -given.amount
        for place in range(len(found) - 1, -1, -1):
            part = found[place]
            if part.grant != given.grant or not left:
                continue
            stays = max(part.amount - left, 0)
            left -= part.amount - stays
            revenue = recognized(part.revenue, part.amount, stays)
            found[place] = ChargedPart(part.grant, stays, revenue)
    return tuple([part for part in found if part.amount])


def shrunk(parts: Parts, amount: int) -> Parts:
    """What is remembered, without the last `amount`."""
    found = list(parts)
    while found and amount:
        last = found.pop()
        if last.amount > amount:
            share = recognized(last.revenue, last.amount, amount)
            found.append(ChargedPart(last.grant, last.amount - amount, last.revenue - share))
            return tuple(found)
        amount -= last.amount
    return tuple(found)
