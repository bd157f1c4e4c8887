"""`python -m tests.simulation`: search for a schedule after which something is wrong.

    python -m tests.simulation                              20,000 schedules
    python -m tests.simulation --schedules 1000000          hours
    python -m tests.simulation --seed 4711 --schedules 1    one again
    python -m tests.simulation --replay '{"partitions": 1, "steps": [...]}'

Exit code 0: nothing was wrong; 1: something was, and the smallest schedule that shows it is told.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from tests.simulation.many import simulated
from tests.simulation.search import Failure, Report, play, schedule_from, shrunk
from tests.simulation.verdict import INVARIANTS

messages = Console(stderr=True)


def main(
    seed: Annotated[int, typer.Option(help="The first seed.")] = 1,
    schedules: Annotated[int, typer.Option(help="Random schedules, a seed each.", min=0)] = 14_000,
    histories: Annotated[
        int | None,
        typer.Option(
            help="Quiet histories that are crashed at each of their moments, about 650 schedules"
            " each. Default one per 1,400 random schedules.",
            min=0,
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Default: all processors.")] = None,
    replay: Annotated[str | None, typer.Option(help="A schedule as a failure prints it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Simulate settlement processes, and judge what they wrote."""
    if replay is not None:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        history = play(schedule_from(replay))
        for number, found in history.wrongs.items():
            for what in found:
                print(f"{number}: {what}")
        raise typer.Exit(1 if history.wrongs else 0)
    crashed = schedules // 1_400 if histories is None else histories
    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=messages,
    ) as progress:
        task = progress.add_task("schedules", total=schedules + 650 * crashed)
        report = simulated(
            seed,
            schedules,
            crashed,
            processes=processes,
            progress=lambda count: progress.advance(task, count),
        )
        progress.update(task, total=report.schedules)
    tell(report, as_json)
    raise typer.Exit(1 if report.violations else 0)


def tell(report: Report, as_json: bool) -> None:
    """The report on stdout, and the smallest form of the first failure on stderr."""
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print(f"{report.schedules} schedules, {report.records} records, seconds of processor time:")
        print(f"{report.seconds:.0f}; {sum(report.faults.values())} faults and crashes")
        for number, says in INVARIANTS.items():
            checked, wrong = report.checked[number], report.violations[number]
            print(f"{number:>3} {'not shown' if not checked else wrong:>9} {checked:>9}  {says}")
    if report.failures:
        first: Failure = min(report.failures, key=lambda failure: len(failure.schedule.steps))
        messages.print(shrunk(first).described(), markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
