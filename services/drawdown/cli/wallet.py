"""`drawdown wallet` and `drawdown customers`: what is left, and what became of the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from shlex import quote
from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.doors import Door, ProblemError, in_path
from drawdown.cli.given import Customer, QueryUrl
from drawdown.cli.outcome import CommandError
from drawdown.cli.render import Json, pairs, short_time, show, show_json, show_table, tell
from drawdown.cli.said import entry_about, entry_kind, signed_amount
from drawdown.events.codec import decode_any, encode
from drawdown.events.numbers import amount_of, amount_text
from drawdown.ledger.rows import decoded_wallet
from drawdown.ledger.slices import deferred_revenue

app = typer.Typer(rich_markup_mode=None)

PAGE: Final = 100
STALE_MS: Final = 5_000
"""An answer older than this is worth a word."""
NEVER: Final = "never"


@app.command(
    epilog="""\b
Examples:
  drawdown wallet acme
  drawdown wallet acme --entries 50
  drawdown wallet acme --follow        again whenever it changes
  drawdown wallet acme --json | jq -r '.wallet.accounts[] | .available'"""
)
def wallet(
    customer: Customer,
    entries: Annotated[
        int, typer.Option("--entries", "-n", min=0, max=10_000, help="How many of the last.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on: its balances after every change.")
    ] = False,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Show a customer's balances, grants in the order they are spent, and last entries.

    What an entry's price is made of, `drawdown explain` shows.
    """
    given.customer_id(customer)
    at = f"/v1/customers/{in_path(customer)}"
    with Context().query(query) as door:
        if follow:
            _follow(door, at, as_json=as_json)
            return
        answer = _wallet(door, at, customer)
        last = list(islice(pages(door, f"{at}/entries", entries), entries)) if entries else []
    if as_json:
        show_json({**answer, "entries": last})
        return
    _show_wallet(answer["wallet"])
    if last:
        show()
        show_table(("entry", "time", "what", ">amount", ">balance", "about"), map(_entry_row, last))
    _tell_age(answer["position"])


def _wallet(door: Door, at: str, customer: str) -> Any:
    try:
        return door.get(f"{at}/wallet")
    except ProblemError as error:
        if error.problem.get("code") != "unknown_customer":
            raise
        raise CommandError(
            f"CUSTOMER: no wallet of {customer!r} is known: `drawdown grant {quote(customer)} 25`"
            " opens one, `drawdown customers` lists those there are",
        ) from None


def pages(door: Door, path: str, limit: int) -> Iterator[Any]:
    """The items of a door with pages, as far as they are asked for."""
    parameters = {"limit": str(max(1, min(PAGE, limit)))}
    while True:
        answer = door.get(path, parameters)
        yield from answer["data"]
        if not answer["has_more"]:
            return
        parameters["cursor"] = answer["next_cursor"]


def _show_wallet(row: Mapping[str, Any]) -> None:
    show(f"{row['customer']}  entry {row['sequence']}, {short_time(row['at'])}", "bold")
    show()
    accounts = row["accounts"]
    owing = any(_owes(account) for account in accounts)
    titles = ["asset", ">available", ">balance", ">held", ">granted", ">debited", ">lapsed"]
    if owing:
        titles += [">credit limit", ">credit used", ">overdrawn"]
    show_table(titles, [_account_row(account, owing) for account in accounts])
    if row["grants"]:
        show()
        show_table(
            ("grant", "category", ">left", ">of", "asset", ">priority", "expires", "pays for"),
            map(_grant_row, row["grants"]),
        )
    for grant in row["grants"]:
        if grant.get("recurrence") and not grant.get("succeeded"):
            show(f"{grant['id']} comes again {recurrence_text(grant)}")
    for each in row.get("subscriptions", []):
        show(f"{each['id']} is subscribed to {each['plan']}; next {short_time(each['next_at'])}")
    for asset in row.get("topups", []):
        show(f"{asset} has an auto top-up: `drawdown topup show {row['customer']}`")
    if row.get("state", "active") != "active":
        show(f"the wallet is {row['state']}", "yellow")
    if row.get("drawdown"):
        show(f"pays first as {row['drawdown']} has it")
    for asset, amounts in row.get("thresholds", {}).items():
        show(f"tells below {', '.join(amounts) or 'nothing'} {asset}")
    revenue, cost = row.get("revenue", "0"), row.get("cost", "0")
    if (revenue, cost) != ("0", "0"):
        show()
        show(f"revenue {revenue}, cost {cost}, margin {margin(revenue, cost)}")
    deferred = amount_text(deferred_revenue(decoded_wallet(encode(row))))
    breakage = row.get("breakage", "0")
    if (deferred, breakage) != ("0", "0"):
        show(f"deferred {deferred}, breakage {breakage}")


def _owes(account: Mapping[str, Any]) -> bool:
    return any(
        account.get(name, "0") != "0" for name in ("credit_limit", "credit_used", "overdrawn")
    )


def _account_row(account: Mapping[str, Any], owing: bool) -> list[object]:
    names = ["available", "balance", "held", "granted", "debited", "lapsed"]
    if owing:
        names += ["credit_limit", "credit_used", "overdrawn"]
    return [account["asset"], *(account.get(name, "0") for name in names)]


def _grant_row(grant: Mapping[str, Any]) -> tuple[object, ...]:
    expires = grant.get("expires_at")
    return (
        grant["id"],
        grant["category"],
        grant["remaining"],
        grant["amount"],
        grant["asset"],
        grant["priority"],
        short_time(expires) if expires else NEVER,
        scope_text(grant.get("scope")),
    )


def scope_text(scope: Mapping[str, Any] | None) -> str:
    """What a grant may pay for."""
    if not scope:
        return "anything"
    parts = list(scope.get("meters", ()))
    named = {name: "|".join(values) for name, values in scope.get("dimensions", {}).items()}
    return " ".join([*parts, pairs(named)]).strip() or "anything"


def recurrence_text(grant: Mapping[str, Any]) -> str:
    """How a grant comes again, and when next."""
    told = grant["recurrence"]
    count = told.get("count", 1)
    period = told["every"] if count == 1 else f"{count} {told['every']}s"
    zone = f" by the clock of {told['zone']}" if told.get("zone", "UTC") != "UTC" else ""
    left = f", {told['left']} more times" if told.get("left") is not None else ""
    kept = ", adding up" if told.get("mode") == "accumulate" else ""
    after = f"; next {short_time(grant['next_at'])}" if grant.get("next_at") else "; the last"
    return f"every {period}{zone}{kept}{left}{after}"


def margin(revenue: str, cost: str) -> str:
    """Revenue less cost, and its share of the revenue."""
    earned = amount_of(revenue)
    left = earned - amount_of(cost)
    share = f" ({Decimal(left) / earned * 100:.1f} %)" if earned else ""
    return f"{amount_text(left)}{share}"


def _entry_row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    data = entry["data"]
    return (
        data["sequence"],
        short_time(entry["time"]),
        entry_kind(entry),
        signed_amount(entry),
        data.get("after"),
        entry_about(entry),
    )


def _tell_age(position: Mapping[str, Any]) -> None:
    age_ms = position.get("stale_ms")
    if age_ms is None or age_ms > STALE_MS:
        old = "not known" if age_ms is None else f"{age_ms / 1000:.0f} s"
        tell(f"how old this may be: {old}; see `drawdown status`", style="yellow")


def _follow(door: Door, at: str, *, as_json: bool) -> None:
    """A line per account after each change, until interrupted."""
    for data in door.changes(f"{at}/stream"):
        row = decode_any(data)
        if "accounts" not in row:
            continue  # where it was read, not what
        if as_json:
            show_json(row)
            continue
        for account in row["accounts"]:
            show(
                f"{short_time(row['at'])}  entry {row['sequence']:<8}"
                f"{account['available']} {account['asset']} available"
            )


@app.command(
    epilog="""\b
Examples:
  drawdown customers
  drawdown customers --limit 1000 --json | jq -r '.[].customer'"""
)
def customers(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 100,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """List the customers and their balances, by id."""
    with Context().query(query) as door:
        found = list(islice(pages(door, "/v1/customers", limit + 1), limit + 1))
    more, rows = len(found) > limit, found[:limit]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(
            ("customer", ">available", ">balance", "asset", ">entries", "last"),
            [
                (
                    row["customer"],
                    account.get("available"),
                    account.get("balance"),
                    account.get("asset"),
                    row["sequence"],
                    short_time(row["at"]),
                )
                for row in rows
                for account in row["accounts"] or [{}]
            ],
        )
    else:
        tell("no customer yet: `drawdown grant acme 25` makes one")
    if more:
        tell(f"there are more: --limit {limit * 10}")
