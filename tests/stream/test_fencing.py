"""Who has a name in the group, and what becomes of the others."""

from __future__ import annotations

import pytest
from tests.support.desk import Desk

from drawdown.stream.loop import FencedError
from drawdown.stream.store import MemoryStores


def test_a_process_whose_name_another_one_has_taken_ends() -> None:
    desk = Desk(partitions=2)
    first = desk.start("0")
    desk.settle()
    second = desk.start("0", MemoryStores())
    with pytest.raises(FencedError, match="an instance of its own"):
        for _ in range(200):
            first.turn()
            second.turn()
    first.kill()
    desk.grant("acme", "5")
    desk.use("acme", input=1_000_000)
    desk.settle()
    assert desk.balance("acme") == "3"


def test_a_member_that_was_fenced_by_nobody_joins_anew() -> None:
    # A real member that comes back after the broker was away is told so by what it sent before.
    desk = Desk(partitions=2)
    settler = desk.start("0")
    desk.grant("acme", "5")
    desk.settle()
    usage = settler.worker._lease._usage
    usage._membership._be_fenced()  # type: ignore[attr-defined]
    desk.use("acme", input=1_000_000)
    desk.settle()
    assert desk.balance("acme") == "3"
    assert settler.worker._lease._usage is not usage
    assert settler.worker.serving == {0, 1}


def test_a_process_that_has_the_name_of_a_killed_one_is_not_put_out_by_it() -> None:
    # The coordinator keeps the client id of a static member's first life: it may be another one's.
    desk = Desk(partitions=2)
    first = desk.start("0")
    desk.settle()
    first.kill()
    second = desk.start("0", MemoryStores())
    desk.settle()
    second.worker._client_id = "of-another-life"
    second.worker._lease.client_id = "of-another-life"
    second.worker._lease._usage._membership._be_fenced()  # type: ignore[attr-defined]
    desk.settle()
    assert second.worker.serving == {0, 1}


def test_fenced_a_second_time_it_knows_itself() -> None:
    # The coordinator keeps the client id of a static member's first life.
    desk = Desk(partitions=2)
    settler = desk.start("0")
    desk.settle()
    names = {settler.worker._lease.client_id}
    for _ in range(2):
        settler.worker._lease._usage._membership._be_fenced()  # type: ignore[attr-defined]
        desk.settle()
        names.add(settler.worker._lease.client_id)
    assert len(names) == 1
    assert settler.worker.serving == {0, 1}


def test_a_process_that_was_asleep_in_a_transaction_goes_on_by_itself() -> None:
    desk = Desk(partitions=2)
    settler = desk.start("0")
    desk.grant("acme", "5")
    desk.settle()
    slept: list[str] = []

    def sleep(point: str) -> None:
        if point == "produced" and not slept:
            slept.append(point)
            settler.process.pause()
            desk.pass_time(20)  # the broker ends the transaction, and the session
            desk.cluster.tick()
            settler.process.resume()

    desk.crash = sleep
    desk.use("acme", input=1_000_000)
    desk.settle()
    assert slept
    assert desk.balance("acme") == "3"
    assert desk.kinds("acme") == ["grant", "debit"]
