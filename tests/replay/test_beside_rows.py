"""Event ids and timers of a live store are compared with the journal, as its rows are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.replay.proof import replayed, the_only, told
from tests.support.desk import Desk, Settler

from drawdown.ledger.identity import FINGERPRINT_BYTES
from drawdown.replay.whole import ReplayReport
from drawdown.stream.store import GENERATION_MS, Changes, RocksStores, Timer

WEEK_S = GENERATION_MS / 1000


@dataclass
class Life:
    """A desk with one store on disk, at rest."""

    desk: Desk
    settler: Settler
    folder: Path

    @property
    def store(self) -> Any:
        return self.settler.worker.stores[0]

    def change(self, **changed: Any) -> None:
        """Write to the store what settlement never did."""
        nothing: dict[str, Any] = {"rows": {}, "identities": {}, "at_ms": self.desk.clock.ms}
        nothing |= {"timers_gone": (), "timers_new": (), "positions": self.store.positions}
        self.store.write(Changes(**(nothing | changed)))

    def forget_id(self, week: int) -> str:
        """One id that lies in a generation is not there any more; says which."""
        ids, _ = self.store._generations[week]
        key = next(iter(ids.keys()))
        ids.delete(key)
        return str(key.decode())

    def replayed(self) -> ReplayReport:
        return replayed(self.desk, self.folder.parent)


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    """Holds open, closed and expired; commands and usage, three weeks of them."""
    folder = tmp_path / "0"
    folder.mkdir()
    desk = Desk(partitions=1)
    settler = desk.start(stores=RocksStores(folder))
    for customer in ("ada", "bob"):
        desk.grant(customer, "50")
    for _ in range(3):
        desk.settle()
        for customer in ("ada", "bob"):
            for _ in range(3):
                desk.use(customer, input=1_000)
            desk.authorize(customer, require="hold", estimate={"amount": "1"})
            held = desk.authorize(customer, require="hold", estimate={"amount": "1"})
            desk.settle()
            desk.command("release", customer, hold_id=held)
        desk.settle()
        desk.pass_time(WEEK_S)
    for customer in ("ada", "bob"):
        desk.authorize(customer, require="hold", estimate={"amount": "1"})
    desk.settle()
    found = Life(desk, settler, folder)
    yield found
    found.settler.worker.close()


def test_they_are_those_of_the_journal(life: Life) -> None:
    report = life.replayed()
    assert told(report) == []
    (store,) = report.stores
    remembered = [e for e in life.desk.entries() if "id" in e["data"]]
    closed = [e for e in life.desk.entries() if e["data"].get("hold", {}).get("closed")]
    assert store.identities == len(remembered) + len(closed)
    assert store.timers == 2


def test_restored_ids_are_the_same_as_those_of_who_decided(life: Life) -> None:
    life.settler.worker.close()
    for path in list(life.folder.iterdir()):
        path.rename(life.folder.parent / path.name)
    life.settler = life.settler.restart(disk=RocksStores(life.folder))
    life.desk.settle()
    assert life.store.positions.identities_from == 0
    report = life.replayed()
    assert told(report) == []
    assert max(store.identities for store in report.stores) > 0


def test_ids_that_are_still_to_be_restored_need_not_be_there(life: Life) -> None:
    positions = life.store.positions
    oldest = min(life.store._generations)
    life.forget_id(oldest)
    assert "is not remembered; entry @" in the_only(life.replayed()).detail
    life.change(positions=replace(positions, identities_from=positions.journal))
    assert told(life.replayed()) == []


def test_a_week_that_was_forgotten_need_not_be_there(life: Life) -> None:
    oldest = min(life.store._generations)
    life.store.forget((oldest + 1) * GENERATION_MS)
    assert oldest not in life.store._generations
    assert told(life.replayed()) == []


def test_an_id_that_is_lost_is_found_with_its_entry(life: Life) -> None:
    key = life.forget_id(max(life.store._generations))
    difference = the_only(life.replayed())
    assert (difference.what, difference.customer) == ("identity", key.partition("\x1f")[0])
    assert "is not remembered; entry @" in difference.detail
    assert str(life.folder) in difference.detail


def changed_id(life: Life) -> str:
    key = b"ada\x1f\x1fnever"
    life.change(identities={key: b"x" * FINGERPRINT_BYTES + b"1 USD 5"})
    return "is remembered; no entry of the journal has it"


def other_value(life: Life) -> str:
    ids, _ = life.store._generations[min(life.store._generations)]
    key, value = next((k, v) for k, v in ids.items() if v[FINGERPRINT_BYTES:].count(b" ") == 2)
    life.change(identities={key: value + b"0"})
    return "is remembered otherwise than entry @"


def lost_timer(life: Life) -> str:
    (timer, *_) = life.store.due(1 << 62, 1)
    life.change(timers_gone=(timer,))
    return f"is due at no time there; its row at {timer.due_ms} ms"


def other_timer(life: Life) -> str:
    (timer, *_) = life.store.due(1 << 62, 1)
    life.change(timers_gone=(timer,), timers_new=(Timer(timer.due_ms + 1, timer.key),))
    return f"is due at {timer.due_ms + 1} ms there; its row at {timer.due_ms} ms"


def second_timer(life: Life) -> str:
    (timer, *_) = life.store.due(1 << 62, 1)
    life.change(timers_new=(Timer(timer.due_ms + 1, timer.key),))
    return "has more than one timer"


def timer_of_nothing(life: Life) -> str:
    life.change(timers_new=(Timer(5, "zoe"),))
    return "zoe is due at 5 ms there; its row at no time"


@pytest.mark.parametrize(
    "harm", [changed_id, other_value, lost_timer, other_timer, second_timer, timer_of_nothing]
)
def test_what_is_not_as_the_journal_makes_it_is_found(
    life: Life, harm: Callable[[Life], str]
) -> None:
    said = harm(life)
    difference = the_only(life.replayed())
    assert difference.what == ("identity" if "remembered" in said else "timer")
    assert said in difference.detail
