"""`drawdown demo`: the whole of it on this machine, on real traffic, with a proof at the end."""

from __future__ import annotations

import secrets
import signal
import sys
import time
from typing import Annotated

import typer
from rich.console import Console

from drawdown.cli.context import Context
from drawdown.cli.local import StackError
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, Steps, show_json, tell
from drawdown.cli.stack import Stack
from drawdown.stream.kafka import KafkaCluster

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  drawdown demo --keep                 look around afterwards
  drawdown demo --kill                 kill -9 settlement in the middle
  drawdown demo --json 2> /dev/null    one JSON object

Uses a local Kafka and services of its own in ~/.drawdown/demo; a configured
KAFKA_BOOTSTRAP_SERVERS is used instead, with topics of a new environment."""
)
def demo(
    seconds: Annotated[int, typer.Option(help="Length of the live play, 5 to 3600.")] = 20,
    kill: Annotated[
        bool, typer.Option("--kill", help="kill -9 settlement at a random moment; restart it.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """See it work: 8,819 real requests, priced, authorized and debited live, then proved.

    Exit code 1 if anything does not add up.
    """
    from drawdown.demo.play import DemoError
    from drawdown.demo.run import Demo, Doors

    if not 5 <= seconds <= 3600:
        raise CommandError("--seconds: 5 to 3600", USAGE)
    context = Context()
    configured = context.configured_kafka()
    home = context.config.home / "demo"
    config = context.config.model_copy(update={"home": home})
    for name in ("settlement_port", "gateway_port", "query_port"):
        config.model_fields_set.discard(name)  # ports of its own: another stack may run
    if configured is not None:
        context.kafka()  # somebody must be there
        config.environment = f"demo-{secrets.token_hex(3)}"
    console = Console(stderr=True, quiet=quiet, highlight=False)
    console.soft_wrap = not console.is_terminal  # a drawn table must fit
    steps = Steps(quiet)
    stack = Stack(config, configured)
    began = time.monotonic()
    stack.down(Steps(quiet=True))  # of an earlier demo that was kept
    stopping = _ending_stops_the_stack()
    try:
        tell("Starting a real Kafka and three services", quiet=quiet)
        stack.up(steps, fresh=configured is None)
        tell("", quiet=quiet)
        bootstrap = stack.home.bootstrap()
        cluster = configured or KafkaCluster(bootstrap or "")
        gateway, query = stack.home.service("gateway"), stack.home.service("query")
        key = stack.home.key()
        if gateway is None or query is None or key is None:
            raise StackError(f"the services ended again: see {stack.home.logs}")
        played = Demo(
            cluster,
            config.topics,
            Doors(gateway.url, query.url, key),
            console,
            seconds=seconds,
            kill=(lambda: _kill(stack)) if kill else None,
        )
        try:
            result = played.run()
        except DemoError as error:
            raise CommandError(f"{error} (logs: {stack.home.logs})") from None
        if keep:
            _look_around(stack, query.url, quiet=quiet)
    finally:
        steps.pause()
        if not keep or sys.exc_info()[0] is not None:
            stack.down(Steps(quiet=True))
        signal.signal(signal.SIGTERM, stopping)
    tell(
        f"\n[{'proved' if result.proved else 'NOT PROVED'}] in {time.monotonic() - began:.0f} s"
        + ("" if keep else "; `drawdown demo --keep` leaves it running to look around"),
        quiet=quiet,
        style="bold green" if result.proved else "bold red",
    )
    if not keep:
        tell("next: `drawdown up`, and the README's next section", quiet=quiet)
    if as_json:
        show_json(result.content())
    if not result.proved:
        raise typer.Exit(FAILED)


def _ending_stops_the_stack() -> signal.Handlers | int | None:
    """SIGTERM ends the demo as Ctrl-C does: nothing is left running. Returns the handler before."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, end)
    return before  # type: ignore[return-value]  # a Python handler is one too


def _kill(stack: Stack) -> None:
    """SIGKILL settlement, and start it again as a supervisor would."""
    service = stack.home.service("settlement")
    if service is None:
        raise StackError("settlement does not run")
    service.process.signal(signal.SIGKILL)
    service.process.wait(5)
    stack.up(Steps(quiet=True))


def _look_around(stack: Stack, query: str, *, quiet: bool) -> None:
    tell(
        f"\nIt runs on. To look around:\n"
        f"  export DRAWDOWN_HOME={stack.home.path}\n"
        "  drawdown customers\n"
        "  drawdown wallet cedar\n"
        "  drawdown explain cedar 100\n"
        "  drawdown tail balance-changes --limit 5\n"
        f"  {query}/wallets      (sign in with `drawdown keys show-local`)\n"
        "  drawdown down        when you are done",
        quiet=quiet,
    )
