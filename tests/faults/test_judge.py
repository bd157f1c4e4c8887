"""The judge finds what is planted: a judge that cannot find fault proves nothing."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.faults.judge.checks import Facts, Verdict, judged
from tests.faults.judge.reading import Read, Records
from tests.support.desk import Desk

from drawdown.events.base import moment
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    USAGE_EVENTS,
)

JUDGE = Path(__file__).with_name("judge")
BOOK = {
    "version": "v1",
    "effective_at": "1970-01-01T00:00:00+00:00",
    "prices": {"llm": {"input": "2e-6", "cached_input": "0.2e-6", "output": "10e-6"}},
}


class Scene:
    """A small true history, and what its clients wrote down: to be spoilt, one thing at a time."""

    def __init__(self) -> None:
        desk = Desk()
        desk.start()
        self.history: list[dict[str, Any]] = []
        self.call(desk, "grant", "g1", asset="USD", amount="10")
        self.hold(desk, "r1", "2")
        self.call(desk, "capture", "r1/capture", hold_id="r1", amount="1")
        self.hold(desk, "r2", "50")
        self.hold(desk, "r3", "3")
        for id in ("e1", "e2"):
            desk.use("ada", event_id=id, input=1000)
            line = {"k": "usage", "c": "ada", "id": id, "outcome": "ok"}
            self.history.append({**line, "time": "", "data": {}})
        desk.use("ada", event_id="e1", input=1000)
        self.history.append({"k": "resent", "c": "ada", "id": "e1", "outcome": "ok"})
        poison = b"{"
        desk.produce(USAGE_EVENTS, b"ada", poison)
        desk.settle()
        self.history.append(
            {
                "k": "poison",
                "kind": "bad json",
                "sha": sha256(poison).hexdigest(),
                "key": b"ada".hex(),
                "outcome": "ok",
            }
        )
        self.records: Records = {
            topic.name: [
                Read(
                    m.partition() or 0,
                    m.offset() or 0,
                    m.key(),
                    m.value(),
                    {name: value or b"" for name, value in m.headers() or []},
                )
                for m in desk.records(topic)
            ]
            for topic in (
                USAGE_EVENTS,
                COMMANDS,
                BALANCE_CHANGES,
                BALANCES,
                DECISIONS,
                DEAD_LETTERS,
            )
        }
        for line in self.history:
            if line["k"] == "call":
                said = desk.decision(line["id"])
                line["said"] = said
        self.facts = Facts(self.history, [BOOK], moment(desk.clock.ms).isoformat())

    def call(self, desk: Desk, op: str, id: str, **fields: Any) -> None:
        desk.command(op, "ada", id=id, **fields)
        self.history.append({"k": "call", "op": op, "c": "ada", "id": id, "outcome": "ok"})

    def hold(self, desk: Desk, id: str, amount: str) -> None:
        estimate = {"amount": amount, "asset": "USD"}
        more = {"meter": "llm", "dimensions": {"model": "gpt-5"}, "require": "hold"}
        self.call(desk, "authorize", id, estimate=estimate, **more)

    def verdict(self) -> Verdict:
        return judged(self.records, self.facts)

    def found(self) -> set[int]:
        return {number for number, row in self.verdict().items() if row.violations}

    def entry(self, kind: str) -> int:
        """The place of the first entry of a kind."""
        journal = self.records["balance-changes"]
        return next(n for n, r in enumerate(journal) if r.json["type"].endswith(f".{kind}"))

    def rewrite(self, topic: str, at: int, change: Callable[[dict[str, Any]], None]) -> None:
        """Another value of a record."""
        record = self.records[topic][at]
        value = record.json
        change(value)
        self.records[topic][at] = Read(
            record.partition, record.offset, record.key, json.dumps(value).encode(), record.headers
        )


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_true_history_has_nothing_wrong(scene: Scene) -> None:
    verdict = scene.verdict()
    assert {n: row.violations for n, row in verdict.items() if row.violations} == {}
    seen = {number for number, row in verdict.items() if row.events}
    assert {1, 2, 4, 6, 9, 17, 24, 25} <= seen


def test_a_debit_that_stands_twice(scene: Scene) -> None:
    journal = scene.records["balance-changes"]
    journal.append(journal[scene.entry("debit")])
    assert {1, 2} <= scene.found()


def test_a_debit_that_is_missing(scene: Scene) -> None:
    del scene.records["balance-changes"][scene.entry("debit")]
    assert {1, 2} <= scene.found()


def test_an_event_that_was_sent_and_never_debited(scene: Scene) -> None:
    scene.history.append({"k": "usage", "c": "ada", "id": "lost", "outcome": "ok"})
    assert scene.found() == {2}


def test_an_event_whose_fate_is_unknown_may_be_missing(scene: Scene) -> None:
    scene.history.append({"k": "usage", "c": "ada", "id": "lost", "outcome": "unknown"})
    assert scene.found() == set()


def test_a_row_that_is_not_what_the_journal_says(scene: Scene) -> None:
    rows = scene.records["balances"]
    last = max(n for n, r in enumerate(rows) if r.key == b"ada")
    scene.rewrite("balances", last, lambda row: row["accounts"][0].update(unspent="1000"))
    assert scene.found() == {1}


def test_a_digest_that_is_not_that_of_its_bytes(scene: Scene) -> None:
    place = scene.entry("debit")
    scene.rewrite("balance-changes", place, lambda entry: entry["data"].update(actor="mallory"))
    assert 1 in scene.found()


def test_an_amount_that_is_a_float(scene: Scene) -> None:
    place = scene.entry("debit")
    scene.rewrite("balance-changes", place, lambda entry: entry["data"].update(cost=0.1))
    assert 25 in scene.found()


def test_a_decision_that_is_missing(scene: Scene) -> None:
    decisions = scene.records["decisions"]
    decisions[:] = [record for record in decisions if record.json["id"] != "r1"]
    assert scene.found() == {6, 9}  # the client was answered, and the transaction is torn


def test_a_hold_whose_entry_is_missing(scene: Scene) -> None:
    del scene.records["balance-changes"][scene.entry("hold")]
    assert {1, 6, 9} <= scene.found()


def test_an_allow_that_was_not_affordable(scene: Scene) -> None:
    place = next(n for n, r in enumerate(scene.records["decisions"]) if r.json["id"] == "r3")
    scene.rewrite("decisions", place, lambda said: said.update(amount="9.5"))
    assert 4 in scene.found()


def test_a_denial_that_was_affordable(scene: Scene) -> None:
    place = next(n for n, r in enumerate(scene.records["decisions"]) if r.json["id"] == "r2")
    scene.rewrite("decisions", place, lambda said: said.update(amount="0.5"))
    assert 4 in scene.found()


def test_a_refused_request_that_left_a_hold(scene: Scene) -> None:
    line = next(one for one in scene.history if one.get("id") == "r3")
    line["said"] = {**line["said"], "allowed": False}
    assert 7 in scene.found()


def test_a_hold_that_should_have_expired(scene: Scene) -> None:
    assert scene.facts.ended_at is not None
    later = moment(2_000_000_000_000) + timedelta(days=365)
    scene.facts.ended_at = later.isoformat()
    assert scene.found() == {7}


@pytest.mark.parametrize("times", [0, 2])
def test_a_poison_that_is_not_once_among_the_dead_letters(scene: Scene, times: int) -> None:
    letters = scene.records["dead-letters"]
    letters[:] = letters * times
    assert scene.found() == {17}


def test_a_dead_letter_that_is_not_whole(scene: Scene) -> None:
    letter = scene.records["dead-letters"][0]
    scene.records["dead-letters"][0] = Read(
        letter.partition, letter.offset, letter.key, b"", letter.headers
    )
    assert scene.found() == {17}


def test_usage_priced_by_another_book(scene: Scene) -> None:
    newer = {**BOOK, "version": "v2", "effective_at": "2000-01-01T00:00:00+00:00"}
    scene.facts.books.append(newer)
    assert scene.found() == {24}


def test_usage_at_a_wrong_price(scene: Scene) -> None:
    scene.facts.books[:] = [{**BOOK, "prices": {"llm": {"input": "3e-6"}}}]
    assert scene.found() == {24}


def test_a_store_that_differs(scene: Scene) -> None:
    scene.facts.stores = {"0": {b"ada".hex(): b"{}".hex()}}
    assert {13, 14, 15} <= scene.found()


def test_a_query_service_that_differs(scene: Scene) -> None:
    scene.facts.balances = {"ada": [{"asset": "USD", "balance": "7"}]}
    assert scene.found() == {16}


def test_a_race_that_allowed_one_too_many(scene: Scene) -> None:
    line = {"k": "race", "c": "ada", "worth": 1, "allowed": 2, "whole": True}
    scene.history.append(line)
    assert scene.found() == {5}


def test_duplicates_with_different_answers(scene: Scene) -> None:
    said = [[200, True, 1, "d1", None], [200, True, 2, "d2", None]]
    scene.history.append({"k": "dup", "c": "ada", "id": "r9", "said": said, "other": 422})
    assert scene.found() == {3}


def test_the_judge_has_no_code_of_the_engine() -> None:
    for path in [*JUDGE.glob("*.py"), JUDGE.parents[1] / "support" / "judge.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert not [name for name in names if name.startswith("drawdown")], path
