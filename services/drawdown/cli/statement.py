"""`drawdown statement`: a period of one customer, or of all, summed up from the journal."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.commands import Id, Reason, decided
from drawdown.cli.context import Context
from drawdown.cli.given import GatewayUrl
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import (
    Json,
    Quiet,
    counted,
    pairs,
    show,
    show_json,
    show_table,
    tell,
)
from drawdown.cli.replay import Bar, expected
from drawdown.cli.wallet import margin
from drawdown.events.base import milliseconds, moment, timestamp_text
from drawdown.events.calendar import PeriodError, bounds_asked, zone_named
from drawdown.events.codec import decode_decision
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.statements import AssetStatement, Line, RevenueSums, Statement
from drawdown.ledger.statements import BY_DEFAULT, KINDS, Period, sums_of
from drawdown.replay.statements import all_statements, customer_statement

app = typer.Typer(rich_markup_mode=None)

PLACES_MIN: Final = 2
"""Behind the point, in columns of amounts: cents."""
OPTIONS: Final = {"month": "--month", "end": "--to", "zone": "--zone"}
"""What each part of a period is given by."""
MONEY: Final = (
    "paid_in",
    "recognized",
    "breakage",
    "refunded",
    "repriced",
    "deferred_opening",
    "deferred_closing",
    "unbilled_opening",
    "unbilled_closing",
    "cost",
    "margin",
)


@app.command(
    epilog="""\b
Examples:
  drawdown statement acme --month 2026-10 --zone Europe/Berlin
  drawdown statement acme --from 2026-10-01T00:00:00Z --to 2026-10-08T00:00:00Z --by model
  drawdown statement acme --month 2026-10 --issue     from then on it does not change
  drawdown statement --all --month 2026-10 --csv > october.csv"""
)
def statement(
    customer: Annotated[
        str | None, typer.Argument(metavar="CUSTOMER", help="Your own id of the customer.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All customers, and the totals.")] = False,
    month: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="Default: the one under way.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Included; with --to.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Not included; with --from.")
    ] = None,
    zone: Annotated[str, typer.Option(help="By whose clock a month is one.")] = "UTC",
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Usage by meter, rate or a dimension; repeatable."),
    ] = None,
    issue: Annotated[
        bool, typer.Option("--issue", help="Issue it: once, when the period is over.")
    ] = False,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: Quiet = False,
) -> None:
    """Sum up a period from the journal: opening, what came and went, closing; and revenue.

    Usage is in the period in which it was booked. What was used before and booked later says so,
    with the month it belongs to. The journal is read from its beginning.
    """
    if (customer is None) != every:
        raise CommandError("CUSTOMER: give one, or --all", USAGE)
    if every and (issue or by):
        raise CommandError("--all: is without --by and --issue: they are for one customer", USAGE)
    if as_csv and (as_json or issue):
        raise CommandError("--csv: is without --json and --issue", USAGE)
    period = _period(month, from_, to, zone)
    grouped = tuple(given.name("--by", each) for each in by) if by else BY_DEFAULT
    context = Context()
    cluster, environment = context.kafka(), context.config.topics
    if every:
        with expected(), Bar("read", quiet=quiet) as bar:
            found = list(all_statements(cluster, environment, period, bar.told))
        _show_all(found, as_json=as_json, as_csv=as_csv)
        _end(found)
    assert customer is not None
    given.customer_id(customer)
    with expected(), Bar("read", quiet=quiet) as bar:
        made = customer_statement(cluster, environment, customer, period, grouped, bar.told)
    if made is None:
        raise CommandError(
            f"CUSTOMER: {customer!r} has no entry: `drawdown customers` lists those there are"
        )
    if issue:
        _issue(made, reason, command_id, gateway, as_json=as_json)
        return
    if as_json:
        show_json({"statement": made, "sums": sums_of(made)})
    elif as_csv:
        _write(_csv_lines(made))
    else:
        show_statement(made)
    _end([made])


def _period(month: str | None, from_: str | None, to: str | None, zone: str) -> Period:
    if (from_ is None) != (to is None) or (month is not None and from_ is not None):
        raise CommandError("--from: give --from and --to, or --month alone", USAGE)
    starts_ms, ends_ms = (
        None if text is None else milliseconds(given.time(option, text))
        for option, text in (("--from", from_), ("--to", to))
    )
    now_ms = time.time_ns() // 1_000_000
    try:
        bounds = bounds_asked(month, starts_ms, ends_ms, zone, now_ms)
    except PeriodError as error:
        raise CommandError(f"{OPTIONS[error.field]}: {error.said}", USAGE) from None
    return Period(*bounds, zone, zone_named(zone))


def _issue(
    made: Statement,
    reason: str | None,
    command_id: str | None,
    gateway: str | None,
    *,
    as_json: bool,
) -> None:
    """Issue what was read. Its id is that of the period, so that twice is once."""
    if made.ends_at > moment(time.time_ns() // 1_000_000):
        raise CommandError(
            f"--issue: the period is not over before {timestamp_text(made.ends_at)}", USAGE
        )
    answer = decided(
        "statement",
        made.customer,
        "statements",
        {"statement": sums_of(made)},
        reason,
        command_id,
        gateway,
    )
    decision = decode_decision(answer)
    if as_json:
        show_json({"decision": decision, "statement": made})
        return
    show_statement(made)
    show()
    show(f"issued as statement {decision.statement}, entry {decision.sequence}", "bold green")


def _end(found: Sequence[Statement]) -> None:
    """Ends with 1 where the journal does not add up to what was issued."""
    wrong = [each for each in found if each.as_issued is False]
    for each in wrong:
        tell(
            f"statement {each.number} of {each.customer}: the journal does not add up to the sums"
            " that were issued",
            style="bold red",
        )
    raise typer.Exit(FAILED if wrong else 0)


# --- one customer --------------------------------------------------------------------------------


def show_statement(made: Statement) -> None:
    """A statement, as people read one: it adds up line by line."""
    tz = zone_named(made.zone)
    begins, ends = (each.astimezone(tz) for each in (made.starts_at, made.ends_at))
    show(f"{made.customer}  {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} {made.zone}", "bold")
    entries = made.last_sequence - made.first_sequence + 1
    where = f", {made.first_sequence} to {made.last_sequence}" if entries else ""
    number = "not issued" if made.number is None else f"statement {made.number}"
    show(f"{number}; {counted(entries, 'entry').replace('entrys', 'entries')}{where}")
    for each in made.assets:
        show()
        _show_asset(each)
    if made.unpriced:
        show()
        show(f"usage without a price: {made.unpriced:,} times, which is in none of it", "yellow")
    show()
    _show_revenue(made)


def _show_asset(found: AssetStatement) -> None:
    amounts = aligned(
        [found.opening.balance, *[line.amount for line in found.lines], found.closing.balance]
    )
    lines = [
        (line.kind, about(line), f"{line.entries:,}", amount)
        for line, amount in zip(found.lines, amounts[1:-1], strict=True)
    ]
    show_table(
        (found.asset, "", ">entries", ">amount"),
        [("opening", "", "", amounts[0]), *lines, ("closing", "", "", amounts[-1])],
    )
    closing = found.closing
    also = {"held": closing.held, "on credit": closing.credit_used, "overdrawn": closing.overdrawn}
    said = [f"{name} {text}" for name, text in also.items() if text != "0"]
    if said:
        show(f"at its end {', '.join(said)} {found.asset}")


def about(line: Line) -> str:
    """What a line is about besides its kind."""
    parts = [line.category, line.meter, line.rate, pairs(line.dimensions)]
    if line.other:
        parts.append(f"{'from' if not line.amount.startswith('-') else 'to'} {line.other}")
    if line.late:
        parts.append(f"late: belongs to {line.late}")
    return "  ".join(part for part in parts if part)


def _show_revenue(made: Statement) -> None:
    sums = made.revenue
    rows = [
        ("deferred before", sums.deferred_opening),
        ("paid in", sums.paid_in),
        ("recognized", _less(sums.recognized)),
        ("breakage", _less(sums.breakage)),
        ("refunded", _less(sums.refunded)),
        ("repriced", sums.repriced),
        ("used on credit, unbilled", _difference(sums.unbilled_closing, sums.unbilled_opening)),
        ("deferred after", sums.deferred_closing),
    ]
    kept = [row for row in rows if row[1] != "0" or row[0].startswith("deferred")]
    amounts = aligned([text for _, text in kept])
    show_table(
        (f"revenue in {made.reporting}", ">amount"),
        [(name, amount) for (name, _), amount in zip(kept, amounts, strict=True)],
    )
    show(
        f"revenue {sums.recognized}, cost {sums.cost}, margin {margin(sums.recognized, sums.cost)}"
    )


def _less(text: str) -> str:
    return amount_text(-amount_of(text))


def _difference(after: str, before: str) -> str:
    return amount_text(amount_of(after) - amount_of(before))


def aligned(texts: Sequence[str]) -> list[str]:
    """Amounts with as many places as the finest has, and cents at least: points stand in line."""
    places = max([PLACES_MIN, *[len(text.partition(".")[2]) for text in texts]])
    found = []
    for text in texts:
        whole, _, rest = text.partition(".")
        found.append(f"{whole}.{rest.ljust(places, '0')}")
    return found


# --- all of them ---------------------------------------------------------------------------------


def _show_all(found: Sequence[Statement], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        show_json({"statements": found, "totals": totals(found)})
        return
    if as_csv:
        _write(_csv_customers(found))
        return
    rows = [
        (
            made.customer if place == 0 else "",
            each.asset,
            each.opening.balance,
            each.charged,
            each.closing.balance,
            *[getattr(made.revenue, name) if place == 0 else "" for name in SHOWN],
        )
        for made in found
        for place, each in enumerate(made.assets)
    ]
    show_table(
        ("customer", "asset", ">opening", ">charged", ">closing", *[f">{name}" for name in SHOWN]),
        rows,
    )
    sums = totals(found)
    show()
    show(f"{counted(len(found), 'customer')}", "bold")
    for each in sums["assets"]:
        show(f"{each['asset']}: from {each['opening']} to {each['closing']}", "bold")
    revenue = sums["revenue"]
    said = [f"{name.replace('_', ' ')} {revenue[name]}" for name in MONEY if revenue[name] != "0"]
    show(", ".join(said) or "no revenue")


SHOWN: Final = ("paid_in", "recognized", "breakage", "deferred_closing", "cost", "margin")


def totals(found: Iterable[Statement]) -> dict[str, Any]:
    """The sums over all statements, by asset, and of revenue."""
    assets: dict[str, dict[str, int]] = {}
    money = dict.fromkeys(MONEY, 0)
    for made in found:
        for name in MONEY:
            money[name] += amount_of(getattr(made.revenue, name))
        for each in made.assets:
            sums = assets.setdefault(each.asset, {})
            for name, amount in _moved(each).items():
                sums[name] = sums.get(name, 0) + amount
    return {
        "assets": [
            {"asset": asset, **{name: amount_text(amount) for name, amount in sums.items()}}
            for asset, sums in sorted(assets.items())
        ],
        "revenue": {name: amount_text(amount) for name, amount in money.items()},
    }


def _moved(each: AssetStatement) -> dict[str, int]:
    """Opening, what moved it by kind, closing."""
    moved = {"opening": amount_of(each.opening.balance), **dict.fromkeys(KINDS, 0)}
    for line in each.lines:
        moved[line.kind] += amount_of(line.amount)
    return {**moved, "closing": amount_of(each.closing.balance)}


# --- CSV -----------------------------------------------------------------------------------------


def _write(rows: Iterable[Sequence[object]]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    sys.stdout.flush()


def _csv_lines(made: Statement) -> Iterator[Sequence[object]]:
    """A row per line, between the rows of opening and closing."""
    names = ("category", "meter", "rate", "other", "late")
    dimensions = sorted({name for a in made.assets for line in a.lines for name in line.dimensions})
    yield ("customer", "asset", "kind", *names, *dimensions, "entries", "amount", "revenue", "cost")
    empty = [""] * (len(names) + len(dimensions))
    for each in made.assets:
        at = (made.customer, each.asset)
        yield *at, "opening", *empty, "", each.opening.balance, "", ""
        for line in each.lines:
            said = [getattr(line, name) or "" for name in names]
            said += [line.dimensions.get(name, "") for name in dimensions]
            yield *at, line.kind, *said, line.entries, line.amount, line.revenue, line.cost
        yield *at, "closing", *empty, "", each.closing.balance, "", ""


def _csv_customers(found: Iterable[Statement]) -> Iterator[Sequence[object]]:
    """A row per customer and asset; revenue stands on the first of a customer's rows alone, so that
    every column sums up."""
    kinds = ("opening", *KINDS, "closing")
    money_titles = [name if name in ("cost", "margin") else f"revenue_{name}" for name in MONEY]
    titles = ("customer", "statement", "starts_at", "ends_at", "asset")
    yield *titles, *kinds, "charged", "reporting", *money_titles
    for made in found:
        money: Sequence[str] = _money_texts(made.revenue)
        at = (timestamp_text(made.starts_at), timestamp_text(made.ends_at))
        for each in made.assets:
            moved = _moved(each)
            yield (
                *(made.customer, made.number or "", *at, each.asset),
                *[amount_text(moved[kind]) for kind in kinds],
                *(each.charged, made.reporting, *money),
            )
            money = [""] * len(MONEY)


def _money_texts(sums: RevenueSums) -> list[str]:
    return [getattr(sums, name) for name in MONEY]
