"""No partition stays without an owner for long."""

from __future__ import annotations

import pytest
from tests.support.desk import Desk, Settler

from drawdown.stream.watchdog import EVERY_S, Watchdog


def owners(desk: Desk) -> set[int]:
    return {partition for settler in desk.settlers for partition in settler.worker.serving}


def killed_between_the_steps(desk: Desk) -> Settler:
    """The first process dies after it joined a rebalance and before it gave its half to the second,
    and is back in time: that half is nobody's. Returns the second."""
    first = desk.start("0")
    desk.settle()
    second = desk.start("1")
    desk.pass_time(1.5)  # the first one's heartbeat joins the rebalance in the background
    second.turn()
    assert desk.cluster.group(desk.group).result().stable
    first.restart()
    for _ in range(20):
        for settler in desk.settlers:
            settler.turn()
    assert len(owners(desk)) == 2
    return second


def test_partitions_without_an_owner_are_found_and_shared_out() -> None:
    desk = Desk(partitions=4)
    killed_between_the_steps(desk)
    for _ in range(8):
        desk.pass_time(EVERY_S / 2)
        for settler in desk.settlers:
            for _ in range(5):
                settler.turn()
    assert owners(desk) == {0, 1, 2, 3}
    desk.grant("acme", "5")
    desk.settle()
    assert desk.balance("acme") == "5"


def test_without_it_they_would_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watchdog, "rejoin_due", lambda self, now_s, owned: False)
    desk = Desk(partitions=4)
    killed_between_the_steps(desk)
    for _ in range(8):
        desk.pass_time(EVERY_S / 2)
        for settler in desk.settlers:
            for _ in range(5):
                settler.turn()
    assert len(owners(desk)) == 2


def test_a_group_that_owns_everything_is_left_alone() -> None:
    desk = Desk(partitions=4)
    first, second = desk.start("0"), desk.start("1")
    desk.settle()
    generation = first.worker._lease.changes, second.worker._lease.changes
    for _ in range(10):
        desk.pass_time(EVERY_S)
        first.turn()
        second.turn()
    assert (first.worker._lease.changes, second.worker._lease.changes) == generation


def test_a_broker_that_is_away_is_asked_again_later() -> None:
    desk = Desk(partitions=4)
    second = killed_between_the_steps(desk)
    desk.cluster.stop_broker()
    for _ in range(4):
        desk.pass_time(EVERY_S / 4)
        second.turn()
    desk.cluster.start_broker()
    for _ in range(10):
        desk.pass_time(EVERY_S / 2)
        for settler in desk.settlers:
            for _ in range(5):
                settler.turn()
    assert owners(desk) == {0, 1, 2, 3}
