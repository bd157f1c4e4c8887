"""`drawdown price-book diff`: what another version of a price book changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from drawdown.cli.published import matches_text, price_text
from drawdown.cli.render import pairs, show
from drawdown.events.codec import encode
from drawdown.events.pricebook import Asset, Conversion, Meter, Plan, PriceBook, Rate
from drawdown.events.structs import to_struct


@dataclass(frozen=True)
class Side:
    """A version, whether it is in a file or was published."""

    version: str
    reporting: str
    lateness_days: int
    thresholds: dict[str, list[str]]
    drawdown: str
    conversions: Sequence[Conversion]
    assets: Sequence[Asset]
    meters: Sequence[Meter]
    rates: Sequence[Rate]
    costs: Sequence[Rate]
    plans: Sequence[Plan]


def side_of(book: PriceBook) -> Side:
    """A book as it stands in a file."""
    content = to_struct(book)
    return Side(
        book.version,
        book.reporting,
        book.lateness_days,
        book.thresholds,
        book.drawdown,
        content.conversions,
        content.assets,
        content.meters,
        content.rates,
        content.costs,
        content.plans,
    )


@dataclass(frozen=True)
class Change:
    """One thing that is in one version only, or differs."""

    part: str
    id: str
    old: str | None
    new: str | None

    @property
    def sign(self) -> str:
        return "+" if self.old is None else "-" if self.new is None else "~"


def changes(old: Side, new: Side) -> list[Change]:
    """What is different, part by part, in the order of the new version."""
    found: list[Change] = []
    for part in ("reporting", "lateness_days", "thresholds", "drawdown"):
        before, after = getattr(old, part), getattr(new, part)
        if before != after:
            found.append(Change(part, part, _plain(before), _plain(after)))
    found += _items("asset", old.assets, new.assets, lambda asset: asset.code, _plain)
    found += _items("conversion", old.conversions, new.conversions, _way, _plain)
    found += _items("meter", old.meters, new.meters, lambda meter: meter.id, _plain)
    found += _items("rate", old.rates, new.rates, lambda rate: rate.id, _rate)
    found += _items("cost", old.costs, new.costs, lambda rate: rate.id, _rate)
    found += _items("plan", old.plans, new.plans, lambda plan: plan.id, _json)
    return found


def _items(
    part: str,
    old: Iterable[Any],
    new: Iterable[Any],
    name: Callable[[Any], str],
    said: Callable[[Any], str],
) -> list[Change]:
    before = {name(item): item for item in old}
    after = {name(item): item for item in new}
    found = [
        Change(part, key, said(before[key]) if key in before else None, said(item))
        for key, item in after.items()
        if before.get(key) != item
    ]
    found += [
        Change(part, key, said(item), None) for key, item in before.items() if key not in after
    ]
    return found


def _way(conversion: Conversion) -> str:
    return f"{conversion.asset} to {conversion.to}"


def _rate(rate: Rate) -> str:
    return f"{rate.meter} {matches_text(rate)}: {price_text(rate)}"


def _plain(value: Any) -> str:
    content = msgspec.to_builtins(value)
    return pairs(content) if isinstance(content, dict) else str(content)


def _json(value: Any) -> str:
    return encode(value).decode()


COLORS = {"+": "green", "-": "red", "~": "yellow"}


def show_changes(old: Side, new: Side, found: Sequence[Change]) -> None:
    """In words: a line per thing, and what it was and is."""
    show(f"{old.version} -> {new.version}", "bold")
    for change in found:
        show(f"{change.sign} {change.part} {change.id}", COLORS[change.sign])
        if change.old is not None:
            show(f"    - {change.old}")
        if change.new is not None:
            show(f"    + {change.new}")
    if not found:
        show("nothing differs")
