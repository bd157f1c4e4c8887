"""LiteLLM's catalogue as a price book: the decimal text as written, and exact with a markup."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

import pytest

from drawdown.events.base import moment
from drawdown.events.pricebook import PriceBook, Rate, TokenMap
from drawdown.integrations.litellm import (
    FIELDS,
    SAME_AS,
    CatalogueError,
    Imported,
    catalogue,
    import_catalogue,
    model_prices,
)
from drawdown.settlement.publish import records_of


@cache
def text() -> str:
    where = files("drawdown.data") / "litellm-prices" / "model_prices_and_context_window.json"
    return where.read_text("utf-8")


@cache
def models() -> dict[str, dict[str, Any]]:
    return catalogue()


@cache
def written() -> dict[str, dict[str, str]]:
    """The catalogue with every number as the text it is written with."""
    found: dict[str, dict[str, str]] = json.loads(
        text(), parse_float=lambda number: f"#{number}", parse_int=lambda number: f"#{number}"
    )
    return found


@cache
def imported(markup: str | None) -> Imported:
    return import_catalogue(
        models(), "c1", markup=None if markup is None else Decimal(markup), title="a catalogue"
    )


def prices_of(rate: Rate) -> dict[str, str]:
    assert isinstance(rate.price, TokenMap)
    assert rate.price.per == 1
    return rate.price.prices


def by_model(rates: list[Rate]) -> dict[str, dict[str, str]]:
    return {rate.match["model"]: prices_of(rate) for rate in rates}


def test_every_model_with_a_price_is_imported_and_every_other_has_a_reason() -> None:
    found = imported(None)
    assert len(models()) == 2985
    assert len(found.book.costs) + len(found.skipped) == len(models())
    assert found.book.rates == []
    assert all(
        reason.startswith("no price") or "name" in reason for reason in found.skipped.values()
    )
    assert len(found.book.costs) > 2500
    assert len({rate.id for rate in found.book.costs}) == len(found.book.costs)


def test_each_cost_is_the_text_that_is_written_there() -> None:
    costs = by_model(imported(None).book.costs)
    compared = 0
    for model, prices in costs.items():
        for field, quantity in FIELDS.items():
            said = written()[model].get(field)
            if isinstance(said, str) and said.startswith("#"):
                assert Fraction(prices[quantity]) == Fraction(said[1:]), (model, field)
                compared += 1
            elif quantity in prices:
                assert prices[quantity] == prices[SAME_AS[quantity]], (model, field)
    assert compared > 6000


def places(price: str) -> int:
    return len(price.partition(".")[2])


def test_prices_finer_than_12_places_and_float_noise_are_kept_as_written() -> None:
    fine = [
        (model, name, value[1:])
        for model, fields in written().items()
        if model != "sample_spec"
        for name, value in fields.items()
        if "cost" in name and isinstance(value, str) and value.startswith("#")
        if places(format(Decimal(value[1:]).normalize(), "f")) > 12
    ]
    assert len(fine) == 71
    costs = by_model(imported(None).book.costs)
    kept = 0
    for model, name, value in fine:
        quantity = FIELDS.get(name)
        if quantity is not None and model in costs:
            assert Decimal(costs[model][quantity]) == Decimal(value)
            assert places(costs[model][quantity]) > 12
            kept += 1
    assert kept > 0
    assert "0.0002833333333333333" in {
        price for prices in costs.values() for price in prices.values()
    }


@pytest.mark.parametrize("markup", ["0.3", "0", "1", "0.125"])
def test_with_a_markup_each_price_is_its_cost_times_that_exactly(markup: str) -> None:
    found = imported(markup)
    costs, prices = by_model(found.book.costs), by_model(found.book.rates)
    assert list(prices) == list(costs)
    factor = 1 + Fraction(markup)
    for model, of_model in costs.items():
        for quantity, cost in of_model.items():
            assert Fraction(prices[model][quantity]) == Fraction(cost) * factor, (model, quantity)


def test_prices_are_plain_decimal_text() -> None:
    plain = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
    for rates in (imported("0.3").book.rates, imported("0.3").book.costs):
        for rate in rates:
            for price in prices_of(rate).values():
                assert plain.fullmatch(price), (rate.id, price)


def test_the_whole_catalogue_is_a_book_that_compiles_and_prices() -> None:
    book = PriceBook.model_validate(imported("0.3").book.model_dump())
    values, compiled = records_of(book, moment(0), moment(0))
    assert len(values) == len(book.rates) + len(book.costs) + 3
    meter = compiled.meter("litellm_tokens")
    assert meter is not None
    quote = compiled.quote(meter, {"model": "gpt-5"})
    assert quote.rate is not None
    assert quote.cost_rate is not None
    quantities = {"input": 2_000_000, "cached_input": 1_000_000, "output": 1_000_000}
    cost = Decimal("2.5") + Decimal("0.125") + Decimal("10")
    assert quote.cost_rate.charge(quantities) == (int(cost * 10**12), True)
    assert quote.rate.charge(quantities) == (int(cost * Decimal("1.3") * 10**12), True)


def test_a_markup_that_makes_a_price_finer_than_books_have_is_refused() -> None:
    with pytest.raises(CatalogueError, match="fewer"):
        import_catalogue(models(), "c1", markup=Decimal("0.12345678901"))


# --- what a model's object may look like ---------------------------------------------------------


def test_a_kind_of_token_without_a_price_costs_what_the_plain_one_does() -> None:
    prices = model_prices(
        {
            "input_cost_per_token": Decimal("2e-06"),
            "output_cost_per_token": Decimal("8e-06"),
            "cache_creation_input_token_cost": Decimal("3e-06"),
            "supports_vision": True,
            "input_cost_per_query": None,
            "output_cost_per_second": "0.5",
        }
    )
    assert {name: str(price) for name, price in prices.items()} == {
        "input": "0.000002",
        "output": "0.000008",
        "cached_input": "0.000002",
        "cache_write": "0.000003",
        "cache_write_1h": "0.000003",
        "audio_input": "0.000002",
        "image_input": "0.000002",
        "reasoning": "0.000008",
        "audio_output": "0.000008",
        "image_output": "0.000008",
    }


def test_names_that_are_no_ids_get_one_each() -> None:
    price = {"input_cost_per_token": Decimal("1e-06")}
    names = ["a model", "a_model", "a+model", "-x", "é", "ü", "all/*"]
    found = import_catalogue(dict.fromkeys(names, price), "v")
    assert [(rate.match["model"], rate.id) for rate in found.book.costs] == [
        ("a model", "a_model"),
        ("a_model", "a_model-2"),
        ("a+model", "a+model"),
        ("-x", "_-x"),
        ("é", "_"),
        ("ü", "_-2"),
    ]
    assert found.skipped == {"all/*": "its name cannot be matched"}


@pytest.mark.parametrize("bad", ["", "{", "[]", '{"m": 1}', '{"m": []}'])
def test_what_is_no_catalogue(bad: str) -> None:
    with pytest.raises(CatalogueError):
        catalogue(bad)


def test_a_price_below_zero_is_refused_with_its_model() -> None:
    with pytest.raises(CatalogueError, match="gift"):
        import_catalogue({"gift": {"input_cost_per_token": Decimal("-1e-06")}}, "v")
