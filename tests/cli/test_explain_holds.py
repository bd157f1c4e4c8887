"""`explain` of holds and of denials, without a stack: what it says, from what stands on topics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.desk import ENVIRONMENT, Desk
from tests.support.till import Till, price_book

from drawdown.cli import explain
from drawdown.cli.decided import decision_about, story
from drawdown.cli.history import MissingError, Wanted, find
from drawdown.cli.said import entry_about, signed_amount
from drawdown.settlement.books import BookReader, Content


@dataclass
class TillsDoor:
    """The query service, as far as `explain` asks it."""

    till: Till

    def get(self, path: str) -> Any:
        return {"wallet": self.till.wallet("ada")}

    def get_bytes(self, path: str, parameters: Any) -> bytes:
        entries = b",".join(reversed(self.till.journal))
        return b'{"data":[' + entries + b'],"has_more":false}'


def content(till: Till) -> Content:
    reader = BookReader(keep=True)
    for offset, value in enumerate(till._book_records):
        reader.read(offset, value)
    return reader.contents["v1"]


def said(till: Till, wanted: Wanted, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    found = find(TillsDoor(till), "ada", wanted)  # type: ignore[arg-type]
    explained = explain.Explained(found, content(till))
    assert explained.problems == []
    capsys.readouterr()
    explain._show(explained)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def lived() -> Till:
    """A hold of 6 - 4 of a grant and 2 on credit - extended, captured twice and closed."""
    till = Till(price_book())
    till.grant("ada", "4", "g")
    till.command("set_terms", "ada", credit_limits={"USD": "9"}, capture_policy="cap",
                 outage={"mode": "open", "amount": "5"}, holds_max=7)  # fmt: skip
    till.authorize("ada", 6, id="run-5", require="hold", hold={"hold_id": "h"})
    till.command("extend", "ada", hold_id="h", expires_in_s=3600)
    till.use("ada", 3, id="e1", hold="h")
    till.command("capture", "ada", id="c9", hold_id="h", amount="2.5")
    till.authorize("ada", 1, id="run-6", require="hold")
    till.use("ada", 3, id="e2", hold="run-6")
    till.authorize("ada", 2, id="now", capture=True)
    return till


def test_every_entry_about_a_hold_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    till = lived()
    till.tick(till.at_ms + 3_600_000)
    for sequence in range(1, len(till.journal) + 1):
        assert said(till, Wanted(sequence=sequence), capsys)[-1][0] == "checked:"


def test_a_hold_and_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(lived(), Wanted(id="h"), capsys)
    assert rows == said(lived(), Wanted(id="run-5"), capsys)
    for line in (
        "entry 3 of ada: hold of 6 USD",
        "allowed 13 USD were available",
        "read entry 2, with no usage waiting",
        "meter work: units=6",
        "charge 6 USD",
        "grant g 4 4 0 0",
        "on credit - 2 - -",
        "balance 4 - 6 = -2 USD",
    ):
        assert line.split() in rows, line
    since = [" ".join(row) for row in rows if row[:1] == ["since"]]
    assert [line.split(": ")[1] for line in since] == [
        "extend",
        "capture of 3 USD",
        "capture of 2.5 USD, which closed it",
    ]


def test_a_capture_says_where_it_came_from_and_what_went_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = said(lived(), Wanted(id="c9"), capsys)
    for line in (
        "hold h: 3 -> 0 USD held, closed by this",
        "grant g 1",
        "on credit 1.5",
        "on credit 0.5",
        "balance -2 + 0.5 = -1.5 USD",
    ):
        assert line.split() in rows, line


def test_a_capped_capture_says_what_is_not_charged(capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(lived(), Wanted(id="e2"), capsys)
    assert rows[0] == ["entry", "8", "of", "ada:", "capture", "of", "1", "USD"]
    assert any(row[:3] == ["uncharged", "2", "USD:"] for row in rows)
    assert ["since", "it", "is", "open"] in rows


def test_terms_of_holds_and_outages(capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(lived(), Wanted(sequence=2), capsys)
    assert ["above", "a", "hold", "what", "is", "used", "is", "left", "uncharged"] in rows
    assert ["in", "an", "outage", "runs", "up", "to", "5", "USD"] in rows
    assert ["open", "holds", "7", "at", "most"] in rows


def test_a_denial_is_told_from_its_decision() -> None:
    desk = Desk(partitions=2)
    desk.start()
    desk.grant("ada", "4")
    desk.settle()
    asked = desk.authorize("ada", require="hold", estimate={"amount": "6"})
    desk.authorize("ada", require="hold", estimate={"amount": "1"})
    unknown = desk.authorize("eve", estimate={"amount": "6"})
    refused = desk.command("capture", "ada", hold_id="nobody's")
    desk.settle()
    lines = told(desk, "ada", asked)
    for line in (
        f"decision {asked} of ada: authorize, denied",
        "asked for 6 USD",
        "available USD=4, in scope and in effect, with credit",
        "short by 2 USD",
        "priced by rate gpt-5 of book v1",
        "changed nothing; asked again, it is decided again",
    ):
        assert any(found.startswith(line) for found in lines), (line, lines)
    assert any(line.startswith("because unknown_customer: No wallet") for line in
               told(desk, "eve", unknown))  # fmt: skip
    assert 'in detail hold_id: ada has no hold "nobody\'s"' in told(desk, "ada", refused)
    assert decision_about(desk.cluster, ENVIRONMENT, "ada", "no such id") is None
    assert decision_about(desk.cluster, ENVIRONMENT, "eve", asked) is None


def told(desk: Desk, customer: str, decided_id: str) -> list[str]:
    decision = decision_about(desk.cluster, ENVIRONMENT, customer, decided_id)
    assert decision is not None
    assert json.dumps(decision)
    return [" ".join(line.split()) for line in story(decision)]


def test_what_is_in_no_entry_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drawdown.cli.history.SETTLE_S", 0.0)
    with pytest.raises(MissingError):
        find(TillsDoor(lived()), "ada", Wanted(id="denied"))  # type: ignore[arg-type]


def test_a_line_of_the_history_moves_the_balance_by_what_its_entry_does() -> None:
    entries = [json.loads(value) for value in lived().journal]
    assert [(signed_amount(entry), entry_about(entry)) for entry in entries[2:6]] == [
        ("-6 USD", "hold  h  work  units=6"),
        (None, "hold  h"),
        ("0 USD", "work  units=3  (3 captured of hold h)"),
        ("+0.5 USD", "work  (2.5 captured of hold h)"),
    ]
