"""Price books: which rate matches, which version is in effect, and what a book may not be."""

from __future__ import annotations

from typing import Any

import pytest

from drawdown.events.base import moment
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Asset, Meter, PerUnit, PriceBook, Rate, TokenMap
from drawdown.events.reasons import Reason
from drawdown.ledger.book import Book, BookError, Books
from drawdown.settlement.publish import records_of

USD = Asset(code="USD", scale=12)
EUR = Asset(code="EUR", scale=2)
LLM = Meter(id="llm", event_types=["llm.completion"], fields={"in": "input", "out": "output"})


def rate(
    rate_id: str, price: str = "1", *, meter: str = "llm", asset: str = "USD", **match: str
) -> Rate:
    return Rate(
        id=rate_id,
        meter=meter,
        match=match,
        asset=asset,
        price=PerUnit(quantity="input", price="1"),
    )


def compiled(effective_ms: int = 0, version: str = "v1", **content: Any) -> Book:
    whole = {"assets": [USD, EUR], "meters": [LLM], **content}
    _, book = records_of(
        PriceBook(version=version, **whole), moment(effective_ms), moment(effective_ms)
    )
    return book


def matched(book: Book, **dimensions: str) -> str | None:
    meter = book.meter("llm")
    assert meter is not None
    found = book.quote(meter, dimensions).rate
    return None if found is None else found.id


# --- matching ------------------------------------------------------------------------------------

MATCHES: list[tuple[list[Rate], dict[str, str], str | None]] = [
    # the rates, the dimensions used, the one that matches
    ([rate("any")], {}, "any"),
    ([rate("any")], {"model": "x"}, "any"),
    ([rate("x", model="x")], {}, None),
    ([rate("x", model="x")], {"model": "y"}, None),
    ([rate("any"), rate("x", model="x")], {"model": "x"}, "x"),
    ([rate("any"), rate("x", model="x")], {"model": "X"}, "any"),
    ([rate("x", model="x"), rate("xb", model="x", tier="batch")],
     {"model": "x", "tier": "batch", "team": "red"}, "xb"),
    ([rate("x", model="x"), rate("xb", model="x", tier="batch")], {"model": "x", "tier": "1"}, "x"),
    ([rate("gpt", model="gpt-*"), rate("gpt5", model="gpt-5")], {"model": "gpt-5"}, "gpt5"),
    ([rate("gpt", model="gpt-*"), rate("gpt5", model="gpt-5")], {"model": "gpt-6"}, "gpt"),
    ([rate("all", model="*"), rate("gpt", model="gpt-*")], {"model": "gpt-6"}, "gpt"),
    ([rate("all", model="*"), rate("gpt", model="gpt-*")], {"model": ""}, "all"),
    ([rate("long", model="gpt-5-*"), rate("short", model="gpt-*")], {"model": "gpt-5-x"}, "long"),
    ([rate("one", model="gpt-*"), rate("two", model="*-5*")], {"model": "gpt-5"}, "one"),
    # `?` and `[` are letters like any other: only `*` stands for something else
    ([rate("q", model="gpt-?")], {"model": "gpt-5"}, None),
    ([rate("q", model="gpt-?")], {"model": "gpt-?"}, "q"),
    ([rate("b", model="gpt-[45]*")], {"model": "gpt-4"}, None),
    ([rate("b", model="gpt-[45]*")], {"model": "gpt-[45]x"}, "b"),
    # more dimensions win, though they be patterns
    ([rate("exact", model="x"), rate("wide", model="*", tier="*")], {"model": "x", "tier": "1"},
     "wide"),
]  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("rates", "dimensions", "expected"), MATCHES)
def test_the_rate_that_says_most_prices(
    rates: list[Rate], dimensions: dict[str, str], expected: str | None, reverse: bool
) -> None:
    book = compiled(rates=rates[::-1] if reverse else rates)
    for _ in range(2):  # the second time it is remembered
        assert matched(book, **dimensions) == expected


def test_prices_and_costs_are_matched_each_by_their_own() -> None:
    book = compiled(rates=[rate("sold", model="x")], costs=[rate("bought")])
    meter = book.meter("llm.completion")
    assert meter is not None
    quote = book.quote(meter, {"model": "y"})
    assert quote.rate is None
    assert quote.cost_rate is not None
    assert (quote.cost_rate.id, quote.exact.cost_rate) == ("bought", "bought")


def test_a_meter_is_found_by_its_event_types_and_by_its_id() -> None:
    book = compiled()
    assert book.meter("llm") is book.meter("llm.completion")
    assert book.meter("other") is None


# --- measuring -----------------------------------------------------------------------------------


def test_fields_that_are_named_are_quantities_and_the_rest_dimensions() -> None:
    meter = compiled(
        meters=[
            Meter(id="llm", event_types=["llm"], fields={"in": "input", "in2": "input", "o": "out"})
        ]
    ).meter("llm")
    assert meter is not None
    measured = meter.measure(
        {"in": 1, "in2": "2.5", "model": "x", "n": 3, "b": True, "l": [1], "costs": {}, "z": None}
    )
    quantities, dimensions, plain = measured
    assert {name: str(value) for name, value in quantities.items()} == {"input": "3.5"}
    assert dimensions == {"model": "x", "n": "3", "b": "true"}
    assert not plain
    with pytest.raises(RecordError) as found:
        meter.measure({"model": "x"})
    assert (found.value.reason, found.value.field) == (Reason.BAD_QUANTITY, "data")
    assert "in or in2 or o" in found.value.detail


def test_a_meter_without_fields_counts_events() -> None:
    calls = Meter(id="calls", event_types=["call"])
    per_call = Rate(
        id="call", meter="calls", asset="USD", price=PerUnit(quantity="events", price="0.5")
    )
    book = compiled(meters=[calls], rates=[per_call])
    meter = book.meter("call")
    assert meter is not None
    quantities, _, _ = meter.measure({"model": "x"})
    found = book.quote(meter, {}).rate
    assert found is not None
    assert found.charge(quantities) == (5 * 10**11, True)


# --- versions ------------------------------------------------------------------------------------


def test_a_version_is_in_effect_from_its_first_instant() -> None:
    books = Books([compiled(100, "b"), compiled(50, "a"), compiled(200, "c")])
    assert [
        None if (book := books.at(at)) is None else book.version
        for at in (49, 50, 99, 100, 199, 200, 10**15)
    ] == [None, "a", "a", "b", "b", "c", "c"]
    assert len(books) == 3


def test_of_two_with_the_same_instant_the_one_published_later_counts() -> None:
    first, second = compiled(100, "first"), compiled(100, "second")
    first.offset, second.offset = 3, 9
    for books in (Books([first, second]), Books([second, first])):
        found = books.at(100)
        assert found is not None
        assert found.version == "second"
    assert Books([first]).with_book(second).offset == 9


# --- contradictions ------------------------------------------------------------------------------

CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    # what the book has, where it is refused, what is said
    ({"reporting": "GBP"}, "reporting", "not among the assets"),
    ({"thresholds": {"GBP": ["1"]}}, "thresholds.GBP", "not among the assets"),
    ({"rates": [rate("a"), rate("a", model="x")]}, "rates.a", "stands there twice"),
    ({"rates": [rate("a"), rate("b")]}, "rates.b.match", "matches exactly what rate 'a' matches"),
    ({"rates": [rate("a", model="x*"), rate("b", model="x*")]}, "rates.b.match", "rate 'a'"),
    ({"costs": [rate("a"), rate("b")]}, "costs.b.match", "rate 'a'"),
    ({"rates": [rate("a", meter="fax")]}, "rates.a.meter", "no meter 'fax'"),
    ({"rates": [rate("a", asset="GBP")]}, "rates.a.asset", "no asset 'GBP'"),
    ({"costs": [rate("a", asset="EUR")]}, "costs.a.asset", "reporting currency, USD"),
    (
        {"rates": [Rate(id="a", meter="llm", asset="USD", price=TokenMap(prices={"pages": "1"}))]},
        "rates.a.price",
        "'pages' is no quantity of meter 'llm', which has events, input, output",
    ),
    (
        {"meters": [LLM, Meter(id="other", event_types=["llm"])]},
        "meters.other.event_types",
        "'llm' is counted by meter 'llm' already",
    ),
    (
        {"meters": [Meter(id="m", event_types=["m"], fields={"costs": "x"})]},
        "meters.m.fields",
        "a meaning of their own",
    ),
    (
        {"meters": [Meter(id="m", event_types=["m"], fields={"x": "events"})]},
        "meters.m.fields",
        "counts events",
    ),
]


@pytest.mark.parametrize(("content", "where", "says"), CONTRADICTIONS)
def test_a_book_that_contradicts_itself_says_where(
    content: dict[str, Any], where: str, says: str
) -> None:
    with pytest.raises(BookError) as found:
        compiled(**content)
    assert found.value.where == where
    assert says in found.value.detail


class Counted(dict[str, str]):
    """Dimensions that count how often they are looked at."""

    looks = 0

    def __getitem__(self, name: str) -> str:
        self.looks += 1
        return super().__getitem__(name)


def test_a_rate_of_ten_thousand_is_found_as_one_of_ten_is() -> None:
    looks = []
    for count in (10, 10_000):
        book = compiled(rates=[rate(f"r{number}", model=f"m{number}") for number in range(count)])
        dimensions = Counted(model=f"m{count - 1}", team="red")
        found = book.prices.match("llm", dimensions)
        assert found is not None
        assert found.rate.id == f"r{count - 1}"
        looks.append(dimensions.looks)
    assert looks == [1, 1]
