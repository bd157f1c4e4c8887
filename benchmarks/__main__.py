"""Runs one benchmark; installs what it lacks first, as the README's commands do."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

BENCHMARKS = {
    "throughput": "usage events per second of one settlement process, lag, memory",
    "authorize": "milliseconds to a durable allow with a hold, over Kafka and through the gateway",
    "midnight": "milliseconds to an allow while a million grants reset at one instant",
    "limits": "microseconds and lag of a replica of balances, and what it takes of memory",
    "recovery": "seconds from a kill, a restart or an empty store to the next decision",
    "replay": "entries a second of one process: rebuilding rows, and deciding everything again",
    "ledger": "microseconds per decision, pure, without Kafka",
    "faults": "what stays true while everything fails: 25 invariants, and a report",
}


def main() -> int:
    """Dispatch to the module of the benchmark's name."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in BENCHMARKS:
        wanted = arguments[0] if arguments else ""
        asked = wanted in ("-h", "--help")
        out = sys.stdout if asked else sys.stderr
        if wanted and not asked:
            print(f"error: no benchmark {wanted!r}", file=out)
        print("usage: python -m benchmarks NAME [--json] [--help]", file=out)
        for name, what in BENCHMARKS.items():
            print(f"  {name:<12}{what}", file=out)
        return 0 if asked else 2
    if any(importlib.util.find_spec(name) is None for name in ("drawdown", "psutil", "rocksdict")):
        install = Path(__file__).parent.parent / "deploy" / "with.py"
        again = [sys.executable, str(install), "--tests", "python", "-m", "benchmarks", *arguments]
        if os.environ.get("DRAWDOWN_BENCHMARKS_INSTALLED"):
            print("error: Drawdown could not be installed", file=sys.stderr)
            return 1
        os.environ["DRAWDOWN_BENCHMARKS_INSTALLED"] = "1"
        os.execv(sys.executable, again)
    module = importlib.import_module(f"benchmarks.{arguments[0]}")
    code: int = module.main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
