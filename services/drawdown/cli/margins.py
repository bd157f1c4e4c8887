"""`drawdown margins`: what each task, feature, agent or model of a customer earned and cost."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.given import Customer, QueryUrl
from drawdown.cli.history import newest_first
from drawdown.cli.render import Json, show, show_json, show_table
from drawdown.cli.wallet import margin
from drawdown.events.base import milliseconds
from drawdown.events.codec import decode_entry
from drawdown.events.numbers import amount_text
from drawdown.ledger.margins import Margin, margins

app = typer.Typer(rich_markup_mode=None)

SHOWN_MAX: Final = 50


@app.command(
    "margins",
    epilog="""\b
Examples:
  drawdown margins acme model
  drawdown margins acme conversation --from 2026-11-01T00:00:00Z --json
Model calls that are priced at zero and name the conversation are costs of it.""",
)
def show_margins(
    customer: Customer,
    dimension: Annotated[str, typer.Argument(metavar="DIMENSION", help="Whose values.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Booked then or later, RFC 3339.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Booked before this.")] = None,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Sum a customer's usage by a dimension: charges, recognized revenue, cost and margin.

    The worst margin first.
    """
    given.customer_id(customer)
    since_ms = 0 if from_ is None else milliseconds(given.time("--from", from_))
    until_ms = 1 << 62 if to is None else milliseconds(given.time("--to", to))
    entries = []
    with Context().query(query) as door:
        for value in newest_first(door, customer):
            entry = decode_entry(value)
            at_ms = milliseconds(entry.time)
            if at_ms < since_ms:
                break
            if at_ms < until_ms:
                entries.append(entry)
    found = sorted(
        margins(reversed(entries), dimension).items(), key=lambda item: (item[1].margin, item[0])
    )
    if as_json:
        show_json(
            {
                "customer": customer,
                "dimension": dimension,
                "values": [_as_json(value, of) for value, of in found],
            }
        )
        return
    show_table(
        (dimension, ">uses", ">charged", ">revenue", ">cost", ">margin"),
        [
            (
                value,
                of.uses,
                ", ".join(f"{amount_text(amount)} {asset}" for asset, amount in of.charged.items()),
                amount_text(of.revenue),
                amount_text(of.cost),
                margin(amount_text(of.revenue), amount_text(of.cost)),
            )
            for value, of in found[:SHOWN_MAX]
        ],
    )
    if len(found) > SHOWN_MAX:
        show(f"and {len(found) - SHOWN_MAX} more: see --json")


def _as_json(value: str, of: Margin) -> dict[str, Any]:
    return {
        "value": value,
        "uses": of.uses,
        "charged": {asset: amount_text(amount) for asset, amount in of.charged.items()},
        "revenue": amount_text(of.revenue),
        "cost": amount_text(of.cost),
        "margin": amount_text(of.margin),
    }
