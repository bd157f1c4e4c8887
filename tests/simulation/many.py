"""Many schedules on all processors: what the test run, the long form and reports of faults call."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from tests.simulation.schedules import crashes_of
from tests.simulation.search import Report, search, seeds

SLICE: Final = 200
FAILURES_MAX: Final = 20
"""Kept in a report; all are counted."""

Progress = Callable[[int], None]
"""Told how many schedules more were played."""


def simulated(
    first_seed: int,
    schedules: int,
    crashed_histories: int,
    *,
    processes: int | None = None,
    progress: Progress = lambda count: None,
) -> Report:
    """Play `schedules` random ones, from a seed on, and `crashed_histories` quiet histories with a
    crash at each of their moments (about 650 schedules each). Blocks until all are played; uses as
    many processes as there are processors unless told."""
    after = first_seed + schedules
    slices = range(first_seed, after, SLICE)
    tasks = [("seeds", at, min(SLICE, after - at)) for at in slices]
    tasks += [("crashes", at, 1) for at in range(first_seed, first_seed + crashed_histories)]
    report = Report()
    # Spawned, not forked: this process may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context) as pool:
        for future in as_completed([pool.submit(played, *task) for task in tasks]):
            found = future.result()
            report.add(found)
            del report.failures[FAILURES_MAX:]
            progress(found.schedules)
    return report


def played(kind: str, first: int, count: int) -> Report:
    """One task, in a process of the pool."""
    if kind == "seeds":
        return search(seeds(first, count))
    return search(
        (f"crash {number} of history {seed}", schedule)
        for seed in range(first, first + count)
        for number, schedule in enumerate(crashes_of(seed))
    )
