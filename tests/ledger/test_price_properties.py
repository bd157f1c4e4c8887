"""Prices, whatever the tiers and however the use is cut: exact, whole, and the same from a file."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.test_price_models import book
from tests.support.till import Till

from drawdown.cli.price_formulas import Given
from drawdown.cli.price_lines import worked_out
from drawdown.events.base import EPOCH
from drawdown.events.numbers import UNIT, amount_of, plain_text
from drawdown.events.pricebook import Asset, PriceBook, Rate
from drawdown.events.structs import to_struct
from drawdown.ledger.book import BookError
from drawdown.ledger.prices import compile_rate
from drawdown.pure import load
from drawdown.settlement.publish import records_of

PRICES = st.decimals(0, 100, places=5).map(plain_text)
MODES = st.sampled_from(["half_even", "half_up", "up", "down"])


@st.composite
def tiers(draw: st.DrawFn) -> list[dict[str, Any]]:
    bounds = sorted(draw(st.sets(st.integers(1, 200), max_size=4)))
    ends: list[str | None] = [*(str(bound) for bound in bounds), None]
    return [
        {"price": draw(PRICES), "per": draw(st.sampled_from([1, 3, 1000])), "fee": draw(PRICES)}
        | ({} if end is None else {"up_to": end})
        for end in ends
    ]


@st.composite
def tiered(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "model": draw(st.sampled_from(["graduated", "volume"])),
        "quantity": "units",
        "tiers": draw(tiers()),
        "at_bound": draw(st.sampled_from(["lower", "upper"])),
        "at_zero": draw(st.sampled_from(["free", "fee"])),
    }


USES = st.lists(st.integers(0, 80) | st.decimals(0, 80, places=2), min_size=1, max_size=8)


@given(tiered(), USES, MODES, st.integers(0, 12))
@settings(max_examples=60)
def test_the_parts_sum_to_the_whole_under_every_rounding(
    price: dict[str, Any], uses: list[Any], mode: str, places: int
) -> None:
    """One by one = all at once, to the last digit; and money is conserved on the way."""
    rounding = {"mode": mode, "places": places}
    amounts = []
    for cut in (uses, [sum(Fraction(use) for use in uses)]):
        till = Till(book(price, rate={"rounding": rounding}))
        till.grant("ada", "50", "g")
        for use in cut:
            till.use("ada", plain_text(Decimal(use.numerator) / Decimal(use.denominator))
                     if isinstance(use, Fraction) else str(use))  # fmt: skip
        assert till.wrongs() == []
        assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
        amounts.append(sum(amount_of(e["data"]["amount"]) for e in till.entries("ada")[1:]))
    assert amounts[0] == amounts[1]


@given(tiers(), st.integers(0, 300), st.integers(0, 300))
def test_graduated_tiers_are_monotone(found: list[dict[str, Any]], one: int, other: int) -> None:
    price = {"model": "graduated", "quantity": "units", "tiers": found}
    rate = to_struct(book(price)).rates[0]
    curve = compile_rate(rate, 12).curve
    low, high = sorted((one, other))
    assert curve.at(low) <= curve.at(high)


@given(tiered(), st.integers(0, 300), st.integers(0, 300), MODES, st.integers(0, 12))
def test_what_is_shown_is_what_is_charged(
    price: dict[str, Any], before: int, added: int, mode: str, places: int
) -> None:
    """The formula written twice gives the same: compiled, and from the text."""
    rate: Rate = to_struct(book(price, rate={"rounding": {"mode": mode, "places": places}})).rates[
        0
    ]
    asset = to_struct(Asset(code="USD", scale=12))
    facts = Given(before=Fraction(before), after=Fraction(before + added))
    shown = worked_out(rate, asset, {"units": added}, facts)
    charged, exact = compile_rate(rate, 12).charge(before, before + added)
    assert shown.charge == charged
    assert not exact or shown.total * UNIT == charged


@given(
    st.decimals(0, 10**6, places=4),
    st.sampled_from(
        [
            {"model": "package", "quantity": "units", "price": "0.07", "size": "3"},
            {"model": "duration", "quantity": "units", "price": "4", "per": 3600, "minimum": "60"},
            {"model": "percentage", "quantity": "units", "percent": "2.9", "fixed": "0.3",
             "min": "1", "max": "100"},
            {"model": "credits", "unit": "0.01", "prices": {"units": "0.00001"}},
            {"model": "flat", "price": "0.3333"},
            {"model": "token_map", "prices": {"units": "2"},
             "above": [{"over": "1000", "of": ["units"], "prices": {"units": "3"}}]},
        ]
    ),
    MODES,
    st.integers(0, 4),
)  # fmt: skip
def test_of_one_event_too(count: Decimal, price: dict[str, Any], mode: str, places: int) -> None:
    rate: Rate = to_struct(book(price, rate={"rounding": {"mode": mode, "places": places}})).rates[
        0
    ]
    shown = worked_out(rate, to_struct(Asset(code="USD", scale=12)), {"units": plain_text(count)})
    assert compile_rate(rate, 12).charge({"units": count}) == (shown.charge, shown.exact)


@given(tiered())
def test_a_book_comes_back_from_its_records_as_it_was(price: dict[str, Any]) -> None:
    made = book(price)
    again = PriceBook.model_validate_json(made.model_dump_json())
    assert again == made
    values, _ = records_of(made, EPOCH, EPOCH)
    (rate,) = [json.loads(v)["rate"] for v in values if json.loads(v)["record"] == "rate"]
    assert PriceBook.model_validate({**made.model_dump(), "rates": [rate]}) == made


GRADUATED = {"model": "graduated", "quantity": "units"}

WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # price, meter, what is said
    ({**GRADUATED, "tiers": [{"up_to": "10"}, {"up_to": "10"}, {}]}, {},
     "price.tiers.1.up_to: 10 overlaps the tier before it"),
    ({**GRADUATED, "tiers": [{"up_to": "10"}, {"up_to": "5"}, {}]}, {}, "5 overlaps"),
    ({**GRADUATED, "tiers": [{"up_to": "10"}]}, {}, "leaves a gap above 10"),
    ({**GRADUATED, "tiers": [{}, {}]}, {}, "tiers.0.up_to: is missing"),
    ({**GRADUATED, "tiers": [{}], "zone": "Mars/Base"}, {}, "zone: 'Mars/Base' is no zone"),
    ({**GRADUATED, "quantity": "x", "tiers": [{}]}, {}, "'x' is no quantity of meter"),
    ({"model": "percentage", "quantity": "units"}, {}, "give either percent or basis_points"),
    ({"model": "percentage", "quantity": "units", "percent": "1", "min": "2", "max": "1"}, {},
     "min: 2 is above max, 1"),
    ({"model": "package", "quantity": "units", "price": "1", "size": "0"}, {}, "above zero"),
    ({"model": "cost_plus", "unit": "0"}, {}, "unit: must be above zero"),
    ({"model": "seat", "quantity": "seats", "price": "1"}, {}, "would add up with every event"),
    ({"model": "per_unit", "quantity": "seats", "price": "1"}, {"aggregate": {"seats": "max"}},
     "'seats' is max over a period"),
    ({"model": "flat", "price": "1", "counter": "c"}, {}, "counter: is for a price with a period"),
    ({"model": "matrix", "quantity": "units", "cells": [
        {"match": {"a": "1"}, "price": "1"}, {"match": {"b": "1"}, "price": "1"}]}, {},
     "cells.1.match: names other dimensions"),
    ({"model": "matrix", "quantity": "units", "cells": [
        {"match": {"a": "1"}, "price": "1"}, {"match": {"a": "1"}, "price": "2"}]}, {},
     "matches exactly what another cell matches"),
    ({"model": "flat", "price": "1"}, {"aggregate": {"x": "max"}}, "'x' is no quantity"),
    ({"model": "flat", "price": "1"}, {"unique": {"units": "u"}}, "is a quantity of the fields"),
    ({"model": "flat", "price": "1"}, {"unique": {"people": "seats"}}, "is a quantity and no dim"),
]  # fmt: skip


@pytest.mark.parametrize(("price", "meter", "said"), WRONG)
def test_what_a_price_may_not_be(price: dict[str, Any], meter: dict[str, Any], said: str) -> None:
    with pytest.raises(BookError) as found:
        load(json.loads(book(price, meter=meter).model_dump_json()))
    assert said in str(found.value)


def test_costs_have_no_running_quantity_and_no_markup() -> None:
    for price in ({**GRADUATED, "tiers": [{}]}, {"model": "cost_plus"}):
        cost = {"id": "c", "meter": "work", "asset": "USD", "price": price}
        with pytest.raises(BookError, match="a cost is of the use alone"):
            load(json.loads(book({"model": "flat", "price": "1"}, costs=[cost]).model_dump_json()))


def test_rates_share_a_counter_only_where_they_agree() -> None:
    plain = {**GRADUATED, "counter": "c", "tiers": [{}]}
    made = json.loads(book(plain).model_dump_json())
    for change in ({"period": "day"}, {"zone": "Asia/Tokyo"}):
        other = {**made["rates"][0], "id": "r2", "match": {"a": "b"}}
        other["price"] = {**other["price"], **change}
        with pytest.raises(BookError, match="give it a name of its own"):
            load({**made, "rates": [made["rates"][0], other]})
