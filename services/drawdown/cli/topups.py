"""`drawdown topup`: auto top-ups of a customer, what was requested, and how it was paid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.commands import Id, Reason, decided
from drawdown.cli.context import Context
from drawdown.cli.doors import in_path
from drawdown.cli.given import Customer, GatewayUrl, QueryUrl
from drawdown.cli.outcome import USAGE, CommandError
from drawdown.cli.render import Json, short_time, show, show_json, show_raw, show_table, tell
from drawdown.cli.said import topup_about
from drawdown.cli.wallet import pages
from drawdown.events.codec import decode_any

app = typer.Typer(rich_markup_mode=None)
topup = typer.Typer(
    name="topup",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set, show, remove and settle auto top-ups.\n\nA low balance requests one; `drawdown"
    " notify` pays for it.",
)
app.add_typer(topup)

PERIODS: Final = ("day", "week", "month")
OUTCOMES: Final = ("paid", "failed")
Asset = Annotated[str, typer.Option(help="What it is an amount of.")]


@topup.command(
    "set",
    epilog="""\b
Examples:
  drawdown topup set acme --below 20 --buy 100 --at-most 4
  drawdown topup set acme --days-left 3 --buy 100 --at-most 2 --per week --zone Europe/Berlin
  drawdown topup set acme --asset credit --below 500 --buy 5000 --cost-basis 0.01 --at-most 1
  drawdown topup set acme --days-left 3                            is only told""",
)
def set_(
    customer: Customer,
    asset: Asset = "USD",
    below: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Available balance below it is low.")
    ] = None,
    days_left: Annotated[
        int | None, typer.Option(min=1, max=366, help="Lasting fewer days is low.")
    ] = None,
    buy: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="What is bought; without it, it is told.")
    ] = None,
    cost_basis: Annotated[
        str | None,
        typer.Option(metavar="PRICE", help="What one unit is sold for; needed if not money."),
    ] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3660, help="Of what is bought; default never.")
    ] = None,
    at_most: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How often in a period; needed with --buy.")
    ] = None,
    at_most_amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="How much in a period.")
    ] = None,
    per: Annotated[str, typer.Option(help="The period: day, week or month.")] = "month",
    zone: Annotated[str, typer.Option(metavar="ZONE", help="Whose calendar.")] = "UTC",
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Say when an asset of a customer is low, and what is then bought."""
    if per not in PERIODS:
        raise CommandError(f"--per: {per!r} is none of {', '.join(PERIODS)}", USAGE)
    low = _stated(amount=_amount("--below", below), days_left=days_left)
    if not low:
        raise CommandError("say what is low: --below AMOUNT, --days-left N, or both", USAGE)
    content: dict[str, Any] = {"below": low}
    bought = _stated(
        amount=_amount("--buy", buy),
        cost_basis=None if cost_basis is None else given.price("--cost-basis", cost_basis),
        expires_in_days=expires_in_days,
    )
    if bought:
        if buy is None:
            raise CommandError("say how much is bought: --buy AMOUNT", USAGE)
        if at_most is None:
            raise CommandError("say how often it may be bought: --at-most N", USAGE)
        most = _amount("--at-most-amount", at_most_amount)
        caps = _stated(per=per, zone=zone, requests=at_most, amount=most)
        content |= {"top_up": bought, "caps": caps}
    elif at_most is not None or at_most_amount is not None:
        raise CommandError("--at-most is for what is bought: give --buy AMOUNT", USAGE)
    _set("set", customer, asset, content, reason, command_id, gateway, as_json)


@topup.command(
    epilog="""\b
Example:
  drawdown topup remove acme --reason "pays by invoice now" """
)
def remove(
    customer: Customer,
    asset: Asset = "USD",
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """End an auto top-up; one that is requested already may still be paid."""
    _set("remove", customer, asset, {"remove": True}, reason, command_id, gateway, as_json)


@topup.command(
    "show",
    epilog="""\b
Examples:
  drawdown topup show acme
  drawdown topup show acme --json | jq '.requests[] | select(.state == "failed")'""",
)
def show_all(customer: Customer, query: QueryUrl = None, as_json: Json = False) -> None:
    """Show a customer's auto top-ups, and what was requested."""
    given.customer_id(customer)
    at = f"/v1/customers/{in_path(customer)}"
    with Context().query(query) as door:
        found = list(pages(door, f"{at}/auto-topups", 100))
        requests = list(pages(door, f"{at}/topups", 100))
    if as_json:
        show_json({"auto_topups": found, "requests": requests})
        return
    kept = [each for each in found if each.get("terms")]
    if not kept and not requests:
        tell(f"{customer} has no auto top-up: `drawdown topup set {customer} ...` makes one")
        return
    show_table(
        ("asset", "low", ">buys", "at most", ">asked for", "now"),
        [_row(each) for each in kept],
    )
    if requests:
        show()
        show_table(
            ("request", ">amount", "asset", "requested", "state", "reference", "detail"),
            [_request_row(each) for each in sorted(requests, key=lambda r: r["requested_at"])],
        )


@topup.command(
    epilog="""\b
Examples:
  drawdown topup settle acme topup-USD-41 paid --reference pi_71
  drawdown topup settle acme topup-USD-41 failed --detail "the card was declined" """
)
def settle(
    customer: Customer,
    request: Annotated[
        str, typer.Argument(metavar="REQUEST", help="Its id; `drawdown topup show` has it.")
    ],
    outcome: Annotated[str, typer.Argument(metavar="OUTCOME", help="paid or failed.")],
    amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="What was paid for; default as requested.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The payment's own id.")] = None,
    detail: Annotated[str | None, typer.Option(help="Why it failed.")] = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Say by hand how a requested top-up was paid; `drawdown notify` does it by itself."""
    given.customer_id(customer)
    if outcome not in OUTCOMES:
        raise CommandError(f"OUTCOME: {outcome!r} is neither paid nor failed", USAGE)
    named_request = in_path(given.identifier("REQUEST", request))
    content = {
        "outcome": outcome,
        "amount": _amount("--amount", amount),
        "reference": given.free_text("--reference", reference),
        "detail": given.free_text("--detail", detail),
    }
    door_name = f"topups/{named_request}/settlement"
    answer = decided("settle", customer, door_name, content, None, command_id, gateway)
    _show_answer(answer, as_json)


def _set(
    kind: str,
    customer: str,
    asset: str,
    content: Mapping[str, Any],
    reason: str | None,
    command_id: str | None,
    gateway: str | None,
    as_json: bool,
) -> None:
    door_name = f"auto-topups/{in_path(given.name('--asset', asset))}"
    answer = decided(
        f"topup-{kind}", customer, door_name, content, reason, command_id, gateway, put=True
    )
    _show_answer(answer, as_json)


def _show_answer(answer: bytes, as_json: bool) -> None:
    if as_json:
        show_raw(answer)
        return
    decision = decode_any(answer)
    before = " (before: this is that result)" if decision.get("duplicate") else ""
    show(f"top-up   {topup_about(decision['topup'])}{before}")
    if decision.get("balance") is not None:
        show(f"balance  {decision['balance']} {decision['asset']}")
    show(f"entry    {decision['sequence']}")


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    terms, window = row["terms"], row.get("window")
    below, bought, caps = terms["below"], terms.get("top_up"), terms.get("caps")
    low = [f"below {below['amount']}"] if below.get("amount") else []
    low += [f"{below['days_left']} days left"] if below.get("days_left") else []
    state = "armed"
    if row.get("outstanding"):
        state = f"asks for {row['outstanding']}"
    elif row.get("waits_until"):
        state = f"waits until {short_time(row['waits_until'])}"
        if failures := row.get("failures"):
            state += f", failed {failures} times"
    elif row.get("low"):
        state = "low, and told"
    return (
        row["asset"],
        " or ".join(low),
        bought["amount"] if bought else "is told",
        f"{caps['requests']} or {caps['amount']} a {caps.get('per', 'month')}" if caps else "",
        window.get("amount", "0") if window else "",
        state,
    )


def _request_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        row["id"],
        row["amount"],
        row["asset"],
        short_time(row["requested_at"]),
        row.get("state", "outstanding"),
        row.get("reference"),
        row.get("detail"),
    )


def _amount(option: str, text: str | None) -> str | None:
    return None if text is None else given.amount(option, text)


def _stated(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
