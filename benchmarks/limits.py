"""What limits cost, and how near a balance can be: budgets beside none, and the replica.

    python -m benchmarks limits --json

One function a subject, each in the world of the others, in `SUBJECTS`:

- budgets (`benchmarks/budgets.py`): customers with five nested budgets beside customers without, in
  turns. `p50_ratio_to_no_limits` is how much longer a durable allow with a hold takes, at
  `--authorizations` a second over the Kafka path, median of `--runs` pairs of runs;
  `decisions_per_second_with_5_budgets` is how many are decided of a pile that came at once, from
  the first question to the last answer (`..._without`: of customers without).
- the replica (`benchmarks/replica.py`): a process with `--customers` balances in memory.
  `replica_microseconds` is the median of a balance, ten of them asked about every millisecond,
  while `--rate` changes a second are followed for `--seconds` (`..._first`: of the first of each
  ten, whose caches are cold; `..._alone`: with nothing to follow). `replica_lag_ms_p50` is from a
  change handed to a producer until it can be read, of which `written_ms_p50` passed until Kafka
  said that it had it. `rss_mb` is the whole process, Python and client with it. Broker, writer
  and replica share this machine; rows are written straight to `balances`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

from benchmarks import budgets, replica
from benchmarks.machine import machine
from benchmarks.world import World, measured

SUBJECTS: Final[tuple[Callable[[World, argparse.Namespace], dict[str, Any]], ...]] = (
    budgets.measure,
    replica.measure,
)


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks limits", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000, help="in the replica")
    parser.add_argument("--rate", type=int, default=20_000, help="changes a second")
    parser.add_argument("--seconds", type=float, default=20, help="of changes that are followed")
    parser.add_argument("--authorizations", type=int, default=300, help="a second, with holds")
    parser.add_argument("--runs", type=int, default=5, help="of each of a pair")
    parser.add_argument("--pile", type=int, default=10_000, help="authorizations at once")
    parser.add_argument("--budgeted", type=int, default=1_000, help="customers with budgets")
    parser.add_argument("--warm-up", type=float, default=60, help="seconds, before the first run")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    return measured(lambda world: run(world, told), as_json=told.json)


def run(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """All subjects, one after the other."""
    result: dict[str, Any] = {"machine": machine()}
    for subject in SUBJECTS:
        result |= subject(world, told)
    return result
