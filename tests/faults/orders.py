"""`python -m tests.faults.orders SEED ORDERS`: usage in many orders, decided by the ledger.

Between two boundaries - no grant begins, ends or is added - the order of usage events must not
matter: every order leaves the same accounts and the same grants. Prints one line:
`{"orders": N, "seed": S, "wrongs": [...]}`.
"""

from __future__ import annotations

import json
import sys
from random import Random
from typing import Any

from tests.support.till import Till

EVENTS = 40


def outcome(events: list[dict[str, Any]], grants: list[dict[str, Any]]) -> Any:
    """What is left after these grants and these events, in this order."""
    till = Till()
    for terms in grants:
        till.grant("ada", **terms)
    for event in events:
        till.use("ada", **event)
    accounts = {asset: till.account("ada", asset) for asset in ("USD", "credit")}
    return accounts, till.left("ada"), till.wrongs()


def play(seed: int, orders: int) -> list[str]:
    """The first order of a seed against others of it; says which differ."""
    chance = Random(seed)
    grants = [
        {"amount": str(chance.randint(1, 100)), "asset": asset, "grant_id": f"g-{asset}-{number}"}
        for asset in ("USD", "credit")
        for number in range(3)
    ]
    for terms in grants:
        if terms["asset"] == "credit":
            terms["cost_basis"] = "0.01"
    events: list[dict[str, Any]] = [
        {
            "units": str(chance.randint(1, 1000) / 100),
            "id": f"e{number}",
            **({"in": "credit"} if chance.random() < 0.5 else {}),
        }
        for number in range(EVENTS)
    ]
    first, wrongs = outcome(events, grants), []
    for _ in range(orders - 1):
        chance.shuffle(events)
        if (now := outcome(events, grants)) != first:
            wrongs.append(f"seed {seed}: {now} instead of {first}")
    return wrongs


def main(seed: str, orders: str) -> None:
    wrongs = play(int(seed), int(orders))
    print(json.dumps({"orders": int(orders), "seed": int(seed), "wrongs": wrongs}))


if __name__ == "__main__":
    main(*sys.argv[1:])
