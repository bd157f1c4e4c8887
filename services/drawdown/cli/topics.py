"""`drawdown topics`: made from the catalogue, and checked against it."""

from __future__ import annotations

from typing import Annotated

import typer

from drawdown import topics
from drawdown.cli.context import Context
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, show_json, show_table, tell
from drawdown.events.catalogue import PARTITIONS_DEFAULT, TOPICS

app = typer.Typer(
    name="topics",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Create, check and list the topics.\n\nWhich they are, and how they must be configured, is"
    " the catalogue's; their names begin with the environment (DRAWDOWN_ENVIRONMENT).",
)


@app.command(
    epilog="""\b
Examples:
  drawdown topics create
  drawdown topics create --partitions 12 --replication 3
  drawdown topics create --mend      also set what is configured otherwise"""
)
def create(
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help=f"Of the customer topics, for life; default {PARTITIONS_DEFAULT}.",
        ),
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, max=10, help="Default: the cluster's.")
    ] = None,
    mend: Annotated[
        bool, typer.Option("--mend", help="Set wrong properties of existing topics right.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Create the topics that are missing.

    What exists is left as it is, unless --mend. A number of partitions is never changed: it decides
    which partition a customer is on.
    """
    context = Context()
    environment = context.config.topics
    admin = context.kafka().admin()
    existing = topics.customer_partitions(admin, environment)
    if partitions is not None and existing not in (None, partitions):
        raise CommandError(
            f"--partitions: the customer topics of {environment.name!r} have {existing}, for life;"
            " another number needs another DRAWDOWN_ENVIRONMENT",
            USAGE,
        )
    created = topics.create(admin, environment, partitions or PARTITIONS_DEFAULT, replication)
    mended = topics.mend(admin, environment) if mend else []
    left = topics.check(admin, environment)
    if as_json:
        show_json({"created": created, "mended": mended, "differences": len(left)})
    for name in created:
        tell(f"created  {name}", quiet=quiet or as_json)
    for change in mended:
        tell(f"mended   {change}", quiet=quiet or as_json)
    if left:
        raise CommandError(
            f"{len(left)} things are not as they should be: see `drawdown topics check`"
        )
    if not created and not mended:
        tell("all topics are there, as they should be", quiet=quiet or as_json)


@app.command()
def check(as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare the topics with the catalogue; exit code 1 if they differ."""
    context = Context()
    found = topics.check(context.kafka().admin(), context.config.topics)
    if as_json:
        show_json(
            [
                {"topic": d.topic, "what": d.what, "is": d.is_, "should_be": d.should_be}
                | {"fix": d.fix}
                for d in found
            ]
        )
    elif found:
        show_table(
            ("topic", "what", "is", "should be", "fix"),
            [(d.topic, d.what, d.is_, d.should_be, d.fix) for d in found],
        )
    else:
        tell("all topics are there, as they should be", quiet=quiet)
    if found:
        raise typer.Exit(FAILED)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the topics of the environment: what each holds, and for how long."""
    context = Context()
    environment = context.config.topics
    counts = topics.partition_counts(context.kafka().admin())
    rows = [
        {
            "topic": environment.topic(topic),
            "partitions": counts.get(environment.topic(topic)),
            "cleanup": topic.cleanup,
            "retention_days": None
            if topic.retention_ms is None
            else topic.retention_ms // 86_400_000,
            "holds": topic.holds,
        }
        for topic in TOPICS
    ]
    if as_json:
        show_json(rows)
        return
    show_table(
        ("topic", ">partitions", "cleanup", ">kept", "holds"),
        [
            (
                row["topic"],
                "missing" if row["partitions"] is None else row["partitions"],
                row["cleanup"],
                "for ever" if row["retention_days"] is None else f"{row['retention_days']} d",
                row["holds"],
            )
            for row in rows
        ],
    )
