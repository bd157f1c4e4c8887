"""`drawdown snapshot` and `backup`: what lies at the URL, in an operator's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE
from drawdown.stream.store import Changes, Owner, Positions, RocksStores

OWNER = Owner("cluster", "dev.balance-changes", 1, 4)


@pytest.fixture
def stopped(nothing: Drawdown, tmp_path: Path) -> Drawdown:
    """A machine where settlement has ended, with one store."""
    directory = nothing.home / "stores" / "dev" / "0"
    directory.mkdir(parents=True)
    store = RocksStores(directory).open(OWNER)
    store.write(Changes({"acme": b"row"}, {}, 1, [], [], Positions(journal=41)))
    store.close()
    nothing.environment["DRAWDOWN_SNAPSHOT_URL"] = str(tmp_path / "kept")
    return nothing


def test_taken_listed_verified_and_pruned(stopped: Drawdown) -> None:
    names = [stopped.json("snapshot", "create")[0] for _ in range(3)]
    found = stopped.json("snapshot", "list")
    assert [each["name"] for each in found] == names
    assert found[0].items() >= {"cluster": "cluster", "partition": 1, "position": 41}.items()
    assert stopped.json("snapshot", "verify", names[0]) == {names[0]: []}
    assert stopped.ok("snapshot", "list").rows[1][:2] == [names[0], "41"]
    assert stopped.json("snapshot", "prune", "--keep", 1) == names[:2]
    assert [each["name"] for each in stopped.json("snapshot", "list")] == names[2:]


def test_a_damaged_one_ends_verify_with_1_and_says_where(stopped: Drawdown, tmp_path: Path) -> None:
    (name,) = stopped.json("snapshot", "create")
    current = tmp_path / "kept" / name / "CURRENT"
    current.write_bytes(b"x" * current.stat().st_size)
    ended = stopped("snapshot", "verify")
    assert ended.code == FAILED
    said = f"CURRENT: bytes 0 to {current.stat().st_size - 1} are not those that were written"
    assert said in ended.err


def test_a_store_that_settlement_lives_in_is_left_alone(stopped: Drawdown) -> None:
    directory = stopped.home / "stores" / "dev" / "0"
    living = RocksStores(directory).open(OWNER)
    ended = stopped("snapshot", "create")
    living.close()
    assert ended.code == FAILED
    assert "while settlement '0' runs, it takes snapshots itself" in ended.error


def test_what_is_missing_is_said(nothing: Drawdown, stopped: Drawdown, tmp_path: Path) -> None:
    assert "no such snapshot" in stopped("snapshot", "verify", "x/y").error
    del stopped.environment["DRAWDOWN_SNAPSHOT_URL"]
    ended = stopped("snapshot", "list")
    assert (ended.code, ended.error) == (USAGE, "give --url or set DRAWDOWN_SNAPSHOT_URL")
    ended = stopped("snapshot", "list", "--url", "nowhere://x")
    assert ended.code == FAILED
    assert "nowhere" in ended.error
    assert nothing("snapshot", "restore", "--url", tmp_path).code == UNREACHABLE
    assert "backup.json is missing" in nothing("backup", "verify", tmp_path).error
