"""`dead-letters`: what was set aside, why, and sending it again once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cli.commands import Drawdown, until

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka

OLD = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def letters(stack: Drawdown) -> list[dict[str, Any]]:
    """A late event, one no meter counts, and a conflict; newest first."""
    stack.ok("grant", "tardy", 10)
    for type_, id_, time in (("llm.request", "late", OLD), ("fax.sent", "fax", None)):
        given = ("--time", time) if time else ()
        stack.ok("send", "tardy", type_, "model=gpt-5", "output=100000", "--id", id_, *given)
    for output in (1, 2):
        stack.ok("send", "tardy", "llm.request", "model=gpt-5", f"output={output}", "--id", "twice")

    def there() -> Any:
        found = stack.json("dead-letters", "list", "--customer", "tardy")["letters"]
        return found if len(found) == 3 else None

    found: list[dict[str, Any]] = until(there)
    return found


def position(letters: list[dict[str, Any]], reason: str) -> str:
    (found,) = [each for each in letters if each["rejected"]["reason"] == reason]
    return str(found["position"])


def test_a_list_says_what_is_wrong_and_how_many_of_each(
    stack: Drawdown, letters: list[dict[str, Any]]
) -> None:
    reasons = [each["rejected"]["reason"] for each in letters]
    assert reasons == ["conflict", "unknown_meter", "too_late"]
    rows = stack.ok("dead-letters", "list", "--customer", "tardy").rows
    assert rows[0][0] == "position"
    assert [row[0] for row in rows[1:4]] == [each["position"] for each in letters]
    assert sorted(rows[-3:]) == [["1", reason] for reason in sorted(reasons)]

    one = ("--customer", "tardy", "--reason", "too_late", "--topic", "usage-events")
    answer = stack.json("dead-letters", "list", *one)
    assert (answer["total"], answer["reasons"]) == (1, {"too_late": 1})
    until_ = stack.json("dead-letters", "list", *one, "--until", OLD)
    assert until_ == {"total": 0, "reasons": {}, "letters": []}
    limited = stack.json("dead-letters", "list", "--customer", "tardy", "--limit", 1)
    assert (limited["total"], len(limited["letters"])) == (3, 1)


def test_one_is_shown_whole_with_what_to_do(stack: Drawdown, letters: list[dict[str, Any]]) -> None:
    fax = position(letters, "unknown_meter")
    out = stack.ok("dead-letters", "show", fax).out
    assert f"dead letter {fax}  unknown_meter" in out
    assert "no meter of price book 'v1' counts 'fax.sent'" in out
    assert "key         'tardy'" in out
    assert "to do       Publish a price book with a meter for its type" in out
    shown = stack.json("dead-letters", "show", fax)
    assert '"id":"fax"' in shown["value"]
    assert shown["key"] == "tardy"
    assert [name for name, _ in shown["headers"]] == ["actor"]


def test_what_can_count_is_sent_once_and_the_rest_is_told(
    stack: Drawdown, letters: list[dict[str, Any]]
) -> None:
    late, fax = position(letters, "too_late"), position(letters, "unknown_meter")
    customer = ("--customer", "tardy")

    outcome = stack.json("dead-letters", "redrive", *customer)
    assert outcome["sent"] == []
    why = {each["position"]: each["why"] for each in outcome["skipped"]}
    assert "--accept-late has it booked" in why[late]
    assert "has no meter for 'fax.sent'" in why[fax]

    dry = stack.json("dead-letters", "redrive", late, "--accept-late", "--dry-run")
    assert [each["position"] for each in dry["sent"]] == [late]
    ended = stack.ok("dead-letters", "redrive", late, "--accept-late", "--by", "ops")
    assert ended.out == "1 dead letter sent, 0 skipped\n"
    found = stack.settled("tardy", 3)
    assert found["entries"][0]["data"]["cause"]["accepted_late_by"] == "ops"
    assert "accepted late by ops" in stack.ok("explain", "tardy", "--id", "late").out

    again = stack("dead-letters", "redrive", late, "--accept-late")
    assert again.code == FAILED
    assert "it was sent again already" in again.out
    assert "sent again  " in stack.ok("dead-letters", "show", late).out
    open_ = stack.json("dead-letters", "list", *customer)
    assert (open_["total"], stack.json("dead-letters", "list", *customer, "--all")["total"]) == (
        2,
        3,
    )
    lines = stack.ok("tail", "dead-letters", "--from-beginning", "--no-follow", *customer).out
    assert f"{late} was sent again by ops" in lines


def test_what_is_asked_for_wrongly(stack: Drawdown, nothing: Drawdown) -> None:
    for arguments in (
        ("redrive",),
        ("redrive", "--all", "--reason", "malformed"),
        ("redrive", "1@x"),
        ("redrive", "0@0", "--by", ""),
        ("show", "x"),
        ("list", "--reason", "bored"),
        ("list", "--topic", "decisions"),
        ("list", "--since", "yesterday"),
    ):
        ended = stack("dead-letters", *arguments)
        assert (ended.code, len(ended.errors)) == (USAGE, 1), arguments
    ended = stack("dead-letters", "show", "0@999999")
    assert (ended.code, ended.error) == (
        FAILED,
        "no dead letter at 0@999999: see `drawdown dead-letters list`",
    )
    ended = stack("dead-letters", "redrive", "0@999999")
    assert ended.code == FAILED
    assert "there is no dead letter at this position" in ended.out
    assert nothing("dead-letters", "list").code == 4
