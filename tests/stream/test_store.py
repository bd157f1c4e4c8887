"""A partition's store, on disk and in memory: one batch or nothing, and never another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drawdown.stream.store import (
    GENERATION_MS,
    Changes,
    MemoryStores,
    Owner,
    Positions,
    RocksStores,
    Stores,
    StoreUnusableError,
    Timer,
)

OWNER = Owner("cluster", "test.balance-changes", 3, 8)


def changes(
    rows: dict[str, bytes | None] | None = None,
    identities: dict[bytes, bytes] | None = None,
    at_ms: int = 0,
    gone: list[Timer] | None = None,
    new: list[Timer] | None = None,
    journal: int = 1,
) -> Changes:
    return Changes(
        rows or {}, identities or {}, at_ms, gone or [], new or [], Positions(journal=journal)
    )


@pytest.fixture(params=["memory", "disk"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Stores]:
    """The stores as a process finds them that has just started."""
    if request.param == "disk":
        return lambda: RocksStores(tmp_path)
    stores = MemoryStores()
    return lambda: stores


def test_what_was_written_is_there_after_a_restart(reopened: Callable[[], Stores]) -> None:
    store = reopened().open(OWNER)
    assert store.positions == Positions()
    store.write(
        Changes(
            {"acme": b"1", "bolt": b"2"},
            {b"id": b"first"},
            5,
            [],
            [Timer(70, "bolt"), Timer(60, "acme")],
            Positions(journal=7, inputs={"usage": 3}, identities_from_ms=1),
        )
    )
    store.close()
    store = reopened().open(OWNER)
    assert store.rows(["bolt", "none", "acme"]) == [b"2", None, b"1"]
    assert store.identities([b"none", b"id"]) == [None, b"first"]
    assert store.due(100, 10) == [Timer(60, "acme"), Timer(70, "bolt")]
    assert store.positions == Positions(journal=7, inputs={"usage": 3}, identities_from_ms=1)
    assert list(store.all_rows()) == [("acme", b"1"), ("bolt", b"2")]
    store.close()


def test_rows_and_timers_go(reopened: Callable[[], Stores]) -> None:
    store = reopened().open(OWNER)
    store.write(changes({"acme": b"1"}, new=[Timer(60, "acme")]))
    store.write(changes({"acme": None}, gone=[Timer(60, "acme")], journal=2))
    assert store.rows(["acme"]) == [None]
    assert store.due(1 << 60, 1) == []
    assert list(store.all_rows()) == []
    assert store.positions.journal == 2
    store.close()


def test_timers_come_soonest_first_up_to_a_time_and_a_number(
    reopened: Callable[[], Stores],
) -> None:
    store = reopened().open(OWNER)
    timers = [Timer(due, f"row-{due}") for due in (300, 2, 70_000, 256, 255)]
    store.write(changes(new=timers))
    assert [timer.due_ms for timer in store.due(300, 10)] == [2, 255, 256, 300]
    assert [timer.due_ms for timer in store.due(1 << 60, 2)] == [2, 255]
    store.close()


def test_a_generation_of_identities_goes_as_a_whole_when_its_last_moment_has(
    reopened: Callable[[], Stores],
) -> None:
    store = reopened().open(OWNER)
    week = GENERATION_MS
    store.write(changes(identities={b"old": b"1"}, at_ms=week))
    store.write(changes(identities={b"also-old": b"2"}, at_ms=2 * week - 1))
    store.write(changes(identities={b"young": b"3"}, at_ms=2 * week))
    store.forget(2 * week - 1)
    assert store.identities([b"old", b"also-old", b"young"]) == [b"1", b"2", b"3"]
    store.forget(2 * week)
    assert store.identities([b"old", b"also-old", b"young"]) == [None, None, b"3"]
    store.close()
    store = reopened().open(OWNER)
    assert store.identities([b"old", b"also-old", b"young"]) == [None, None, b"3"]
    store.write(changes(identities={b"old": b"again"}, at_ms=week))
    assert store.identities([b"old"]) == [b"again"]
    store.close()


@pytest.mark.parametrize(
    "other",
    [
        Owner("another", "test.balance-changes", 3, 8),
        Owner("cluster", "test.balance-changes", 3, 16),
        Owner("cluster", "test.balance-changes", 3, 8, format=99),
    ],
)
def test_a_store_of_another_owner_is_refused_and_set_aside(
    reopened: Callable[[], Stores], other: Owner
) -> None:
    store = reopened().open(OWNER)
    store.write(changes({"acme": b"1"}))
    store.close()
    stores = reopened()
    with pytest.raises(StoreUnusableError):
        stores.open(other)
    stores.set_aside(other)
    store = stores.open(other)
    assert store.rows(["acme"]) == [None]
    assert store.positions == Positions()
    store.close()


# On disk only


def files(tmp_path: Path, pattern: str) -> list[Path]:
    return sorted(tmp_path.glob(f"test.balance-changes-3/{pattern}"))


def test_a_damaged_store_is_set_aside_whole(tmp_path: Path) -> None:
    store = RocksStores(tmp_path).open(OWNER)
    store.write(changes({"acme": b"1"}))
    store.close()
    for manifest in files(tmp_path, "MANIFEST-*"):
        manifest.write_bytes(b"\x00" * 100)
    stores = RocksStores(tmp_path)
    with pytest.raises(StoreUnusableError):
        stores.open(OWNER)
    aside = Path(stores.set_aside(OWNER))
    assert aside.name == "test.balance-changes-3.unusable-1"
    assert list(aside.glob("MANIFEST-*"))
    store = stores.open(OWNER)
    assert list(store.all_rows()) == []
    store.close()


def test_a_store_that_another_process_lives_in_is_not_damaged(tmp_path: Path) -> None:
    living = RocksStores(tmp_path).open(OWNER)
    with pytest.raises(Exception, match=r"(?i)lock") as caught:
        RocksStores(tmp_path).open(OWNER)
    assert not isinstance(caught.value, StoreUnusableError)
    living.close()


def test_a_store_that_says_of_nobody_whose_it_is_is_refused(tmp_path: Path) -> None:
    from rocksdict import Options, Rdict

    path = tmp_path / "test.balance-changes-3"
    path.mkdir()
    foreign = Rdict(str(path), options=Options(raw_mode=True))
    foreign[b"row"] = b"1"
    foreign.close()
    with pytest.raises(StoreUnusableError, match="whose"):
        RocksStores(tmp_path).open(OWNER)


def test_closing_frees_the_lock_with_generations_open(tmp_path: Path) -> None:
    for _ in range(3):
        store = RocksStores(tmp_path).open(OWNER)
        for week in range(4):
            store.write(changes(identities={b"id": b"1"}, at_ms=week * GENERATION_MS))
        store.close()


def flipped(directory: Path) -> None:
    """One bit of every table on the disk is not what was written."""
    tables = [path for path in directory.rglob("*.sst") if path.stat().st_size > 10_000]
    assert tables
    for table in tables:
        content = bytearray(table.read_bytes())
        content[len(content) // 3] ^= 1
        table.write_bytes(content)


def written(directory: Path) -> None:
    """A store with so many rows and timers that they lie in many blocks, all of it in tables."""
    store = RocksStores(directory).open(OWNER)
    rows: dict[str, bytes | None] = {f"customer-{n:05d}": b"x" * 100 for n in range(4_000)}
    store.write(changes(rows, new=[Timer(n, key) for n, key in enumerate(rows)]))
    store.close()
    RocksStores(directory).open(OWNER).close()  # what is in its log becomes a table


def test_damage_that_opening_does_not_find_is_told_when_it_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    flipped(tmp_path)
    store = RocksStores(tmp_path).open(OWNER)
    with pytest.raises(StoreUnusableError, match="checksum"):
        store.rows([f"customer-{n:05d}" for n in range(4_000)])
    with pytest.raises(StoreUnusableError, match="checksum"):
        list(store.all_rows())
    with pytest.raises(StoreUnusableError, match="checksum"):
        store.due(10_000, 10_000)
    store.close()


def test_damage_that_opening_finds_is_damage_and_not_another_process(tmp_path: Path) -> None:
    written(tmp_path)
    for table in tmp_path.rglob("*.sst"):
        content = bytearray(table.read_bytes())
        content[-200] ^= 1  # of the index or what describes the table
        table.write_bytes(content)
    with pytest.raises(StoreUnusableError, match="Corruption"):
        RocksStores(tmp_path).open(OWNER)


def test_a_store_that_is_open_elsewhere_is_no_damage(tmp_path: Path) -> None:
    store = RocksStores(tmp_path).open(OWNER)
    with pytest.raises(Exception, match="lock") as told:
        RocksStores(tmp_path).open(OWNER)
    assert not isinstance(told.value, StoreUnusableError)
    store.close()
