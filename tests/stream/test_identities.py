"""An empty store serves before it knows every event id: what may be a repetition waits for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.desk import ENVIRONMENT, Desk, Settler

from drawdown.events.base import at_text
from drawdown.events.catalogue import BALANCE_CHANGES, COMMANDS, USAGE_EVENTS, Topic
from drawdown.stream import identities
from drawdown.stream.loop import Budget
from drawdown.stream.memory import KilledError
from drawdown.stream.partition import partition_of
from drawdown.stream.store import MemoryStores

HOUR_S = 3600
POINTS = ("piece-begun", "piece-read", "piece-covered")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A piece of the journal is a few entries, so that a short history has many."""
    monkeypatch.setattr(identities, "PIECE_FIRST", 2)
    monkeypatch.setattr(identities, "PIECE_MAX", 4)
    yield


def used_for_hours(desk: Desk, hours: int, *customers: str) -> list[tuple[str, str, int]]:
    """Each customer has 100 USD and uses 1 each hour; says who, which event, and when."""
    events = []
    for customer in customers:
        desk.grant(customer, "100")
    for _ in range(hours):
        for customer in customers:
            events.append((customer, desk.use(customer, input=500_000), desk.clock.ms))
        desk.settle()
        desk.pass_time(HOUR_S)
    return events


def again(desk: Desk, event: tuple[str, str, int]) -> None:
    """The very same event once more."""
    customer, event_id, at_ms = event
    desk.event(customer, {"model": "gpt-5", "input": 500_000}, id=event_id, time=at_text(at_ms))


def serves_with_no_identities(desk: Desk, settler: Settler) -> Settler:
    """The process again with another disk; it serves, and restores an entry or two a turn."""
    empty = settler.restart(disk=MemoryStores())
    empty.worker._budget = Budget(recover_s=0.0)
    for _ in range(60):
        empty.turn()
        if len(empty.worker.serving) == desk.partitions:
            return empty
    raise AssertionError(empty.worker.recovering)


def turns_until_all_are_there(settler: Settler) -> int:
    for count in range(400):
        if not settler.worker.waiting:
            return count
        settler.turn()
    raise AssertionError(settler.worker.waiting)


def test_what_is_new_is_decided_while_what_may_repeat_waits() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    events = used_for_hours(desk, 8, "acme")
    empty = serves_with_no_identities(desk, settler)
    assert empty.worker.waiting

    new = desk.use("acme", input=1_000_000)
    for _ in range(6):
        empty.turn()
    assert desk.entries("acme")[-1]["data"]["id"] == new
    assert empty.worker.waiting
    again(desk, events[1])
    for _ in range(3):
        empty.turn()
    assert "of usage wait" in empty.worker.waiting[0]
    turns_until_all_are_there(empty)
    desk.settle()
    assert desk.kinds("acme") == ["grant", *["debit"] * 9]
    assert desk.balance("acme") == "90"


def test_every_event_that_ever_was_is_recognised_however_little_is_restored() -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    events = used_for_hours(desk, 6, "acme", "bolt", "cyan")
    empty = serves_with_no_identities(desk, settler)
    for event in reversed(events):
        again(desk, event)
        empty.turn()
    for event in events:
        again(desk, event)
    turns_until_all_are_there(empty)
    desk.settle()
    assert {desk.balance(customer) for customer in ("acme", "bolt", "cyan")} == {"94"}
    assert desk.wrongs() == []


def test_one_that_waits_keeps_the_order_of_its_input_and_holds_up_no_other() -> None:
    desk = Desk(partitions=2)
    home = {name: partition_of(name.encode(), 2) for name in ("acme", "bolt", "cyan", "dune")}
    first, second = "acme", next(name for name in home if home[name] != home["acme"])
    settler = desk.start()
    events = used_for_hours(desk, 8, first, second)
    empty = serves_with_no_identities(desk, settler)
    for _ in range(4):
        empty.turn()
    before = len(desk.entries(first))
    again(desk, events[0])
    behind = desk.use(first, input=1)
    beside = desk.use(second, input=1)
    granted = desk.grant(first, "1")
    for _ in range(4):
        empty.turn()
    assert empty.worker.waiting[home[first]]
    assert desk.entries(second)[-1]["data"]["id"] == beside
    assert desk.decision(granted)["allowed"]
    assert [e["data"]["id"] for e in desk.entries(first)[before:]] == [granted]
    turns_until_all_are_there(empty)
    desk.settle()
    assert [e["data"]["id"] for e in desk.entries(first)[before:]] == [granted, behind]


def test_a_time_that_the_gateway_filled_in_says_nothing_about_repetition() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    desk.grant("acme", "10")
    data = {"model": "gpt-5", "input": 500_000}
    desk.event("acme", data, id="one", timesource="gateway")
    desk.settle()
    used_for_hours(desk, 6, "bolt")
    empty = serves_with_no_identities(desk, settler)
    desk.event("acme", data, id="one", timesource="gateway")
    for _ in range(6):
        empty.turn()
    assert "of usage wait" in empty.worker.waiting[0]
    turns_until_all_are_there(empty)
    desk.settle()
    assert desk.balance("acme") == "9"


def test_a_command_that_may_repeat_waits_and_a_plain_check_never_does() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    first_ms = desk.clock.ms
    desk.grant("acme", "10", id="gift")
    used_for_hours(desk, 6, "bolt")
    empty = serves_with_no_identities(desk, settler)
    asked = desk.authorize("acme", time=at_text(desk.clock.ms - HOUR_S * 1000))
    for _ in range(2):
        empty.turn()
    assert desk.decision(asked)["allowed"]
    desk.grant("acme", "10", id="gift", time=at_text(first_ms))
    for _ in range(2):
        empty.turn()
    assert "of commands wait" in empty.worker.waiting[0]
    turns_until_all_are_there(empty)
    desk.settle()
    assert desk.balance("acme") == "10"
    assert desk.decision("gift")["duplicate"]


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("point", POINTS)
def test_killed_while_identities_are_restored(point: str, nth: int) -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    events = used_for_hours(desk, 8, "acme", "bolt")
    empty = serves_with_no_identities(desk, settler)
    passed = 0

    def crash(at: str) -> None:
        nonlocal passed
        passed += at == point
        if passed == nth:
            empty.process.kill()
            raise KilledError(at)

    desk.crash = crash
    with pytest.raises(KilledError):
        for event in events:
            again(desk, event)
            empty.turn()
    desk.crash = lambda _: None
    once_more = empty.restart()
    once_more.worker._budget = Budget(recover_s=0.0)
    for event in events:
        again(desk, event)
    for _ in range(20):
        once_more.turn()
    turns_until_all_are_there(once_more)
    desk.settle()
    assert (desk.balance("acme"), desk.balance("bolt")) == ("92", "92")
    assert desk.wrongs() == []


def test_what_was_restored_before_a_restart_is_not_read_again() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    used_for_hours(desk, 12, "acme")
    empty = serves_with_no_identities(desk, settler)
    for _ in range(12):
        empty.turn()
    covered = empty.worker.stores[0].positions.identities_from
    assert 0 < covered < empty.worker.stores[0].positions.journal
    once_more = empty.restart()
    read: list[int] = []
    identify = once_more.worker._application.identify
    once_more.worker._application.identify = lambda value, memory: (  # type: ignore[method-assign]
        read.append(1),
        identify(value, memory),
    )[1]
    desk.settle()
    turns_until_all_are_there(once_more)
    journal = desk.cluster.records(ENVIRONMENT.topic(BALANCE_CHANGES), 0)
    assert len(read) == len([entry for entry in journal if (entry.offset() or 0) < covered])


def test_a_half_restored_partition_moves_to_another_process_and_back() -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    events = used_for_hours(desk, 8, "acme", "bolt", "cyan")
    empty = serves_with_no_identities(desk, settler)
    for _ in range(3):
        empty.turn()
    other = desk.start("1", MemoryStores())
    other.worker._budget = Budget(recover_s=0.0)
    for event in events[::2]:
        again(desk, event)
        desk.clock.sleep(0.2)
        for each in (empty, other):
            each.turn()
    desk.settle()
    other.kill()
    desk.pass_time(20)
    for event in events:
        again(desk, event)
    for _ in range(60):
        empty.turn()
    turns_until_all_are_there(empty)
    desk.settle()
    assert {desk.balance(customer) for customer in ("acme", "bolt", "cyan")} == {"92"}


def test_without_store_and_offsets_all_identities_come_first() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    used_for_hours(desk, 6, "acme")
    settler.kill()
    desk.cluster._broker.group(desk.group).offsets.clear()
    desk.use("acme", input=500_000)
    found = desk.start("0", MemoryStores())
    desk.settle()
    assert not found.worker.waiting
    assert desk.balance("acme") == "93"
    assert desk.dead_letters() == []


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS])
def test_offsets_that_were_set_back_stop_a_partition_without_its_store(topic: Topic) -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    used_for_hours(desk, 6, "acme")
    desk.grant("acme", "1")
    desk.settle()
    settler.kill()
    name = ENVIRONMENT.topic(topic)
    desk.cluster._broker.group(desk.group).offsets[name, 0] = 0
    found = desk.start("0", MemoryStores())
    desk.settle()
    assert "cause-below-committed" in found.worker.stopped[0]
    assert desk.kinds("acme") == ["grant", *["debit"] * 6, "grant"]


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_backlog_is_compared_with_what_was_young_when_it_arrived(disk: str) -> None:
    """The first was decided 34 days before the repetition arrived, which waits 6 days more."""
    day_s = 86_400
    desk = Desk(partitions=1)
    settler = desk.start()
    events = used_for_hours(desk, 1, "acme")
    desk.pass_time(34 * day_s)
    settler.kill()
    again(desk, events[0])
    desk.pass_time(6 * day_s)
    found = desk.start("0", settler.stores if disk == "kept" else MemoryStores())
    desk.use("acme", input=1)
    desk.settle()
    turns_until_all_are_there(found)
    desk.settle()
    assert desk.kinds("acme") == ["grant", "debit", "debit"]
