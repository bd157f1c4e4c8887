"""What used a wallet: the charges of its newest entries, summed by what the usage was of.

Pure and exact: amounts are pico-units, and the parts of a sum add up to it. It is a look back over
as many entries as a page can afford, and says over how many; all of the history is for reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from drawdown.events.numbers import amount_of
from drawdown.portal.view import TAGS

WAYS_MAX: Final = 2
"""By model and by feature, say."""
PARTS_MAX: Final = 5
"""Of one sum; the rest is one part together."""
METER: Final = "meter"


@dataclass(frozen=True, slots=True)
class Part:
    """What was used by one of them. `share` is in thousandths of the sum, rounded up."""

    name: str | None
    """None for all that is not among the others, or has no name."""
    amount: int
    share: int
    times: int


@dataclass(frozen=True, slots=True)
class Sum:
    """The charges in one asset, by one dimension; the largest part first."""

    asset: str
    by: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class UsageShown:
    """What used the wallet, as far as was looked back."""

    entries: int
    since: datetime | None
    complete: bool
    """Nothing is older than what was looked at."""
    sums: tuple[Sum, ...]


class _Usage(msgspec.Struct):
    meter: str
    dimensions: dict[str, str] = {}


class _Data(msgspec.Struct):
    usage: _Usage | None = None
    asset: str | None = None
    amount: str | None = None


class _Entry(msgspec.Struct):
    """What every version of an entry has of this."""

    time: datetime
    data: _Data


_decode = msgspec.json.Decoder(_Entry).decode


def usage_of(values: Iterable[bytes], complete: bool) -> UsageShown:
    """What used the wallet according to these entries, newest first."""
    entries = [_decode(value) for value in values]
    charges: dict[str, list[tuple[_Usage, int]]] = {}
    for entry in entries:
        data = entry.data
        if data.usage is not None and data.asset is not None and data.amount is not None:
            charges.setdefault(data.asset, []).append((data.usage, amount_of(data.amount)))
    return UsageShown(
        len(entries),
        entries[-1].time if entries else None,
        complete,
        tuple(
            _sum(asset, by, charges[asset])
            for asset in sorted(charges)
            for by in _ways(usage for usage, _ in charges[asset])
        ),
    )


def _ways(usages: Iterable[_Usage]) -> list[str]:
    """By which dimensions: the most telling that occur, else the meter."""
    there = {name for usage in usages for name, value in usage.dimensions.items() if value}
    telling: list[str] = [name for name in TAGS if name in there]
    return telling[:WAYS_MAX] or [METER]


def _sum(asset: str, by: str, charges: Iterable[tuple[_Usage, int]]) -> Sum:
    amounts: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for usage, amount in charges:
        name = usage.meter if by == METER else usage.dimensions.get(by, "")
        amounts[name] += amount
        times[name] += 1
    order = sorted(amounts, key=lambda name: (-amounts[name], name))
    named = [name for name in order if name]
    shown = named if len(named) <= PARTS_MAX else named[: PARTS_MAX - 1]
    rest = [name for name in order if name not in shown]
    whole = sum(amounts.values())

    def part(name: str | None, names: list[str]) -> Part:
        amount = sum(amounts[each] for each in names)
        share = -(-amount * 1000 // whole) if whole > 0 else 0
        return Part(name, amount, min(max(share, 0), 1000), sum(times[each] for each in names))

    parts = [part(name, [name]) for name in shown]
    return Sum(asset, by, tuple(parts + ([part(None, rest)] if rest else [])))
