"""Published price books, made readable: the list of versions, and one with its rates."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

import msgspec

from drawdown.cli.render import pairs, show, show_json, show_table, time_text
from drawdown.events.base import EPOCH, milliseconds, timestamp_text
from drawdown.events.codec import kind_of
from drawdown.events.pricebook import PerUnit, Plan, Rate, TokenMap
from drawdown.events.pricemodels import Credits
from drawdown.ledger.book import Book, own_name
from drawdown.settlement.books import BookReader, Content

RATES_SHOWN: Final = 200


def show_versions(reader: BookReader, now: datetime, *, as_json: bool) -> None:
    """The versions in order of effect; which one prices what happens now; what is scheduled, over,
    or superseded before it took effect; what was refused."""
    current = reader.books.at(milliseconds(now))
    rows = []
    for book in reader.books:
        content = reader.contents[book.version]
        at = content.commit.effective_at
        rows.append(
            {
                "version": book.version,
                "state": _state(reader, book, current, at > now),
                "restores": content.commit.restores,
                "superseded_by": reader.books.superseded.get(book.version),
                "effective_at": timestamp_text(at),
                "published_at": timestamp_text(content.commit.published_at),
                "rates": len(content.prices),
                "costs": len(content.costs),
                "offset": book.offset,
                "title": content.commit.title,
            }
        )
    if as_json:
        show_json({"versions": rows, "problems": reader.problems})
        return
    show_table(
        ("version", "state", "effective", "published", ">rates", ">costs", "title"),
        [
            (
                row["version"],
                said_state(row["state"], row["superseded_by"]),
                since(str(row["effective_at"])),
                time_text(str(row["published_at"])),
                row["rates"],
                row["costs"],
                row["title"] if row["restores"] is None else f"{row['restores']} again",
            )
            for row in rows
        ],
    )
    for problem in reader.problems:
        show(f"problem: {problem}", "red")


def _state(reader: BookReader, book: Book, current: Book | None, ahead: bool) -> str:
    if book.version in reader.books.superseded:
        return "superseded"
    return "in effect" if book is current else "scheduled" if ahead else "over"


def said_state(state: object, by: object) -> str:
    """A version's state, and by which it was superseded."""
    return f"superseded by {by}" if by else str(state)


def since(effective_at: str) -> str:
    """When a version takes effect, in words where that is the beginning of time."""
    return "always" if effective_at == timestamp_text(EPOCH) else time_text(effective_at)


def show_version(reader: BookReader, content: Content) -> None:
    """A version with all that is in it."""
    commit = content.commit
    show(f"{commit.version}  {commit.title}".rstrip(), "bold")
    by = reader.books.superseded.get(commit.version)
    if by is None:
        show(f"in effect   {since(timestamp_text(commit.effective_at))}")
    else:
        show(f"superseded  by {by}, before it took effect")
    if commit.restores is not None:
        show(f"restores    {commit.restores}")
    if commit.supersedes:
        show(f"supersedes  {', '.join(commit.supersedes)}")
    show(f"reporting   {commit.reporting}")
    show("assets      " + ", ".join(f"{a.code} ({a.scale} places)" for a in content.assets))
    show(f"lateness    {commit.lateness_seconds // 86_400} days")
    for asset, amounts in commit.thresholds.items():
        show(f"thresholds  {asset}: {', '.join(amounts)}")
    for meter in content.meters:
        show(f"meter       {meter.id} counts {', '.join(meter.event_types)}")
        show(f"            quantities: {', '.join(dict.fromkeys(meter.fields.values())) or '-'}")
    for title, rates in (("rates", content.prices), ("costs", content.costs)):
        if rates:
            show()
            show_table((title, "meter", "matches", "price"), map(_rate_row, rates[:RATES_SHOWN]))
        if len(rates) > RATES_SHOWN:
            show(f"and {len(rates) - RATES_SHOWN} more: see --json")
    if content.plans:
        show()
        show_table(("plan", "cycle", "phases", "fees", "grants"), map(_plan_row, content.plans))


def _plan_row(plan: Plan) -> tuple[str, str, str, str, str]:
    cycle = plan.cycle
    every = cycle.every if cycle.count == 1 else f"{cycle.count} {cycle.every}s"
    fees = [
        f"{fee.amount} {fee.asset} a {fee.per}{' in arrears' if fee.when == 'arrears' else ''}"
        for fee in plan.fees
    ]
    grants = [f"{grant.amount} {grant.asset} a {grant.per}" for grant in plan.grants]
    phases = " then ".join(phase.id for phase in plan.phases) or "-"
    return plan.id, every, phases, ", ".join(fees) or "-", ", ".join(grants) or "-"


def _rate_row(rate: Rate) -> tuple[str, str, str, str]:
    return rate.id, rate.meter, matches_text(rate), price_text(rate)


def matches_text(rate: Rate) -> str:
    """What a rate prices: dimensions, and whose use where it is not everybody's."""
    own = own_name(rate)
    return (pairs(rate.match) or "anything") + ("" if own is None else f", {own}")


def price_text(rate: Rate) -> str:
    """A rate's prices in one line."""
    price = rate.price
    kind = kind_of(price)
    if kind == "per_unit":
        unit = cast(PerUnit, price)
        said = f"{unit.quantity} {unit.price}{_per(unit.per)} {rate.asset}"
    elif kind in ("token_map", "credits"):
        tokens = cast(TokenMap, price)
        prices = ", ".join(f"{name} {price}" for name, price in tokens.prices.items())
        said = f"{prices}{_per(tokens.per)} {rate.asset}"
        if kind == "token_map":
            said += "".join(
                f"; {pairs(variant.match)} x {variant.factor} {pairs(variant.prices)}".rstrip()
                for variant in tokens.variants
            )
            said += "".join(
                f"; over {above.over} {'+'.join(above.of)}: {pairs(above.prices)}"
                for above in tokens.above
            )
        else:
            said += f" at {cast(Credits, price).unit} each"
    else:
        content = cast(dict[str, Any], _plain(price))
        said = f"{kind} " + ", ".join(
            f"{name} {_field(value)}" for name, value in content.items() if name != "model"
        )
        said += f" {rate.asset}"
    rounding = cast(dict[str, Any], _plain(rate.rounding))
    return said + (f", {pairs(rounding)}" if rounding else "")


def _field(value: object) -> str:
    """A field of a price: tiers as a list, and what has names as pairs."""
    if isinstance(value, list):
        return "[" + "; ".join(_field(item) for item in value) + "]"
    if isinstance(value, dict):
        return " ".join(f"{name} {_field(item)}" for name, item in value.items())
    return str(value)


def _per(count: int) -> str:
    return "" if count == 1 else f" per {count:,}"


def _plain(value: object) -> object:
    return msgspec.to_builtins(value)
