"""What a customer is entitled to now, as the rows of their subscriptions say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import Field

from drawdown.events.base import DimensionValue, Identifier, Name, Rational, Record, Timestamp
from drawdown.events.numbers import rational_of, rational_text
from drawdown.events.rows import SubscriptionRow
from drawdown.events.structs import struct_of


class EntitlementState(Record):
    """A right of a customer: one has it, it has a value, or so much of it is left."""

    id: Name
    subscription: Identifier
    plan: Name
    value: bool | int | DimensionValue | None = Field(
        default=None, description="True, or as the plan says; null of a metered one"
    )
    meter: Name | None = None
    quantity: Name | None = None
    limit: Rational | None = Field(default=None, description="Per cycle")
    used: Rational | None = None
    left: Rational | None = Field(default=None, description="0 where more was used")
    resets_at: Timestamp | None = Field(default=None, description="When the next cycle begins")


_EntitlementState: Callable[..., EntitlementState] = struct_of(EntitlementState)


def entitlements_of(rows: Iterable[SubscriptionRow]) -> list[EntitlementState]:
    """The rights of subscriptions that are under way."""
    return [
        _state(row, place)
        for row in rows
        if row.status == "active"
        for place in range(len(row.entitlements))
    ]


def _state(row: SubscriptionRow, place: int) -> EntitlementState:
    each = row.entitlements[place]
    if each.meter is None:
        return _EntitlementState(id=each.id, subscription=row.id, plan=row.plan, value=each.value)
    used = rational_of(row.used.get(each.id, "0"))
    left = max(rational_of(each.limit or "0") - used, 0)
    return _EntitlementState(
        id=each.id,
        subscription=row.id,
        plan=row.plan,
        meter=each.meter,
        quantity=each.quantity,
        limit=each.limit,
        used=rational_text(used),
        left=rational_text(left),
        resets_at=row.ends_at,
    )
