"""The short campaign: three minutes of faults under load, then the verdict. Nothing may be wrong.

DRAWDOWN_TEST_FAULTS_MINUTES=30 is the long one, which aims at all 25 rows; DRAWDOWN_TEST_SEED has a
schedule again.
"""

from __future__ import annotations

import os

import pytest
from tests.faults.report import summary, table
from tests.faults.suite import campaign
from tests.scenarios.world import seed

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

MINUTES = float(os.environ.get("DRAWDOWN_TEST_FAULTS_MINUTES", "3"))
SHOWN = {15, 20, 25}
"""Rows that a campaign of any length shows, however slow the machine."""
SHOWN_IN_THREE_MINUTES = {1, 2}


def test_nothing_is_lost_and_nothing_is_twice() -> None:
    result = campaign(MINUTES, seed(), print)
    print(table(result))
    print(summary(result))
    assert result["error"] is None, (result["error"], result["schedule"], result["folder"])
    first = [(row["number"], row["violations"][:3]) for row in result["rows"] if row["violations"]]
    assert first == [], (result["seeds"], result["schedule"], result["folder"])
    shown = {row["number"] for row in result["rows"] if row["not_shown"] is None}
    assert shown >= SHOWN | (SHOWN_IN_THREE_MINUTES if MINUTES >= 3 else set())
