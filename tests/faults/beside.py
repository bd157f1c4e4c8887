"""What shows a row better than any fault does: folds, orders, property tests, replay, simulation.

All of it runs after the load has ended, each as a program of its own. What a tree does not have yet
is left out, and its row stays as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.faults.children import ROOT, CampaignError

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

ORDERS_SEEDS = 3
ORDERS = 100
SCHEDULES_A_MINUTE = 100
"""Of the simulator, per minute of the campaign."""
LIMIT_S = 300.0
EXACT_TESTS = ("tests/test_exact.py", "tests/events/test_numbers.py")
EXACT_TESTS_LONG = (*EXACT_TESTS, "tests/ledger/test_properties.py", "tests/ledger/test_prices.py")


def beside(campaign: Campaign, *, long: bool) -> None:
    """All of it. Raises CampaignError where a program does not end."""
    rebuilt(campaign)
    orders(campaign)
    exact(campaign, EXACT_TESTS_LONG if long else EXACT_TESTS)
    verified(campaign)
    simulated(campaign)


def run(campaign: Campaign, name: str, *arguments: str, **env: str) -> tuple[int, str]:
    """A program to its end: its code, and what it printed; what it said besides is in its log."""
    with (campaign.stage.folder / f"{name}.log").open("wb") as log:
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
                cwd=ROOT,
                timeout=LIMIT_S + 60 * campaign.minutes,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CampaignError(f"{name} does not end") from None
    return done.returncode, done.stdout.decode(errors="replace")


def rebuilt(campaign: Campaign) -> None:
    """The engine's own fold from offset 0 against every row that was published."""
    stage = campaign.stage
    where = (stage.kafka.bootstrap, stage.environment.name)
    found = stage.ask("rebuild", "tests.faults.rebuild", *where)
    campaign.faults[15] += 1
    campaign.note(15, events=found["points"])
    campaign.violations[15] += found["wrongs"]


def orders(campaign: Campaign) -> None:
    """The same usage in other orders."""
    for seed in range(campaign.seed, campaign.seed + ORDERS_SEEDS):
        found = campaign.stage.ask("orders", "tests.faults.orders", str(seed), str(ORDERS))
        campaign.faults[20] += 1
        campaign.note(20, events=found["orders"])
        campaign.violations[20] += found["wrongs"]


def exact(campaign: Campaign, tests: tuple[str, ...]) -> None:
    """The property tests about numbers."""
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    # What the session we are part of was told (to choose tests, to share them) is not for this one.
    code, said = run(campaign, "exact", *command, *tests, PYTEST_ADDOPTS="")
    last = said.strip().rpartition("\n")[2]
    campaign.faults[25] += 1
    campaign.counts["property_tests"] = last
    if code != 0:
        campaign.note(25, violation=last)


def verified(campaign: Campaign) -> None:
    """`drawdown verify`: every entry and decision decided again by the engine itself."""
    command = ("-P", "-m", "drawdown.cli.main", "verify")
    if run(campaign, "verify-help", *command, "--help")[0] != 0:
        return
    env = campaign.stage.env("verify", "0")
    code, said = run(campaign, "verify", *command, "--json", **env)
    campaign.counts["verify"] = code
    if code != 0:
        campaign.note(4, violation=f"drawdown verify: {said.strip()[-300:]}")


def simulated(campaign: Campaign) -> None:
    """The simulator: the very loop and ledger on an in-memory log, by schedules of its own."""
    if not (ROOT / "tests" / "simulation" / "__main__.py").exists():
        return
    count = max(int(SCHEDULES_A_MINUTE * campaign.minutes), 1)
    told = ("--json", "--seed", str(campaign.seed), "--schedules", str(count))
    _, said = run(campaign, "simulation", "-m", "tests.simulation", *told)
    found: dict[str, Any] = json.loads(said)
    campaign.schedules += found["schedules"]
    campaign.counts["simulated_faults"] = sum(found["faults"].values())
    for number, row in found["invariants"].items():
        if str(number).isdecimal() and int(number) in range(1, 26):
            campaign.violations[int(number)] += ["simulation: a schedule went wrong"] * row[
                "violations"
            ]
    for failure in found["failures"]:
        campaign.say(f"simulation, seed {failure['seed']}: {failure['wrongs']}")
