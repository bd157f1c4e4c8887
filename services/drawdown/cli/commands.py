"""Commands to the gateway: their options, the wait for the decision, and what is said of it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.doors import Door, in_path
from drawdown.cli.outcome import UNREACHABLE, CommandError
from drawdown.cli.render import show
from drawdown.events.codec import encode
from drawdown.events.decisions import Decision

Reason = Annotated[str | None, typer.Option(help="Is kept in the entry.")]
Id = Annotated[
    str | None, typer.Option("--id", help="Names the command; the same again does nothing more.")
]


def decided(
    kind: str,
    customer: str,
    door_name: str,
    content: Mapping[str, Any],
    reason: str | None,
    command_id: str | None,
    gateway: str | None,
    *,
    put: bool = False,
) -> bytes:
    """Send a command about a customer to its door, `/v1/customers/<customer>/<door_name>`. The
    decision, byte for byte.

    `kind` begins the id of one that is given none; what is None in `content` is left out. Raises
    CommandError.
    """
    given.customer_id(customer)
    id_ = f"{kind}-{secrets.token_hex(8)}"
    if command_id is not None:
        id_ = given.identifier("--id", command_id)
    said = {**content, "reason": given.free_text("--reason", reason)}
    body = {"id": id_, **{name: value for name, value in said.items() if value is not None}}
    with Context().gateway(gateway) as door:
        return sent(door, f"/v1/customers/{in_path(customer)}/{door_name}", body, put=put)


def sent(door: Door, path: str, body: Mapping[str, Any], *, put: bool = False) -> bytes:
    """The decision about a command. Where none was had in time, says how to ask again without doing
    it twice. Raises CommandError."""
    try:
        if put:
            return door.put(path, body)
        return door.post_bytes(path, encode(body), "application/json")
    except CommandError as error:
        if error.code == UNREACHABLE:
            raise CommandError(
                f"{error.line} (it may have been booked: repeat it with --id {body['id']})",
                error.code,
            ) from None
        raise


def show_booked(decision: Decision) -> None:
    """Where the wallet stands after it."""
    if decision.balance is not None:
        show(f"balance  {decision.balance} {decision.asset}")
    show(f"entry    {decision.sequence}")
