"""`drawdown balance`: what a customer had at a moment, from the journal alone."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.given import Customer
from drawdown.cli.outcome import CommandError
from drawdown.cli.render import Json, Quiet, show, show_json, show_table, time_text
from drawdown.cli.replay import Bar, expected
from drawdown.events.base import EPOCH, MILLISECOND, at_text
from drawdown.events.numbers import amount_text
from drawdown.ledger.drawdown import spendable
from drawdown.ledger.values import NEVER, Grant
from drawdown.replay.balance import Then, wallet_at

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  drawdown balance acme --at 2026-10-01T00:00:00Z
  drawdown balance acme --at 17          after its 17th entry
  drawdown balance acme --json"""
)
def balance(
    customer: Customer,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME|SEQUENCE", help="Default: after the last entry."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what a customer had after an entry, or at a time, per asset, grant and hold.

    The journal is read from its beginning and folded; what it says is checked on the way.
    """
    given.customer_id(customer)
    sequence = at_ms = None
    if at is not None and re.fullmatch(r"[0-9]{1,16}", at):
        sequence = int(at)
    elif at is not None:
        at_ms = (given.time("--at", at) - EPOCH) // MILLISECOND
    context = Context()
    cluster = context.kafka()
    with expected(), Bar("read", quiet=quiet) as bar:
        then = wallet_at(
            cluster,
            context.config.topics,
            customer,
            sequence=sequence,
            at_ms=at_ms,
            told=lambda done, whole: bar.told(0, done, whole),
        )
    if then is None:
        when = "" if at is None else f" at {at}"
        raise CommandError(f"CUSTOMER: {customer!r} had no wallet{when}")
    if sequence is not None and then.wallet.sequence < sequence:
        raise CommandError(
            f"--at: {customer!r} has {then.wallet.sequence} entries, and no {sequence}"
        )
    # At a time, a grant may have expired whose lapse is an entry a moment later.
    content = _content(then, then.wallet.at_ms if at_ms is None else at_ms)
    if as_json:
        show_json(content)
    else:
        _show(content)


def _content(then: Then, at_ms: int) -> dict[str, Any]:
    wallet = then.wallet
    return {
        "customer": wallet.customer,
        "at": at_text(at_ms),
        "sequence": wallet.sequence,
        "entry_at": at_text(wallet.at_ms),
        "digest": wallet.digest,
        "partition": then.partition,
        "offset": then.offset,
        "accounts": [
            {
                "asset": account.asset,
                "available": amount_text(spendable(wallet, account, at_ms)),
                "balance": account.balance_text,
                "held": amount_text(account.held),
                "granted": amount_text(account.granted),
                "debited": amount_text(account.debited),
                "lapsed": amount_text(account.lapsed),
                "credit_limit": amount_text(account.credit_limit),
                "credit_used": amount_text(account.credit_used),
                "overdrawn": amount_text(account.overdrawn),
            }
            for account in wallet.accounts.values()
        ],
        "grants": [_grant(grant, at_ms) for grant in wallet.grants],
        "holds": [
            {
                "id": hold.id,
                "asset": hold.asset,
                "held": amount_text(hold.held),
                "captured": amount_text(hold.captured),
                "expires_at": at_text(hold.expires_ms),
            }
            for hold in then.holds
        ],
    }


def _grant(grant: Grant, at_ms: int) -> dict[str, Any]:
    terms = grant.terms
    return {
        "id": terms.id,
        "asset": terms.asset,
        "category": terms.category,
        "remaining": amount_text(grant.remaining),
        "held": amount_text(grant.held),
        "amount": amount_text(terms.amount),
        "expires_at": None if terms.expires_ms == NEVER else at_text(terms.expires_ms),
        "in_effect": grant.in_effect(at_ms),
    }


def _show(content: dict[str, Any]) -> None:
    show(f"{content['customer']}  {time_text(content['at'])}", "bold")
    show(
        f"after entry {content['sequence']} of {time_text(content['entry_at'])}, digest"
        f" {content['digest'][:12]}..."
    )
    show()
    show_table(
        ("asset", ">available", ">balance", ">held", ">granted", ">debited", ">lapsed"),
        [
            [account[name] for name in ("asset", "available", "balance", "held")]
            + [account[name] for name in ("granted", "debited", "lapsed")]
            for account in content["accounts"]
        ],
    )
    if content["grants"]:
        show()
        show_table(
            ("grant", "category", ">left", ">held", ">of", "asset", "expires", "in effect"),
            [
                (
                    *(grant[name] for name in ("id", "category", "remaining", "held", "amount")),
                    grant["asset"],
                    time_text(grant["expires_at"]) if grant["expires_at"] else "never",
                    "yes" if grant["in_effect"] else "no",
                )
                for grant in content["grants"]
            ],
        )
    if content["holds"]:
        show()
        show_table(
            ("hold", ">held", ">captured", "asset", "expires"),
            [
                (
                    *(hold[name] for name in ("id", "held", "captured", "asset")),
                    time_text(hold["expires_at"]),
                )
                for hold in content["holds"]
            ],
        )
