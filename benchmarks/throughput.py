"""How fast one settlement process debits, how soon a debit is visible, and what memory it takes.

    python -m benchmarks throughput --json

One broker, one settlement process, the load in another process, all on this machine. Measured:
events a second over `--seconds` with `--customers` wallets while the topic never runs empty; lag
from handing an event to the client to its row being readable (read_committed) at `--rate` a second;
resident memory of settlement and query with `--wallets` wallets; microseconds per event by stage of
the loop. In the same run the bare loop (`benchmarks/bare.py`) does the same I/O and decides
nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from benchmarks.machine import machine
from benchmarks.world import ENVIRONMENT, PARTITIONS, World, measured, say
from drawdown.demo.watch import quantile_ms
from drawdown.events.catalogue import BALANCES
from drawdown.stream import kafka


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks throughput", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of the throughput run")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rate", type=int, default=5_000, help="events a second of the lag run")
    parser.add_argument("--lag-seconds", type=float, default=20)
    parser.add_argument("--wallets", type=int, default=1_000_000, help="0: no memory run")
    parser.add_argument("--warm-up", type=float, default=15, help="seconds, for the JVM")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    return measured(lambda world: run(world, told), as_json=told.json)


def run(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """All of it, in order; what needs a warm JVM comes after the load that warms it."""
    result: dict[str, Any] = {"machine": machine()}
    world.start("settlement")
    wallets = Wallets(world)
    wallets.up_to(told.customers)

    say(f"warm-up, {told.warm_up:.0f} s")
    load(world, "flat", told, source="warm-up", seconds=told.warm_up).wait()
    settled(world)

    say(f"throughput, {told.seconds:.0f} s with {told.customers:,} customers")
    child = load(world, "flat", told, source="flat", seconds=told.seconds + 8)
    time.sleep(4)  # the topic is ahead before the clock starts
    before, cpu_before, began = world.metrics("settlement"), world.cpu_s(), time.monotonic()
    time.sleep(told.seconds)
    took = time.monotonic() - began
    after, cpu_after = world.metrics("settlement"), world.cpu_s()
    child.wait()
    key = ("drawdown_journal_entries_total", "")
    events = after[key] - before[key]
    result["events_per_second"] = round(events / took)
    result["us_per_event_by_stage"] = {
        label: round((value - before.get((name, label), 0.0)) / events * 1e6, 2)
        for (name, label), value in after.items()
        if name == "drawdown_stage_seconds_total"
    }
    result["cores_used"] = {
        name: round((cpu_after[name] - cpu_before[name]) / took, 2) for name in cpu_after
    }
    settled(world)

    say(f"lag at {told.rate:,} a second, {told.lag_seconds:.0f} s")
    lags = measure_lag(world, told)
    result["lag_ms_p50"], result["lag_ms_p99"] = quantile_ms(lags, 0.5), quantile_ms(lags, 0.99)
    result["lag_events"] = len(lags)

    if told.wallets:
        say(f"memory with {told.wallets:,} wallets")
        wallets.up_to(told.wallets)
        world.start("query")
        load(world, "flat", told, source="memory", seconds=5, customers=told.wallets).wait()
        settled(world)
        result["rss_mb_settlement"] = world.rss_mb("settlement")
        result["rss_mb_query"] = world.rss_mb("query")
        result["rss_mb"] = max(result["rss_mb_settlement"], result["rss_mb_query"])
        world.stop("query")
    world.stop("settlement")

    say("the bare loop over the same events")
    result["bare_events_per_second"] = round(bare(world, told.seconds / 2))
    result["ratio_to_bare"] = round(
        result["events_per_second"] / result["bare_events_per_second"], 3
    )
    return result


class Wallets:
    """The wallets that exist."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._count = 0

    def up_to(self, count: int) -> None:
        """Grant to those who have no wallet yet, and wait until all have."""
        if count <= self._count:
            return
        say(f"opening wallets up to {count:,}")
        world, before, began = self._world, self._world.debits(), time.monotonic()
        child = start_load(world, "grants", "--first", str(self._count), "--customers", str(count))
        wanted = before + count - self._count
        world.until(lambda: world.debits() >= wanted, "wallets", 1800)
        child.wait()
        rate = (count - self._count) / (time.monotonic() - began)
        say(f"  {rate:,.0f} grants a second")
        self._count = count


def measure_lag(world: World, told: argparse.Namespace) -> list[float]:
    """Seconds from sending each event to reading its row; one event per customer."""
    times = world.home / "times"
    total = min(int(told.rate * told.lag_seconds), told.customers)
    topic = ENVIRONMENT.topic(BALANCES)
    consumer = world.cluster.consumer(kafka.reader() | {"fetch.wait.max.ms": 10})
    ends = []
    for partition in range(PARTITIONS):
        where = TopicPartition(topic, partition)
        _, end = consumer.get_watermark_offsets(where, 10, cached=False)
        ends.append(TopicPartition(topic, partition, end))
    consumer.assign(ends)
    child = load(world, "paced", told, "--rate", str(told.rate), "--times", str(times),
                 source="lag", seconds=told.lag_seconds)  # fmt: skip
    seen: dict[int, float] = {}
    deadline = time.monotonic() + told.lag_seconds + 60
    while len(seen) < total and time.monotonic() < deadline:
        messages = consumer.consume(1000, 0.01)
        now = time.monotonic()
        for message in messages:
            if message.error() is None:
                seen.setdefault(int(message.key()[-7:]), now)
    child.wait()
    consumer.close()
    sent = array("d")
    sent.frombytes(times.read_bytes())
    # The first second fills caches and pools of the load itself.
    return [seen[n] - sent[n] for n in range(told.rate, len(sent)) if n in seen]


def settled(world: World) -> None:
    """Wait until nothing more is being decided."""
    last, since = -1.0, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = world.debits()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    world.until(still, "backlog", 600)


def load(
    world: World,
    what: str,
    told: argparse.Namespace,
    *more: str,
    source: str,
    seconds: float,
    customers: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start the load in its process."""
    return start_load(
        world,
        what,
        *("--customers", str(customers or told.customers)),
        *("--seconds", str(seconds), "--source", source),
        *("--metrics", f"{world.address('settlement')}/metrics"),
        *more,
    )


def start_load(world: World, what: str, *arguments: str) -> subprocess.Popen[bytes]:
    """`python -m benchmarks.load`."""
    command = [sys.executable, "-m", "benchmarks.load", what, "--bootstrap", world.bootstrap]
    return subprocess.Popen([*command, *arguments], cwd=Path(__file__).parent.parent)


def bare(world: World, seconds: float) -> float:
    """Events a second of the bare loop."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.bare", "--bootstrap", world.bootstrap),
            *("--directory", str(world.home / "bare"), "--seconds", str(seconds)),
        ],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(done.stdout)
