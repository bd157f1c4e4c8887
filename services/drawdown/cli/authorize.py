"""`drawdown authorize`: may this run? The answer is the output, and the exit code."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import typer
from rich.text import Text

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.given import Customer, GatewayUrl
from drawdown.cli.outcome import DENIED, USAGE, CommandError
from drawdown.cli.render import Json, show, show_raw
from drawdown.events.codec import decode_decision, encode
from drawdown.events.decisions import Decision
from drawdown.events.reasons import MEANINGS, Reason

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  drawdown authorize acme llm --dimension model=gpt-5 --quantity input=2000 --quantity output=400
  drawdown authorize acme llm --dimension model=gpt-5 --amount 0.05
  drawdown authorize acme llm --dimension model=gpt-5        is there anything left?
  drawdown authorize acme llm --dimension model=gpt-5 --quiet && ./run-it

Exit code 0 is allowed, 3 is denied."""
)
def authorize(
    customer: Customer,
    meter: Annotated[
        str, typer.Argument(metavar="METER", help="Or the type the usage will be sent as.")
    ],
    dimension: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What its rate depends on; repeat for more."),
    ] = None,
    quantity: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="How much is expected; repeat for more."),
    ] = None,
    amount: Annotated[str | None, typer.Option(help="Or what it is expected to cost.")] = None,
    asset: Annotated[str | None, typer.Option(help="Of --amount; default the rate's.")] = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors only: the exit code is the answer.")
    ] = False,
) -> None:
    """Ask whether work may run; exit code 3 is a denial.

    Priced as the usage would be, against the balance as it is now. Nothing is booked or held.
    """
    given.customer_id(customer)
    if quantity and amount is not None:
        raise CommandError("--amount: give either --quantity or --amount", USAGE)
    if asset is not None and amount is None:
        raise CommandError("--asset: is for --amount, which is not given", USAGE)
    estimate: dict[str, Any] = {}
    if quantity:
        estimate["quantities"] = {
            name: given.quantity(f"--quantity {name}", text)
            for name, text in given.pairs("--quantity", quantity).items()
        }
    if amount is not None:
        estimate["amount"] = given.amount("--amount", amount)
        if asset is not None:
            estimate["asset"] = given.name("--asset", asset)
    content = {
        "id": f"authorize-{secrets.token_hex(8)}",
        "customer": customer,
        "meter": given.name("METER", meter),
        "dimensions": given.pairs("--dimension", dimension),
        "estimate": estimate,
    }
    with Context().gateway(gateway) as door:
        answer = door.post_bytes("/v1/authorizations", encode(content), "application/json")
    decision = decode_decision(answer)
    if as_json:
        show_raw(answer)
    elif not quiet:
        _show(decision)
    if not decision.allowed:
        raise typer.Exit(DENIED)


def _show(decision: Decision) -> None:
    if decision.allowed:
        show(Text("allowed", style="bold green"))
        if decision.reason == Reason.OUTAGE_OPEN:
            show(f"why        {decision.detail}")
            return
    else:
        show(Text.assemble(("denied", "bold red"), f"     {decision.reason}"))
        show(f"why        {decision.detail or MEANINGS[Reason(decision.reason)]}")
    asset = decision.asset or ""
    if decision.amount is not None:
        show(f"price      {decision.amount} {asset}")
    for code, there in decision.available.items():
        show(f"available  {there} {code}")
    if decision.shortfall is not None:
        show(f"shortfall  {decision.shortfall} {asset}")
    if decision.book is not None:
        rate = f"rate {decision.rate} of " if decision.rate else ""
        show(f"priced by  {rate}price book {decision.book}")
    lag = decision.usage_lag_records or 0
    unread = f"; {lag} usage records stood unread" if lag else ""
    show(f"read at    entry {decision.sequence}{unread}")
