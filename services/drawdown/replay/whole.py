"""All partitions of an environment: replayed or verified side by side, and added up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from drawdown.events.catalogue import Environment
from drawdown.replay import processes
from drawdown.replay.again import Counts
from drawdown.replay.differences import Difference
from drawdown.replay.job import Job
from drawdown.replay.left import FORWARDED_MAX
from drawdown.replay.processes import Told, Work
from drawdown.replay.replay import Replayed, StoreCompared, replay_partition
from drawdown.replay.verify import Verified, verify_partition
from drawdown.settlement.service import partitions_of
from drawdown.stream.ports import Cluster

T = TypeVar("T", Replayed, Verified)


class ReplayReport(msgspec.Struct, frozen=True):
    """What the replay of an environment found."""

    environment: str
    entries: int
    entries_per_second: int
    """By the clock on the wall, all processes together."""
    fold_entries_per_second: int
    """Of one process: entries by the time its folds took."""
    customers: int
    rows: int
    rows_compared: int
    stores: list[StoreCompared]
    differences: int
    first: list[Difference]
    partitions: list[Replayed]
    seconds: float


class VerifyReport(msgspec.Struct, frozen=True):
    """What the verification of an environment found."""

    environment: str
    entries_per_second: int
    verify_entries_per_second: int
    """Of one process: entries by the time its partitions took."""
    counts: Counts
    differences: int
    first: list[Difference]
    partitions: list[Verified]
    seconds: float


def replay(
    cluster: Cluster,
    environment: Environment,
    *,
    partitions: Sequence[int] | None = None,
    stores: Sequence[Path] = (),
    scratch: Path | None = None,
    on_disk: bool = True,
    at_once: int = 1,
    told: Told | None = None,
) -> ReplayReport:
    """Rebuild all partitions, or those named, and compare. See `replay_partition`, `processes`.

    Rows are rebuilt in a directory of their own below `scratch`, or in memory.
    """
    started = time.monotonic()
    found = _run(
        replay_partition, cluster, environment, partitions, stores, scratch, on_disk, at_once, told
    )
    seconds = time.monotonic() - started
    entries = sum(one.entries for one in found)
    return ReplayReport(
        environment=environment.name,
        entries=entries,
        entries_per_second=_rate(entries, seconds),
        fold_entries_per_second=_rate(entries, sum(one.fold_seconds for one in found)),
        customers=sum(one.customers for one in found),
        rows=sum(one.rows for one in found),
        rows_compared=sum(one.rows_compared for one in found),
        stores=[store for one in found for store in one.stores],
        differences=sum(one.differences for one in found),
        first=[difference for one in found for difference in one.first],
        partitions=found,
        seconds=round(seconds, 3),
    )


def verify(
    cluster: Cluster,
    environment: Environment,
    *,
    partitions: Sequence[int] | None = None,
    scratch: Path | None = None,
    on_disk: bool = True,
    at_once: int = 1,
    told: Told | None = None,
) -> VerifyReport:
    """Decide all partitions again, or those named. See `verify_partition`, `processes`."""
    started = time.monotonic()
    found = _run(
        verify_partition, cluster, environment, partitions, (), scratch, on_disk, at_once, told
    )
    seconds = time.monotonic() - started
    names = [field.name for field in msgspec.structs.fields(Counts)]
    counts = Counts(**{name: sum(getattr(one.counts, name) for one in found) for name in names})
    first = [difference for one in found for difference in one.first]
    lost = _not_arrived(found) if partitions is None else []
    return VerifyReport(
        environment=environment.name,
        entries_per_second=_rate(counts.entries, seconds),
        verify_entries_per_second=_rate(counts.entries, sum(one.seconds for one in found)),
        counts=counts,
        differences=sum(one.differences for one in found) + len(lost),
        first=first + lost,
        partitions=found,
        seconds=round(seconds, 3),
    )


def _run(
    work: Work[T],
    cluster: Cluster,
    environment: Environment,
    partitions: Sequence[int] | None,
    stores: Sequence[Path],
    scratch: Path | None,
    on_disk: bool,
    at_once: int,
    told: Told | None,
) -> list[T]:
    count, cluster_id = partitions_of(cluster, environment)
    with tempfile.TemporaryDirectory(prefix="drawdown-replay-", dir=scratch) as directory:
        jobs = [
            Job(
                environment.name,
                number,
                count,
                cluster_id,
                directory if on_disk else None,
                tuple(str(path) for path in stores),
            )
            for number in (range(count) if partitions is None else partitions)
        ]
        return processes.run(work, jobs, cluster, told or _nobody, at_once)


def _nobody(partition: int, done: int, whole: int) -> None:
    """Nobody wants to know how far it is."""


def _rate(count: int, seconds: float) -> int:
    return round(count / seconds) if seconds > 0 else 0


def _not_arrived(found: Sequence[Verified]) -> list[Difference]:
    """Records that were moved from one partition and are on no other."""
    most = max(len(names) for one in found for names in (one.forwarded_in, one.forwarded_out))
    if most >= FORWARDED_MAX or not all(one.whole for one in found):
        return []  # not all are known by name; or they may stand undecided yet
    arrived = {origin for one in found for origin in one.forwarded_in}
    return [
        Difference(
            what="forwarded",
            partition=one.partition,
            detail=f"{origin}: moved to the partition of its key, and not there",
        )
        for one in found
        for origin in one.forwarded_out
        if origin not in arrived
    ]


def contents(report: Any) -> Any:
    """A report as JSON."""
    return msgspec.to_builtins(report)
