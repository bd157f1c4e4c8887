"""`python -m tests.faults.judge FACTS.json`: reads, judges, prints the verdict as one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .checks import Facts, judged
from .reading import lines, read_all


def main(path: str) -> None:
    """The verdict, on stdout."""
    told = json.loads(Path(path).read_text(encoding="utf-8"))
    records = read_all(told["bootstrap"], told["environment"])
    facts = Facts(
        history=lines(Path(told["history"])),
        books=told["books"],
        ended_at=told.get("ended_at"),
        stores={
            partition: json.loads(Path(store).read_text(encoding="utf-8"))
            for partition, store in told.get("stores", {}).items()
        },
        balances=told.get("balances", {}),
    )
    verdict = judged(records, facts)
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "drawdown")
    if ours:
        raise SystemExit(f"the judge has code of the engine in it: {ours}")
    counts = {name: len(found) for name, found in records.items()}
    print(json.dumps({"rows": verdict.as_json(), "records": counts}))


if __name__ == "__main__":
    main(sys.argv[1])
