"""The simulator notices: each way of being wrong that the design guards against is planted, and
found within a bounded number of schedules that the engine as it is plays without a wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from tests.simulation import mutants
from tests.simulation.history import Schedule
from tests.simulation.mutants import MUTANTS
from tests.simulation.search import Report, play, quick, search, seeds

Mutant = Callable[[], AbstractContextManager[None]]

SCHEDULES_MAX = 600
"""Within which each is caught, from seed 1 on."""

QUIET = Schedule(
    1,
    (
        ("start", "0", "kept"),
        ("turn", "0", 4),
        ("grant", "acme", "1", 0),
        ("turn", "0", 1),
        ("use", "acme", 100, False, 0),
        ("hold", "acme", 1_000, 20, 0),
        ("use", "acme", 700, False, 0),
        ("turn", "0", 1),
        ("use_held", 0, 500, True),
        ("check", "acme", 100, False),
        ("turn", "0", 2),
    ),
)
SEEN_WHERE_NOTHING_HAPPENS = {mutants.denied_and_held, mutants.offsets_outside_the_transaction}


def first_failure() -> Report:
    return search(seeds(1, SCHEDULES_MAX), until=lambda report: bool(report.failures))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    with mutant():
        report = first_failure()
    assert report.failures, f"{mutant.__doc__} Not noticed in {report.schedules} schedules."
    record_property("schedules", report.schedules)
    # It is the mutant that is wrong, not the schedule.
    with quick():
        assert play(report.failures[0].schedule).wrongs == {}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_right_while_nothing_happens(mutant: Mutant) -> None:
    """So that what is caught above is the guard that is missing, and no blunder of the mutant's."""
    with mutant(), quick():
        assert bool(play(QUIET).wrongs) == (mutant in SEEN_WHERE_NOTHING_HAPPENS)
