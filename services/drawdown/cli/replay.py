"""`drawdown replay` and `drawdown verify`: the proof that every digit follows from the journal, and
every entry and decision from what was asked."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from drawdown.cli.context import Context
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, counted, show, show_json, show_table, tell
from drawdown.replay import whole
from drawdown.replay.differences import Difference
from drawdown.replay.processes import PartitionError
from drawdown.replay.rebuild import TooManyError
from drawdown.settlement.service import PartitionsError, partitions_of
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.partition_log import LogError

app = typer.Typer(rich_markup_mode=None)

SHOWN_MAX: Final = 20

Partition = Annotated[
    list[int] | None, typer.Option("--partition", min=0, help="Only this one; repeatable.")
]
Processes = Annotated[
    int | None,
    typer.Option("--processes", min=1, max=256, help="Partitions at a time; default the cores."),
]
Scratch = Annotated[
    Path | None,
    typer.Option(
        "--scratch", file_okay=False, exists=True, help="Where rows are rebuilt, for a while."
    ),
]


@app.command(
    epilog="""\b
Examples:
  drawdown replay
  drawdown replay --stores /var/lib/drawdown/stores/live   of settlement on this machine
  drawdown replay --json | jq .differences"""
)
def replay(
    stores: Annotated[
        list[Path] | None,
        typer.Option("--stores", help="With settlement's stores; default those in DRAWDOWN_HOME."),
    ] = None,
    partition: Partition = None,
    processes: Processes = None,
    scratch: Scratch = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rebuild every row from the journal alone, and compare it with `balances` and with the stores
    of settlement, byte for byte; exit code 1 if anything differs.

    Nothing is written but to a scratch directory, and settlement may run meanwhile.
    """
    context = Context()
    config = context.config
    for directory in stores or ():
        if not directory.is_dir():
            raise CommandError(f"--stores: {directory} is no directory", USAGE)
    places = stores or [config.home.expanduser() / "stores" / config.environment]
    cluster = context.kafka()
    with expected(), Bar("replay", quiet=quiet) as bar:
        report = whole.replay(
            cluster,
            config.topics,
            partitions=_partitions(cluster, context, partition),
            stores=places,
            scratch=scratch,
            at_once=processes or os.cpu_count() or 1,
            told=bar.told,
        )
    if as_json:
        show_json(whole.contents(report))
        _end(report.differences)
    show_table(
        ("partition", ">entries", ">customers", ">rows", ">compared", ">differences"),
        [
            (p.partition, p.entries, p.customers, p.rows, p.rows_compared, p.differences)
            for p in report.partitions
        ],
    )
    compared = [store for store in report.stores if store.not_compared is None]
    for store in report.stores:
        if store.not_compared is not None:
            tell(f"not compared: {store.not_compared}", quiet=quiet, style="yellow")
    if not report.stores:
        where = ", ".join(str(place) for place in places)
        tell(f"no store of settlement is in {where}: compared with balances only", quiet=quiet)
    tell(
        f"{report.entries:,} entries in {report.seconds:.1f} s"
        f" ({report.entries_per_second:,} a second)",
        quiet=quiet,
    )
    _show(report.first, report.differences)
    if not report.differences:
        with_stores = f" and in {counted(len(compared), 'store')}" if compared else ""
        show(
            f"{report.rows:,} rows rebuilt: each is on {config.topics.name}.balances{with_stores},"
            " byte for byte",
            "bold green",
        )
    _end(report.differences)


@app.command(
    epilog="""\b
Examples:
  drawdown verify
  drawdown verify --partition 2 --json"""
)
def verify(
    partition: Partition = None,
    processes: Processes = None,
    scratch: Scratch = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decide everything again, in the journal's order, and compare each entry and each decision,
    denials too; exit code 1 if anything differs.

    Every record settlement has taken must be an entry, a decision, a dead letter or a duplicate.
    Causes that are no longer on their topic are counted, not decided. Nothing is written but to a
    scratch directory, and settlement may run meanwhile.
    """
    context = Context()
    cluster = context.kafka()
    with expected(), Bar("verify", quiet=quiet) as bar:
        report = whole.verify(
            cluster,
            context.config.topics,
            partitions=_partitions(cluster, context, partition),
            scratch=scratch,
            at_once=processes or os.cpu_count() or 1,
            told=bar.told,
        )
    if as_json:
        show_json(whole.contents(report))
        _end(report.differences)
    counts = report.counts
    lines = [
        ("entries", counts.entries, "on the journal"),
        ("  decided again", counts.decided_again, f"{counts.timers:,} of them timers"),
        ("  cause gone", counts.causes_gone, "folded and checked, not decided again"),
        ("decisions", counts.decisions, f"decided again, {counts.denials:,} of them denials"),
        ("  gone", counts.decisions_gone, "they, or what they are about: not decided again"),
        ("  clock or lag", counts.as_recorded, "what they say of it is taken as written"),
        ("duplicates", counts.duplicates, "usage that was debited before"),
        ("dead letters", counts.dead_letters, "refused again, for the same reason"),
        ("moved", counts.forwarded, "to the partition of their key"),
    ]
    if counts.earlier_books:
        lines.append(("earlier prices", counts.earlier_books, "decided before a book was known"))
    if counts.not_followed:
        lines.append(("not followed", counts.not_followed, "behind the first that does not follow"))
    show_table(("what", ">count", ""), [(a, f"{b:,}", c) for a, b, c in lines])
    tell(
        f"{counts.entries:,} entries in {report.seconds:.1f} s"
        f" ({report.entries_per_second:,} a second)",
        quiet=quiet,
    )
    _show(report.first, report.differences)
    if not report.differences:
        show("every entry and every decision is as it is decided again", "bold green")
    _end(report.differences)


def _partitions(
    cluster: KafkaCluster, context: Context, asked: Sequence[int] | None
) -> list[int] | None:
    if not asked:
        return None
    count, _ = partitions_of(cluster, context.config.topics)
    for number in asked:
        if number >= count:
            raise CommandError(f"--partition: {number}: there are 0 to {count - 1}", USAGE)
    return sorted(set(asked))


def _show(first: Sequence[Difference], count: int) -> None:
    """The differences, in words."""
    if not count:
        return
    show()
    show(f"{counted(count, 'difference')}:", "bold red")
    for difference in first[:SHOWN_MAX]:
        show(f"  {difference.what}: {difference.detail}")
    if count > SHOWN_MAX:
        show(f"  and {count - min(SHOWN_MAX, len(first)):,} more")


def _end(differences: int) -> None:
    raise typer.Exit(FAILED if differences else 0)


@contextmanager
def expected() -> Iterator[None]:
    """What can be wrong with topics is one line."""
    try:
        yield
    except (LogError, TooManyError, PartitionError, PartitionsError) as error:
        raise CommandError(str(error)) from error


class Bar:
    """Entries done of those there are, on a terminal's stderr; with the rate."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} a second"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=None, rate="-")
        self._done: dict[int, tuple[int, int]] = {}
        self._began = time.monotonic()

    def told(self, partition: int, done: int, whole: int) -> None:
        """A partition's progress."""
        self._done[partition] = done, whole
        all_done = sum(each for each, _ in self._done.values())
        passed = max(time.monotonic() - self._began, 0.001)
        self._progress.update(
            self._task,
            completed=all_done,
            total=sum(each for _, each in self._done.values()),
            rate=f"{all_done / passed:,.0f}",
        )

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()
