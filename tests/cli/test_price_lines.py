"""The arithmetic that `explain` shows, against the ledger's own."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawdown.cli.history import undone
from drawdown.cli.price_lines import exact_text, worked_out
from drawdown.events.numbers import plain_text
from drawdown.events.pricebook import Asset, Rate
from drawdown.events.structs import to_struct
from drawdown.ledger.prices import compile_rate

NAMES = ("input", "output", "events")
prices = st.decimals(-10, 10**6, places=9, allow_nan=False).map(plain_text)
counts = st.one_of(
    st.integers(0, 10**12),
    st.decimals(0, 10**6, places=6, allow_nan=False).map(lambda value: plain_text(value)),
)
roundings = st.fixed_dictionaries(
    {"mode": st.sampled_from(["half_even", "half_up", "up", "down"])},
    optional={"places": st.integers(0, 12)},
)


@given(
    prices=st.fixed_dictionaries(dict.fromkeys(NAMES, prices)),
    per=st.sampled_from([1, 3, 7, 1000, 1_000_000]),
    rounding=roundings,
    scale=st.sampled_from([0, 2, 12]),
    used=st.fixed_dictionaries(dict.fromkeys(NAMES[:2], counts)),
)
def test_what_is_shown_is_what_is_charged(
    prices: dict[str, str],
    per: int,
    rounding: dict[str, Any],
    scale: int,
    used: dict[str, int | str],
) -> None:
    rate = to_struct(
        Rate.model_validate(
            {
                "id": "r",
                "meter": "m",
                "asset": "A",
                "price": {"model": "token_map", "prices": prices, "per": per},
                "rounding": rounding,
            }
        )
    )
    asset = to_struct(Asset(code="A", scale=scale))
    quantities = {n: v if isinstance(v, int) else Decimal(v) for n, v in used.items()}

    shown = worked_out(rate, asset, used)

    charged, exact = compile_rate(rate, scale).charge(quantities)
    assert (shown.charge, shown.exact) == (charged, exact)
    assert sum((line.product for line in shown.lines), Fraction(0)) == shown.total


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(12), "12"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 10**15), "0.000000000000001"),
        (Fraction(25, 100), "0.25"),
        (Fraction(10, 3), "10/3 = 3.333333333333333333333333..."),
        (Fraction(-1, 7), "-1/7 = -0.142857142857142857142857..."),
    ],
)
def test_a_number_is_shown_whole_or_as_a_fraction(value: Fraction, text: str) -> None:
    assert exact_text(value) == text


def test_a_debit_is_taken_back() -> None:
    data = {"allocations": [{"grant": "a", "amount": "8"}, {"grant": "b", "amount": "4"}]}

    assert undone({"b": 26 * 10**12}, data) == {"a": 8 * 10**12, "b": 30 * 10**12}


def test_what_was_given_back_is_taken_back() -> None:
    parts = [{"grant": "a", "amount": "-2"}, {"grant": "given-back:5", "amount": "-2.5"}]
    data = {"amount": "-4.5", "allocations": parts, "grant": {"id": "given-back:5"}}

    left = {"a": 3 * 10**12, "given-back:5": 25 * 10**11}
    assert undone(left, data) == {"a": 10**12}


def test_before_its_grant_there_was_none_even_where_the_id_was_used_before() -> None:
    left = undone({"a": 5 * 10**12}, {"amount": "5", "grant": {"id": "a"}})
    assert left == {}
    assert undone(left, {"allocations": [{"grant": "a", "amount": "1"}]}) == {"a": 10**12}
