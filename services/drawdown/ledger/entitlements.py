"""Metered entitlements: how much of a meter a plan lets be used in a cycle.

Use is counted in the subscription's row, by the use's own time: what is late, of a cycle that is
over, counts no more. What is only held is not counted. Where several subscriptions meter the same,
each counts all of it, and each must have room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from drawdown.events.base import milliseconds, timestamp_text
from drawdown.events.entries import CountedFacts, EntitledTo
from drawdown.events.numbers import rational_of, rational_text
from drawdown.events.structs import struct_of
from drawdown.ledger.evolve import Rows
from drawdown.ledger.journal import NOTHING_RARE, Rare
from drawdown.ledger.rates.terms import EVENTS, Number, Quantities, exactly
from drawdown.ledger.values import Subscription, Wallet, subscription_key

_CountedFacts: Callable[..., CountedFacts] = struct_of(CountedFacts)


def counted_use(
    rows: Rows, wallet: Wallet, meter: str, quantities: Quantities, time_ms: int
) -> tuple[CountedFacts, ...]:
    """What a use of a meter counts of the customer's entitlements."""
    found = []
    for row, each in _metered(rows, wallet, meter):
        used = _quantity(each, quantities)
        if used and time_ms >= milliseconds(row.facts.starts_at):
            before = row.used.get(each.id, 0)
            found.append(
                _CountedFacts(
                    subscription=row.facts.id,
                    entitlement=each.id,
                    before=rational_text(before),
                    after=rational_text(before + used),
                )
            )
    return tuple(found)


def rare_of(facts: tuple[CountedFacts, ...]) -> Rare:
    """What an entry says of it."""
    return Rare(counted=facts) if facts else NOTHING_RARE


def exceeded(rows: Rows, wallet: Wallet, meter: str, quantities: Quantities) -> str | None:
    """Why so much of a meter may not be used now, in words; None where it may. Without quantities
    there must be anything left."""
    for row, each in _metered(rows, wallet, meter):
        limit = rational_of(each.limit or "0")
        used = row.used.get(each.id, 0)
        wanted = _quantity(each, quantities)
        if used + wanted > limit or (used >= limit and not wanted):
            until = timestamp_text(row.facts.ends_at)
            more = f", and {rational_text(wanted)} are wanted" if wanted else ""
            return (
                f"{rational_text(used)} of {each.limit} {each.quantity} of entitlement {each.id!r}"
                f" are used{more}; subscription {row.facts.id!r} has more from {until}"
            )
    return None


def _metered(rows: Rows, wallet: Wallet, meter: str) -> Iterator[tuple[Subscription, EntitledTo]]:
    for due in wallet.subscriptions:
        if meter not in due.meters:
            continue
        row = cast(Subscription, rows.row(subscription_key(wallet.customer, due.id)))
        if row.facts.status == "active":
            for each in row.facts.entitlements:
                if each.meter == meter:
                    yield row, each


def _quantity(each: EntitledTo, quantities: Quantities) -> Number:
    if each.quantity == EVENTS:
        return 1
    return exactly(quantities.get(each.quantity or "", 0))
