"""`price-book quote` and `diff`, of files: no Kafka is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.commands import BOOK, Drawdown

from drawdown.cli.outcome import FAILED, USAGE

TIERED = """\
version: "v1"
assets: [{code: USD, scale: 12}]
meters: [{id: egress, event_types: [egress], fields: [gb]}]
rates:
  - id: egress
    meter: egress
    asset: USD
    price:
      model: volume
      quantity: gb
      tiers: [{up_to: 1000, price: 0.01}, {up_to: 10000, price: 0.008}, {price: 0.005}]
"""


@pytest.fixture
def drawdown(tmp_path: Path) -> Drawdown:
    return Drawdown(tmp_path / "home")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_quote_says_what_matched_and_every_line(drawdown: Drawdown, tmp_path: Path) -> None:
    file = written(tmp_path / "book.yaml", BOOK)
    data = ("model=gpt-5", "input=500", "cached_input=1500", "output=400")
    found = drawdown.json("price-book", "quote", file, *data, "--type", "llm.request")
    assert found["match"] == "exact"
    assert found["price"]["charge"] == "0.0048125"
    assert [line["product"] for line in found["price"]["lines"]] == [
        "0.000625", "0.0001875", "0.004",
    ]  # fmt: skip
    assert found["cost"]["charge"] == "0.00385"
    said = drawdown.ok("price-book", "quote", file, *data, "--type", "llm").out
    assert "matched: exact" in said
    assert "charge    0.0048125 USD" in said


def test_a_quote_within_a_period_may_give_back(drawdown: Drawdown, tmp_path: Path) -> None:
    file = written(tmp_path / "book.yaml", TIERED)
    found = drawdown.json("price-book", "quote", file, "gb=50", "--used", "980")
    assert found["running"] == {"before": "980", "after": "1030"}
    assert found["price"]["charge"] == "-1.56"
    assert drawdown.json("price-book", "quote", file, "gb=50")["price"]["charge"] == "0.5"


def test_what_nothing_prices_is_said(drawdown: Drawdown, tmp_path: Path) -> None:
    file = written(tmp_path / "book.yaml", BOOK)
    ended = drawdown("price-book", "quote", file, "model=new", "input=1", "--type", "llm")
    assert (ended.code, ended.error) == (FAILED, "no price: no rate matches")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["n=1"], USAGE, "--type: the book has several meters: llm, responses"),
        (["n"], USAGE, "'n': expected NAME=VALUE"),
        (["n=1", "--type", "x"], FAILED, "no meter of price book 'v1' counts 'x'"),
        (["input=-1", "--type", "llm"], FAILED, "data.input: -1 is negative"),
        (["input=1", "--type", "llm", "--used", "many"], USAGE, "--used: 'many' is no quantity"),
    ],
)
def test_a_quote_that_cannot_be(
    drawdown: Drawdown, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    if arguments == ["n"]:
        arguments = ["n", "--type", "llm"]
    file = written(tmp_path / "book.yaml", BOOK)
    ended = drawdown("price-book", "quote", file, *arguments)
    assert ended.code == code
    assert ended.error.startswith(said)


def test_a_diff_says_what_comes_goes_and_differs(drawdown: Drawdown, tmp_path: Path) -> None:
    old = written(tmp_path / "old.yaml", BOOK)
    changed = BOOK.replace('"v1"', '"v2"').replace("input: 1.25", "input: 1.5")
    new = written(tmp_path / "new.yaml", changed.replace("id: thirds", "id: third"))
    found = drawdown.json("price-book", "diff", old, new)
    assert (found["old"], found["new"]) == ("v1", "v2")
    told = [(c["part"], c["id"], c["old"] is None, c["new"] is None) for c in found["changes"]]
    assert told == [
        ("rate", "gpt-5", False, False),
        ("rate", "third", True, False),
        ("rate", "thirds", False, True),
    ]
    assert "input 1.5" in found["changes"][0]["new"]
    assert "nothing differs" in drawdown.ok("price-book", "diff", old, old).out


def test_a_diff_says_what_pays_first_and_what_can_be_converted(
    drawdown: Drawdown, tmp_path: Path
) -> None:
    more = (
        "assets: [{code: USD, scale: 12}, {code: credit, scale: 2}]\n"
        "drawdown: orb\nconversions: [{asset: USD, to: credit, price: 100}]\n"
    )
    old = written(tmp_path / "old.yaml", TIERED)
    changed = TIERED.replace("assets: [{code: USD, scale: 12}]\n", more)
    new = written(tmp_path / "new.yaml", changed)
    found = drawdown.json("price-book", "diff", old, new)
    told = [(c["part"], c["id"], c["old"]) for c in found["changes"]]
    assert ("drawdown", "drawdown", "drawdown") in told
    assert ("conversion", "USD to credit", None) in told


def test_a_written_catalogue_can_be_read_again(drawdown: Drawdown, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    drawdown.ok("price-book", "import-litellm", "--version", "v1", "--output", file)
    drawdown.ok("price-book", "validate", file)
