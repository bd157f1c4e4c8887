"""`python -m tests.faults.rebuild BOOTSTRAP ENVIRONMENT`: the engine's own fold against its rows.

Folds each journal from offset 0 with the ledger's `evolve` and compares, byte for byte, with every
row that was published: a wallet at its own sequence, everything at the end. Prints one line:
`{"points": N, "wrongs": [...]}`. This is the engine checked against itself; the judge is the other.
"""

from __future__ import annotations

import json
import sys

from tests.faults.judge.reading import Read, read_topic

from drawdown.events.base import KEY_SEPARATOR
from drawdown.ledger.folded import FoldedRows
from drawdown.ledger.journal import unseal
from drawdown.ledger.rows import row_bytes


def rebuilt(journal: list[Read], published: list[Read]) -> tuple[int, list[str]]:
    """How many published rows were met, and which differ from the fold."""
    wallets: dict[tuple[str, int], bytes] = {}
    last: dict[str, bytes] = {}
    for record in published:
        key = (record.key or b"").decode()
        if record.value is None:
            last.pop(key, None)
            continue
        last[key] = record.value
        if KEY_SEPARATOR not in key:
            wallets[key, json.loads(record.value)["sequence"]] = record.value
    rows, points, wrongs = FoldedRows(), 0, []
    for record in journal:
        for key, row in rows.fold(unseal(record.value or b"")).items():
            if row is None or KEY_SEPARATOR in key:
                continue
            made = row_bytes(row)
            there = wallets.get((key, json.loads(made)["sequence"]))
            if there is None:
                continue
            points += 1
            if there != made:
                wrongs.append(f"{key} at {json.loads(made)['sequence']}: {made!r} is not {there!r}")
    made = {key: row_bytes(row) for key, row in rows.rows.items()}
    wrongs += [
        f"{key}: the fold has {made.get(key)!r}, the rows {last.get(key)!r}"
        for key in sorted(made.keys() | last.keys())
        if made.get(key) != last.get(key)
    ]
    return points, wrongs[:50]


def main(bootstrap: str, environment: str) -> None:
    journal = list(read_topic(bootstrap, f"{environment}.balance-changes"))
    published = list(read_topic(bootstrap, f"{environment}.balances"))
    points, wrongs = rebuilt(journal, published)
    print(json.dumps({"points": points, "wrongs": wrongs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
