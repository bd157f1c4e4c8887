"""Snapshots of stores: whole or not at all, of this partition or refused, and never needed."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.support.desk import Desk, Settler

from drawdown.settlement.snapshots import Schedule, SnapshotMetrics
from drawdown.stream.blocks import BLOCK_BYTES
from drawdown.stream.snapshots import Manifest, Snapshot, SnapshotError, Snapshots
from drawdown.stream.store import (
    FORMAT,
    GENERATION_MS,
    Changes,
    Owner,
    Positions,
    RocksStores,
    StoreUnusableError,
    Timer,
)

OWNER = Owner("cluster", "test.balance-changes", 3, 8)
JOURNAL = range(100)


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(str(tmp_path / "kept"))


def taken(snapshots: Snapshots, tmp_path: Path, journal: int = 7, rows: int = 3) -> Snapshot:
    """A snapshot of a store with some rows."""
    store = RocksStores(tmp_path / f"live-{journal}").open(OWNER)
    values = {f"customer-{number}": bytes([number % 256]) * 2000 for number in range(rows)}
    store.write(Changes(values, {b"id": b"first"}, 5, [], [Timer(9, "x")], Positions(journal)))
    store.checkpoint(tmp_path / f"checkpoint-{journal}")
    name = snapshots.create(tmp_path / f"checkpoint-{journal}", OWNER, store.positions)
    store.close()
    return snapshots.one(name)


def largest(snapshots: Snapshots, snapshot: Snapshot, tmp_path: Path) -> Path:
    files = (tmp_path / "kept" / snapshot.name).iterdir()
    return max(files, key=lambda path: path.stat().st_size)


def test_a_store_comes_back_as_it_was(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshot = taken(snapshots, tmp_path)
    assert snapshots.verify(snapshot) == []
    stores = RocksStores(tmp_path / "new", snapshots=snapshots)
    fetching = stores.fetch(OWNER, JOURNAL)
    assert fetching is not None
    fetched = fetching.result(60)
    assert fetched is not None
    stores.install(OWNER, fetched)
    store = stores.open(OWNER)
    assert store.positions == Positions(7)
    assert store.rows(["customer-1"]) == [b"\x01" * 2000]
    assert store.identities([b"id"]) == [b"first"]
    assert store.due(10, 5) == [Timer(9, "x")]
    store.close()


def test_a_flipped_byte_is_said_with_its_place_and_nothing_is_written(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    snapshot = taken(snapshots, tmp_path, rows=3000)
    file = largest(snapshots, snapshot, tmp_path)
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)
    (wrong,) = snapshots.verify(snapshot)
    begin = (len(content) - 10) // BLOCK_BYTES * BLOCK_BYTES
    assert wrong.startswith(f"{file.name}: bytes {begin} to ")
    with pytest.raises(SnapshotError, match="are not those that were written"):
        snapshots.fetch_one(snapshot, OWNER, JOURNAL, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("how", ["cut", "longer", "gone"])
def test_a_file_that_is_not_whole_is_said(snapshots: Snapshots, tmp_path: Path, how: str) -> None:
    snapshot = taken(snapshots, tmp_path)
    file = largest(snapshots, snapshot, tmp_path)
    if how == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] if how == "cut" else content + b"x")
    said = {"cut": "ends at byte", "longer": "goes on behind", "gone": "is missing"}[how]
    assert [problem for problem in snapshots.verify(snapshot) if said in problem]


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (Owner("another", OWNER.topic, 3, 8), "its cluster is cluster, here it is another"),
        (Owner("cluster", "live.balance-changes", 3, 8), "its topic is test.balance-changes"),
        (Owner("cluster", OWNER.topic, 2, 8), "its partition is 3, here it is 2"),
        (Owner("cluster", OWNER.topic, 3, 16), "its number of partitions is 8, here it is 16"),
    ],
)
def test_one_of_another_is_refused(
    snapshots: Snapshots, tmp_path: Path, owner: Owner, said: str
) -> None:
    snapshot = taken(snapshots, tmp_path)
    with pytest.raises(SnapshotError, match=said):
        snapshots.fetch_one(snapshot, owner, JOURNAL, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_one_that_the_journal_does_not_reach_is_refused(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    snapshot = taken(snapshots, tmp_path)
    with pytest.raises(SnapshotError, match="it goes to entry 7, the journal is 8 to 19"):
        snapshots.fetch_one(snapshot, OWNER, range(8, 20), tmp_path / "new")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 9}, "of version 9; this program reads 1"),
        ({"owner": Owner("cluster", OWNER.topic, 3, 8, format=99)}, "of format 99"),
    ],
)
def test_one_of_another_version_is_refused(
    snapshots: Snapshots, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    snapshot = taken(snapshots, tmp_path)
    assert snapshot.manifest is not None
    path = tmp_path / "kept" / snapshot.name / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(snapshot.manifest, **change)))
    with pytest.raises(SnapshotError, match=said):
        snapshots.fetch_one(snapshots.one(snapshot.name), OWNER, JOURNAL, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_name_that_leads_elsewhere_is_refused(snapshots: Snapshots, tmp_path: Path) -> None:
    snapshot = taken(snapshots, tmp_path)
    manifest: Manifest | None = snapshot.manifest
    assert manifest is not None
    file = msgspec.structs.replace(manifest.files[0], name="../../elsewhere")
    bad = Snapshot(snapshot.name, msgspec.structs.replace(manifest, files=[file]))
    with pytest.raises(SnapshotError, match="is no name of a file"):
        snapshots.fetch_one(bad, OWNER, JOURNAL, tmp_path / "new")


def test_the_newest_good_one_is_taken(snapshots: Snapshots, tmp_path: Path) -> None:
    old, new = taken(snapshots, tmp_path, 7), taken(snapshots, tmp_path, 9)
    largest(snapshots, new, tmp_path).write_bytes(b"damaged")
    assert snapshots.fetch(OWNER, JOURNAL, tmp_path / "new") == old.name


def test_one_that_was_not_finished_is_none(snapshots: Snapshots, tmp_path: Path) -> None:
    old, new = taken(snapshots, tmp_path, 7), taken(snapshots, tmp_path, 9)
    (tmp_path / "kept" / new.name / "manifest.json").unlink()
    assert "not finished" in (snapshots.one(new.name).problem or "")
    assert snapshots.fetch(OWNER, JOURNAL, tmp_path / "new") == old.name


def test_pruning_keeps_the_newest_that_are_finished(snapshots: Snapshots, tmp_path: Path) -> None:
    names = [taken(snapshots, tmp_path, journal).name for journal in (7, 8, 9)]
    (tmp_path / "kept" / names[2] / "manifest.json").unlink()
    assert snapshots.prune(1) == names[:1]
    assert [snapshot.name for snapshot in snapshots.listed()] == names[1:]


# In settlement


def settler_with(desk: Desk, snapshots: Snapshots | None, disk: Path) -> Settler:
    return desk.start("0", RocksStores(disk, snapshots=snapshots))


def dead(settler: Settler) -> None:
    settler.kill()
    for store in settler.worker.stores.values():
        store.close()


def served(settler: Settler) -> None:
    """Turn until it serves: a snapshot is fetched by a thread, in time of the machine's own."""
    deadline = time.monotonic() + 60
    while not settler.worker.serving:
        assert time.monotonic() < deadline, "not served within 60 s"
        settler.turn()
        time.sleep(0.001)


def snapshot_now(desk: Desk, settler: Settler, snapshots: Snapshots, directory: Path) -> None:
    metrics = SnapshotMetrics(CollectorRegistry())
    schedule = Schedule(snapshots, directory, 60, 2, desk.clock, metrics)
    schedule.turn(settler.worker)
    for _ in settler.worker.stores:
        desk.pass_time(61)
        schedule.turn(settler.worker)
        while schedule._running is not None and not schedule._running.done():
            schedule._running.result(60)
    schedule.close()


@pytest.mark.parametrize("snapshot", ["good", "damaged", "of another cluster"])
def test_an_empty_store_is_a_snapshot_and_the_journals_tail_or_is_rebuilt(
    tmp_path: Path, snapshots: Snapshots, snapshot: str
) -> None:
    desk = Desk(partitions=1)
    settler = settler_with(desk, None, tmp_path / "first")
    desk.grant("acme", "10")
    first = desk.use("acme", input=500_000)
    desk.settle()
    snapshot_now(desk, settler, snapshots, tmp_path / "first")
    (found,) = snapshots.listed()
    desk.use("acme", input=500_000)
    desk.settle()
    dead(settler)
    if snapshot == "damaged":
        largest(snapshots, found, tmp_path).write_bytes(b"x")
    elif snapshot == "of another cluster":
        assert found.manifest is not None
        other = msgspec.structs.replace(found.manifest.owner, cluster="another")
        (tmp_path / "kept" / found.name / "manifest.json").write_bytes(
            msgspec.json.encode(msgspec.structs.replace(found.manifest, owner=other))
        )
    again = settler_with(desk, snapshots, tmp_path / "second")
    folded: list[bytes] = []
    fold = again.worker._application.fold
    again.worker._application.fold = lambda value, view: (  # type: ignore[method-assign]
        folded.append(value),
        fold(value, view),
    )[1]
    desk.use("acme", event_id=first, input=500_000)
    served(again)
    desk.settle()
    assert len(folded) == (1 if snapshot == "good" else 0)
    assert desk.balance("acme") == "8"
    assert desk.kinds("acme") == ["grant", "debit", "debit"]
    dead(again)


# Formats


def store_of_format_1(tmp_path: Path) -> RocksStores:
    """As the program of format 1 left it."""
    with tarfile.open(Path(__file__).parent / "fixtures" / "store-format-1.tar.gz") as packed:
        packed.extractall(tmp_path)
    return RocksStores(tmp_path)


def test_a_store_of_format_1_is_brought_up_with_all_it_has(tmp_path: Path) -> None:
    for _ in range(2):
        store = (
            store_of_format_1(tmp_path).open(OWNER) if _ == 0 else RocksStores(tmp_path).open(OWNER)
        )
        assert store.positions == Positions(
            journal=7, inputs={"usage": 3, "commands": 2}, identities_from=0, identities_from_ms=0
        )
        assert store.rows(["acme", "bolt"]) == [b"row of acme", b"row of bolt"]
        assert store.identities([b"id"]) == [b"first"]
        assert store.due(100, 5) == [Timer(60, "acme"), Timer(70, "bolt")]
        store.write(
            Changes({"acme": b"row of acme"}, {}, 5 * GENERATION_MS, [], [], store.positions)
        )
        store.close()
    assert RocksStores(tmp_path).found() == [OWNER]
    assert OWNER.format == FORMAT == 2


def test_a_store_of_format_1_of_another_is_refused_as_it_is(tmp_path: Path) -> None:
    other = Owner("another", OWNER.topic, 3, 8)
    with pytest.raises(StoreUnusableError, match="not of"):
        store_of_format_1(tmp_path).open(other)
    (left,) = RocksStores(tmp_path).found()
    assert left.format == 1


def test_a_store_of_a_later_format_is_refused(tmp_path: Path) -> None:
    later = msgspec.structs.replace(OWNER, format=FORMAT + 1)
    store = RocksStores(tmp_path).open(later)
    store.close()
    with pytest.raises(StoreUnusableError, match=f"format {FORMAT + 1}; formats"):
        RocksStores(tmp_path).open(OWNER)
