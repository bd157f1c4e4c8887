"""`drawdown subscribe` and `drawdown subscription`: what a customer is subscribed to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.commands import Id, Reason, decided
from drawdown.cli.context import Context
from drawdown.cli.doors import in_path
from drawdown.cli.given import Customer, GatewayUrl, QueryUrl
from drawdown.cli.outcome import DENIED, USAGE, CommandError
from drawdown.cli.render import Json, short_time, show, show_json, show_raw, show_table, tell
from drawdown.cli.said import subscription_about
from drawdown.cli.wallet import pages
from drawdown.events.codec import decode_any

app = typer.Typer(rich_markup_mode=None)
subscription = typer.Typer(
    name="subscription",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show, change, cancel and resume subscriptions.\n\nPlans are defined in the price book"
    " (`drawdown price-book`); `drawdown subscribe` begins a subscription.",
)
app.add_typer(subscription)

WHEN: Final = ("now", "cycle_end")
SubscriptionId = Annotated[
    str, typer.Argument(metavar="SUBSCRIPTION", help="Its id; `drawdown subscription show` has it.")
]
Seats = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="How many.")]


@app.command(
    epilog="""\b
Examples:
  drawdown subscribe acme pro
  drawdown subscribe acme team --seats 5 --subscription main
  drawdown subscribe acme pro --anchor 2027-01-01T00:00:00Z      cycles from the first of a month
  drawdown subscribe acme pro --start-at 2027-02-01T00:00:00Z --id order-1187"""
)
def subscribe(
    customer: Customer,
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="Of the price book in effect.")],
    seats: Seats = None,
    subscription_id: Annotated[
        str | None,
        typer.Option("--subscription", metavar="ID", help="Its id; default the command's."),
    ] = None,
    start_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; default at once.")
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(metavar="TIME", help="Cycles are counted from it.")
    ] = None,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Subscribe a customer to a plan: its fees, grants and terms, cycle by cycle."""
    content = {
        "plan": given.name("PLAN", plan),
        "subscription_id": None
        if subscription_id is None
        else given.identifier("--subscription", subscription_id),
        "seats": seats,
        "start_at": given.time_text("--start-at", start_at),
        "anchor": given.time_text("--anchor", anchor),
    }
    _send("subscribe", customer, "", content, reason, command_id, gateway, as_json)


@subscription.command(
    "show",
    epilog="""\b
Examples:
  drawdown subscription show acme
  drawdown subscription show acme --json | jq -r '.entitlements[] | [.id, .left] | @tsv'""",
)
def show_all(customer: Customer, query: QueryUrl = None, as_json: Json = False) -> None:
    """Show a customer's subscriptions, and what they are entitled to."""
    given.customer_id(customer)
    at = f"/v1/customers/{in_path(customer)}"
    with Context().query(query) as door:
        found = list(pages(door, f"{at}/subscriptions", 100))
        entitlements = door.get(f"{at}/entitlements")["data"]
    if as_json:
        show_json({"subscriptions": found, "entitlements": entitlements})
        return
    if not found:
        tell(f"{customer} has no subscription: `drawdown subscribe {customer} PLAN` begins one")
        return
    show_table(
        ("subscription", "plan", "phase", ">seats", "status", "cycle", "until", "book"),
        [_row(each) for each in found],
    )
    if entitlements:
        show()
        show_table(
            ("entitlement", "subscription", "value", ">used", ">left", "resets"),
            [
                (
                    each["id"],
                    each["subscription"],
                    _value(each),
                    each.get("used"),
                    each.get("left"),
                    short_time(each["resets_at"]) if each.get("resets_at") else "",
                )
                for each in entitlements
            ],
        )


@subscription.command(
    epilog="""\b
Examples:
  drawdown subscription change acme main --seats 6
  drawdown subscription change acme main --plan enterprise
  drawdown subscription change acme main --plan basic --when cycle_end"""
)
def change(
    customer: Customer,
    subscription_id: SubscriptionId,
    plan: Annotated[str | None, typer.Option(metavar="PLAN", help="Another one.")] = None,
    seats: Seats = None,
    when: Annotated[str, typer.Option(help="now, or cycle_end.")] = "now",
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Change the plan, the seats, or both.

    What becomes of the cycle under way, the plan declares.
    """
    if plan is None and seats is None:
        raise CommandError("nothing to change: give --plan PLAN, --seats N, or both", USAGE)
    content = {
        "plan": None if plan is None else given.name("--plan", plan),
        "seats": seats,
        "when": _when(when),
    }
    _send("change", customer, subscription_id, content, reason, command_id, gateway, as_json)


@subscription.command(
    epilog="""\b
Examples:
  drawdown subscription cancel acme main
  drawdown subscription cancel acme main --when now --reason "fraud" """
)
def cancel(
    customer: Customer,
    subscription_id: SubscriptionId,
    when: Annotated[str, typer.Option(help="cycle_end, or now.")] = "cycle_end",
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """End a subscription: when its cycle ends, or now."""
    content = {"when": _when(when)}
    _send("cancel", customer, subscription_id, content, reason, command_id, gateway, as_json)


@subscription.command(
    epilog="""\b
Example:
  drawdown subscription resume acme main"""
)
def resume(
    customer: Customer,
    subscription_id: SubscriptionId,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Let one go on that was to end, or to change, with its cycle."""
    _send("resume", customer, subscription_id, {}, reason, command_id, gateway, as_json)


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    status = row["status"]
    if row.get("canceled"):
        status = "ends then"
    elif following := row.get("next"):
        status = f"then {following['plan']}, {following['seats']} seats"
    return (
        row["id"],
        row["plan"],
        row["phase"],
        row["seats"],
        status,
        short_time(row["starts_at"]),
        short_time(row["ends_at"]),
        row["book"],
    )


def _value(entitlement: Mapping[str, Any]) -> str:
    if entitlement.get("meter"):
        limit, quantity = entitlement["limit"], entitlement["quantity"]
        return f"{limit} {quantity} of {entitlement['meter']}"
    value = entitlement.get("value")
    return {True: "yes", False: "no"}.get(value, str(value)) if value is not None else "yes"


def _when(text: str) -> str:
    if text not in WHEN:
        raise CommandError(f"--when: {text!r} is neither now nor cycle_end", USAGE)
    return text


def _send(
    kind: str,
    customer: str,
    subscription_id: str,
    content: Mapping[str, Any],
    reason: str | None,
    command_id: str | None,
    gateway: str | None,
    as_json: bool,
) -> None:
    """Send the command, and say how the subscription is then."""
    door_name = "subscriptions"
    if subscription_id:
        door_name += f"/{in_path(given.identifier('SUBSCRIPTION', subscription_id))}/{kind}"
    answer = decided(kind, customer, door_name, content, reason, command_id, gateway)
    if as_json:
        show_raw(answer)
    decision = decode_any(answer)
    if not decision["allowed"]:
        if not as_json:
            detail = f": {decision['detail']}" if decision.get("detail") else ""
            show(f"refused       {decision['reason']}{detail}")
        raise typer.Exit(DENIED)
    if as_json:
        return
    before = " (before: this is that result)" if decision.get("duplicate") else ""
    state = decision["subscription"]
    show(f"subscription  {subscription_about(state)}{before}")
    show(f"cycle         {short_time(state['starts_at'])} to {short_time(state['ends_at'])}")
    show(f"entry         {decision['sequence']}")
    tell(f"see it: drawdown subscription show {customer}")
