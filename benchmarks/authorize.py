"""How long a durable allow with a hold takes, over Kafka and through the gateway.

    python -m benchmarks authorize --json

One broker, one settlement process, one gateway, the load in other processes, all on this machine.
`p50_ms`/`p99_ms`: `--rate` authorizations with holds a second over the Kafka path (commands ->
decisions, read_committed) beside `--usage` usage events a second. `ratio_to_empty_*`: the same rate
alone, to an echo that decides nothing over topics just like ours with one transaction per turn and
as many records of the same size (`benchmarks/echo.py`), medians of `--runs` runs interleaved with
it. `backlog_p99_ratio`: while `--backlog` usage events are worked off, to without.
`gateway_added_ms_p50`: through the gateway at 200 a second, to over Kafka. `max_rate_per_second`:
the highest rate tried at which no answer was lost and p99 stayed below half a second. Holds are
left open: they expire after 15 minutes.

`peers`: Postgres and Redis doing check-and-hold (`benchmarks/peers.py`) at the same rate, from as
many wallets, with nothing beside them: to be read next to `alone_*`. One that is not installed is
named there with the command that installs it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka.admin import NewTopic

from benchmarks import echo, peers
from benchmarks.load import customer
from benchmarks.machine import machine
from benchmarks.world import ENVIRONMENT, PARTITIONS, BenchmarkError, World, measured, say
from drawdown.access import new_key, write_setting
from drawdown.demo.watch import quantile_ms
from drawdown.events.catalogue import COMMANDS, DECISIONS

HERE = Path(__file__).parent.parent
SLOW_RATE, GATEWAY_RATE = 100, 200
SUSTAINED_P99_MS = 500.0

_runs = itertools.count(1)


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks authorize", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=8, help="of each run, the first is not counted"
    )
    parser.add_argument("--warm-up", type=float, default=120, help="seconds, before the first run")
    parser.add_argument("--rate", type=int, default=1_000, help="authorizations a second")
    parser.add_argument("--usage", type=int, default=10_000, help="usage events a second beside it")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="0: no backlog run")
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--rates", type=int, nargs="*", default=[2_000, 3_000, 4_000, 5_000])
    parser.add_argument(
        "--peers", nargs="*", choices=tuple(peers.CLIENTS), default=list(peers.CLIENTS)
    )
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    return measured(lambda world: Bench(world, told).run(), as_json=told.json)


class Measured:
    """Latencies of one run."""

    def __init__(self, said: dict[str, Any]) -> None:
        seconds = said["seconds"]
        self.lost: int = said["lost"]
        self.p50 = quantile_ms(seconds, 0.5) if seconds else float("inf")
        self.p99 = quantile_ms(seconds, 0.99) if seconds else float("inf")

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, {self.lost} lost"


class Bench:
    """The runs, in order."""

    def __init__(self, world: World, told: argparse.Namespace) -> None:
        self._world, self._told = world, told
        secret, record = new_key(("authorize",), datetime.now(UTC))
        write_setting(world.cluster, ENVIRONMENT, "api_key", record.id, record)
        self._key = secret
        self._lost = 0

    def run(self) -> dict[str, Any]:
        """All of it; every median is of `--runs` runs."""
        world, told = self._world, self._told
        made = [NewTopic(name, PARTITIONS, 1) for name in echo.TOPICS]
        admin = world.cluster.admin()  # kept: without it its futures fail
        for future in admin.create_topics(made).values():
            future.result(15)
        world.start("settlement")
        world.start("gateway")
        grants = load(world, "grants", "--customers", str(told.customers))
        world.until(lambda: world.debits() >= told.customers, "wallets", 600)
        grants.wait()
        self.warm_up()
        self._lost = 0
        result: dict[str, Any] = {"machine": machine(), "runs": told.runs}
        alone, empty = self.beside_empty()
        result |= {
            "alone_p50_ms": median(m.p50 for m in alone),
            "alone_p99_ms": median(m.p99 for m in alone),
            "empty_p50_ms": median(m.p50 for m in empty),
            "empty_p99_ms": median(m.p99 for m in empty),
            "ratio_to_empty_p50": median(a.p50 / e.p50 for a, e in zip(alone, empty, strict=True)),
            "ratio_to_empty_p99": median(a.p99 / e.p99 for a, e in zip(alone, empty, strict=True)),
        }
        result["peers"] = self.peers()
        slow = [self.ours(SLOW_RATE) for _ in range(told.runs)]
        result["p50_ms_at_100_per_second"] = median(m.p50 for m in slow)
        pairs = [(self.http(GATEWAY_RATE), self.ours(GATEWAY_RATE)) for _ in range(told.runs)]
        result["gateway_added_ms_p50"] = median(http.p50 - ours.p50 for http, ours in pairs)
        busy = [self.beside_usage() for _ in range(told.runs)]
        result |= {"p50_ms": median(m.p50 for m in busy), "p99_ms": median(m.p99 for m in busy)}
        result["lost"] = self._lost
        result["max_rate_per_second"] = self.max_rate()
        if told.backlog:
            behind = self.beside_backlog()
            result["backlog_p99_ms"] = round(behind.p99, 2)
            result["backlog_p99_ratio"] = round(behind.p99 / result["alone_p99_ms"], 2)
            result["lost"] = self._lost
        return result

    def warm_up(self) -> None:
        """A cold JVM compiles for a minute or two, and a transaction takes three times as long."""
        until = time.monotonic() + self._told.warm_up
        say("warm-up")
        with echoing(self._world):
            while time.monotonic() < until:
                self.ours(self._told.rate)
                self.echo(self._told.rate)
                self.http(GATEWAY_RATE)

    def beside_empty(self) -> tuple[list[Measured], list[Measured]]:
        """Ours and the empty decision, in turns."""
        alone, empty = [], []
        with echoing(self._world):
            self.echo(self._told.rate)
            for _ in range(self._told.runs):
                alone.append(self.ours(self._told.rate))
                empty.append(self.echo(self._told.rate))
        return alone, empty

    def peers(self) -> dict[str, dict[str, Any]]:
        """Postgres and Redis, in turns; the first of each is not counted."""
        told, result = self._told, dict[str, dict[str, Any]]()
        wallets = [customer(number) for number in range(told.customers)]
        with ExitStack() as stack:
            sockets: dict[str, Path] = {}
            for name in told.peers:
                try:
                    sockets[name] = stack.enter_context(peers.running(name, wallets))
                except peers.Skipped as why:
                    say(f"{name} skipped: {why}")
                    result[name] = {"skipped": str(why)}
            found: dict[str, list[Measured]] = {name: [] for name in sockets}
            for _ in range(told.runs + 1):
                for name, where in sockets.items():
                    more = ("--socket", str(where))
                    found[name].append(self._measured(name, told.rate, *more, what=""))
        for name, runs in found.items():
            result[name] = {
                "p50_ms": median(m.p50 for m in runs[1:]),
                "p99_ms": median(m.p99 for m in runs[1:]),
                "rate": told.rate,
                "lost": sum(m.lost for m in runs[1:]),
            }
        return result

    def beside_usage(self) -> Measured:
        told = self._told
        usage = load(
            self._world,
            "steady",
            *("--rate", str(told.usage), "--seconds", str(told.seconds + 2)),
            *("--customers", str(told.customers), "--source", f"usage-{next(_runs)}"),
        )
        time.sleep(0.5)
        found = self.ours(told.rate, f"beside {told.usage:,} usage events a second")
        usage.wait()
        return found

    def beside_backlog(self) -> Measured:
        """Stop settlement, let usage pile up, and ask while it is worked off."""
        world, told = self._world, self._told
        world.stop("settlement")
        say(f"{told.backlog:,} usage events pile up")
        load(
            world,
            "pile",
            *("--events", str(told.backlog), "--customers", str(told.customers)),
            *("--source", "backlog"),
        ).wait()
        world.start("settlement")
        before = world.debits()
        found = self.ours(told.rate, f"with {told.backlog:,} usage events to work off")
        left = told.backlog - (world.debits() - before)
        say(f"  about {max(0, round(left)):,} were left at its end")
        return found

    def max_rate(self) -> int:
        best = 0
        for rate in (self._told.rate, *self._told.rates):
            found = self._measured("kafka", rate, *self._topics(), what="")
            if found.lost or found.p99 > SUSTAINED_P99_MS:
                break
            best = rate
        return best

    def _topics(self) -> tuple[str, ...]:
        commands, decisions = ENVIRONMENT.topic(COMMANDS), ENVIRONMENT.topic(DECISIONS)
        return "--questions", commands, "--answers", decisions

    def ours(self, rate: int, what: str = "") -> Measured:
        found = self._measured("kafka", rate, *self._topics(), what=what)
        self._lost += found.lost
        return found

    def echo(self, rate: int) -> Measured:
        topics = ("--questions", echo.COMMANDS, "--answers", echo.DECISIONS)
        return self._measured("kafka", rate, *topics, what="empty")

    def http(self, rate: int) -> Measured:
        gateway = ("--gateway", self._world.address("gateway"), "--key", self._key)
        found = self._measured("http", rate, *gateway, what="through the gateway")
        self._lost += found.lost
        return found

    def _measured(self, way: str, rate: int, *more: str, what: str) -> Measured:
        told = self._told
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.asker", way, *more),
                *("--bootstrap", self._world.bootstrap, "--run", f"run{next(_runs)}"),
                *("--rate", str(rate), "--seconds", str(told.seconds)),
                *("--customers", str(told.customers)),
            ],
            cwd=HERE,
            stdout=subprocess.PIPE,
            check=True,
        )
        found = Measured(json.loads(done.stdout))
        say(f"{rate:>6,}/s {way} {what}: {found}")
        return found


@contextmanager
def echoing(world: World) -> Iterator[None]:
    """The empty decision, in its process."""
    command = [sys.executable, "-m", "benchmarks.echo", "--bootstrap", world.bootstrap]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            if child.stdout.readline() != b"ready\n":
                raise BenchmarkError("the empty decision did not start")
            yield
        finally:
            child.terminate()


def load(world: World, what: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.load", what, "--bootstrap", world.bootstrap]
    return subprocess.Popen([*command, *arguments], cwd=HERE)


def median(values: Any) -> float:
    return round(float(statistics.median(values)), 2)
