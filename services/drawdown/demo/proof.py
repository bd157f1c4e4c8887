"""The demo's proof: what every wallet must hold, computed again from the trace.

A program of its own that imports nothing from Drawdown: it reads the CSV, the catalogue's prices as
they are written, and the run's own list of grants, multiplies with `Decimal`, and compares with
what the query service answered - every customer, every digit. Standard input is one JSON object;
standard output is one too, and exit code 1 means that something differs.
"""

import csv
import json
import sys
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
PLACES = Decimal("1e-12")
TREES = [
    *["alder", "aspen", "beech", "birch", "cedar", "cherry", "cypress", "elm", "fir", "hazel"],
    *["juniper", "larch", "linden", "maple", "oak", "olive", "pine", "rowan", "spruce", "willow"],
]
MODEL_OF = {
    "autocomplete": "gpt-5-mini",
    "chat": "gpt-5",
    "agent": "gemini-2.5-pro",
    "review": "claude-sonnet-4-5",
}
TOKENS = {"input_cost_per_token": "ContextTokens", "output_cost_per_token": "GeneratedTokens"}
TOTALS = ("balance", "granted", "debited", "cost", "held")


def customer_and_feature(place: int) -> tuple[str, str]:
    """Whose request the one at this place is, and which feature made it."""
    spread = place * 7919 % 1000
    customer = TREES[spread * spread * 20 // 1_000_000]
    digit = place % 10
    if customer == "cedar":
        return customer, ("review" if digit <= 7 else ("chat" if digit == 8 else "autocomplete"))
    if digit <= 4:
        return customer, "autocomplete"
    if digit <= 7:
        return customer, "chat"
    return customer, "agent" if digit == 8 else "review"


def milliseconds_into_the_play(stamps: list[str], seconds: int) -> list[int]:
    """When each request is played, by its stamp: whole milliseconds, cut off."""
    first = datetime.fromisoformat(stamps[0][:26])
    ticks = []
    for stamp in stamps:
        passed = datetime.fromisoformat(stamp[:26]) - first
        ticks.append((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds)
    return [tick * seconds * 1000 // ticks[-1] for tick in ticks]


def charge_and_cost(
    row: dict[str, str], feature: str, prices: dict[str, Any], *, changed: bool
) -> tuple[Decimal, Decimal]:
    """What the request is sold for, and what it costs, rounded once to twelve places."""
    model = MODEL_OF[feature]
    if feature == "review":
        factor = Decimal("0.8")
    elif changed and model == "gpt-5":
        factor = Decimal("1.1")
    else:
        factor = Decimal("1.3")
    charge = cost = Decimal(0)
    for price, column in TOKENS.items():
        vendor = EXACT.multiply(prices[model][price], Decimal(row[column]))
        cost = EXACT.add(cost, vendor)
        charge = EXACT.add(charge, EXACT.multiply(vendor, factor))
    return charge.quantize(PLACES, context=EXACT), cost.quantize(PLACES, context=EXACT)


def recomputed(run: dict[str, Any]) -> dict[str, dict[str, Decimal]]:
    """Every customer's totals, from the trace and the grants alone."""
    with Path(run["trace"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    prices = json.loads(Path(run["catalogue"]).read_text(encoding="utf-8"), parse_float=Decimal)
    played = milliseconds_into_the_play([row["TIMESTAMP"] for row in rows], run["seconds"])
    wallets = {tree: dict.fromkeys((*TOTALS, "requests"), Decimal(0)) for tree in TREES}
    for customer, amount in run["grants"]:
        wallet = wallets[customer]
        wallet["granted"] = EXACT.add(wallet["granted"], Decimal(amount))
    for place, row in enumerate(rows):
        customer, feature = customer_and_feature(place)
        wallet = wallets[customer]
        changed = played[place] >= run["change_ms"]
        charge, cost = charge_and_cost(row, feature, prices, changed=changed)
        wallet["debited"] = EXACT.add(wallet["debited"], charge)
        wallet["cost"] = EXACT.add(wallet["cost"], cost)
        wallet["requests"] += 1
    for wallet in wallets.values():
        wallet["balance"] = EXACT.subtract(wallet["granted"], wallet["debited"])
    return wallets


def main() -> int:
    """Compare, print, and say by the exit code whether all agrees."""
    run = json.load(sys.stdin)
    wallets, answered = recomputed(run), run["wallets"]
    differences = {}
    for customer in sorted({*wallets, *answered}):
        mine, theirs = wallets.get(customer), answered.get(customer)
        if mine is None or theirs is None:
            differences[customer] = ["no wallet" if theirs is None else "not in the run"]
            continue
        wrong = [name for name in TOTALS if Decimal(theirs[name]) != mine[name]]
        if wrong:
            differences[customer] = [
                f"{name} is {theirs[name]}, recomputed {mine[name]}" for name in wrong
            ]
    debited = sum((wallet["debited"] for wallet in wallets.values()), Decimal(0))
    result = {
        "customers": len(wallets),
        "requests": int(sum(wallet["requests"] for wallet in wallets.values())),
        "debited": format(debited.normalize(EXACT), "f"),
        "mismatches": len(differences),
        "differences": differences,
    }
    print(json.dumps(result))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
