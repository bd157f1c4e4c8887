"""`drawdown void`, `refund`, `adjust`, `reverse`, `convert`, `state`: what operators set right."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.commands import Id, Reason, decided, show_booked
from drawdown.cli.context import Context
from drawdown.cli.explain import wanted_entry
from drawdown.cli.given import Customer, GatewayUrl, QueryUrl
from drawdown.cli.history import find
from drawdown.cli.outcome import DENIED, USAGE, CommandError
from drawdown.cli.render import Json, show, show_raw
from drawdown.events.codec import decode_any, decode_decision

app = typer.Typer(rich_markup_mode=None)

STATES: Final = ("active", "suspended", "closed")


@app.command(
    epilog="""\b
Examples:
  drawdown void acme invoice-1041 --reason "charged back"
  drawdown void acme plan --keep          comes no more, and keeps what is left of this cycle"""
)
def void(
    customer: Customer,
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="Its id; of a recurring one too.")],
    keep: Annotated[bool, typer.Option("--keep", help="Only let it not come again.")] = False,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """End a grant: what is left of it is gone, and it does not come again."""
    content: dict[str, Any] = {"grant_id": given.identifier("GRANT", grant), "keep": keep}
    _send("void", "voids", "voided", customer, content, reason, command_id, gateway, as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown refund acme invoice-1041 --reason "asked for"            all that is left of it
  drawdown refund acme invoice-1041 --amount 5 --reason goodwill    and the grant lives on

\b
A dispute takes all of a top-up back, also what was used; won, that is taken back in turn:
  drawdown reverse acme invoice-1041 --reason disputed --id dispute-7
  drawdown reverse acme dispute-7 --reason won --id won-7"""
)
def refund(
    customer: Customer,
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="Its id; of a recurring one too.")],
    reason: Annotated[str, typer.Option(help="Why; is kept in the entry.")],
    amount: Annotated[
        str | None, typer.Option(help="So much of what is left; default all of it.")
    ] = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Take what is unspent of a grant because it was paid back: neither revenue nor breakage."""
    content: dict[str, Any] = {"grant_id": given.identifier("GRANT", grant), "refund": True}
    if amount is not None:
        content["amount"] = given.amount("--amount", amount)
    _send("void", "voids", "refunded", customer, content, reason, command_id, gateway, as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown adjust acme 5 --reason goodwill
  drawdown adjust acme --reason "forgotten in May" -- -2.50"""
)
def adjust(
    customer: Customer,
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="Is added; or taken: -- -2.50 at the end.")
    ],
    reason: Annotated[str, typer.Option(help="Why; is kept in the entry.")],
    asset: Annotated[str, typer.Option(help="What it is an amount of.")] = "USD",
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of what is added; default never.")
    ] = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Add to a wallet, or take from it, with a reason."""
    sign = "-" if amount.startswith("-") else ""
    content: dict[str, Any] = {
        "asset": given.name("--asset", asset),
        "amount": sign + given.amount("AMOUNT", amount.removeprefix("-")),
        "expires_at": given.time_text("--expires-at", expires_at),
    }
    said = "taken" if sign else "added"
    _send("adjust", "adjustments", said, customer, content, reason, command_id, gateway, as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown reverse acme 17 --reason "the model failed"
  drawdown reverse acme req-17 --source chat --reason refund --keep-cost"""
)
def reverse(
    customer: Customer,
    entry: Annotated[
        str, typer.Argument(metavar="ENTRY", help="Its number, or the id of the event or command.")
    ],
    reason: Annotated[str, typer.Option(help="Why; is kept in the entry.")],
    source: Annotated[
        str | None, typer.Option(help="Of the event, where two sources use the same id.")
    ] = None,
    keep_cost: Annotated[
        bool, typer.Option("--keep-cost", help="What it cost us stays: it was done.")
    ] = False,
    lapse: Annotated[
        bool, typer.Option("--lapse", help="What came from grants that are gone stays with them.")
    ] = False,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Book the exact inverse of an entry, once.

    What was taken returns to the grants it came from where they live, else as a new grant; what was
    given is taken back. A reversal can be reversed, and that not again.
    """
    given.customer_id(customer)
    context = Context()
    with context.query(query) as door:
        found = find(door, customer, wanted_entry(entry, None, source))
    content: dict[str, Any] = {"entry": decode_any(found.value), "keep_cost": keep_cost}
    if lapse:
        content["gone"] = "lapse"
    _send(
        "reverse", "reversals", "reversed", customer, content, reason, command_id, gateway, as_json
    )


@app.command(
    epilog="""\b
Examples:
  drawdown convert acme 5 USD credit"""
)
def convert(
    customer: Customer,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="That is given.")],
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="That is given.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="The asset that is wanted.")],
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Turn some of one asset into another, at the price book's rate."""
    content: dict[str, Any] = {
        "asset": given.name("ASSET", asset),
        "amount": given.amount("AMOUNT", amount),
        "to": given.name("TO", to),
    }
    _send("convert", "conversions", "got", customer, content, reason, command_id, gateway, as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown state acme suspended --reason unpaid
  drawdown state acme active
  drawdown state acme closed              for good: no command is taken any more"""
)
def state(
    customer: Customer,
    to: Annotated[str, typer.Argument(metavar="STATE", help="active, suspended or closed.")],
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Suspend a wallet, make it active again, or close it for good.

    What is used all the same is booked, and a closed wallet is kept.
    """
    if to not in STATES:
        raise CommandError(f"STATE: {to!r} is none of {', '.join(STATES)}", USAGE)
    _send("state", "state", to, customer, {"state": to}, reason, command_id, gateway, as_json)


def _send(
    kind: str,
    door_name: str,
    said: str,
    customer: str,
    content: dict[str, Any],
    reason: str | None,
    command_id: str | None,
    gateway: str | None,
    as_json: bool,
) -> None:
    """Send the command, and say what came of it."""
    answer = decided(
        kind, customer, door_name, content, reason, command_id, gateway, put=kind == "state"
    )
    decision = decode_decision(answer)
    if as_json:
        show_raw(answer)
    elif not decision.allowed:
        show(f"refused  {decision.reason}: {decision.detail or ''}".rstrip(": "))
    else:
        before = " (before: this is that result)" if decision.duplicate else ""
        amount = f"  {decision.amount} {decision.asset}" if decision.amount is not None else ""
        show(f"{said:<8}{amount} of {customer}{before}")
        show_booked(decision)
    if not decision.allowed:
        raise typer.Exit(DENIED)
