"""Rates: from quantities to an exact amount, rounded once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawdown.events.numbers import PLACES, UNIT, plain_text
from drawdown.events.pricebook import PerUnit, Rate, Rounding, TokenMap
from drawdown.events.structs import to_struct
from drawdown.ledger.prices import CompiledRate, UnpricedError, compile_rate, rounded


def compiled(price: PerUnit | TokenMap, scale: int = 12, **rounding: Any) -> CompiledRate:
    rate = Rate(id="r", meter="m", asset="USD", price=price, rounding=Rounding(**rounding))
    return compile_rate(to_struct(rate), scale)


CHARGES: list[tuple[PerUnit | TokenMap, dict[str, Any], str, bool]] = [
    # price, quantities, the charge, whether it is exact
    (PerUnit(quantity="n", price="2"), {"n": 3}, "6", True),
    (PerUnit(quantity="n", price="2"), {}, "0", True),
    (PerUnit(quantity="n", price="0"), {"n": 3}, "0", True),
    (PerUnit(quantity="n", price="0.08", per=1000), {"n": 12_345}, "0.9876", True),
    (PerUnit(quantity="n", price="1", per=3), {"n": 1}, "0.333333333333", False),
    (PerUnit(quantity="n", price="1", per=3), {"n": 3}, "1", True),
    (PerUnit(quantity="n", price="2", per=3), {"n": 1}, "0.666666666667", False),
    (PerUnit(quantity="n", price="1.5"), {"n": Decimal("0.000000000001")}, "0.000000000002", False),
    (PerUnit(quantity="n", price="0." + "0" * 29 + "1"), {"n": 10**18}, "0.000000000001", True),
    (PerUnit(quantity="events", price="0.5"), {}, "0.5", True),
    (PerUnit(quantity="n", price="99999999999999999999"), {"n": 10**18}, "9" * 20 + "0" * 18, True),
    (
        TokenMap(prices={"input": "1.25", "cached": "0.125", "output": "10"}, per=1_000_000),
        {"input": 500, "cached": 1500, "output": 400},
        "0.0048125",
        True,
    ),
    (
        TokenMap(prices={"input": "0.0000025", "events": "0.01"}),
        {"input": Decimal("0.5")},
        "0.01000125",
        True,
    ),
    (TokenMap(prices={"a": "1", "b": "-1"}), {"a": 2, "b": 3}, "-1", True),
]


@pytest.mark.parametrize(("price", "quantities", "amount", "exact"), CHARGES)
def test_charges(
    price: PerUnit | TokenMap, quantities: dict[str, Any], amount: str, exact: bool
) -> None:
    assert compiled(price).charge(quantities) == (Fraction(amount) * UNIT, exact)


HALVES = [
    # mode, places, price of one, the charge
    ("half_even", 2, "0.125", "0.12"),
    ("half_even", 2, "0.135", "0.14"),
    ("half_even", 2, "0.1250000000000000000001", "0.13"),
    ("half_even", 0, "0.5", "0"),
    ("half_even", 0, "1.5", "2"),
    ("half_even", 0, "2.5", "2"),
    ("half_even", 0, "-2.5", "-2"),
    ("half_even", 12, "0.0000000000005", "0"),
    ("half_even", 12, "0.0000000000015", "0.000000000002"),
    ("half_up", 2, "0.125", "0.13"),
    ("half_up", 2, "-0.125", "-0.13"),
    ("half_up", 2, "0.1249", "0.12"),
    ("up", 2, "0.1201", "0.13"),
    ("up", 2, "-0.1201", "-0.13"),
    ("up", 2, "0.12", "0.12"),
    ("down", 2, "0.1299", "0.12"),
    ("down", 2, "-0.1299", "-0.12"),
]


@pytest.mark.parametrize(("mode", "places", "price", "amount"), HALVES)
def test_rounding_is_once_and_as_the_rate_says(
    mode: str, places: int, price: str, amount: str
) -> None:
    rate = compiled(PerUnit(quantity="n", price=price), mode=mode, places=places)
    assert rate.charge({"n": 1})[0] == Fraction(amount) * UNIT
    assert rate.rounding == f"{mode}:{places}"


def test_a_charge_is_never_finer_than_its_asset() -> None:
    assert compiled(PerUnit(quantity="n", price="0.125"), scale=2).charge({"n": 1}) == (
        12 * 10**10,
        False,
    )
    assert compiled(PerUnit(quantity="n", price="0.125"), scale=2, places=6).rounding == (
        "half_even:2"
    )


def test_the_sum_is_rounded_and_not_its_parts() -> None:
    thirds = TokenMap(prices={"a": "1", "b": "1", "c": "1"}, per=3)
    assert compiled(thirds).charge({"a": 1, "b": 1, "c": 1}) == (UNIT, True)


def test_what_is_used_and_has_no_price_is_named() -> None:
    rate = compiled(TokenMap(prices={"input": "1"}))
    for quantities in ({"input": 1, "x": 1}, {"x": Decimal("0.1")}):
        with pytest.raises(UnpricedError) as found:
            rate.charge(quantities)
        assert found.value.what == "x"
    assert rate.charge({"input": 1, "x": 0})[0] == UNIT
    assert rate.charge({"input": Decimal("0.5"), "x": 0})[0] == UNIT // 2


PRICES = st.decimals(min_value=0, max_value=10**6, places=15).map(plain_text)
QUANTITIES = st.integers(0, 10**12) | st.decimals(min_value=0, max_value=10**6, places=6)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(PRICES, QUANTITIES), min_size=1),
    st.sampled_from([1, 3, 1000, 1_000_000, 7 * 11 * 13]),
    st.sampled_from(["half_even", "half_up", "up", "down"]),
    st.integers(0, 12),
)
def test_a_charge_is_the_exact_sum_rounded_once(
    lines: dict[str, tuple[str, Any]], per: int, mode: str, places: int
) -> None:
    price = TokenMap(prices={name: price for name, (price, _) in lines.items()}, per=per)
    rate = compiled(price, mode=mode, places=places)
    amount, exact = rate.charge({name: quantity for name, (_, quantity) in lines.items()})
    true = sum(
        (Fraction(price) * Fraction(quantity) / per for price, quantity in lines.values()),
        Fraction(0),
    )
    step = Fraction(1, 10**places)
    off = Fraction(amount, UNIT) - true
    assert exact == (off == 0)
    assert Fraction(amount, UNIT) % step == 0
    assert {
        "half_even": abs(off) <= step / 2,
        "half_up": -step / 2 < off <= step / 2,
        "up": 0 <= off < step,
        "down": -step < off <= 0,
    }[mode]
    assert PLACES == 12


@given(st.integers(-(10**9), 10**9), st.integers(2, 10**6), st.data())
def test_rounding_is_that_of_the_decimal_module(
    whole: int, denominator: int, data: st.DataObject
) -> None:
    rest = data.draw(st.integers(1, denominator - 1))
    exact = whole + Fraction(rest, denominator)
    assert rounded(whole, rest, denominator, "half_even") == round(exact)
    away = whole + 1 if exact > 0 else whole
    towards = whole if exact > 0 else whole + 1
    assert rounded(whole, rest, denominator, "up") == away
    assert rounded(whole, rest, denominator, "down") == towards
    if 2 * rest == denominator:
        assert rounded(whole, rest, denominator, "half_up") == away
    else:
        assert rounded(whole, rest, denominator, "half_up") == round(exact)
