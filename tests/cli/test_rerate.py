"""`drawdown rerate`: a dry run, the run, the same again, and taking it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka

ALL = ("--from", "2020-01-01T00:00:00Z", "--customer", "late")


def test_a_run_from_the_command_line(stack: Drawdown, tmp_path: Path) -> None:
    stack.ok("grant", "late", 10)
    for model in ("gpt-5", "brand-new"):
        fields = (f"model={model}", "input=1000", "output=100")
        stack.ok("send", "late", "llm.request", *fields, "--wait")
    stack.settled("late", 3)
    assert stack("rerate", "r1", *ALL, "--book", "no-such").code == FAILED
    content = stack.json("price-book", "show", "v1")
    content |= {"version": "v1-dearer", "rates": [dict(rate) for rate in content["rates"]]}
    prices = {"input": "2", "output": "20"}
    content["rates"][0] |= {
        "match": {},
        "price": {"model": "token_map", "per": 1000000, "prices": prices},
    }
    book = tmp_path / "dearer.json"
    book.write_text(json.dumps(content, default=str))
    stack.ok("price-book", "publish", book, "--effective-at", "2997-01-01T00:00:00Z")

    run = ("rerate", "r1", *ALL, "--book", "v1-dearer")
    tried = stack.json(*run, "--dry-run")
    assert tried["customers"] == [
        {
            "customer": "late",
            "asset": "USD",
            "entries": 2,
            "before": "0.00225",
            "after": "0.008",
            "difference": "0.00575",
        }
    ]
    done = stack.json(*run)
    assert {**done, "dry_run": True} == tried
    assert stack.json(*run)["entries"] == 0
    stack.settled("late", 7)
    assert "re-rating r1" in stack.ok("explain", "late", 7).out

    back = stack.ok("rerate", "r1-back", "--undo", "r1")
    assert "2 uses are priced anew, 0 at the same price" in back.err
    assert stack.settled("late", 11)["wallet"]["accounts"][0]["balance"] == "9.99775"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("r",), "--from"),
        (("r", "--undo", "r"), "RUN"),
        (("r", "--undo", "q", "--book", "v1"), "--book"),
        (("r", "--from", "yesterday"), "--from"),
        (("r", "--from", "2999-01-01T00:00:00Z"), "--to"),
    ],
)
def test_what_cannot_be_meant(stack: Drawdown, arguments: tuple[str, ...], says: str) -> None:
    said = stack("rerate", *arguments)
    assert (said.code, said.error.startswith(says)) == (USAGE, True)
