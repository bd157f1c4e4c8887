"""How long authorizations take while every customer's grant resets at the same instant.

    python -m benchmarks midnight --json

`--customers` wallets each have a grant that comes again whole at one instant, `--lead` seconds
after the benchmark begins. Authorizations with holds arrive at `--rate` a second, open-loop, before
the instant and from it until every reset is in the journal: two entries for each, what lapses and
the grant of the next cycle. `p99_ratio` is p99 meanwhile to p99 before; settlement, broker and load
share this machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.authorize import load
from benchmarks.machine import machine
from benchmarks.world import ENVIRONMENT, BenchmarkError, World, measured, say
from drawdown.demo.watch import quantile_ms
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import COMMANDS, DECISIONS

HERE: Final = Path(__file__).parent.parent
ENTRIES_A_RESET: Final = 2
LIMIT_S: Final = 1800.0

_runs = itertools.count(1)


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks midnight", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=200, help="authorizations a second")
    parser.add_argument("--seconds", type=float, default=10, help="of each run of authorizations")
    parser.add_argument("--before", type=int, default=3, help="runs before the instant")
    parser.add_argument(
        "--lead", type=float, help="seconds until the instant; default by the customers"
    )
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    return measured(lambda world: run(world, told), as_json=told.json)


def run(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """All of it, in order. Raises BenchmarkError where wallets take longer than `--lead`."""
    world.start("settlement")
    asking = (told.before + 1) * (told.seconds + 5)
    lead = told.lead or 60 + told.customers / 2_500 + asking
    instant = (datetime.now(UTC) + timedelta(seconds=lead)).replace(microsecond=0)
    reset_at = timestamp_text(instant)
    say(f"{told.customers:,} grants, which reset at {reset_at}")
    load(world, "grants", "--customers", str(told.customers), "--reset-at", reset_at).wait()
    world.until(lambda: world.debits() >= told.customers, "wallets", lead)
    if _left_s(instant) < asking:
        raise BenchmarkError(f"--lead: wallets took too long, more than {lead:.0f} s are needed")
    ask(world, told, "warm-up")
    before = [ask(world, told, "before") for _ in range(told.before)]
    opened = world.debits()
    time.sleep(max(0.0, _left_s(instant)))

    began, during = time.monotonic(), []
    resets = told.customers * ENTRIES_A_RESET
    taken = 0.0
    while True:
        during.append(ask(world, told, "meanwhile"))
        held = len(during) * int(told.rate * told.seconds)
        if world.debits() - opened - held >= resets * 0.999:
            taken = time.monotonic() - began
            break
        if time.monotonic() - began > LIMIT_S:
            raise BenchmarkError(f"resets: not all within {LIMIT_S:.0f} s")
    quiet, busy = _joined(before), _joined(during)
    p99_before, p99_during = quantile_ms(quiet, 0.99), quantile_ms(busy, 0.99)
    return {
        "machine": machine(),
        "customers": told.customers,
        "rate": told.rate,
        "storm_seconds": round(taken, 1),
        "resets_per_second": round(told.customers / taken),
        "p50_before_ms": round(quantile_ms(quiet, 0.5), 1),
        "p50_during_ms": round(quantile_ms(busy, 0.5), 1),
        "p99_before_ms": round(p99_before, 1),
        "p99_during_ms": round(p99_during, 1),
        "p99_ratio": round(p99_during / p99_before, 2),
        "lost": sum(said["lost"] for said in (*before, *during)),
        "rss_mb": world.rss_mb("settlement"),
    }


def ask(world: World, told: argparse.Namespace, what: str) -> dict[str, Any]:
    """One run, in a process of its own: the seconds each took, and how many were lost."""
    commands, decisions = ENVIRONMENT.topic(COMMANDS), ENVIRONMENT.topic(DECISIONS)
    command = [
        *(sys.executable, "-m", "benchmarks.asker", "kafka", "--bootstrap", world.bootstrap),
        *("--questions", commands, "--answers", decisions, "--run", f"midnight{next(_runs)}"),
        *("--rate", str(told.rate), "--seconds", str(told.seconds)),
        *("--customers", str(told.customers)),
    ]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    seconds = said["seconds"]
    if not seconds:
        raise BenchmarkError(f"{what}: no authorization was answered")
    p50, p99 = quantile_ms(seconds, 0.5), quantile_ms(seconds, 0.99)
    say(f"{told.rate:>6,}/s {what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {said['lost']} lost")
    return said


def _joined(runs: list[dict[str, Any]]) -> list[float]:
    return [took for said in runs for took in said["seconds"]]


def _left_s(instant: datetime) -> float:
    return (instant - datetime.now(UTC)).total_seconds()
