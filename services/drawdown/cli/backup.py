"""`drawdown backup`: an environment as files, and from files on another cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from drawdown.cli.context import Context
from drawdown.cli.render import Json, Quiet, show_json, show_table, tell
from drawdown.settlement import backup

app = typer.Typer(
    name="backup",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Copy an environment to files, and from files to another cluster.\n\nThe journal,"
    " balances, price books and settings, and what of the inputs was not decided yet. Settlement is"
    " stopped meanwhile.",
)

Url = Annotated[str, typer.Argument(help="A path or fsspec URL, one per backup.")]


@app.command(
    epilog="""\b
Example, a move to another cluster:
  drawdown backup create /backups/live-1        settlement is stopped
  KAFKA_BOOTSTRAP_SERVERS=new:9092 drawdown topics create --partitions 4
  KAFKA_BOOTSTRAP_SERVERS=new:9092 drawdown backup restore /backups/live-1"""
)
def create(
    url: Url,
    history: Annotated[
        bool, typer.Option("--history", help="Decisions, dead letters and notices as well.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy the environment to files."""
    context = Context()
    made = backup.create(
        context.kafka(),
        context.config.topics,
        url,
        history=history,
        told=_told(quiet or as_json),
    )
    _show(made, as_json)


@app.command()
def verify(url: Url, as_json: Json = False) -> None:
    """Compare every byte with what was written, and read every record."""
    manifest = backup.manifest_of(url)
    backup.verify(url, manifest)
    _show(manifest, as_json)


@app.command()
def restore(url: Url, as_json: Json = False, quiet: Quiet = False) -> None:
    """Write a backup into an environment whose topics are empty.

    Create them first, with as many partitions. Every byte is compared before anything is written.
    Do not start settlement before this has ended.
    """
    context = Context()
    restored = backup.restore(
        context.kafka(), context.config.topics, url, told=_told(quiet or as_json)
    )
    _show(restored, as_json)


def _told(quiet: bool) -> Callable[[str], None]:
    return lambda line: tell(line, quiet=quiet)


def _show(manifest: backup.Manifest, as_json: bool) -> None:
    records: dict[str, int] = {}
    for part in manifest.parts:
        records[part.topic] = records.get(part.topic, 0) + part.records
    if as_json:
        show_json(
            {
                "environment": manifest.environment,
                "cluster": manifest.cluster,
                "partitions": manifest.partitions,
                "created_at": manifest.created_at,
                "records": records,
            }
        )
        return
    show_table(("topic", ">records"), list(records.items()))
