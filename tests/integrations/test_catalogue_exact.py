"""The whole catalogue, priced by the ledger and by plain fractions of the text that stands there:
the same to the last digit, and no float anywhere on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from drawdown.events.base import EPOCH
from drawdown.events.numbers import UNIT
from drawdown.integrations.litellm import METER, Imported, catalogue, import_catalogue, model_prices
from drawdown.ledger.book import Book
from drawdown.ledger.prices import CompiledRate
from drawdown.pure import Ledger
from drawdown.settlement.publish import records_of

MARKUP = Decimal("0.3")
USED = {"input": 1_000_003, "cached_input": 77, "output": 12_347, "reasoning": 5, "seconds": 13}


@pytest.fixture(scope="module")
def imported() -> Imported:
    return import_catalogue(catalogue(), "all", markup=MARKUP)


@pytest.fixture(scope="module")
def book(imported: Imported) -> Book:
    _, compiled = records_of(imported.book, EPOCH, EPOCH)
    return compiled


def floats(value: Any, seen: set[int]) -> Iterator[str]:
    """Where a float is, in whatever hangs together with a value."""
    if isinstance(value, float):
        yield repr(value)
    if id(value) in seen or isinstance(value, str | bytes | int):
        return
    seen.add(id(value))
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    elif isinstance(value, msgspec.Struct):
        inner = [getattr(value, name) for name in value.__struct_fields__]
    elif type(value).__module__.startswith("drawdown"):
        slots = getattr(type(value), "__slots__", ())
        inner = [getattr(value, name) for name in slots] + list(vars_of(value).values())
    for each in inner:
        yield from floats(each, seen)


def vars_of(value: Any) -> dict[str, Any]:
    return getattr(value, "__dict__", {})


def test_no_float_is_in_the_compiled_book(book: Book) -> None:
    assert list(floats(book, set())) == []
    assert list(floats([{"a": (1, {2: Fraction(1, 3), 3: 0.5})}], set())) == ["0.5"]


def half_even(amount: Fraction) -> int:
    """Pico-units, rounded by Python's own rule for fractions."""
    return round(amount * UNIT)


def test_every_model_costs_and_charges_what_its_text_says(book: Book) -> None:
    where = files("drawdown.data") / "litellm-prices" / "model_prices_and_context_window.json"
    written = json.loads(where.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    meter = book.meter(METER)
    assert meter is not None
    models = 0
    for name, model in written.items():
        quote = book.quote(meter, {"model": name})
        if quote.rate is None or name == "sample_spec":
            continue
        prices = {quantity: Fraction(price) for quantity, price in model_prices(model).items()}
        used = {quantity: count for quantity, count in USED.items() if quantity in prices}
        cost = sum((prices[quantity] * count for quantity, count in used.items()), Fraction(0))
        cost += prices.get("events", Fraction(0))
        assert isinstance(quote.rate, CompiledRate)
        assert isinstance(quote.cost_rate, CompiledRate)
        charged, charged_exactly = quote.rate.charge(used)
        paid, paid_exactly = quote.cost_rate.charge(used)
        sold = cost * (1 + Fraction(MARKUP))
        assert (charged, charged_exactly) == (half_even(sold), (sold * UNIT).denominator == 1), name
        assert (paid, paid_exactly) == (half_even(cost), (cost * UNIT).denominator == 1), name
        models += 1
    assert models > 2000


def test_no_float_is_in_what_is_written(book: Book) -> None:
    ledger = Ledger(book, at=0)
    ledger.grant("ada", "1000")
    for model in ("gpt-5", "claude-sonnet-4-5", "gemini/gemini-2.5-pro"):
        ledger.use("ada", METER, {"model": model, "input": 12_345, "output": 678})
    ledger.reverse("ada", 2, reason="the model failed")
    assert list(floats(ledger.entries("ada"), set())) == []
    assert list(floats(ledger.wallet("ada"), set())) == []
    assert list(floats(list(ledger._rows.values()), set())) == []
