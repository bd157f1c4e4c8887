"""What people give as files - price books, scenarios, events, LiteLLM's catalogue - and vendors'
token fields. Each is read, or refused with a line that says where and why; and none takes the
process with it."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.commands import BOOK
from tests.fuzz.bounds import fuzzed, has_float
from tests.fuzz.poison import corpus
from tests.scenarios.test_files import TWO_STEPS

from drawdown.book_file import BookFileError, read_book
from drawdown.cli.event_file import read_events
from drawdown.cli.outcome import CommandError
from drawdown.events.base import EPOCH
from drawdown.events.codec import RecordError, encode_numbers
from drawdown.integrations.genai import CACHED, INPUT, OUTPUT, REASONING, disjoint
from drawdown.integrations.litellm import CatalogueError, catalogue, import_catalogue
from drawdown.ledger.book import BookError
from drawdown.scenarios.play import ScenarioError, play
from drawdown.scenarios.pure_world import PureWorld
from drawdown.scenarios.scenario_file import ScenarioFileError, read_scenario
from drawdown.settlement.publish import records_of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "given"


SCRAPS = [
    *("1e400", "-1", ".nan", ".inf", "9" * 5000, "0x1F", "1_000", "12:30:45", "2026-11-01", "~"),
    *("&a [*a]", "*a", "<<: {}", "!!python/object:os.system x", "!!binary aGk=", "? [a]\n: b", "|"),
    *(
        "[",
        "]",
        "{",
        "}",
        ":",
        "-",
        "\t",
        "\x00",
        "\ufeff",
        '"\\ud800"',
        "'",
        "#",
        "%YAML 9",
        "---",
    ),
]


@st.composite
def mangled(draw: st.DrawFn, text: str = BOOK) -> bytes:
    """A file with something else at some places."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(start + draw(st.integers(0, 10)), len(text))
        text = text[:start] + draw(st.sampled_from(SCRAPS) | st.text(max_size=3)) + text[end:]
    return text.encode("utf-8", "surrogatepass")


@fuzzed(100)
@given(mangled(TWO_STEPS) | st.binary(max_size=100))
def test_a_scenarios_file_plays_or_a_line_says_why_not(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        scenario = read_scenario(file)
        for _ in play(scenario, PureWorld()):
            pass
    except (ScenarioFileError, ScenarioError) as error:
        assert str(error).startswith(f"{file}: ")


@fuzzed(100)
@given(mangled() | st.binary(max_size=100))
def test_a_price_books_file_is_a_book_or_a_line_says_why_not(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        book, _ = read_book(file)
    except BookFileError as error:
        assert str(error).startswith(f"{file}: ")
        return
    assert not has_float(book.model_dump())
    try:
        records_of(book, EPOCH, EPOCH)
    except BookError as error:
        assert error.where


@pytest.mark.parametrize(
    "content",
    [
        "a: " + "[" * 100_000,
        "a: " + "{a: " * 100_000,
        "\n".join(" " * depth + "a:" for depth in range(500)),
        "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9 if n else 1}]\n" for n in range(12)),
    ],
    ids=["lists", "mappings", "indented", "aliases of aliases"],
)
def test_a_price_books_file_without_bounds_is_refused(file: Path, content: str) -> None:
    """Composed as they stand, the first two end the process and the last takes all its memory."""
    file.write_text(content)
    with pytest.raises(BookFileError, match=r"nested more than 20 deep|more than 300000 values"):
        read_book(file)


SMALL = [name for name, value in corpus().items() if len(value) < 1 << 18]


@pytest.mark.parametrize("name", SMALL)
def test_poison_as_a_file_of_events_or_prices(file: Path, name: str) -> None:
    file.write_bytes(corpus()[name])
    _events_in(file)
    with pytest.raises(BookFileError):
        read_book(file)


@fuzzed(150)
@given(
    st.binary(max_size=200)
    | st.text(alphabet='id,type,customer\n"\r\x00;{}[]:1', max_size=80).map(str.encode)
    | st.lists(st.text(max_size=8), max_size=9).map(
        lambda cells: b"id,type,customer\n" + ",".join(cells).encode("utf-8", "surrogatepass")
    )
)
def test_a_file_of_events_is_events_or_a_line_says_why_not(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    _events_in(file)


def _events_in(file: Path) -> None:
    try:
        for read in read_events(str(file)):
            assert read.place
            assert read.problem is None or read.problem
    except CommandError as error:
        assert error.line.startswith(f"{file}: ")


# --- LiteLLM's catalogue -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected one JSON object per model"),
        ('{"m": {"input_cost_per_token": NaN}}', "NaN is not a number"),
        ('{"m": {"input_cost_per_token": -Infinity}}', "-Infinity is not a number"),
        ('{"m": {"input_cost_per_token": 1e400}}', "1e400 is out of bounds"),
        ('{"m": {"input_cost_per_token": 1e-400}}', "1e-400 is out of bounds"),
        ('{"m": {"input_cost_per_token": 1e99999999999999999999}}', "is not a number"),
        ('{"m": {"input_cost_per_token": %s}}' % ("9" * 5000), "5000 characters"),
        ('{"m": {"input_cost_per_token": 0.%s}}' % ("1" * 300), "302 characters"),
        ('{"m": {"input_cost_per_token": -1}}', "m: a price below zero"),
        ('{"m": {"input_cost_per_token": 1e20}}', "m: a price of 10^20 or more"),
        ('{"m": {"input_cost_per_token": 1e-31}}', "m: a price of 31 decimal places"),
    ],
)
def test_a_catalogue_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        import_catalogue(catalogue(text), "v1")
    assert says in str(raised.value)


@pytest.mark.parametrize("name", ["\ud800", "a\x00b", "a\x1fb", "x" * 201, "", "gpt-*"])
def test_a_model_whose_name_cannot_be_matched_is_left_out(name: str) -> None:
    models = {name: {"input_cost_per_token": 1}, "good": {"input_cost_per_token": 1}}
    imported = import_catalogue(catalogue(json.dumps(models)), "v1")
    assert [rate.match["model"] for rate in imported.book.costs] == ["good"]
    assert imported.skipped == {name: "its name cannot be matched"}


@fuzzed(100)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.dictionaries(
            st.sampled_from(["input_cost_per_token", "output_cost_per_image", "mode"]),
            st.none() | st.text(max_size=3) | st.booleans() | st.integers() | st.floats(),
        ),
        max_size=3,
    )
)
def test_a_catalogue_is_a_book_or_refused(models: dict[str, dict[str, Any]]) -> None:
    try:
        imported = import_catalogue(catalogue(json.dumps(models)), "v1", markup=Decimal("0.3"))
    except CatalogueError as error:
        assert str(error)
    else:
        assert not has_float(imported.book.model_dump())


# --- vendors' token fields -----------------------------------------------------------------------

COUNTS = st.integers(0, 10**19) | st.decimals("0", "99999999999999999999", places=18).map(str)


@fuzzed(200)
@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_what_vendors_count_within_is_taken_out_to_the_last_digit(
    total: Any, cached: Any, out: Any, reasoning: Any
) -> None:
    data = {INPUT[0]: total, CACHED[0]: cached, OUTPUT[0]: out, REASONING[0]: reasoning}
    try:
        found = disjoint(data)
    except RecordError as error:
        assert Fraction(total) < Fraction(cached) or Fraction(out) < Fraction(reasoning)
        assert error.field
        return
    again = json.loads(encode_numbers(found))
    for whole, own, inside in ((total, "input", "cached_input"), (out, "output", "reasoning")):
        assert Fraction(again[own]) + Fraction(again.get(inside, 0)) == Fraction(whole)
    assert not has_float(again)
