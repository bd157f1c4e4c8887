"""Values that hold until the next: volumes by the month, seats by the time they were there."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.test_price_models import book, check
from tests.support.till import DAY, HOUR, START_MS, Till

from drawdown.events.base import at_text
from drawdown.ledger.book import BookError

JANUARY = START_MS - 14 * DAY - 8 * HOUR
FEBRUARY = JANUARY + 31 * DAY
MARCH = FEBRUARY + 28 * DAY
VOLUME = {"model": "graduated", "quantity": "units", "tiers": [{"price": "0.15"}]}
SEATS = {"model": "seat", "quantity": "seats", "price": "31"}
WEIGHTED = {"aggregate": {"units": "time_weighted", "seats": "time_weighted"}}


def opened(price: dict[str, Any], **more: Any) -> Till:
    till = Till(book(price, meter=WEIGHTED, **more), at_ms=JANUARY)
    till.grant("ada", "1000", "g")
    return till


def debits(till: Till) -> list[str]:
    return [amount for kind, amount, _, _ in till.statement("ada") if kind == "debit"]


def test_40_gb_for_a_month_are_40_gb_months() -> None:
    till = opened(VOLUME)
    till.use("ada", units=40)
    till.tick(FEBRUARY)
    assert debits(till) == ["0", "6"]
    entry = till.entry("ada")["data"]
    assert entry["reason"] == "r: what held to the end of the period"
    assert entry["running"]["after"] == "40"
    check(till)


def test_what_holds_goes_on_in_the_next_period_until_it_is_nothing() -> None:
    till = opened(VOLUME)
    till.use("ada", units=40)
    till.tick(FEBRUARY)
    till.tick(FEBRUARY + 14 * DAY)
    till.use("ada", units=0)
    till.tick(MARCH)
    till.tick(MARCH + 60 * DAY)
    assert debits(till) == ["0", "6", "3"]
    assert [row for key, row in till.rows.items() if "running" in key and row] == []
    check(till)


def test_a_change_charges_what_held_until_then() -> None:
    till = opened(SEATS)
    till.use("ada", seats=5)
    till.at_ms = JANUARY + 10 * DAY
    till.use("ada", seats=6)
    till.tick(FEBRUARY)
    assert debits(till) == ["0", "50", "126"]  # 5 seats for 10 of 31 days, 6 for 21
    check(till)


def test_a_stopped_machine_is_charged_for_its_days() -> None:
    """1 GB of a stopped file system for 10 days at 0.15 for 30 days: by the day, a 30th."""
    tiers = [{"price": "0.15", "per": 30}]
    price = {**VOLUME, "period": "day", "tiers": tiers}
    till = opened(price)
    till.use("ada", units=1)
    till.at_ms = JANUARY + 10 * DAY
    till.tick()
    till.use("ada", units=0)
    till.tick(JANUARY + 12 * DAY)
    assert sum(map(Decimal, debits(till))) == Decimal("0.05")
    check(till)


def test_an_event_before_the_timer_begins_with_what_held() -> None:
    till = opened(VOLUME)
    till.use("ada", units=28)
    till.at_ms = FEBRUARY + 7 * DAY
    till.use("ada", units=0)  # nobody has seen to January yet
    assert debits(till) == ["0", "1.05"]
    till.tick()
    assert debits(till) == ["0", "1.05", "4.2"]
    check(till)


def test_what_is_late_holds_from_what_was_reckoned_on() -> None:
    till = opened(VOLUME)
    till.use("ada", units=28)
    till.tick(FEBRUARY)
    till.use("ada", units=0, time=at_text(FEBRUARY - DAY))
    till.tick(MARCH)
    assert debits(till) == ["0", "4.2", "0"]
    check(till)


def test_what_is_older_than_the_last_change_counts_nothing() -> None:
    till = opened(VOLUME)
    till.at_ms = JANUARY + DAY
    till.use("ada", units=31)
    till.use("ada", units=1000, time=at_text(JANUARY))
    till.use("ada", output=0)  # of something else
    till.tick(FEBRUARY)
    assert debits(till) == ["0", "0", "0", "4.5"]
    check(till)


def test_the_price_is_that_of_the_version_in_effect_when_it_ends() -> None:
    till = opened(VOLUME)
    dearer = {**VOLUME, "tiers": [{"price": "0.30"}]}
    till.publish(book(dearer, "v2", meter=WEIGHTED), FEBRUARY)
    till.use("ada", units=40)
    till.tick(FEBRUARY)
    till.tick(MARCH)
    assert debits(till) == ["0", "6", "12"]
    check(till)


def test_it_is_reversed_exactly() -> None:
    till = opened(VOLUME)
    till.use("ada", units=40)
    till.tick(FEBRUARY)
    till.reverse("ada")
    assert till.balance("ada") == "1000"
    check(till)


@settings(max_examples=50, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 31 * 86_400_000 - 1), st.integers(0, 50)),
        min_size=1,
        max_size=8,
        unique_by=lambda change: change[0],
    )
)
def test_the_parts_sum_to_the_integral(changes: list[tuple[int, int]]) -> None:
    till = opened(VOLUME)
    ordered = sorted(changes)
    for after_ms, units in ordered:
        till.at_ms = JANUARY + after_ms
        till.use("ada", units=units)
    till.tick(FEBRUARY)
    ends = [after_ms for after_ms, _ in ordered[1:]] + [FEBRUARY - JANUARY]
    whole = Fraction(
        sum(units * (end - start) for (start, units), end in zip(ordered, ends, strict=True)),
        FEBRUARY - JANUARY,
    )
    charged = sum((Fraction(text) for text in debits(till)), Fraction(0))
    assert charged == Fraction(round(whole * Fraction("0.15") * 10**12), 10**12)
    check(till)


def test_the_row_says_what_holds() -> None:
    till = opened(VOLUME)
    till.use("ada", units="2.5")
    (row,) = [json.loads(value) for key, value in till.bytes_of_rows().items() if "running" in key]
    assert (row["level"], row["rate"], row["quantity"]) == ("2.5", "r", "0")
    (due,) = {row.due_ms for key, row in till.rows.items() if "running" in key and row is not None}
    assert (due, row["ends_at"]) == (FEBRUARY, "2027-02-01T00:00:00Z")


@pytest.mark.parametrize(
    ("price", "says"),
    [
        (
            {"model": "per_unit", "quantity": "units", "price": "1"},
            "is time_weighted over a period",
        ),
        ({**VOLUME, "period": "life"}, "is an average over a period: give one with an end"),
        (
            {"model": "volume", "quantity": "units", "tiers": [{"price": "1"}]},
            "is never given back",
        ),
    ],
)
def test_it_needs_a_period(price: dict[str, Any], says: str) -> None:
    with pytest.raises(BookError, match=says):
        opened(price)
