"""`drawdown keys` and `drawdown token`: who may use the HTTP doors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from drawdown import access
from drawdown.cli.context import Context
from drawdown.cli.outcome import USAGE, CommandError
from drawdown.cli.render import Json, Quiet, show, show_json, show_table, tell, time_text
from drawdown.events.base import timestamp_text
from drawdown.events.settings import ApiKey

app = typer.Typer(rich_markup_mode=None)
keys = typer.Typer(
    name="keys",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Create, list and revoke API keys.\n\nOnly a hash of a key is kept, on the topic"
    " `settings`: it is shown once, when it is made.",
)
app.add_typer(keys)

HOURS_MAX = 24 * 31


@keys.command(
    epilog="""\b
Examples:
  drawdown keys create --permission ingest --title "usage collector"
  drawdown keys create --permission authorize --permission read

\b
Permissions:
  ingest      report usage
  authorize   ask whether work may run
  read        read wallets and entries
  admin       all of it, and grants"""
)
def create(
    permission: Annotated[
        list[str], typer.Option(help="ingest, authorize, read or admin; repeat for more.")
    ],
    title: Annotated[str, typer.Option(help="What it is for.")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Create an API key and print it, this once."""
    if unknown := [name for name in permission if name not in access.PERMISSIONS]:
        raise CommandError(
            f"--permission: {unknown[0]!r} is none of {', '.join(access.PERMISSIONS)}", USAGE
        )
    if len(title) > 256:
        raise CommandError("--title: at most 256 characters", USAGE)
    context = Context()
    wanted = tuple(name for name in access.PERMISSIONS if name in permission)
    secret, record = access.new_key(wanted, datetime.now(UTC), title)
    access.write_setting(context.kafka(), context.config.topics, "api_key", record.id, record)
    if as_json:
        show_json({"id": record.id, "key": secret, "permissions": wanted, "title": title})
        return
    show(secret)
    tell(f"key {record.id} may {', '.join(wanted)}; it is not shown again", quiet=quiet)


@keys.command("list")
def list_(as_json: Json = False) -> None:
    """List the keys there are; their secrets are known to nobody but their owners."""
    context = Context()
    found = _keys(context)
    if as_json:
        show_json(
            [
                {
                    "id": key.id,
                    "permissions": key.permissions,
                    "title": key.title,
                    "created_at": timestamp_text(key.created_at),
                }
                for key in found
            ]
        )
        return
    show_table(
        ("id", "permissions", "created", "title"),
        [
            (
                key.id,
                ", ".join(key.permissions),
                time_text(timestamp_text(key.created_at)),
                key.title,
            )
            for key in found
        ],
    )


def _keys(context: Context) -> list[ApiKey]:
    settings = access.read_settings(context.kafka(), context.config.topics)
    settings.stop()
    return settings.keys()


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Of the key: see `keys list`.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Revoke a key: every service refuses it within a second."""
    context = Context()
    if key_id not in {key.id for key in _keys(context)}:
        raise CommandError(f"no key {key_id!r}: see `drawdown keys list`")
    access.write_setting(context.kafka(), context.config.topics, "api_key", key_id, None)
    if as_json:
        show_json({"revoked": key_id})
    tell(f"key {key_id} is revoked", quiet=quiet or as_json)
    local = context.home.key()
    if local is not None and local.removeprefix(access.KEY_PREFIX).partition("_")[0] == key_id:
        tell("it was the one in your home; `drawdown up` makes another", quiet=quiet)


@keys.command("show-local")
def show_local() -> None:
    """Print the key that `drawdown up` made.

    export DRAWDOWN_KEY=$(drawdown keys show-local)
    """
    context = Context()
    secret = context.home.key()
    if secret is None:
        raise CommandError(f"no key in {context.home.key_path}: `drawdown up` makes one")
    show(secret)


@app.command(
    epilog="""\b
Example:
  curl -H "Authorization: Bearer $(drawdown token acme -q)" \\
    http://127.0.0.1:8792/v1/customers/acme/wallet"""
)
def token(
    customer: Annotated[str, typer.Argument(help="The one customer it sees.")],
    hours: Annotated[float, typer.Option(help="How long it lives; at most 31 days.")] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a short-lived token for one customer and print it, this once.

    It reads that customer's wallet, and nothing else.
    """
    if not 0 < hours <= HOURS_MAX:
        raise CommandError(f"--hours: more than 0, at most {HOURS_MAX}", USAGE)
    if not 0 < len(customer) <= 128 or min(customer) < " ":
        raise CommandError("CUSTOMER: 1 to 128 characters, none of them control characters", USAGE)
    context = Context()
    secret, record = access.new_token(customer, datetime.now(UTC), timedelta(hours=hours))
    access.write_setting(
        context.kafka(), context.config.topics, "customer_token", record.id, record
    )
    expires = timestamp_text(record.expires_at)
    if as_json:
        show_json({"id": record.id, "token": secret, "customer": customer, "expires_at": expires})
        return
    show(secret)
    tell(f"sees {customer}, until {time_text(expires)}", quiet=quiet)
