"""Subscriptions after an entry: their rows, and what the wallet knows of them.

An entry about a subscription states it whole; a fee adds what was charged to the cycle's end, or
takes it away where it is given back; a use moves what is counted of metered entitlements.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from drawdown.events.base import milliseconds
from drawdown.events.entries import CountedFacts, FeeFacts, SubscriptionFacts
from drawdown.events.numbers import amount_of, rational_of, rational_text
from drawdown.events.structs import replaced
from drawdown.ledger.give_back import grown
from drawdown.ledger.journal import Sealed
from drawdown.ledger.slices import BrokenInvariantError
from drawdown.ledger.values import FeePaid, Subscription, SubscriptionDue, subscription_key


class RowReader(Protocol):
    def row(self, key: str) -> Any: ...


def evolve_subscriptions(rows: RowReader, sealed: Sealed) -> dict[str, Subscription]:
    """The rows of the subscriptions an entry is about, by key; none for most.

    Raises BrokenInvariantError where the entry does not follow from the rows.
    """
    entry = sealed.entry
    rare = entry.rare
    if rare.subscription is not None:
        key = subscription_key(entry.customer, rare.subscription.id)
        return {key: _stated(rows.row(key), rare.subscription, sealed)}
    if rare.fee is not None:
        key = subscription_key(entry.customer, rare.fee.subscription)
        return {key: _charged(_known(rows.row(key), key, sealed), rare.fee, sealed)}
    changed: dict[str, Subscription] = {}
    for counted in rare.counted:
        key = subscription_key(entry.customer, counted.subscription)
        row = _known(changed.get(key) or rows.row(key), key, sealed)
        changed[key] = _counted(row, counted, sealed)
    return changed


def _stated(row: Subscription | None, facts: SubscriptionFacts, sealed: Sealed) -> Subscription:
    entry = sealed.entry
    ended = row is not None and row.facts.status == "ended"
    if ended or (row is None) != (facts.change == "subscribe"):
        raise BrokenInvariantError(
            "subscription-state",
            f"{entry.customer}: entry {entry.sequence} says {facts.change!r} of {facts.id!r}, which"
            f" {'is over' if ended else 'is not there' if row is None else 'is there'}",
        )
    if row is None or facts.starts_at != row.facts.starts_at:
        return Subscription(entry.customer, facts, (), {}, entry.sequence)
    return replaced(row, facts=facts, sequence=entry.sequence)


def _charged(row: Subscription, fee: FeeFacts, sealed: Sealed) -> Subscription:
    """What was charged to the end of the cycle is remembered, because it may be given back."""
    entry = sealed.entry
    others = tuple([paid for paid in row.fees if paid.fee != fee.fee])
    amount = amount_of(fee.amount)
    if amount < 0:
        return replaced(row, fees=others, sequence=entry.sequence)
    if fee.ends_at != row.facts.ends_at or milliseconds(fee.ends_at) <= entry.at_ms:
        return row
    paid = FeePaid(
        fee.fee,
        fee.asset,
        fee.pay,
        amount,
        milliseconds(fee.starts_at),
        grown((), entry.slices),
    )
    return replaced(row, fees=(*others, paid), sequence=entry.sequence)


def _counted(row: Subscription, counted: CountedFacts, sealed: Sealed) -> Subscription:
    before = row.used.get(counted.entitlement, 0)
    if before != rational_of(counted.before):
        raise BrokenInvariantError(
            "entitlement-used",
            f"{row.customer}: entry {sealed.entry.sequence} has {counted.before} of"
            f" {counted.entitlement!r} before, the row has {rational_text(before)}",
        )
    used = {**row.used, counted.entitlement: rational_of(counted.after)}
    return replaced(row, used=used, sequence=sealed.entry.sequence)


def _known(row: Subscription | None, key: str, sealed: Sealed) -> Subscription:
    if row is None:
        raise BrokenInvariantError(
            "subscription-state",
            f"{sealed.entry.customer}: entry {sealed.entry.sequence} is about {key!r}, which is not"
            " there",
        )
    return row


def still_due(
    subscriptions: Iterable[SubscriptionDue], facts: SubscriptionFacts
) -> tuple[SubscriptionDue, ...]:
    """What the wallet knows of its subscriptions after one of them is as `facts` say."""
    others = tuple([each for each in subscriptions if each.id != facts.id])
    if facts.status == "ended":
        return others
    next_at = facts.starts_at if facts.status == "scheduled" else facts.ends_at
    meters = sorted({each.meter for each in facts.entitlements if each.meter is not None})
    return (*others, SubscriptionDue(facts.id, facts.plan, milliseconds(next_at), tuple(meters)))
