"""What must stay true while everything fails, and a report of what was shown.

    python -m benchmarks faults --minutes 30 --json

Starts brokers, services and load of its own, does to them what `tests/faults` knows, by a schedule
of a seed, and lets a judge that shares no code with the engine read what is left. `--minutes 30`
reaches all 25 invariants where the machine lets it; a shorter one says which it did not show. Exit
code 1 where anything was wrong; its folder is kept then.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from drawdown.broker.errors import BrokerError


def main(arguments: list[str]) -> int:
    """Run it; with `--json` the last line is one object."""
    sys.path[:0] = [str(Path(__file__).parent.parent)]  # tests are no package of ours
    from tests.faults.report import summary, table, written
    from tests.faults.suite import campaign

    parser = argparse.ArgumentParser(prog="python -m benchmarks faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--only", default="", help="kinds of faults, by class: Paused,Orphan")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a good run too")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    parser.add_argument(
        "--result", type=Path, help="with --readme: of a campaign that was, by its --json; do none"
    )
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    if told.result is not None:
        _write(written, json.loads(told.result.read_text(encoding="utf-8")))
        return 0
    # A suite that is told to end takes down what it started, and unmounts its disks.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        only = [name for name in told.only.split(",") if name]
        result = campaign(
            told.minutes, told.seed, say, brokers=told.brokers, keep=told.keep, only=only
        )
    except BrokerError as error:
        say(f"error: {error}")
        return 1
    result["machine"] = machine()
    say(table(result))
    say(summary(result))
    for row in result["rows"]:
        for wrong in row["violations"][:5]:
            say(f"violation of {row['number']}: {wrong}")
    if result["error"]:
        say(f"error: {result['error']}")
    if result.get("folder"):
        say(f"seed {told.seed}; schedule: {', '.join(result['schedule'])}; in {result['folder']}")
    if told.readme:
        _write(written, result)
    if told.json:
        print(json.dumps(result))
    return 1 if result["error"] or result["violations"] else 0


def _write(written: Callable[[str, dict[str, Any]], str], result: dict[str, Any]) -> None:
    readme = Path(__file__).parent.parent / "README.md"
    readme.write_text(written(readme.read_text(encoding="utf-8"), result), encoding="utf-8")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
