"""The notify service on the in-memory log beside settlement itself: who is killed, who answers what
and how late, each top-up is one grant, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.desk import ENVIRONMENT, Desk

from drawdown.events.catalogue import COMMANDS, NOTIFICATIONS
from drawdown.notify.payments import Charge, Failed, Nothing, Outcome, Paid, Unknown
from drawdown.notify.worker import GROUP, Worker
from drawdown.stream.memory import MemoryProcess

DAY_S = 86_400
TERMS: dict[str, Any] = {
    "asset": "USD",
    "below": {"amount": "2"},
    "top_up": {"amount": "5"},
    "caps": {"per": "day", "requests": 9},
}


class Purse:
    """A provider in this process. `answers` are given in turn, what it does is by key, once."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.taken: dict[str, Charge] = {}
        self.charged = 0
        self.found = 0

    def charge(self, charge: Charge) -> Outcome:
        self.charged += 1
        answer = self.answers.pop(0) if self.answers else "paid"
        if answer == "raises":
            raise RuntimeError("an adapter with a fault")
        if answer == "failed":
            return Failed("no", "declined")
        if answer != "lost on the way":
            self.taken[charge.key] = charge
        return Paid(charge.key) if answer == "paid" else Unknown(answer)

    def find(self, charge: Charge) -> Outcome | Nothing:
        self.found += 1
        return Paid(charge.key) if charge.key in self.taken else Nothing()


class Office:
    """A desk with settlement, and a notify service that can be killed."""

    def __init__(self) -> None:
        self.desk = Desk(partitions=2)
        self.purse = Purse()
        self.desk.start()
        self.process: MemoryProcess
        self.worker: Worker
        self.start()

    def start(self) -> None:
        self.process = self.desk.cluster.process("notify")
        self.worker = Worker(self.process, ENVIRONMENT, "0", self.purse, self.desk.clock)

    def kill(self) -> None:
        self.process.kill()

    def wait_out(self) -> None:
        """A wait of a few minutes after a failure, with the notify service at work."""
        for _ in range(10):
            self.desk.pass_time(31)
            self.work(1)
        self.work()

    def low(self, *customers: str) -> None:
        """Wallets that ask for a top-up."""
        for customer in customers:
            self.desk.command("set_auto_topup", customer, **TERMS)
        self.desk.settle()

    def work(self, turns: int = 80) -> None:
        for _ in range(2):  # the second time there is what settlement told in answer
            for _ in range(turns):
                self.worker.turn()
                for future in list(self.worker._charging):
                    future.exception()  # waits for it
            self.desk.settle()

    def grants(self, customer: str) -> list[str]:
        entries = self.desk.entries(customer)
        return [e["data"]["grant"]["id"] for e in entries if e["type"].endswith(".grant")]

    def requested(self, customer: str) -> list[str]:
        notices = [json.loads(m.value() or b"") for m in self.desk.records(NOTIFICATIONS)]
        asked = [n for n in notices if n and n["type"] == "drawdown.topup.requested"]
        return [n["data"]["request"] for n in asked if n["subject"] == customer]

    def is_done(self) -> bool:
        """Whether whoever comes next has nothing to do again."""
        asked = self.purse.charged + self.purse.found
        self.kill()
        self.start()
        self.work()
        return self.purse.charged + self.purse.found == asked


@pytest.fixture
def office() -> Iterator[Office]:
    found = Office()
    yield found
    assert found.desk.wrongs() == []
    assert found.desk.dead_letters() == []


def test_a_request_is_charged_settled_and_done(office: Office) -> None:
    office.low("ada", "bob")
    office.work()
    for customer in ("ada", "bob"):
        assert office.grants(customer) == office.requested(customer)
    assert len(office.purse.taken) == 2
    assert office.worker.pending == 0
    assert office.is_done()


def test_what_nobody_knows_is_tried_again_with_the_same_key(office: Office) -> None:
    office.purse.answers = ["no answer", "lost on the way", "raises"]
    office.low("ada")
    office.work()
    assert (office.purse.charged, len(office.purse.taken)) == (4, 1)
    assert office.grants("ada") == office.requested("ada")


def test_a_failure_is_settled_as_one_and_asked_for_again_later(office: Office) -> None:
    office.purse.answers = ["failed"]
    office.low("ada")
    office.work()
    assert office.grants("ada") == []
    assert "drawdown.topup.failed" in office.desk.notices("ada")
    office.wait_out()
    _, second = office.requested("ada")
    assert office.grants("ada") == [second]


def test_killed_between_charge_and_settlement_it_is_charged_and_granted_once(
    office: Office,
) -> None:
    office.low("ada")
    while not office.purse.taken:
        office.worker._read()
    office.kill()
    settled = [json.loads(m.value() or b"")["type"] for m in office.desk.records(COMMANDS)]
    assert settled == ["set_auto_topup"]
    office.start()
    office.work()
    assert (office.purse.charged, len(office.purse.taken)) == (2, 1)
    assert office.grants("ada") == office.requested("ada")


def test_killed_before_its_offset_is_committed_it_answers_again_to_no_effect(
    office: Office,
) -> None:
    office.low("ada")
    office.work()
    before = len(office.desk.entries("ada"))
    group = office.desk.cluster._group(f"{ENVIRONMENT.name}.{GROUP}")
    office.kill()
    group.offsets.clear()
    office.start()
    office.work()
    assert office.purse.charged == 2
    assert len(office.desk.entries("ada")) == before
    said = [json.loads(m.value() or b"") for m in office.desk.records(COMMANDS)]
    assert said[-1] == said[-2]


def test_after_its_deadline_it_is_not_charged_any_more(office: Office) -> None:
    office.kill()
    office.low("ada")
    office.desk.pass_time(DAY_S - 30)
    office.start()
    office.work()
    assert office.purse.charged == 0
    assert office.purse.found >= 1
    assert office.worker.pending == 1  # until the deadline it may still be on its way
    office.wait_out()
    office.wait_out()
    _, second = office.requested("ada")
    assert office.grants("ada") == [second]


def test_money_that_was_taken_and_not_told_is_granted_after_the_deadline(office: Office) -> None:
    office.purse.answers = ["no answer"]
    office.low("ada")
    while not office.purse.taken:
        office.worker.turn()
    office.kill()
    office.desk.pass_time(DAY_S + 1)
    office.desk.settle()
    office.start()
    office.wait_out()
    office.wait_out()
    assert (office.purse.charged, len(office.purse.taken)) == (1, 1)
    assert office.grants("ada") == office.requested("ada")
    assert any(e["data"].get("topup", {}).get("late") for e in office.desk.entries("ada"))
    assert office.is_done()


def test_one_that_waits_holds_no_other_up_but_its_offset(office: Office) -> None:
    office.low("ada")
    office.purse.answers = ["no answer"] * 3
    office.worker.turn()
    office.low("bob", "cleo", "dan")
    office.work()
    for customer in ("ada", "bob", "cleo", "dan"):
        assert office.grants(customer) == office.requested(customer)
    assert office.is_done()


def test_what_is_no_notice_is_passed_over(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.desk.produce(NOTIFICATIONS, b"ada", b"{}")
    office.low("ada")
    office.work()
    assert office.grants("ada") == office.requested("ada")
    assert "is no notice" in caplog.text
