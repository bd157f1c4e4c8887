"""What each task, feature, agent or model earned and cost: entries summed by a dimension.

Costs of a task that have no charge of their own - ten model calls behind one outcome - are usage
priced at zero that names the task as the outcome does: by that name they join what it was charged.
What is given back or reversed later counts where it is booked, by the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drawdown.events.base import Value
from drawdown.events.entries import Entry, kind_of_type
from drawdown.events.numbers import amount_of


class Margin(Value, frozen=True):
    """Of one value of a dimension. Revenue and cost are in the reporting currency."""

    uses: int = 0
    """Usage events."""
    charged: Mapping[str, int] = {}
    """Per asset, less what was given back or reversed."""
    revenue: int = 0
    """Recognized, never nominal credits."""
    cost: int = 0

    @property
    def margin(self) -> int:
        return self.revenue - self.cost


def margins(entries: Iterable[Entry], dimension: str) -> dict[str, Margin]:
    """The margin of each value of a dimension, in the order the entries first name it."""
    found: dict[str, Margin] = {}
    for entry in entries:
        data = entry.data
        value = None if data.usage is None else data.usage.dimensions.get(dimension)
        if value is None or kind_of_type(entry.type) not in COUNTED:
            continue
        before = found.get(value, Margin())
        charged = dict(before.charged)
        if data.asset is not None:
            amount = amount_of(data.amount or "0")
            if data.reverses is not None and data.reverses.back:
                amount = -amount
            charged[data.asset] = charged.get(data.asset, 0) + amount
        found[value] = Margin(
            before.uses + (data.source is not None),
            charged,
            before.revenue + amount_of(data.revenue),
            before.cost + amount_of(data.cost),
        )
    return found


COUNTED = frozenset({"debit", "capture", "unpriced", "reversal"})
"""Kinds of entries about usage that move revenue or cost."""
