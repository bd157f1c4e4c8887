"""How fast one process rebuilds rows from the journal, and decides everything again.

    python -m benchmarks replay --json

One broker, one settlement process that debits `--events` of `--customers`, then stops. Then, one
partition after the other in this process: `fold_entries_per_second` reads the journal, checks every
entry and folds it into a store on disk; `verify_entries_per_second` reads journal, inputs,
decisions and dead letters, decides every cause and compares. `mismatches` is what either found.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.machine import machine
from benchmarks.throughput import Wallets, start_load
from benchmarks.world import ENVIRONMENT, World, measured, say
from drawdown.replay import whole
from drawdown.stream.loop import settle_down


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks replay", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)

    def run(world: World) -> dict[str, Any]:
        world.start("settlement")
        fill(world, told.customers, told.events)
        world.stop("settlement")
        return {"machine": machine(), **measure(world)}

    return measured(run, as_json=told.json)


def fill(world: World, customers: int, events: int) -> None:
    """A journal to replay."""
    Wallets(world).up_to(customers)
    say(f"{events:,} events")
    load = ("--customers", str(customers), "--events", str(events), "--source", "replay")
    wanted = world.debits() + events
    start_load(world, "pile", *load).wait()
    world.until(lambda: world.debits() >= wanted, "debits", 1800)


def measure(world: World) -> dict[str, Any]:
    """Replay and verify the journal there is; settlement may run or not."""
    stores = [world.home / "stores" / ENVIRONMENT.name]
    settle_down()
    say("replay")
    replayed = whole.replay(world.cluster, ENVIRONMENT, stores=stores, scratch=world.home)
    say("verify")
    verified = whole.verify(world.cluster, ENVIRONMENT, scratch=world.home)
    for difference in [*replayed.first, *verified.first]:
        say(f"  {difference.what}: {difference.detail}")
    partitions = [*replayed.partitions, *verified.partitions]
    return {
        "fold_entries_per_second": replayed.fold_entries_per_second,
        "verify_entries_per_second": verified.verify_entries_per_second,
        "mismatches": replayed.differences + verified.differences,
        "entries_replayed": replayed.entries,
        "rows_compared": replayed.rows_compared,
        "store_rows_compared": sum(store.rows for store in replayed.stores),
        "entries_decided_again": verified.counts.decided_again,
        "replay_rss_mb": max(one.rss_mb for one in partitions),
    }
