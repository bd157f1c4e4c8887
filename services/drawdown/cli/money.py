"""`drawdown grant` and `drawdown terms`: what an operator changes in a wallet."""

from __future__ import annotations

from shlex import quote
from typing import Annotated, Any, Final, get_args

import typer

from drawdown.cli import given
from drawdown.cli.commands import decided, show_booked
from drawdown.cli.given import Customer, GatewayUrl
from drawdown.cli.outcome import USAGE, CommandError
from drawdown.cli.render import Json, Quiet, show, show_raw, tell
from drawdown.events.codec import decode_decision
from drawdown.events.commands import DrawdownPolicy

app = typer.Typer(rich_markup_mode=None)

CATEGORIES: Final = ("paid", "promotional", "included")
THRESHOLDS_MAX: Final = 8
NONE: Final = "none"
PERIODS: Final = ("hour", "day", "week", "month", "year")
POLICIES: Final = get_args(DrawdownPolicy)


@app.command(
    epilog="""\b
Examples:
  drawdown grant acme 25
  drawdown grant acme 5 --category promotional --expires-at 2027-01-01T00:00:00Z
  drawdown grant acme 5000 --asset credit --cost-basis 0.01
  drawdown grant acme 100 --meter llm --dimension model=gpt-5     pays for nothing else
  drawdown grant acme 25 --id order-1187                          safe to repeat
  drawdown grant acme 20 --category included --every month --cycles 12
  drawdown grant acme 5 --every day --cycles 365 --zone Europe/Berlin --rollover 10:1"""
)
def grant(
    customer: Customer,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Decimal, e.g. 12.50.")],
    asset: Annotated[str, typer.Option(help="What it is an amount of.")] = "USD",
    category: Annotated[str, typer.Option(help="paid, promotional or included.")] = "paid",
    cost_basis: Annotated[
        str | None,
        typer.Option(metavar="PRICE", help="What one unit was sold for; needed if not money."),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000, help="Lower is spent first; default 100, included 50."),
    ] = None,
    effective_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; default at once.")
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; default never.")
    ] = None,
    meter: Annotated[
        list[str] | None, typer.Option(help="Pays only for this meter; repeat for more.")
    ] = None,
    dimension: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Pays only for such usage; repeat for more."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Is kept in the entry.")] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="[N-]PERIOD", help="Comes again: hour, day, 2-week, month, year."),
    ] = None,
    cycles: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="How many in all; or --expires-at.")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(metavar="TIME", help="When a cycle begins; default when granted.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clock; default UTC.")
    ] = None,
    accumulate: Annotated[
        bool, typer.Option("--accumulate", help="What is left of a cycle stays.")
    ] = False,
    rollover: Annotated[
        str | None,
        typer.Option(metavar="MAX[:CYCLES]", help="What is left goes over, up to MAX (or all)."),
    ] = None,
    command_id: Annotated[
        str | None,
        typer.Option("--id", help="Names the grant; the same again grants nothing more."),
    ] = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put value into a customer's wallet, which opens one for a new customer.

    Waits until it is booked. What the wallet owes is paid first.
    """
    if category not in CATEGORIES:
        raise CommandError(f"--category: {category!r} is none of {', '.join(CATEGORIES)}", USAGE)
    content: dict[str, Any] = {
        "asset": given.name("--asset", asset),
        "amount": given.amount("AMOUNT", amount),
        "category": category,
        "priority": priority,
        "cost_basis": None if cost_basis is None else given.price("--cost-basis", cost_basis),
        "effective_at": given.time_text("--effective-at", effective_at),
        "expires_at": given.time_text("--expires-at", expires_at),
        "recurrence": _recurrence(every, cycles, anchor, zone, accumulate, rollover),
    }
    scope = {
        "meters": [given.name("--meter", text) for text in meter or ()],
        "dimensions": given.lists("--dimension", dimension),
    }
    if any(scope.values()):
        content["scope"] = scope
    answer = decided("grant", customer, "grants", content, reason, command_id, gateway)
    if as_json:
        show_raw(answer)
        return
    decision = decode_decision(answer)
    before = " (before: this is that result)" if decision.duplicate else ""
    show(f"granted  {decision.amount} {decision.asset} to {customer}{before}")
    show_booked(decision)
    if decision.grant:
        show(f"grant    {decision.grant}")
    tell(f"see it: drawdown wallet {quote(customer)}", quiet=quiet)


@app.command(
    epilog="""\b
Examples:
  drawdown terms acme --credit-limit USD=100
  drawdown terms acme --threshold USD=10 --threshold USD=1
  drawdown terms acme --threshold USD=none       none of its own: not even the book's
  drawdown terms acme --outage open:5            runs up to 5 while nothing can be decided
  drawdown terms acme --outage open:500:credit   of another asset than the reporting currency
  drawdown terms acme --outage closed            nothing runs then (the default)"""
)
def terms(
    customer: Customer,
    credit_limit: Annotated[
        list[str] | None,
        typer.Option(metavar="ASSET=AMOUNT", help="How far below zero authorized use may go."),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ASSET=AMOUNT",
            help="Tell when less than this is available; repeat for more; replaces the former.",
        ),
    ] = None,
    drawdown: Annotated[
        str | None,
        typer.Option(metavar="POLICY", help="Which grants pay first: drawdown, stigg, orb, ..."),
    ] = None,
    outage: Annotated[
        str | None,
        typer.Option(
            metavar="closed|open:AMOUNT[:ASSET]",
            help="What a gateway lets run while no decision can be had.",
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="Whose rates price what is used; `none` for those for all."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Is kept in the entry.")] = None,
    command_id: Annotated[str | None, typer.Option("--id", help="Names the command.")] = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Set credit limits, low-balance thresholds and what runs in an outage; what is not given stays
    as it is.

    A crossing of a threshold from above is told once, on the topic low-balance.
    """
    limits = {
        asset: given.amount(f"--credit-limit {asset}", text)
        for asset, text in given.pairs("--credit-limit", credit_limit).items()
    }
    thresholds = {
        asset: _thresholds(asset, texts)
        for asset, texts in given.lists("--threshold", threshold).items()
    }
    in_outage = None if outage is None else _outage(outage)
    if drawdown is not None and drawdown not in POLICIES:
        raise CommandError(f"--drawdown: {drawdown!r} is none of {', '.join(POLICIES)}", USAGE)
    if not limits and not thresholds and in_outage is None and drawdown is None and plan is None:
        raise CommandError(
            "nothing to change: give --credit-limit USD=100, --threshold USD=10, --outage open:5,"
            " --drawdown orb or --plan pro",
            USAGE,
        )
    content = {
        "credit_limits": limits,
        "thresholds": thresholds,
        "outage": in_outage,
        "drawdown": drawdown,
        "plan": None if plan is None else given.name("--plan", plan),
    }
    answer = decided("terms", customer, "terms", content, reason, command_id, gateway, put=True)
    if as_json:
        show_raw(answer)
        return
    decision = decode_decision(answer)
    show(f"set           for {customer}")
    for asset, limit in limits.items():
        show(f"credit limit  {limit} {asset}")
    for asset, amounts in thresholds.items():
        show(f"thresholds    {', '.join(amounts) or NONE} {asset}")
    if in_outage is not None:
        show(f"in an outage  {_outage_in_words(in_outage)}")
    if drawdown is not None:
        show(f"pays first    as {drawdown} has it")
    if plan is not None:
        show(f"plan          {plan}")
    show(f"entry         {decision.sequence}")


def _recurrence(
    every: str | None,
    cycles: int | None,
    anchor: str | None,
    zone: str | None,
    accumulate: bool,
    rollover: str | None,
) -> dict[str, Any] | None:
    """How a grant comes again."""
    if every is None:
        options = {"--cycles": cycles, "--anchor": anchor, "--zone": zone, "--rollover": rollover}
        for option, value in options.items():
            if value is not None:
                raise CommandError(f"{option}: is for --every, which is not given", USAGE)
        if accumulate:
            raise CommandError("--accumulate: is for --every, which is not given", USAGE)
        return None
    count, dash, period = every.rpartition("-")
    if period not in PERIODS or (dash and not (count.isascii() and count.isdigit())):
        raise CommandError(
            f"--every: {every!r} is none of {', '.join(PERIODS)}, nor a number of them: 2-week",
            USAGE,
        )
    found: dict[str, Any] = {
        "every": period,
        "count": int(count) if dash else None,
        "cycles": cycles,
        "anchor": given.time_text("--anchor", anchor),
        "zone": zone,
        "mode": "accumulate" if accumulate else None,
    }
    if rollover is not None:
        most, colon, lives = rollover.partition(":")
        if colon and not (lives.isascii() and lives.isdigit()):
            raise CommandError(f"--rollover: {rollover!r} is not MAX or MAX:CYCLES", USAGE)
        told = {} if most == "all" else {"max": given.amount("--rollover", most)}
        found["rollover"] = {**told, **({"cycles": int(lives)} if colon else {})}
    return {name: value for name, value in found.items() if value is not None}


def _outage(text: str) -> dict[str, str]:
    mode, _, rest = text.partition(":")
    if text == "closed":
        return {"mode": mode}
    amount, colon, asset = rest.partition(":")
    if mode != "open" or not amount:
        raise CommandError(f"--outage: {text!r} is neither closed nor open:AMOUNT", USAGE)
    found = {"mode": mode, "amount": given.amount("--outage", amount)}
    if colon:
        found["asset"] = given.name("--outage", asset)
    return found


def _outage_in_words(outage: dict[str, str]) -> str:
    if outage["mode"] == "closed":
        return "nothing runs"
    return f"runs up to {outage['amount']} {outage.get('asset', '')}".rstrip()


def _thresholds(asset: str, texts: list[str]) -> list[str]:
    if texts == [NONE]:
        return []
    if len(texts) > THRESHOLDS_MAX:
        raise CommandError(f"--threshold: at most {THRESHOLDS_MAX} of {asset}", USAGE)
    return [given.amount(f"--threshold {asset}", text) for text in texts]
