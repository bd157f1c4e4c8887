"""Recovery: whatever a process had come to when it died, and whatever became of its store."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.desk import ENVIRONMENT, Desk, Settler

from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES, COMMANDS, USAGE_EVENTS
from drawdown.stream.application import USAGE
from drawdown.stream.memory import KilledError, MarkersDelayed
from drawdown.stream.partition import partition_of
from drawdown.stream.recovery import LOADING_S
from drawdown.stream.store import MemoryStores, Positions, RocksStores, Stores, StoreUnusableError

POINTS = ("produced", "offsets-sent", "committed", "stored")


def dies_at(desk: Desk, settler: Settler, point: str) -> None:
    """The process is killed there; what it then does is nothing."""

    def crash(at: str) -> None:
        if at == point:
            settler.process.kill()
            raise KilledError(at)

    desk.crash = crash
    with pytest.raises(KilledError):
        for _ in range(20):
            settler.turn()
    desk.crash = lambda _: None


def stored(settler: Settler) -> dict[str, bytes]:
    return {
        key: value
        for view in settler.worker._views.values()
        for key, value in view.store.all_rows()
    }


def published(desk: Desk) -> dict[str, bytes | None]:
    return {(m.key() or b"").decode(): m.value() for m in desk.records(BALANCES)}


@pytest.mark.parametrize("disk", ["kept", "lost", "kept, on disk", "lost, on disk"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point: str, disk: str, tmp_path: Path) -> None:
    desk = Desk(partitions=2)
    on_disk = disk.endswith("on disk")

    def stores(name: str) -> Stores:
        return RocksStores(tmp_path / name) if on_disk else MemoryStores()

    settler = desk.start("0", stores("first"))
    for customer in ("acme", "bolt", "cyan"):
        desk.grant(customer, "10")
        desk.use(customer, input=500_000)
    desk.settle()
    for customer in ("acme", "bolt", "cyan"):
        desk.use(customer, event_id=f"{customer}-last", input=1_000_000)
    dies_at(desk, settler, point)
    if on_disk:  # what the kernel does for a process that was killed
        for view in settler.worker._views.values():
            view.store.close()
    again = settler.restart(disk=None if disk.startswith("kept") else stores("second"))
    desk.settle()
    for customer in ("acme", "bolt", "cyan"):
        assert desk.balance(customer) == "7"
        desk.use(customer, event_id=f"{customer}-last", input=1_000_000)
    desk.settle()
    assert {desk.balance(customer) for customer in ("acme", "bolt", "cyan")} == {"7"}
    assert stored(again) == published(desk)
    again.worker.close()


def test_only_the_journals_tail_is_folded_into_a_store_that_was_kept() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    desk.grant("acme", "10")
    desk.settle()
    view = settler.worker._views[0]
    assert view.store.positions.journal == 1
    desk.use("acme", input=1_000_000)
    dies_at(desk, settler, "committed")
    assert view.store.positions.journal == 1
    folded: list[bytes] = []
    again = settler.restart()
    fold = again.worker._application.fold
    again.worker._application.fold = lambda value, view: (  # type: ignore[method-assign]
        folded.append(value),
        fold(value, view),
    )[1]
    desk.settle()
    assert len(folded) == 1
    # The grant is entry 0, and offset 1 the end of its transaction.
    assert view.store.positions.journal == 3


def test_without_the_groups_offsets_the_journal_says_how_far_it_came() -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    for customer in ("acme", "bolt"):
        desk.grant(customer, "10")
        desk.use(customer, input=1_000_000)
    desk.settle()
    settler.kill()
    desk.cluster._broker.group(desk.group).offsets.clear()
    desk.start("0", settler.stores)
    desk.settle()
    assert {desk.balance(customer) for customer in ("acme", "bolt")} == {"8"}
    assert desk.kinds("acme") == ["grant", "debit"]


def group_behind_the_journal(desk: Desk) -> tuple[Settler, int]:
    """A process started again, that is told older offsets of the group than it has committed, and
    the partition of which."""
    settler = desk.start()
    desk.grant("acme", "10")
    desk.use("acme", input=1_000_000)
    desk.settle()
    home = partition_of(b"acme", desk.partitions)
    settler.kill()
    desk.cluster._broker.group(desk.group).offsets[ENVIRONMENT.topic(USAGE_EVENTS), home] = 0
    again = desk.start("0", settler.stores)
    for _ in range(60):
        again.turn()
    return again, home


def test_a_journal_ahead_of_the_groups_offsets_stops_the_partition() -> None:
    desk = Desk(partitions=2)
    again, home = group_behind_the_journal(desk)
    assert again.worker.stopped == {}
    for _ in range(round(LOADING_S) + 1):
        desk.pass_time(1.0)
        again.turn()
    desk.settle()
    assert list(again.worker.stopped) == [home]
    assert "cause-below-committed" in again.worker.stopped[home]


def test_a_group_whose_offsets_were_not_all_loaded_is_asked_again() -> None:
    desk = Desk(partitions=2)
    again, home = group_behind_the_journal(desk)
    assert "caused by usage record 0, the group is at 0" in again.worker.recovering[home]
    desk.cluster._broker.group(desk.group).offsets[ENVIRONMENT.topic(USAGE_EVENTS), home] = 1
    desk.use("acme", input=500_000)
    desk.settle()
    assert again.worker.stopped == {}
    assert desk.kinds("acme") == ["grant", "debit", "debit"]
    assert desk.balance("acme") == "7"
    assert desk.wrongs() == []


def test_a_store_that_is_ahead_of_the_journal_is_set_aside_and_rebuilt() -> None:
    desk = Desk(partitions=1)
    stores = MemoryStores()
    settler = desk.start("0", stores)
    desk.grant("acme", "10")
    desk.use("acme", input=1_000_000)
    desk.settle()
    settler.kill()
    settler.worker._views[0].store.positions = Positions(journal=999)
    again = desk.start("0", stores)
    desk.settle()
    assert stores.set_aside_count == 1
    assert stored(again) == published(desk)


def test_a_store_with_other_rows_than_the_journal_follows_is_rebuilt() -> None:
    desk = Desk(partitions=1)
    stores = MemoryStores()
    settler = desk.start("0", stores)
    desk.grant("acme", "10")
    desk.settle()
    old = dict(settler.worker._views[0].store.all_rows())
    desk.use("acme", input=1_000_000)
    desk.settle()
    store = settler.worker._views[0].store
    position = store.positions
    settler.kill()
    # As a snapshot of the rows restored without its position would be.
    store._rows.update(old)  # type: ignore[attr-defined]
    desk.use("acme", input=1_000_000)
    other = desk.start("1", MemoryStores())
    desk.pass_time(10)
    desk.settle()
    other.kill()
    assert store.positions == position
    again = desk.start("0", stores)
    desk.pass_time(10)
    desk.settle()
    assert stores.set_aside_count == 1
    assert stored(again) == published(desk)
    assert desk.balance("acme") == "6"


def test_usage_that_was_deleted_before_it_was_decided_stops_the_partition() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    desk.use("acme", input=1)
    desk.settle()
    settler.kill()
    for _ in range(5):
        desk.use("acme", input=1)
    desk.cluster.trim(ENVIRONMENT.topic(USAGE_EVENTS), 0, 4)
    again = desk.start("0", settler.stores)
    desk.settle()
    assert "deleted before it was decided" in again.worker.stopped[0]


def test_usage_that_was_deleted_after_it_was_decided_is_nothing() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    for _ in range(5):
        desk.use("acme", input=1)
    desk.settle()
    settler.kill()
    for topic in (USAGE_EVENTS, COMMANDS):
        name = ENVIRONMENT.topic(topic)
        desk.cluster.trim(name, 0, desk.cluster.watermarks(name, 0)[2])
    again = desk.start("0", MemoryStores())
    desk.use("acme", input=1)
    desk.settle()
    assert again.worker.stopped == {}
    assert desk.kinds("acme") == ["debit"] * 6


def test_balances_need_not_hold_what_compaction_has_removed() -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    for customer in ("acme", "bolt"):
        desk.grant(customer, "10")
        for _ in range(5):
            desk.use(customer, input=100_000)
            desk.settle()
    desk.cluster.compact(ENVIRONMENT.topic(BALANCES), tombstones=True)
    again = settler.restart(disk=MemoryStores())
    desk.use("acme", input=1_000_000)
    desk.settle()
    assert (desk.balance("acme"), desk.balance("bolt")) == ("7", "9")
    assert stored(again) == published(desk)


@pytest.mark.parametrize("point", ["produced", "offsets-sent"])
def test_a_transaction_of_ours_that_a_broker_forgot_is_ended(point: str) -> None:
    desk = Desk(partitions=2)
    settler = desk.start()
    for customer in ("acme", "bolt"):
        desk.grant(customer, "10")
    desk.settle()
    for customer in ("acme", "bolt"):
        desk.use(customer, input=1_000_000)
    dies_at(desk, settler, point)
    desk.cluster.forget_transaction(settler.worker._layout.transactional_id)
    desk.pass_time(20)
    ends = [desk.cluster.watermarks(ENVIRONMENT.topic(BALANCE_CHANGES), n) for n in range(2)]
    assert all(stable < end for _, stable, end in ends)
    again = settler.restart()
    desk.pass_time(20)
    desk.settle()
    ends = [desk.cluster.watermarks(ENVIRONMENT.topic(BALANCE_CHANGES), n) for n in range(2)]
    assert all(stable == end for _, stable, end in ends)
    assert {desk.balance(customer) for customer in ("acme", "bolt")} == {"8"}
    assert stored(again) == published(desk)


def test_a_store_with_a_committed_transaction_that_a_broker_forgot_is_rebuilt() -> None:
    desk = Desk(partitions=1)
    settler = desk.start()
    desk.grant("acme", "10")
    desk.settle()
    desk.use("acme", input=1_000_000)
    desk.cluster.faults.before = lambda call, _: (
        MarkersDelayed(60_000) if call == "commit_transaction" else None
    )
    while not settler.worker.stores[0].positions.inputs.get(USAGE):
        settler.turn()
    desk.cluster.faults.before = None
    desk.cluster.forget_transaction(settler.worker._layout.transactional_id)
    again = settler.restart()
    desk.pass_time(20)
    desk.settle()
    assert desk.kinds("acme") == ["grant", "debit"]
    assert desk.balance("acme") == "8"
    assert stored(again) == published(desk)
    assert desk.wrongs() == []


def test_a_store_found_damaged_while_it_is_served_is_rebuilt(tmp_path: Path) -> None:
    desk = Desk(partitions=1)
    settler = desk.start("0", RocksStores(tmp_path))
    for number in range(300):
        desk.grant(f"customer-{number}", "10", reason="x" * 200)
    desk.settle()
    settler.worker.close()
    settler = settler.restart(disk=RocksStores(tmp_path))  # its log becomes a table
    desk.settle()
    settler.worker.close()
    for table in [path for path in tmp_path.rglob("*.sst") if path.stat().st_size > 30_000]:
        content = bytearray(table.read_bytes())
        content[len(content) // 3] ^= 1
        table.write_bytes(content)
    settler = settler.restart(disk=RocksStores(tmp_path))
    desk.settle()
    assert settler.worker.serving == {0}
    for number in range(300):
        desk.use(f"customer-{number}", input=500_000)
    desk.settle()
    assert {desk.balance(f"customer-{number}") for number in range(300)} == {"9"}
    assert settler.worker.serving == {0}
    assert stored(settler) == published(desk)
    assert list(tmp_path.glob("*.unusable-1"))
    settler.worker.close()


@pytest.mark.parametrize("call", ["write", "due", "forget"])
def test_a_store_found_damaged_when_it_is_written_is_rebuilt_and_the_others_go_on(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(partitions=2)
    stores = MemoryStores()
    settler = desk.start("0", stores)
    for customer in ("acme", "bolt"):
        desk.grant(customer, "10")
    desk.settle()
    home, other = (partition_of(customer.encode(), 2) for customer in ("acme", "bolt"))
    assert home != other
    damaged, whole = settler.worker.stores[home], settler.worker.stores[other]

    def refused(*_: object) -> None:
        raise StoreUnusableError("Corruption: block checksum mismatch")

    monkeypatch.setattr(damaged, call, refused)
    desk.pass_time(7_000)  # generations of identities are looked through again
    for customer in ("acme", "bolt"):
        desk.use(customer, input=500_000)
        desk.authorize(customer, require="hold", estimate={"amount": "1"})  # has a timer
    desk.settle()
    assert stores.set_aside_count == 1
    assert settler.worker.stopped == {}
    assert settler.worker.serving == {0, 1}
    assert settler.worker.stores[other] is whole
    assert {desk.balance(customer) for customer in ("acme", "bolt")} == {"8"}
    assert stored(settler) == published(desk)
    assert desk.wrongs() == []
