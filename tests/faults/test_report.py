"""The report: what was not shown says so, and what is wrong is not hidden by it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.faults.beside import ORDERS_SEEDS
from tests.faults.children import ROOT, CampaignError, CannotError
from tests.faults.faults import Fault, KillSettlement
from tests.faults.invariants import INVARIANTS
from tests.faults.report import BEGIN, END, summary, table, written
from tests.faults.schedule import long, schedule, short
from tests.faults.stage import Stage
from tests.faults.suite import DUPLICATES_S, END_S, Campaign

from drawdown.config import ConfigError, load
from drawdown.settlement.crashes import POINTS, crash_at


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    stage = Stage(tmp_path, 7, print)
    return Campaign(stage, 7, 3.0, print)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python, with these arguments."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )


def enough(campaign: Campaign) -> None:
    for invariant in INVARIANTS:
        campaign.faults[invariant.number] = invariant.faults_min
        campaign.events[invariant.number] = invariant.events_min


def test_nothing_done_is_nothing_shown(campaign: Campaign) -> None:
    result = campaign.result()
    assert (result["invariants"], result["shown"], result["violations"]) == (25, 0, 0)
    assert table(result).count("not shown") == 25


def test_the_least_that_is_asked_for_is_shown(campaign: Campaign) -> None:
    enough(campaign)
    result = campaign.result()
    assert result["shown"] == 25
    assert "not shown" not in table(result)


@pytest.mark.parametrize("number", range(1, 26))
def test_one_less_is_not(campaign: Campaign, number: int) -> None:
    enough(campaign)
    campaign.events[number] -= 1
    assert campaign.result()["shown"] == 24


def test_a_violation_is_told_where_the_row_is_not_shown_as_well(campaign: Campaign) -> None:
    campaign.note(8, violation="a stale writer wrote")
    result = campaign.result()
    assert result["violations"] == 1
    (line,) = [line for line in table(result).splitlines() if line.startswith("| 8 |")]
    assert line.endswith("| 1 |")


def test_what_the_machine_cannot_do_is_said(campaign: Campaign) -> None:
    enough(campaign)
    campaign.not_shown[18] = "no small disk can be mounted"
    assert "not shown: no small disk can be mounted" in table(campaign.result())


def test_the_readme_gets_the_table_in_its_place(campaign: Campaign) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    result = campaign.result()
    made = written(readme, result)
    assert table(result) in made
    assert summary(result) in made
    assert made.startswith(readme[: readme.index(BEGIN)])
    assert made.endswith(readme[readme.index(END) :])
    assert written(made, result) == made
    with pytest.raises(ValueError, match="has no"):
        written("# Nothing", result)


def test_the_summary_names_seed_and_length(campaign: Campaign) -> None:
    assert "3 minutes, seed 7" in summary(campaign.result())


def test_the_same_seed_makes_the_same_schedule() -> None:
    def names(seed: int) -> list[str]:
        faults = schedule(3.0, random.Random(seed), None)
        return [str(next(faults)) for _ in range(40)]

    assert names(5) == names(5)
    assert names(5) != names(6)


def planned(faults: list[Fault]) -> list[Fault]:
    """These, and those done while they last."""
    return [one for fault in faults for one in (fault, *fault.meanwhile)]


@pytest.mark.parametrize("number", range(1, 26))
def test_a_long_campaign_does_enough_for_every_row(number: int) -> None:
    invariant = INVARIANTS[number - 1]
    faults = planned(long(random.Random(1), None))
    done = Counter({15: 1, 20: ORDERS_SEEDS, 25: 1})  # at the end
    seen: Counter[int] = Counter()
    for fault in faults:
        done.update(fault.faults())
        seen.update(fault.shows)
    assert done[number] >= invariant.faults_min
    # The others' events are counted by the judge, of what the load made.
    if any(number in fault.shows for fault in faults):
        assert seen[number] >= invariant.events_min


def test_a_long_campaign_has_the_time_for_all_of_it() -> None:
    faults = long(random.Random(1), None)
    assert sum(fault.takes_s for fault in faults) <= 30 * 60 - END_S - DUPLICATES_S


def test_nothing_is_done_meanwhile_that_takes_longer() -> None:
    for fault in planned(long(random.Random(1), None)):
        assert sum(one.takes_s for one in fault.meanwhile) <= fault.takes_s


def test_a_fault_that_does_not_come_about_is_a_violation_and_the_next_is_done(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.stage, "mend", lambda: None)

    def never(fault: Fault) -> None:
        raise CampaignError("nobody took over")

    def cannot(fault: Fault) -> None:
        raise CannotError("this machine has no such thing")

    kill = KillSettlement(random.Random(1))
    campaign.attempt(kill, never)
    campaign.attempt(kill, cannot)
    campaign.attempt(kill, lambda fault: None)
    assert campaign.violations[1] == ["settlement killed: nobody took over"]
    assert campaign.not_shown[1] == "this machine has no such thing"
    assert [campaign.faults[row] for row in kill.rows] == [1] * len(kill.rows)


def test_a_short_one_kills_something() -> None:
    assert any(isinstance(fault, KillSettlement) for fault in short(random.Random(1)))


def test_every_point_can_be_died_at() -> None:
    for point in POINTS:
        crash_at(f"{point}:2")
    with pytest.raises(ValueError, match="no point 'nowhere'"):
        crash_at("nowhere")
    with pytest.raises(ValueError, match="no number of times"):
        crash_at("stored:0")


def test_a_process_dies_at_its_point_and_not_before() -> None:
    script = (
        "from drawdown.settlement.crashes import crash_at\n"
        "crash = crash_at('stored:2')\n"
        "for point in ('produced', 'stored', 'committed', 'stored'): print(point, flush=True);"
        " crash(point)\n"
        "print('alive')"
    )
    done = run("-c", script)
    assert done.returncode == -9
    assert done.stdout.split() == ["produced", "stored", "committed", "stored"]


def test_nobody_dies_outside_of_a_fault_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWDOWN_CRASH_AT", "stored")
    with pytest.raises(ConfigError, match=r"DRAWDOWN_CRASH_AT: .*faults\*"):
        load(environment="live")
    assert load(environment="faults-1").crash_at == "stored"


def test_the_command_says_what_it_is() -> None:
    done = run("-m", "benchmarks", "faults", "--help")
    assert done.returncode == 0
    assert "--minutes" in done.stdout
