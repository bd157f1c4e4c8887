"""Whatever befalls settlement processes, in whatever order: nothing is lost, nothing counts twice.

20,000 schedules in the test run; DRAWDOWN_TEST_SCHEDULES=1000000 for hours of them, from seed
DRAWDOWN_TEST_SEED on. `python -m tests.simulation --help` searches, replays and reports.
"""

from __future__ import annotations

import os

import pytest
from tests.simulation.clients import encode
from tests.simulation.history import History, Schedule, Step
from tests.simulation.many import simulated
from tests.simulation.schedules import schedule_of
from tests.simulation.search import Failure, play, quick, schedule_from, schedule_text, shrunk
from tests.simulation.world import ENVIRONMENT

from drawdown.events.catalogue import TOPICS

SCHEDULES = int(os.environ.get("DRAWDOWN_TEST_SCHEDULES", "20000"))
SEED = int(os.environ.get("DRAWDOWN_TEST_SEED", "1"))


@pytest.mark.slow
def test_no_schedule_makes_anything_wrong() -> None:
    report = simulated(SEED, SCHEDULES * 7 // 10, max(SCHEDULES // 2_000, 1))
    if report.failures:
        smallest = min(report.failures, key=lambda failure: len(failure.schedule.steps))
        pytest.fail(f"{len(report.failures)} failures; {shrunk(smallest).described()}")
    assert not report.violations
    assert report.schedules >= SCHEDULES
    # A search that met no trouble, or looked at nothing, would be right as well.
    for kind in (
        "crash",
        "stall",
        "fault",
        "kill",
        "clock jump",
        "broker away",
        "start, disk lost",
    ):
        assert sum(n for name, n in report.faults.items() if name.startswith(kind)) > 50, kind
    for number, looked in report.to_json()["invariants"].items():
        assert looked["checked"] > 100, f"invariant {number} was not shown"


def everything(history: History) -> list[tuple[object, ...]]:
    """All topics, byte for byte, aborted records as well."""
    return [
        (m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers(), m.timestamp())
        for topic in TOPICS
        for partition in range(history.schedule.partitions if topic.by_customer else 1)
        for m in history.cluster.records(ENVIRONMENT.topic(topic), partition, committed=False)
    ]


def test_a_seed_makes_the_same_topics_byte_for_byte() -> None:
    with quick():
        for seed in range(1, 60):
            first, second = play(schedule_of(seed)), play(schedule_of(seed))
            assert everything(first) == everything(second), seed
            assert first.counts == second.counts
        assert everything(play(schedule_of(1))) != everything(play(schedule_of(2)))


def test_a_schedule_is_played_again_from_its_text() -> None:
    for seed in (1, 2, 250):
        schedule = schedule_of(seed)
        assert schedule_from(schedule_text(schedule)) == schedule


def test_a_failure_is_shrunk_to_what_it_needs() -> None:
    # A process whose disk is that of a journal nobody has: the group's offsets are beyond it.
    noise: tuple[Step, ...] = (("pass", 5), ("look",), ("pass", 200))
    steps: tuple[Step, ...] = (*noise, ("no such step",), *noise)
    schedule = Schedule(1, steps)
    failure = shrunk(Failure("seed 0", schedule, play(schedule).wrongs))
    assert failure.schedule.steps == (("no such step",),)
    assert "no such step" in failure.described()


def test_what_clients_send_is_written_the_same_way_each_time() -> None:
    assert encode({"b": 1, "a": [1, "x"]}) == b'{"b":1,"a":[1,"x"]}'
