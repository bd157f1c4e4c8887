"""Amounts and quantities: exact both ways, bounded, and never a float."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drawdown.events.numbers import (
    AMOUNT_MAX,
    AMOUNT_PATTERN,
    UNIT,
    NumberError,
    amount_of,
    amount_of_decimal,
    amount_text,
    plain_text,
    quantity,
    text_number,
    untyped_number,
)

AMOUNTS = st.integers(-AMOUNT_MAX, AMOUNT_MAX)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "0.000000000001"),
        (-1, "-0.000000000001"),
        (UNIT, "1"),
        (-UNIT, "-1"),
        (UNIT // 10, "0.1"),
        (12_340_000_000_000, "12.34"),
        (10 * UNIT, "10"),
        (AMOUNT_MAX, "9" * 26 + "." + "9" * 12),
    ],
)
def test_an_amount_has_one_text(amount: int, text: str) -> None:
    assert amount_text(amount) == text
    assert amount_of(text) == amount


@given(AMOUNTS)
@example(-AMOUNT_MAX)
def test_text_of_an_amount_is_canonical_and_leads_back(amount: int) -> None:
    text = amount_text(amount)
    assert amount_of(text) == amount
    assert re.fullmatch(AMOUNT_PATTERN, text)
    assert not (text.endswith("0") and "." in text)
    assert Fraction(text) * UNIT == amount


@given(st.from_regex(AMOUNT_PATTERN.removeprefix("^").removesuffix("$"), fullmatch=True))
def test_every_text_that_matches_is_the_amount_it_says(text: str) -> None:
    assert amount_of(text) == Fraction(text) * UNIT


@pytest.mark.parametrize(
    ("value", "amount"),
    [("1.5", 1_500_000_000_000), ("1e-12", 1), ("0e5", 0), ("-2E1", -20 * UNIT)],
)
def test_amount_of_a_decimal(value: str, amount: int) -> None:
    assert amount_of_decimal(Decimal(value)) == amount


@pytest.mark.parametrize("value", ["1e-13", "1e26", "NaN", "Infinity", "-Infinity", "1e400"])
def test_what_is_no_amount(value: str) -> None:
    with pytest.raises(NumberError):
        amount_of_decimal(Decimal(value))


QUANTITIES: list[tuple[Any, Any]] = [
    (0, 0),
    (5, 5),
    (10**20 - 1, 10**20 - 1),
    (Decimal("0.5"), Decimal("0.5")),
    ("5", 5),
    ("5.0", 5),
    ("0.30000000000000004", Decimal("0.30000000000000004")),
    ("-0", 0),
    ("1.7e6", 1_700_000),
    ("1e-18", Decimal("1e-18")),
    ("99999999999999999999.999999999999999999", Decimal("99999999999999999999.999999999999999999")),
]


@pytest.mark.parametrize(("value", "number"), QUANTITIES)
def test_quantities(value: Any, number: Any) -> None:
    found = quantity(value)
    assert (found, type(found)) == (number, type(number))


NO_QUANTITIES: list[tuple[Any, str]] = [
    (-1, "is negative"),
    (Decimal("-0.1"), "is negative"),
    ("-5", "is negative"),
    (10**20, "10^20 or more"),
    ("1e20", "10^20 or more"),
    (10**400, "10^20 or more"),
    ("1e-19", "more than 18 decimal places"),
    (True, "got bool"),
    (False, "got bool"),
    (None, "got NoneType"),
    ([], "got list"),
    ({}, "got dict"),
    (0.5, "got float"),
    ("", "is not a number"),
    ("five", "is not a number"),
    ("NaN", "is not a number"),
    ("sNaN", "is not a number"),
    ("Infinity", "is not a number"),
    ("1_000", "is not a number"),
    ("١٢", "is not a number"),
    (" 12", "is not a number"),
    ("12\n", "is not a number"),
    ("+5", "is not a number"),
    ("007", "is not a number"),
    (".5", "is not a number"),
    ("1,5", "is not a number"),
    ("1e400", "out of bounds"),
    ("1e-9999999", "out of bounds"),
    ("1e999999999999999999", "out of bounds"),
    ("1e99999999999999999999", "is not a number"),
    ("0." + "1" * 40, "out of bounds"),
    ("1" * 65, "at most 64"),
]


@pytest.mark.parametrize(("value", "says"), NO_QUANTITIES, ids=lambda item: repr(item)[:30])
def test_what_is_no_quantity_says_why(value: Any, says: str) -> None:
    with pytest.raises(NumberError, match=re.escape(says)):
        quantity(value)


@given(
    st.text(max_size=70)
    | st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,9})?", fullmatch=True)
)
def test_a_text_is_a_quantity_or_a_number_error(text: str) -> None:
    try:
        found = quantity(text)
    except NumberError:
        return
    assert found == Decimal(text)
    assert 0 <= found < 10**20
    assert not isinstance(found, float)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_floats_text_is_exact_or_refused(value: float) -> None:
    text = repr(value)
    try:
        found = untyped_number(text)
    except NumberError:
        assert len(Decimal(text).as_tuple().digits) > 15 or not 1e-22 < abs(value) < 1e38
    else:
        assert found == Decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=0, max_value=10**15))
def test_plain_text_has_no_exponent_and_says_the_same(value: Decimal) -> None:
    text = plain_text(value)
    assert Decimal(text) == value
    assert "e" not in text.lower()
    assert text_number(text) == value
