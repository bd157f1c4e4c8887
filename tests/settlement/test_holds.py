"""Holds through the real loop: their rows, their timers, and both after a restart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.desk import START_MS, Desk

from drawdown.events.base import at_text
from drawdown.events.catalogue import BALANCES, DEAD_LETTERS
from drawdown.stream.store import MemoryStores


@pytest.fixture
def desk() -> Desk:
    """One partition, and a wallet of 100 in it. A million of input is 2 USD."""
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


def hold(desk: Desk, amount: str, hold_id: str, seconds: int = 900, **fields: Any) -> str:
    terms = {"hold_id": hold_id, "expires_in_s": seconds}
    estimate = {"amount": amount}
    return desk.authorize("ada", require="hold", estimate=estimate, hold=terms, **fields)


def holds(desk: Desk, customer: str = "ada") -> dict[str, str]:
    """The open holds, as a new reader of `balances` finds them: id -> held."""
    rows = {
        message.key(): message.value()
        for message in desk.records(BALANCES)
        if (message.key() or b"").startswith(f"{customer}\x1fhold\x1f".encode())
    }
    found = [json.loads(value) for value in rows.values() if value is not None]
    return {row["id"]: row["held"] for row in found}


def ends(desk: Desk) -> list[tuple[str, str]]:
    """Kind and hold of the entries about holds."""
    return [
        (entry["type"].rpartition(".")[2], entry["data"]["hold"]["id"])
        for entry in desk.entries("ada")
        if "hold" in entry["data"]
    ]


def test_a_hold_has_a_row_until_it_is_closed(desk: Desk) -> None:
    asked = hold(desk, "5", "h1")
    hold(desk, "7", "h2")
    desk.settle()
    assert desk.decision(asked)["hold"]["id"] == "h1"
    assert holds(desk) == {"h1": "5", "h2": "7"}
    assert desk.balance("ada") == "88"
    desk.use("ada", input=1_000_000, hold="h1")
    desk.settle()
    assert holds(desk) == {"h1": "3", "h2": "7"}
    desk.use("ada", input=500_000, hold="h1", final=True)
    desk.command("release", "ada", hold_id="h2")
    desk.settle()
    assert holds(desk) == {}
    assert desk.balance("ada") == "97"
    assert desk.wrongs() == []


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_timers_of_holds_are_there_after_a_restart(desk: Desk, disk: str) -> None:
    hold(desk, "5", "soon", 60)
    hold(desk, "7", "later", 600)
    hold(desk, "9", "moved", 60)
    desk.settle()
    desk.command("extend", "ada", hold_id="moved", expires_in_s=600)
    desk.settle()
    (settler,) = desk.settlers
    settler.restart(disk=None if disk == "kept" else MemoryStores())
    desk.settle()
    desk.pass_time(59)
    desk.settle()
    assert holds(desk) == {"soon": "5", "later": "7", "moved": "9"}
    desk.pass_time(2)
    desk.settle()
    assert holds(desk) == {"later": "7", "moved": "9"}
    desk.pass_time(600)
    desk.settle()
    assert holds(desk) == {}
    assert ends(desk)[-3:] == [("expire", "soon"), ("expire", "later"), ("expire", "moved")]
    assert desk.balance("ada") == "100"
    assert desk.wrongs() == []


@pytest.mark.parametrize("point", ["produced", "offsets-sent", "committed"])
def test_killed_while_a_hold_expires_it_expires_once(desk: Desk, point: str) -> None:
    hold(desk, "5", "h", 60)
    desk.settle()
    desk.pass_time(61)
    (settler,) = desk.settlers

    class KilledError(BaseException):
        pass

    def crash(at: str) -> None:
        if at == point:
            raise KilledError

    desk.crash = crash
    with pytest.raises(KilledError):
        for _ in range(200):
            settler.turn()
    desk.crash = lambda _: None
    settler.restart()
    desk.settle()
    assert ends(desk) == [("hold", "h"), ("expire", "h")]
    assert desk.balance("ada") == "100"
    assert desk.wrongs() == []


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_what_became_of_a_hold_is_known_after_a_restart(desk: Desk, disk: str) -> None:
    for hold_id in ("captured", "freed", "over"):
        hold(desk, "5", hold_id, 60)
    desk.settle()
    desk.command("capture", "ada", hold_id="captured", amount="4")
    desk.command("release", "ada", hold_id="freed")
    desk.settle()
    desk.pass_time(61)
    desk.settle()
    (settler,) = desk.settlers
    settler.restart(disk=None if disk == "kept" else MemoryStores())
    desk.settle()
    entries = len(desk.entries())
    for hold_id, reason in [
        ("captured", "hold_closed"),
        ("freed", "hold_closed"),
        ("over", "hold_expired"),
        ("nobody's", "hold_unknown"),
    ]:
        for kind in ("capture", "release"):
            command = desk.command(kind, "ada", hold_id=hold_id)
            desk.settle()
            assert desk.decision(command)["reason"] == reason
        again = hold(desk, "5", hold_id) if reason != "hold_unknown" else None
        desk.settle()
        if again is not None:
            assert desk.decision(again)["reason"] == "hold_exists"
    assert len(desk.entries()) == entries
    assert desk.records(DEAD_LETTERS) == []
    assert desk.wrongs() == []


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_an_allow_with_a_hold_asked_again_is_the_first_one(desk: Desk, disk: str) -> None:
    time = at_text(START_MS)
    hold(desk, "60", "h", id="a1", time=time)
    desk.settle()
    first = desk.decision("a1")
    (settler,) = desk.settlers
    settler.restart(disk=None if disk == "kept" else MemoryStores())
    for _ in range(100):
        hold(desk, "60", "h", id="a1", time=time)
    desk.settle()
    assert desk.decision("a1") == {**first, "duplicate": True}
    assert holds(desk) == {"h": "60"}
    assert desk.wrongs() == []


def test_many_race_and_as_many_as_there_is_money_for_are_allowed(desk: Desk) -> None:
    asked = [hold(desk, "4", f"h{number}") for number in range(64)]
    desk.settle()
    answers = [desk.decision(command) for command in asked]
    assert [answer["allowed"] for answer in answers] == [True] * 25 + [False] * 39
    assert {answer["reason"] for answer in answers[25:]} == {"insufficient_balance"}
    assert desk.balance("ada") == "0"
    assert len(holds(desk)) == 25
    assert desk.wrongs() == []


def test_usage_under_backlog_is_captured_though_its_hold_would_be_over_by_now() -> None:
    """Time is the log's: what was appended before the end of the hold is captured from it."""
    desk = Desk(partitions=1)
    desk.grant("ada", "10")
    settler = desk.start()
    desk.settle()
    hold(desk, "10", "h", 60)
    desk.settle()
    settler.kill()
    desk.pass_time(50)
    desk.use("ada", input=1_000_000, hold="h")
    desk.pass_time(3600)
    desk.use("ada", input=1_000_000, hold="h")
    settler.restart()
    desk.settle()
    kinds = desk.kinds("ada")
    assert kinds[:3] == ["grant", "hold", "capture"]
    assert sorted(kinds[3:]) == ["debit", "expire"]
    assert "overdrawn" not in desk.wallet("ada")["accounts"][0]
    assert desk.balance("ada") == "6"
    assert desk.wrongs() == []


def test_a_limit_of_open_holds(desk: Desk) -> None:
    desk.command("set_terms", "ada", holds_max=2)
    desk.settle()
    asked = [hold(desk, "1", f"h{number}") for number in range(3)]
    desk.settle()
    assert [desk.decision(command)["reason"] for command in asked] == ["ok", "ok", "too_many_holds"]
    assert desk.wallet("ada")["holds"] == 2
