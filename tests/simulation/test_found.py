"""Schedules that once ended in a wrong: each was found by the search, and shrunk.

What was mended is told by the name; that nothing is wrong any more is all that is looked at.
"""

from __future__ import annotations

import pytest
from tests.simulation.clients import DAY_MS
from tests.simulation.history import Schedule
from tests.simulation.schedules import schedule_of
from tests.simulation.search import play, quick

FOUND = {
    "a process that is 90 days ahead forgets no event that may come again": Schedule(
        1,
        (
            ("start", "0", "kept"),
            ("use", "acme", 1_000, False, 0),
            ("jump", "0", 90 * DAY_MS),
            ("turn", "0", 3),
            ("again", 0, False),
            ("turn", "0", 2),
        ),
    ),
    "nor does one that rebuilds its store with such a clock": Schedule(
        1,
        (
            ("start", "0", "kept"),
            ("use", "acme", 1_000, False, 0),
            ("grant", "acme", "1", 0),
            ("turn", "0", 3),
            ("kill", "0"),
            ("jump", "0", 90 * DAY_MS),
            ("start", "0", "lost"),
            ("turn", "0", 3),
            ("again", 0, False),
            ("retry", 0, False),
            ("turn", "0", 2),
        ),
    ),
    "a process that is 30 days ahead lapses nothing": Schedule(
        1,
        (
            ("start", "0", "kept"),
            ("turn", "0", 3),
            ("grant", "acme", "1", 7 * 86_400),
            ("turn", "0", 1),
            ("jump", "0", 30 * DAY_MS),
            ("turn", "0", 3),
            ("use", "acme", 1_000, False, 0),
            ("turn", "0", 3),
        ),
    ),
    "nor does one that is from its start": Schedule(
        1,
        (
            ("grant", "acme", "1", 7 * 86_400),
            ("jump", "0", 30 * DAY_MS),
            ("start", "0", "kept"),
            ("turn", "0", 4),
            ("pass", 200),
            ("turn", "0", 3),
        ),
    ),
    "timers fire when a clock that was ahead is right again": Schedule(
        1,
        (
            ("start", "0", "kept"),
            ("turn", "0", 3),
            ("grant", "acme", "1", 2),
            ("jump", "0", 30 * DAY_MS),
            ("turn", "0", 1),
            ("check", "acme", 700, False),
            ("turn", "0", 3),
            ("jump", "0", 0),
            ("pass", 3_000),
            ("turn", "0", 3),
        ),
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_found_and_mended(what: str) -> None:
    with quick():
        assert play(FOUND[what]).wrongs == {}


def test_ids_are_found_again_though_the_brokers_clock_was_set_back() -> None:
    """What was appended while it was ahead is older than its time says: seed 9000 found it."""
    with quick():
        assert play(schedule_of(9000)).wrongs == {}
