"""`price-book`: files that are none, with line and field; and what is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import BOOK, Drawdown

from drawdown.cli.outcome import FAILED, USAGE

LINES = BOOK.splitlines()
PRICE = "    price: {model: per_unit, quantity: responses, price: 12}"


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(LINES, 1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ('version: "v1"', "version: 7", "version", "version: expected text: put 7 in quotes"),
        ('version: "v1"', "verzion: v1", "verzion", "verzion: is no field here"),
        ("scale: 12}", "scale: 13}", "assets", "assets.USD.scale: "),
        ("{code: credit, scale: 0}", "{code: credit}", "assets", "assets.credit.scale: is missing"),
        ("id: gpt-5\n", "id: gpt 5\n", "id: gpt", "rates.gpt 5.id: 'gpt 5' is no name"),
        ("input: 1.25", "input: cheap", "1.25", "rates.gpt-5.price.prices.input: 'cheap' is no"),
        ("per: 3}", "per: 0}", "per: 3", "rates.thirds.price.per: "),
        ("mode: half_up", "mode: nearest", "half_up", "rates.thirds.rounding.mode: "),
        (
            "price: {model: per_unit, quantity: responses",
            "price: {model: tiers, quantity: responses",
            "quantity: responses",
            "rates.response.price: model 'tiers' is none of flat, per_unit, package",
        ),
        (PRICE, PRICE.replace("model: per_unit, ", ""), PRICE, "rates.response.price: say which"),
        (
            "    meter: responses",
            "    meter: replies",
            "    meter: responses",
            "rates.response.meter: no meter 'replies'",
        ),
        (
            "quantity: responses",
            "quantity: answers",
            "quantity: responses",
            "rates.response.price: 'answers' is no quantity of meter 'responses'",
        ),
        (
            "thresholds: {USD: [1]}",
            "thresholds: {EUR: [1]}",
            "thresholds",
            "thresholds.EUR: is not",
        ),
        (
            "match: {model: thirds}",
            "match: {model: gpt-5}",
            "model: thirds",
            "rates.thirds.match: matches exactly what rate 'gpt-5' matches",
        ),
        ("meters:", "thresholds: {}\nmeters:", "meters:", "'thresholds' stands there twice"),
        ("  - id: thirds", "  - id: [thirds", "id: thirds", "did not find expected ',' or ']'"),
    ],
)
def test_a_bad_file_is_told_with_line_and_field(
    nothing: Drawdown, tmp_path: Path, old: str, new: str, at: str, says: str
) -> None:
    path = tmp_path / "prices.yaml"
    assert old in BOOK
    path.write_text(BOOK.replace(old, new))

    ended = nothing("price-book", "validate", path)

    assert ended.code == FAILED
    number = line_of(at) if at in BOOK else line_of(old)
    told = {}
    for error in ended.errors:
        assert error.startswith(f"{path}: line ")
        line, _, detail = error.removeprefix(f"{path}: line ").partition(": ")
        told[detail] = int(line)
    (found,) = [line for detail, line in told.items() if detail.startswith(says)]
    assert abs(found - number) <= 1, ended.err


def test_every_fault_of_a_file_is_told(nothing: Drawdown, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(BOOK.replace("per: 3}", "per: 0}").replace("scale: 12}", "scale: 13}"))

    ended = nothing("price-book", "validate", path)

    assert [error.split(": ")[2] for error in ended.errors] == [
        "assets.USD.scale",
        "rates.thirds.price.per",
    ]


def test_a_good_file(nothing: Drawdown, book: Path) -> None:
    said = nothing.ok("price-book", "validate", book)

    assert said.err == f"{book}: version v1 is valid: 2 meters, 3 rates, 1 cost, 1 plan\n"
    assert nothing.json("price-book", "validate", book)["valid"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "line 1: expected a price book"),
        (b"- a\n- b\n", "line 1: expected a price book"),
        (b"version: \xff\n", "not UTF-8 at byte 9"),
    ],
)
def test_what_is_no_price_book_at_all(
    nothing: Drawdown, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "prices.yaml"
    if content is not None:
        path.write_bytes(content)

    ended = nothing("price-book", "validate", path)

    assert ended.code == FAILED
    assert ended.error.startswith(f"{path}: {says}")


@pytest.mark.kafka
def test_a_published_book_can_be_shown_changed_and_published(
    stack: Drawdown, tmp_path: Path
) -> None:
    assert stack.json("price-book", "show")["versions"][0]["state"] == "in effect"
    assert "thirds" in stack.ok("price-book", "show", "v1").out
    document = stack.json("price-book", "show", "v1")

    again = tmp_path / "again.json"
    again.write_text(json.dumps(document, default=str))
    assert (
        "is published, in effect from the beginning" in stack.ok("price-book", "publish", again).err
    )
    again.write_text(json.dumps({**document, "title": "another"}, default=str))
    ended = stack("price-book", "publish", again)
    assert ended.code == FAILED
    assert ended.error.startswith("version 'v1' was published before, with other content, and")

    again.write_text(json.dumps({**document, "version": "v2"}, default=str))
    soon = stack("price-book", "publish", again, "--effective-at", "2020-01-01T00:00:00Z")
    assert soon.code == FAILED
    assert stack("price-book", "publish", again, "--effective-at", "soon").code == USAGE
    later = stack.ok("price-book", "publish", again, "--effective-at", "2999-01-01T00:00:00Z")
    assert "version v2 is published, in effect from 2999-01-01" in later.err
    back = stack.json("price-book", "rollback", "v1", "--effective-at", "2998-01-01T00:00:00Z")
    assert (back["version"], back["restores"], back["superseded"]) == ("v1+2", "v1", ["v2"])
    states = {v["version"]: v["state"] for v in stack.json("price-book", "list")["versions"]}
    assert [states[name] for name in ("v1", "v1+2", "v2")] == [
        *("in effect", "scheduled", "superseded")
    ]
    assert "superseded  by v1+2" in stack.ok("price-book", "show", "v2").out
    assert "restores    v1" in stack.ok("price-book", "show", "v1+2").out
    assert stack("price-book", "show", "v3").code == FAILED


@pytest.mark.kafka
def test_keys_are_made_listed_and_revoked(stack: Drawdown) -> None:
    made = stack.json("keys", "create", "--permission", "read", "--title", "a reader")

    assert made["key"].startswith(f"drw_sk_{made['id']}_")
    listed = stack.ok("keys", "list")
    assert [made["id"], "read"] in [row[:2] for row in listed.rows]
    assert made["key"] not in listed.out
    stack.ok("keys", "revoke", made["id"])
    assert made["id"] not in stack.ok("keys", "list").out
    assert stack("keys", "revoke", made["id"]).code == FAILED
    assert stack("keys", "create", "--permission", "everything").code == USAGE


@pytest.mark.kafka
def test_a_token_sees_its_customer_only(stack: Drawdown) -> None:
    stack.ok("grant", "token/1", 1)
    stack.settled("token/1", 1)
    token = stack.ok("token", "token/1", "-q").out.strip()

    assert stack("wallet", "token/1", DRAWDOWN_KEY=token).code == 0
    assert stack("wallet", "acme", DRAWDOWN_KEY=token).code == USAGE
    assert stack("token", "acme", "--hours", 0).code == USAGE
