"""`drawdown up`, `down` and `status`: the stack on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from drawdown.cli.context import Context
from drawdown.cli.local import READY
from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, Steps, show_json, show_table, state_text, tell
from drawdown.cli.stack import Part, Stack

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  drawdown up                     one broker, three services
  drawdown up --brokers 3         three brokers, for failover
  drawdown up --fresh             delete the local data first
  drawdown up --broker-only       then e.g. `drawdown settlement`

A configured KAFKA_BOOTSTRAP_SERVERS is used instead of a local Kafka."""
)
def up(
    brokers: Annotated[
        int | None, typer.Option(help="1 or 3 brokers; default 1, or as before.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Kafka's port; default 9092 if free.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the local data first.")] = False,
    broker_only: Annotated[
        bool, typer.Option("--broker-only", help="Kafka, topics and a key, but no services.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Start Kafka, settlement, gateway and query.

    What runs already is left running. Data is kept between starts, in ~/.drawdown or DRAWDOWN_HOME.
    """
    context = Context()
    configured = context.configured_kafka()
    if context.config.topics.is_scenario:
        raise CommandError(
            f"DRAWDOWN_ENVIRONMENT: {context.config.environment!r} takes its times from the"
            " producers and is not for real money; choose another name",
            USAGE,
        )
    if configured is not None and (brokers or port or fresh or broker_only):
        raise CommandError(
            "--brokers, --port, --fresh and --broker-only are for a local Kafka; unset"
            " KAFKA_BOOTSTRAP_SERVERS to have one",
            USAGE,
        )
    if brokers not in (None, 1, 3):
        raise CommandError("--brokers: choose 1 or 3", USAGE)
    if configured is not None:
        context.kafka()  # somebody must be there
    stack = Stack(context.config, configured)
    steps = Steps(quiet or as_json)
    try:
        started = stack.up(steps, brokers=brokers, port=port, fresh=fresh, services=not broker_only)
    finally:
        steps.pause()
    if as_json:
        show_json(_status(context, stack.status()))
    elif started:
        _next(context, broker_only=broker_only, quiet=quiet)
    else:
        tell("all of it runs already", quiet=quiet)


def _next(context: Context, *, broker_only: bool, quiet: bool) -> None:
    """Where to go from here."""
    if broker_only:
        tell("\nnext: `drawdown settlement`, `drawdown gateway`, `drawdown query`", quiet=quiet)
        return
    gateway = context.home.service("gateway")
    address = gateway.url if gateway else ""
    tell(
        "\nnext:\n"
        "  drawdown price-book import-litellm --version v1 --markup 30% --publish\n"
        "  drawdown grant acme 25\n"
        "  export DRAWDOWN_KEY=$(drawdown keys show-local)      for curl and your own code\n"
        f'  curl -H "Authorization: Bearer $DRAWDOWN_KEY" {address}/v1/events ...',
        quiet=quiet,
    )


@app.command()
def down(as_json: Json = False, quiet: Quiet = False) -> None:
    """Stop what `up` started; data is kept.

    Query, gateway and settlement finish what they have in hand, then Kafka stops.
    """
    context = Context()
    steps = Steps(quiet or as_json)
    try:
        ended = Stack(context.config).down(steps)
    finally:
        steps.pause()
    if as_json:
        show_json({"stopped": ended})
    elif not ended:
        tell(f"nothing of {context.home.path} runs", quiet=quiet)


@app.command()
def status(as_json: Json = False) -> None:
    """Show the processes, their addresses and health.

    Exit code 0 if all is ready, 1 if something is not, 4 if nothing runs.
    """
    context = Context()
    configured = context.configured_kafka()
    parts = Stack(context.config).status()
    if configured is not None:
        parts = [part for part in parts if not part.name.startswith("kafka")]
        parts.insert(0, _configured_part(context, configured.bootstrap))
    if as_json:
        show_json(_status(context, parts))
    elif parts:
        show_table(
            ("process", ">pid", "address", "health", ">memory"),
            [
                (
                    part.name,
                    part.pid,
                    part.address,
                    state_text("ready" if part.ready else "problem", part.health),
                    None if part.rss_bytes is None else f"{part.rss_bytes >> 20} MiB",
                )
                for part in parts
            ],
        )
    if not any(part.ready for part in parts):
        tell(f"nothing of {context.home.path} runs: `drawdown up` starts it", quiet=as_json)
        raise typer.Exit(UNREACHABLE)
    if not all(part.ready for part in parts):
        raise typer.Exit(FAILED)


def _configured_part(context: Context, bootstrap: str) -> Part:
    try:
        context.kafka()
    except CommandError:
        return Part("kafka", None, bootstrap, "does not answer")
    return Part("kafka", None, bootstrap, READY)


def _status(context: Context, parts: list[Part]) -> dict[str, object]:
    return {
        "home": str(context.home.path),
        "environment": context.config.environment,
        "ready": bool(parts) and all(part.ready for part in parts),
        "processes": [
            {
                "name": part.name,
                "pid": part.pid,
                "address": part.address,
                "health": part.health,
                "rss_bytes": part.rss_bytes,
            }
            for part in parts
        ],
    }
