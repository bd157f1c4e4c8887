"""Every scenario file, on the ledger alone: what it expects is so, and a wrong number is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.cli.commands import Drawdown

from drawdown import schemas
from drawdown.scenarios.expectations import Then
from drawdown.scenarios.happenings import KINDS
from drawdown.scenarios.peers import TERMS
from drawdown.scenarios.play import ScenarioError, difference, play
from drawdown.scenarios.pure_world import PureWorld
from drawdown.scenarios.scenario_file import ScenarioFileError, read_scenario

HERE = Path(__file__).parent
FILES = sorted([*(HERE / "files").glob("*.yaml"), *(HERE / "products").glob("*.yaml")])

EXAMPLES = set(range(1, 38))
"""The worked examples: all of them."""
PRODUCTS = {
    *("Credyt", "Stigg", "Orb", "Metronome", "Lago", "Stripe Billing", "Flexprice", "OpenMeter"),
    *("Google Gemini prepay", "Cursor", "Replit", "Intercom Fin", "OpenAI API", "Anthropic API"),
    *("GitHub Copilot", "ElevenLabs", "Lovable", "Midjourney", "Fly.io", "Anyscale", "Snowflake"),
    "Uber's engineers",
}

TWO_STEPS = """\
title: Two steps
source: our own rule
book:
  version: v1
  assets: [{code: USD, scale: 12}]
  meters: [{id: work, event_types: [work], fields: [n]}]
  rates:
    - {id: work, meter: work, asset: USD, price: {model: per_unit, quantity: n, price: 2}}
given:
  - grant: {asset: USD, amount: 10}
steps:
  - when: {use: {meter: work, data: {n: 3}}}
    then: {amount: 6, balance: {USD: 4}}
  - at: 2027-01-16T00:00:00Z
    when: {authorize: {meter: work, estimate: {quantities: {n: 3}}}}
    then: {allowed: false, shortfall: 2}
"""


def differences(path: Path) -> list[str]:
    """What is not as a file expects."""
    scenario = read_scenario(path)
    found = (difference(scenario, played) for played in play(scenario, PureWorld()))
    return [line for line in found if line is not None]


LONG = {"25_graduated_and_volume"}
"""Files of tens of thousands of events."""


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] * (p.stem in LONG)) for p in FILES],
)
def test_what_a_file_expects_is_so(path: Path) -> None:
    assert differences(path) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_of_a_file_expects_something_or_is_expected_by_a_later_one(path: Path) -> None:
    steps = read_scenario(path).file.steps
    assert steps[-1].then.model_fields_set
    assert sum(bool(step.then.model_fields_set) for step in steps) * 2 >= len(steps)


def test_every_worked_example_and_every_product_has_a_file() -> None:
    files = [read_scenario(path).file for path in FILES]
    assert {number for file in files for number in file.examples} == EXAMPLES
    assert {file.product for file in files} - {""} == PRODUCTS
    assert {term.product for term in TERMS} == PRODUCTS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "two_steps.yaml"


def written(file: Path, old: str = "", new: str = "") -> Path:
    assert old in TWO_STEPS
    file.write_text(TWO_STEPS.replace(old, new, 1), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("amount: 6,", "amount: 6.01,", 13, "then.amount: expected 6.01, found 6"),
        ("USD: 4}", "USD: 5}", 13, "then.balance.USD: expected 5, found 4"),
        ("allowed: false", "allowed: true", 16, "then.allowed: expected true, found false"),
        ("shortfall: 2", "shortfall: 1", 16, "then.shortfall: expected 1, found 2"),
        ("shortfall: 2", "refused: too_late", 16, "expected too_late, found nothing"),
        ("shortfall: 2", "entries: [{debit: 6}]", 16, 'expected [{"debit": "6"}], found []'),
    ],
)
def test_a_wrong_number_is_told_with_its_line(
    file: Path, old: str, new: str, line: int, told: str
) -> None:
    (found,) = differences(written(file, old, new))
    assert found.startswith(f"{file}: line {line}: step ")
    assert told in found


NUMBERS = ("amount", "total", "balance", "running", "revenue", "grants", "allocations")


def test_every_number_of_every_file_counts() -> None:
    """All are made a little wrong, in memory: none is met."""
    tried = 0
    for path in FILES:
        if path.stem in LONG:
            continue
        scenario = read_scenario(path)
        steps = [step.model_copy(update={"then": wrong(step.then)}) for step in scenario.file.steps]
        changed = replace(scenario, file=scenario.file.model_copy(update={"steps": steps}))
        for played in play(changed, PureWorld()):
            found = [one for one in played.checks if one.path[0] in NUMBERS]
            assert not any(one.ok for one in found), f"{path.stem}: step {played.number}"
            tried += len(found)
    assert tried > 100


def wrong(then: Then) -> Then:
    """The same, with every number a little more."""
    changes: dict[str, Any] = {}
    for name in NUMBERS:
        expected = getattr(then, name)
        if isinstance(expected, str):
            changes[name] = more(expected)
        elif expected is not None:
            changes[name] = {key: more(number) for key, number in expected.items()}
    return then.model_copy(update=changes)


def more(number: str) -> str:
    return number + ("7" if "." in number else ".7")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("use: {meter", "uses: {meter", "line 12: steps.0.when.uses: is no field here"),
        ("use: {meter: work, data: {n: 3}}", "", "line 12: steps.0.when: says nothing"),
        ("amount: 10", "amounts: 10", "line 10: given.0.grant.amount: is missing"),
        ("at: 2027-01-16", "at: 2026-01-16", "line 14: steps.1.at: is before the step above"),
        ("price: 2}", "price: two}", "line 8: book.rates.work.price.price"),
        ("meter: work, asset", "meter: walk, asset", "line 8: rates.work.meter"),
        ("shortfall: 2", "reason: poor", "line 16: steps.1.then.reason"),
        ("steps:", "stops:", "line 11: stops: is no field here"),
    ],
)
def test_a_file_that_is_no_scenario_is_told_where(
    file: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ScenarioFileError) as error:
        read_scenario(written(file, old, new))
    assert told in str(error.value)
    assert str(error.value).startswith(f"{file}: line ")


def test_what_is_given_must_be_done(file: Path) -> None:
    scenario = read_scenario(written(file, "amount: 10", "amount: 0"))
    with pytest.raises(ScenarioError, match=r"line 10: grant: is zero; grant more than that"):
        list(play(scenario, PureWorld()))


def test_what_is_reversed_must_be_there(file: Path) -> None:
    use = "use: {meter: work, data: {n: 3}}"
    scenario = read_scenario(written(file, use, "reverse: {of: nothing}"))
    with pytest.raises(ScenarioError, match=r"line 12: ada has no entry 'nothing' yet"):
        list(play(scenario, PureWorld()))


def test_files_are_as_their_schema_says() -> None:
    schema = json.loads(schemas.documents()["scenario-file.json"])
    validator = Draft202012Validator(schema)
    for path in FILES:
        document = read_scenario(path).file.model_dump(mode="json", exclude_unset=True)
        assert [error.message for error in validator.iter_errors(document)] == [], path.stem
    (happening,) = [d for name, d in schema["$defs"].items() if name == "Happening"]
    assert set(KINDS) < set(happening["properties"])


def test_the_readmes_example_is_as_it_says(tmp_path: Path, drawdown: Drawdown) -> None:
    readme = (HERE.parents[1] / "README.md").read_text("utf-8")
    section = readme.partition("\n## Scenarios\n")[2].partition("\n## ")[0]
    said = {text.partition("\n")[0]: text.partition("\n")[2] for text in section.split("```")[1::2]}
    path = tmp_path / "readme.yaml"
    path.write_text(said["yaml"], encoding="utf-8")
    assert said["text"] in drawdown.ok("scenario", path).out


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def drawdown(tmp_path: Path) -> Iterator[Drawdown]:
    yield Drawdown(tmp_path / "home")


def test_the_command_says_what_happens(drawdown: Drawdown, file: Path) -> None:
    out = drawdown.ok("scenario", written(file)).out
    assert "ada: use work n=3" in out
    assert "debit    -6 USD  work  n=3" in out
    assert "3 n x 2 = 6 USD, by work" in out
    assert "denied, insufficient_balance, 2 USD short" in out
    assert out.count("✓") == 4


def test_the_command_ends_at_the_first_difference(drawdown: Drawdown, file: Path) -> None:
    ended = drawdown("scenario", written(file, "USD: 4}", "USD: 5}"))
    assert ended.code == 1
    assert "✗ balance.USD 5, found 4" in ended.out
    assert "step 2" not in ended.out
    assert "line 13" in ended.error


def test_the_command_on_several_files_is_a_table(drawdown: Drawdown, file: Path) -> None:
    written(file)
    other = file.with_name("other.yaml")
    other.write_text(TWO_STEPS.replace("USD: 4}", "USD: 5}"), encoding="utf-8")
    ended = drawdown("scenario", file, other)
    assert ended.code == 1
    assert [row[-1] for row in ended.rows[1:3]] == ["expected", "differs"]


def test_the_command_as_json(drawdown: Drawdown, file: Path) -> None:
    found: Any = drawdown.json("scenario", written(file))
    assert found["passed"] and found["difference"] is None
    assert [step["step"] for step in found["steps"]] == [0, 1, 2]
    assert found["steps"][1]["entries"][0]["data"]["amount"] == "6"
    assert found["steps"][2]["happened"][0]["decision"]["reason"] == "insufficient_balance"
    assert all(one["ok"] for step in found["steps"] for one in step["expectations"])
