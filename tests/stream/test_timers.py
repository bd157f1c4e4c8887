"""Timers fire when time has come for all that was before them, and not by a clock that jumped."""

from __future__ import annotations

from tests.support.desk import START_MS, Desk, DeskClock

from drawdown.events.base import at_text
from drawdown.stream.clock import JUMP_MS_MAX, ClockGuard


def test_a_grant_lapses_when_its_time_has_come() -> None:
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("acme", "10", expires_at=at_text(START_MS + 60_000))
    desk.settle()
    desk.pass_time(59 - (desk.clock.ms - START_MS) / 1000)
    desk.settle()
    assert desk.kinds("acme") == ["grant"]
    desk.pass_time(1.5)
    desk.settle()
    assert desk.kinds("acme") == ["grant", "lapse"]
    assert desk.balance("acme") == "0"


def test_a_backlog_uses_what_was_in_effect_then_before_it_lapses() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    desk.grant("acme", "10", expires_at=at_text(START_MS + 60_000))
    desk.settle()
    settler.kill()
    for _ in range(300):
        desk.use("acme", input=10_000)
    desk.pass_time(3_600)
    again = desk.start("0", settler.stores)
    again.worker._budget = type(again.worker._budget)(chunk=10, records_max=20)
    desk.settle()
    desk.pass_time(1)
    desk.settle()
    assert desk.kinds("acme") == ["grant", *["debit"] * 300, "lapse"]
    assert desk.entries("acme")[-1]["data"]["amount"] == "4"


def test_a_timer_survives_a_restart_without_its_store() -> None:
    from drawdown.stream.store import MemoryStores

    desk = Desk(partitions=1)
    settler = desk.start()
    desk.grant("acme", "10", expires_at=at_text(START_MS + 60_000))
    desk.settle()
    settler.restart(disk=MemoryStores())
    desk.pass_time(61)
    desk.settle()
    assert desk.kinds("acme") == ["grant", "lapse"]


def test_a_time_that_runs_ahead_of_both_clocks_is_not_believed() -> None:
    clock = DeskClock()
    guard = ClockGuard(clock)
    assert guard.believes(clock.ms + JUMP_MS_MAX)
    assert not guard.believes(clock.ms + 2 * JUMP_MS_MAX + 1_000)
    assert guard.jumped_ms > JUMP_MS_MAX
    assert guard.believes(clock.ms)
    assert guard.jumped_ms == 0


def test_a_time_is_believed_again_when_as_much_has_passed() -> None:
    clock = DeskClock()
    guard = ClockGuard(clock)
    month_ms = 30 * 86_400_000
    assert not guard.believes(START_MS + month_ms)
    clock.sleep(month_ms / 1000)
    assert guard.believes(START_MS + month_ms)


def test_a_process_whose_own_clock_went_back_believes_in_what_has_passed() -> None:
    clock = DeskClock()
    guard = ClockGuard(clock)
    passed_s = 7_200
    steady = clock.monotonic
    clock.monotonic = lambda: steady() + passed_s + 3_600  # type: ignore[method-assign]
    clock.ms -= 3_600_000
    assert guard.believes(START_MS + passed_s * 1000)


def test_more_cycles_than_one_firing_makes_are_made_by_several() -> None:
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("acme", "1", recurrence={"every": "hour", "cycles": 400})
    desk.settle()
    desk.pass_time(300 * 3600)
    desk.settle()
    desk.use("acme", input=1)  # a watermark, once more
    desk.settle()
    (settler,) = desk.settlers
    assert settler.worker.stopped == {}
    assert desk.kinds("acme").count("grant") == 301
    assert desk.wrongs() == []
