"""`send`: one event by hand, or a file of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE

pytestmark = pytest.mark.kafka


def response(event_id: str, customer: str, **changes: object) -> str:
    return json.dumps(
        {"id": event_id, "type": "response.sent", "customer": customer, "data": {"responses": 1}}
        | changes
    )


def written(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_one_event_is_debited(stack: Drawdown) -> None:
    stack.ok("grant", "one", 25)

    said = stack.ok(
        *("send", "one", "llm.request", "model=gpt-5", "input=500", "cached_input=1500"),
        *("output=400", "--id", "req-1", "--time", "2026-11-01T00:00:00Z", "--cost", "lab=0.002"),
    )

    assert said.rows == [["accepted", "req-1"]]
    assert "drawdown explain one req-1" in said.err
    debit, _ = stack.settled("one", 2)["entries"]
    assert debit["data"]["amount"] == "0.0048125"
    assert debit["data"]["cost"] == "0.002"
    assert debit["data"]["source"] == "cli"
    assert debit["data"]["usage"]["time"] == "2026-11-01T00:00:00Z"
    assert debit["data"]["usage"]["dimensions"] == {"model": "gpt-5"}


def test_the_same_event_again_is_debited_once(stack: Drawdown) -> None:
    for _ in range(2):
        stack.ok("send", "twice", "response.sent", "responses=1", "--id", "req-1")
    stack.ok("send", "twice", "response.sent", "responses=1", "--id", "req-2")

    assert stack.settled("twice", 2)["wallet"]["accounts"][0]["debited"] == "24"


def test_waiting_tells_what_it_came_to(stack: Drawdown) -> None:
    stack.ok("grant", "waits", 25)
    event = ("send", "waits", "llm.request", "model=gpt-5", "output=400", "--id", "w-1", "--wait")

    assert stack.ok(*event).rows == [["debited", "0.004", "USD", "w-1"]]
    assert stack.ok(*event).rows == [["debited", "before", "0.004", "USD", "w-1"]]
    assert stack.json(*event)["outcomes"][0]["decision"]["duplicate"] is True
    refused = stack("send", "waits", "telepathy", "thoughts=1", "--wait")
    assert refused.code == FAILED
    assert "unknown_meter" in refused.err


def test_waiting_for_a_file_adds_up_what_was_debited(stack: Drawdown, tmp_path: Path) -> None:
    lines = [response("v1", "adds"), response("v2", "adds"), response("v1", "adds")]
    path = written(tmp_path, "adds.ndjson", *lines, response("v3", "adds", type="telepathy"))

    ended = stack("send", "--file", path, "--wait")

    assert ended.code == FAILED
    assert ended.out.splitlines()[-3:] == [
        "3 of 4 events accepted",
        "debited 24 credit",
        "1 debited before",
    ]
    again = stack("send", "--file", path, "--wait", "--json").json
    assert (again["debited"], again["duplicates"], again["undecided"]) == ({}, 3, 0)
    assert [item["code"] for item in again["rejected"]] == ["unknown_meter"]


@pytest.mark.parametrize(
    "content",
    [
        "[" + response("f1", "{c}") + ",\n" + response("f2", "{c}") + "]",
        response("f1", "{c}") + "\n\n" + response("f2", "{c}") + "\n",
        "id,type,customer,responses,feature\nf1,response.sent,{c},1,chat\nf2,response.sent,{c},1,\n",
        "\ufeff" + response("f1", "{c}") + "\r\n" + response("f2", "{c}"),
    ],
    ids=["array", "lines", "csv", "with a mark"],
)
def test_a_file_is_an_array_or_lines_or_csv(
    stack: Drawdown, tmp_path: Path, content: str, request: pytest.FixtureRequest
) -> None:
    customer = f"file {request.node.callspec.id}"
    path = tmp_path / "events.csv"
    path.write_text(content.replace("{c}", customer))

    assert stack.ok("send", "--file", path).out == "2 of 2 events accepted\n"
    assert stack.settled(customer, 2)["wallet"]["accounts"][0]["debited"] == "24"


def test_stdin_and_one_object_over_several_lines(stack: Drawdown) -> None:
    event = json.dumps(json.loads(response("s1", "stdin")), indent=2)

    assert stack.ok("send", "-f", "-", stdin=event).out == "1 of 1 events accepted\n"


def test_more_than_a_batch(stack: Drawdown, tmp_path: Path) -> None:
    path = written(tmp_path, "many.ndjson", *(response(f"m{i}", "many") for i in range(2_100)))

    sent = stack.json("send", "--file", path)

    assert sent == {"read": 2_100, "accepted": 2_100, "rejected": []}
    assert stack.settled("many", 2_100)["wallet"]["accounts"][0]["debited"] == "25200"


def test_what_is_wrong_in_a_file_is_told_with_its_line_and_the_rest_is_sent(
    stack: Drawdown, tmp_path: Path
) -> None:
    path = written(
        tmp_path,
        "some.ndjson",
        response("ok", "some"),
        '{"id": "cut"',
        '{"type":"response.sent","customer":"some","data":{}}',
        "[1]",
        response("bad-time", "some", time="yesterday"),
    )

    ended = stack("send", "--file", path)

    assert ended.code == FAILED
    assert ended.rows[-1] == ["1", "of", "5", "events", "accepted"]
    told = {tuple(row[:2]): " ".join(row[2:]) for row in ended.rows[1:-1]}
    assert set(told) == {("line", str(number)) for number in (2, 3, 4, 5)}
    assert "is no JSON object" in told["line", "2"]
    assert "id: is missing" in told["line", "3"]
    assert "time: " in told["line", "5"]
    items = stack("send", "--file", path, "--json").json["rejected"]
    assert [(item["place"], item["code"]) for item in items] == [
        (f"line {number}", "malformed") for number in (2, 4, 3, 5)
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.json", "", "is empty"),
        ("text.txt", "hello\n", "line 1: neither JSON nor CSV"),
        ("cut.json", '[{"id": 1},\n', "line 2: expecting value"),
        ("object.json", '{"id":\n', "line 1: Input data was truncated; give one"),
        ("a.csv", "id,customer\n1,2\n", "line 1: the header lacks type"),
        ("b.csv", "id,type\n1,2\n", "line 1: the header lacks customer"),
        ("c.csv", "id,type,customer,id\n", "line 1: the header has 'id' twice"),
        ("d.csv", 'id,type,customer\n"a,b,c\n', "no CSV: unexpected end of data"),
    ],
)
def test_a_file_that_is_none(
    stack: Drawdown, tmp_path: Path, name: str, content: str, says: str
) -> None:
    path = tmp_path / name
    path.write_text(content)

    ended = stack("send", "--file", path)

    assert ended.code == FAILED
    assert ended.error.startswith(f"{path}: {says}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give CUSTOMER, TYPE and FIELD=VALUE"),
        (("acme",), "give CUSTOMER, TYPE and FIELD=VALUE"),
        (("acme", "llm", "input"), "FIELD=VALUE: 'input' is not NAME=VALUE"),
        (("acme", "llm", "a=1", "a=2"), "FIELD=VALUE: 'a' is given twice"),
        (("acme", "llm", "costs=1"), "FIELD=VALUE: give costs as --cost"),
        (("acme", "llm", "--cost", "lab=x"), "--cost lab: 'x' is no amount"),
        (("acme", "llm", "--time", "now"), "--time: 'now' is no time"),
        (("acme", "llm", "--id", ""), "--id: 1 to 256 characters"),
        (("acme", "llm", "--file", "x"), "--file: its events say all there is"),
    ],
)
def test_bad_arguments(stack: Drawdown, arguments: tuple[str, ...], says: str) -> None:
    ended = stack("send", *arguments)

    assert ended.code == USAGE
    assert ended.error.startswith(says)


def test_a_file_that_is_not_there(stack: Drawdown, tmp_path: Path) -> None:
    ended = stack("send", "--file", tmp_path / "none")

    assert ended.code == FAILED
    assert ended.error == f"{tmp_path / 'none'}: No such file or directory"


def test_a_gateway_that_does_not_answer(stack: Drawdown, tmp_path: Path) -> None:
    path = written(tmp_path, "a.ndjson", response("a", "away"))
    away = ("--gateway", "http://127.0.0.1:1")

    assert stack("send", "--file", path, *away).code == UNREACHABLE
    ended = stack("send", "away", "response.sent", "responses=1", *away)
    assert ended.code == UNREACHABLE
    assert "repeat it with --id cli-" in ended.error
