"""What budgets cost an authorization: `python -m benchmarks limits`.

As many customers with five nested budgets as without any, with the same questions in turns, so that
what the machine and a warming JVM do is the same for both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Sender, customer, now_text
from benchmarks.world import ENVIRONMENT, World, say
from drawdown.demo.watch import quantile_ms
from drawdown.events.catalogue import COMMANDS, DECISIONS

HERE: Final = Path(__file__).parent.parent
DIMENSIONS: Final = {"team": "search", "key": "k1", "session": "s1"}
SCOPES: Final[dict[str, dict[str, str]]] = {
    "customer": {},
    "team": {"team": "search"},
    "key": {"key": "k1", "team": "search"},
    "session": {"session": "*"},
    "model": {"model": "*"},
}
WINDOWS: Final = {
    "customer": {"every": "month"},
    "team": {"every": "month"},
    "key": {"every": "day"},
    "session": {"every": "life"},
    "model": {"every": "rolling", "length_s": 3600},
}
RUN_S: Final = 6.0

_runs = itertools.count(1)


def measure(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """The figures of authorizations with and without five budgets."""
    count = told.budgeted
    world.start("settlement")
    sender = Sender(world.bootstrap, "budgets")
    _open(sender, count)
    say(f"{count:,} customers with {len(SCOPES)} budgets each, as many without")
    wanted = count * (2 + len(SCOPES))
    world.until(lambda: world.debits() >= wanted, "wallets and budgets", 600)
    until = time.monotonic() + told.warm_up
    while time.monotonic() < until:
        for first in (0, count):
            _asked(world, told, first)
    pairs = []
    for _ in range(told.runs):
        without = _asked(world, told, 0)
        with_budgets = _asked(world, told, count)
        pairs.append((_p50(without), _p50(with_budgets)))
        say(f"p50 {pairs[-1][0]:.1f} ms without budgets, {pairs[-1][1]:.1f} with five")
    result = {
        "p50_ms_no_limits": _median([without for without, _ in pairs]),
        "p50_ms_with_5_budgets": _median([with_budgets for _, with_budgets in pairs]),
        "p50_ratio_to_no_limits": _median([two / one for one, two in pairs]),
    }
    for name, first in (("without_budgets", 0), ("with_5_budgets", count)):
        found = _asked(world, told, first, "--pile", str(told.pile))
        result[f"decisions_per_second_{name}"] = round(told.pile / found["took_s"])
        result["lost"] = result.get("lost", 0) + found["lost"]
    world.stop("settlement")
    return result


def _open(sender: Sender, count: int) -> None:
    """Wallets of 1,000 USD; the second half of them with budgets."""
    topic, now = ENVIRONMENT.topic(COMMANDS), now_text()

    def send(kind: str, number: int, id: str, **fields: Any) -> None:
        name = customer(number)
        content = {"type": kind, "id": id, "customer": name, "time": now, **fields}
        sender.put(topic, name, json.dumps(content).encode())

    for number in range(2 * count):
        send("grant", number, "grant", asset="USD", amount="1000")
    for number in range(count, 2 * count):
        for name, scope in SCOPES.items():
            terms = {"scope": scope, "asset": "USD", "cap": "900", "window": WINDOWS[name]}
            send("set_budget", number, f"set-{name}", budget_id=name, budget=terms)
    sender.producer.flush(120)


def _asked(world: World, told: argparse.Namespace, first: int, *more: str) -> dict[str, Any]:
    """A run of questions about the customers from number `first` on."""
    topics = [ENVIRONMENT.topic(topic) for topic in (COMMANDS, DECISIONS)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.asker", "kafka"),
            *("--questions", topics[0], "--answers", topics[1]),
            *("--bootstrap", world.bootstrap, "--run", f"budgets{next(_runs)}"),
            *("--rate", str(told.authorizations), "--seconds", str(RUN_S)),
            *("--customers", str(told.budgeted), "--first", str(first)),
            *("--dimensions", json.dumps(DIMENSIONS), *more),
        ],
        cwd=HERE,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _p50(found: dict[str, Any]) -> float:
    return quantile_ms(found["seconds"], 0.5) if found["seconds"] else float("inf")


def _median(values: list[float]) -> float:
    return round(float(statistics.median(values)), 2)
