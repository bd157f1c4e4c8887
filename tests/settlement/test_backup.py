"""A backup is whole, or it is said what of it is not, and nothing is written from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.desk import ENVIRONMENT, Desk

from drawdown.config import load
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    SETTINGS,
    TOPICS,
    USAGE_EVENTS,
)
from drawdown.settlement import backup
from drawdown.settlement.backup import BackupError
from drawdown.settlement.restoring import HalfWrittenError, require_whole
from drawdown.settlement.service import run
from drawdown.stream.identities import ORIGIN
from drawdown.stream.store import MemoryStores


def no_word(line: str) -> None:
    """Progress is for people."""


@pytest.fixture
def desk() -> Desk:
    """Two wallets; settlement has ended, and one event stands undecided."""
    desk = Desk(partitions=2)
    settler = desk.start()
    for customer in ("acme", "bolt"):
        desk.grant(customer, "10")
        desk.use(customer, event_id="one", input=500_000)
    desk.settle()
    settler.kill()
    desk.use("acme", event_id="two", input=500_000)
    desk.pass_time(20)
    return desk


def created(desk: Desk, tmp_path: Path) -> tuple[str, backup.Manifest]:
    url = str(tmp_path / "backup")
    cluster: Any = desk.cluster
    return url, backup.create(cluster, ENVIRONMENT, url, history=False, told=no_word)


def test_what_is_the_truth_and_what_is_undecided_is_copied(desk: Desk, tmp_path: Path) -> None:
    url, manifest = created(desk, tmp_path)
    assert backup.manifest_of(url) == manifest
    backup.verify(url, manifest)
    records: dict[str, int] = {}
    for part in manifest.parts:
        records[part.topic] = records.get(part.topic, 0) + part.records
    assert (records[BALANCE_CHANGES.name], records[BALANCES.name]) == (4, 2)
    assert (records[USAGE_EVENTS.name], records[COMMANDS.name]) == (1, 0)


def test_settlement_must_be_stopped(tmp_path: Path) -> None:
    desk = Desk(partitions=1)
    desk.start()
    desk.settle()
    with pytest.raises(BackupError, match=r"settlement runs .*: stop it first"):
        created(desk, tmp_path)
    assert not (tmp_path / "backup").exists()


def test_another_backup_is_not_written_over(desk: Desk, tmp_path: Path) -> None:
    created(desk, tmp_path)
    with pytest.raises(BackupError, match="there is a backup already"):
        created(desk, tmp_path)


def test_a_flipped_byte_is_said_with_its_place(desk: Desk, tmp_path: Path) -> None:
    url, manifest = created(desk, tmp_path)
    file = tmp_path / "backup" / "balance-changes-0.records.gz"
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(content)
    said = f"{file.name}: bytes 0 to {len(content) - 1} are not those that were written"
    with pytest.raises(BackupError, match=said):
        backup.verify(url, manifest)


@pytest.mark.parametrize(
    ("how", "said"),
    [("cut", "ends at byte"), ("longer", "goes on behind"), ("gone", "No such file")],
)
def test_a_file_that_is_not_whole_is_said(desk: Desk, tmp_path: Path, how: str, said: str) -> None:
    url, manifest = created(desk, tmp_path)
    file = tmp_path / "backup" / "balances-1.records.gz"
    if how == "gone":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] if how == "cut" else content + b"x")
    with pytest.raises(BackupError, match=said):
        backup.verify(url, manifest)


def test_one_of_another_version_or_without_its_manifest_is_refused(
    desk: Desk, tmp_path: Path
) -> None:
    url, manifest = created(desk, tmp_path)
    path = tmp_path / "backup" / "backup.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, version=2)))
    with pytest.raises(BackupError, match="of version 2; this program reads 1"):
        backup.manifest_of(url)
    path.unlink()
    with pytest.raises(BackupError, match=r"backup\.json is missing"):
        backup.manifest_of(url)


def written(desk: Desk) -> int:
    return sum(
        desk.cluster.watermarks(ENVIRONMENT.topic(topic), number)[2]
        for topic in (USAGE_EVENTS, COMMANDS, BALANCES, BALANCE_CHANGES)
        for number in range(desk.partitions)
    )


def test_other_partitions_and_topics_in_use_are_refused_and_nothing_is_written(
    desk: Desk, tmp_path: Path
) -> None:
    url, _ = created(desk, tmp_path)
    other: Any = Desk(partitions=3)
    with pytest.raises(BackupError, match=r"has 2 partitions, 'test' here has 3.*nothing was"):
        backup.restore(other.cluster, ENVIRONMENT, url, told=no_word)
    assert written(other) == 0
    cluster: Any = desk.cluster
    before = written(desk)
    with pytest.raises(BackupError, match="is not empty"):
        backup.restore(cluster, ENVIRONMENT, url, told=no_word)
    assert written(desk) == before


def test_causes_on_another_cluster_are_not_compared_with_offsets_here() -> None:
    """The journal and the rows of a cluster where inputs had come far, on one where they begin."""
    old = Desk(partitions=1)
    settler = old.start()
    old.grant("acme", "10")
    for number in range(20):
        old.use("acme", event_id=f"old-{number}", input=500_000)
        old.settle()
    settler.kill()

    new = Desk(partitions=1)
    for topic in (BALANCE_CHANGES, BALANCES):
        for message in old.records(topic):
            headers: Any = [(ORIGIN, b"old")] if topic is BALANCE_CHANGES else None
            new.produce(topic, message.key(), message.value(), partition=0, headers=headers)
    for name in (USAGE_EVENTS, COMMANDS):
        new.cluster._broker.group(new.group).offsets[ENVIRONMENT.topic(name), 0] = 0
    stores = MemoryStores()
    settler = new.start("0", stores)
    new.settle()
    new.pass_time(600)
    for number in range(20):
        new.use("acme", event_id=f"old-{number}", input=500_000)
    fresh = new.use("acme", event_id="fresh", input=500_000)
    new.settle()
    # The old ones say another time than they did, so that each is a conflict: known all the same.
    assert len(new.dead_letters()) == 20
    assert [e["data"]["id"] for e in new.entries("acme")][-1] == fresh
    for disk in (stores, MemoryStores()):
        settler = settler.restart(disk=disk)
        new.settle()
        assert settler.worker.stopped == {}
    assert new.balance("acme") == "-11"


def emptied(desk: Desk) -> Desk:
    """Another cluster, with the topics and nothing on them: not even a price book."""
    other = Desk(partitions=desk.partitions)
    for topic in TOPICS:
        name = ENVIRONMENT.topic(topic)
        other.cluster.delete_topic(name)
        partitions = other.partitions if topic.by_customer else 1
        other.cluster.create_topic(name, partitions, topic.config(ENVIRONMENT))
    return other


def test_settlement_does_not_start_where_a_restore_died(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = created(desk, tmp_path)
    other = emptied(desk)
    cluster: Any = other.cluster
    records = backup._records

    def dies(url: str, part: backup.Part) -> Any:
        if part.topic == BALANCES.name:
            raise KeyboardInterrupt
        return records(url, part)

    with monkeypatch.context() as patched:
        patched.setattr(backup, "verify", lambda *_: None)
        patched.setattr(backup, "_records", dies)
        with pytest.raises(KeyboardInterrupt):
            backup.restore(cluster, ENVIRONMENT, url, told=no_word)
    with pytest.raises(HalfWrittenError, match=r"did not end.* delete its topics"):
        run(load(environment="test", home=tmp_path), cluster)
    assert not (tmp_path / "stores").exists()
    with pytest.raises(BackupError, match="half written"):
        backup.create(cluster, ENVIRONMENT, str(tmp_path / "b"), history=False, told=no_word)
    with pytest.raises(BackupError, match="is not empty"):
        backup.restore(cluster, ENVIRONMENT, url, told=no_word)

    whole: Any = emptied(desk)

    def set_offsets(*_: object) -> None:
        for name in (USAGE_EVENTS, COMMANDS):  # the log in memory has no admin for it
            for number in range(2):
                group = whole.cluster._broker.group(whole.group)
                group.offsets[ENVIRONMENT.topic(name), number] = 0

    monkeypatch.setattr(backup, "_set_offsets", set_offsets)
    backup.restore(whole.cluster, ENVIRONMENT, url, told=no_word)
    require_whole(whole.cluster, ENVIRONMENT)
    settler = whole.start()
    whole.settle()
    assert (whole.balance("acme"), whole.balance("bolt")) == ("8", "9")
    settler.kill()
    whole.pass_time(20)
    again = str(tmp_path / "again")
    copied = backup.create(whole.cluster, ENVIRONMENT, again, history=False, told=no_word)
    assert [part.records for part in copied.parts if part.topic == SETTINGS.name] == [0]


def test_an_environment_with_settings_of_its_own_is_whole(desk: Desk) -> None:
    require_whole(desk.cluster, ENVIRONMENT)
    desk.produce(SETTINGS, b"probe\x1fdoctor", None, partition=0)
    require_whole(desk.cluster, ENVIRONMENT)
