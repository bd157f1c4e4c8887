"""Rows are rebuilt from the journal alone, and compared byte for byte with every copy of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.replay.lives import lived
from tests.replay.proof import put, remove, replayed, rewrite, the_only, told
from tests.support.desk import ENVIRONMENT, Desk

from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES
from drawdown.replay import whole
from drawdown.replay.balance import wallet_at
from drawdown.replay.live_store import LiveStore
from drawdown.settlement.service import partitions_of
from drawdown.stream.partition_log import LogError
from drawdown.stream.store import Owner, RocksStores, StoreUnusableError


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield lived()


def last_row_of(desk: Desk, customer: str) -> str:
    return desk.wallet(customer)["digest"]


def test_every_row_is_rebuilt_and_is_the_published_one(desk: Desk) -> None:
    report = replayed(desk)
    assert told(report) == []
    assert report.entries == len(desk.entries())
    assert report.customers == len({entry["subject"] for entry in desk.entries()})
    assert report.rows == report.rows_compared > report.customers  # holds are open


def test_a_row_that_was_changed_is_named_with_its_field(desk: Desk) -> None:
    digest = last_row_of(desk, "bob")
    rewrite(
        desk,
        BALANCES,
        lambda row: row.get("digest") == digest,
        lambda value: value.replace(b'"granted":"', b'"granted":"9'),
    )
    difference = the_only(replayed(desk))
    assert (difference.what, difference.customer) == ("row", "bob")
    assert difference.field == "accounts[0].granted"
    assert difference.found == f"9{difference.expected}"


def test_a_row_that_is_gone_and_one_that_never_was_are_found(desk: Desk) -> None:
    row = json.loads(next(m.value() or b"" for m in desk.records(BALANCES) if m.key() == b"dan"))
    put(desk, BALANCES, "zoe", json.dumps(row | {"customer": "zoe"}).encode())
    while True:
        try:
            remove(desk, BALANCES, lambda found: found.get("customer") == "eve")
        except AssertionError:
            break
    report = replayed(desk)
    said = "\n".join(told(report))
    assert report.differences == 2
    assert "zoe stands there; the journal makes no such row" in said
    assert "eve is not there; the journal makes it" in said


def test_a_flipped_byte_ends_its_customers_fold_and_no_others(desk: Desk) -> None:
    before = rewrite(
        desk,
        BALANCE_CHANGES,
        lambda entry: entry["subject"] == "cleo" and entry["data"]["sequence"] == 4,
        lambda value: value.replace(b'"meter":"', b'"meter":"x'),
    )
    report = replayed(desk)
    difference = the_only(report)
    assert (difference.customer, difference.offset) == ("cleo", before.offset())
    assert "its digest is not that of its bytes" in difference.detail
    assert sum(p.broken_customers for p in report.partitions) == 1
    assert report.rows_compared > 0


def test_a_lost_entry_does_not_follow(desk: Desk) -> None:
    remove(desk, BALANCE_CHANGES, lambda e: e["subject"] == "cleo" and e["data"]["sequence"] == 4)
    assert "sequence-contiguous: cleo: entry 5 after 3" in the_only(replayed(desk)).detail


def test_a_journal_without_its_head_says_where_it_begins(desk: Desk) -> None:
    partition = next(p for p in range(4) if desk.cluster.watermarks("test.balance-changes", p)[1])
    desk.cluster.trim("test.balance-changes", partition, 5)
    report = replayed(desk)
    difference = the_only(report)
    assert (difference.what, difference.partition, difference.offset) == ("head-gone", partition, 5)


def test_rows_that_are_ahead_because_settlement_goes_on_are_folded_on_to(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drawdown.replay import replay

    bounds = replay.Ends.bounds
    asked: list[str] = []

    def busy(ends: Any, topic: str, partition: int) -> tuple[int, int]:
        """While ends are asked for, more is decided."""
        found = bounds(ends, topic, partition)
        asked.append(topic)
        if len(asked) % 3 == 1:
            for customer in ("ada", "bob", "cleo", "dan", "eve"):
                desk.use(customer, input=123)
            desk.settle()
        return found

    monkeypatch.setattr(replay.Ends, "bounds", busy)
    report = replayed(desk)
    assert told(report) == []
    assert report.rows_compared == report.rows


def test_rows_are_rebuilt_on_disk_as_in_memory(desk: Desk, tmp_path: Path) -> None:
    report = whole.replay(desk.cluster, ENVIRONMENT, partitions=[1], scratch=tmp_path)
    assert report.differences == 0
    again = whole.verify(desk.cluster, ENVIRONMENT, partitions=[1], scratch=tmp_path)
    assert again.differences == 0
    assert again.counts.entries == report.entries > 0
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_a_store_on_disk_is_compared_while_it_is_open(tmp_path: Path) -> None:
    desk = Desk()
    stores = RocksStores(tmp_path / "0")
    (tmp_path / "0").mkdir()
    desk.start(stores=stores)
    desk.grant("ada", "5")
    desk.grant("bob", "5")
    desk.settle()
    desk.use("ada", input=1_000)
    desk.settle()
    report = replayed(desk, tmp_path)
    assert told(report) == []
    compared = [store for store in report.stores if store.not_compared is None]
    assert sum(store.rows for store in compared) == 2
    desk.use("ada", input=1_000)
    desk.settle()
    assert told(replayed(desk, tmp_path)) == []


def test_a_store_that_differs_is_found(tmp_path: Path) -> None:
    desk = Desk(partitions=1)
    (tmp_path / "0").mkdir()
    settler = desk.start(stores=RocksStores(tmp_path / "0"))
    desk.grant("ada", "5")
    desk.settle()
    view = settler.worker._views[0]
    (value,) = view.store.rows(["ada"])
    assert value is not None
    view.store._db.put(b"ada", value.replace(b'"balance":"5"', b'"balance":"6"'))  # type: ignore[attr-defined]
    difference = the_only(replayed(desk, tmp_path))
    assert difference.field == "accounts[0].balance"
    assert (difference.expected, difference.found) == ("5", "6")
    assert str(tmp_path) in difference.detail


def test_a_store_of_another_cluster_is_not_compared(tmp_path: Path) -> None:
    desk = Desk(partitions=1)
    (tmp_path / "0").mkdir()
    desk.start(stores=RocksStores(tmp_path / "0"))
    desk.grant("ada", "5")
    desk.settle()
    _, cluster_id = partitions_of(desk.cluster, ENVIRONMENT)
    other = Owner("another", "test.balance-changes", 0, 1)
    path = tmp_path / "0" / "test.balance-changes-0"
    with pytest.raises(StoreUnusableError, match="not of"):
        LiveStore(path, other)
    LiveStore(path, Owner(cluster_id, "test.balance-changes", 0, 1)).close()


def test_a_wallet_is_shown_as_it_was(desk: Desk) -> None:
    entries = desk.entries("ada")
    for entry in entries:
        then = wallet_at(desk.cluster, ENVIRONMENT, "ada", sequence=entry["data"]["sequence"])
        assert then is not None
        assert then.wallet.digest == entry["digest"]
        if "asset" in entry["data"]:
            account = then.wallet.accounts[entry["data"]["asset"]]
            assert account.balance_text == entry["data"]["after"]
    now = wallet_at(desk.cluster, ENVIRONMENT, "ada")
    assert now is not None
    assert now.wallet.sequence == len(entries)
    assert len(now.holds) == now.wallet.holds
    assert wallet_at(desk.cluster, ENVIRONMENT, "ada", at_ms=0) is None


def test_a_wallet_of_a_spoiled_journal_is_not_shown(desk: Desk) -> None:
    rewrite(
        desk,
        BALANCE_CHANGES,
        lambda entry: entry["subject"] == "ada" and entry["data"]["sequence"] == 2,
        lambda value: value.replace(b'"amount":"', b'"amount":"1'),
    )
    with pytest.raises(LogError, match="digest is not that of its bytes"):
        wallet_at(desk.cluster, ENVIRONMENT, "ada")
