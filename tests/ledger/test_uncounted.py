"""Reversing what was priced by a running quantity: the money of the entry comes back, exactly, and
the quantity falls by what the entry counted; what others were charged stays."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.test_price_models import COMMITMENT, NOW, TIERS, VOLUME, charged, check, till_of
from tests.support.till import DAY, Till

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason

GRADUATED = {"model": "graduated", "quantity": "units", "tiers": TIERS}
SEATS = {"model": "seat", "quantity": "seats", "price": "4"}
OUTCOME = {
    "model": "outcome",
    "key": "case",
    "price": "0.99",
    "included": "1",
    "undo": {"dimension": "state", "value": "reopened"},
}


def running(till: Till) -> tuple[str, str]:
    """The quantity and what was charged for it."""
    (row,) = [json.loads(value) for key, value in till.bytes_of_rows().items() if "running" in key]
    return row["quantity"], row.get("charged", "0")


def test_the_quantity_falls_by_what_the_entry_counted() -> None:
    till = till_of(GRADUATED)
    for units in (8, 4, 8):
        charged(till, units=units)
    assert running(till) == ("20", "15")
    till.reverse("ada", 3)  # 4 units: two at 1, two at 0.5
    assert till.entry("ada")["data"]["amount"] == "3"
    assert running(till) == ("16", "12")
    assert charged(till, units=4) == "2"  # from 16 to 20
    assert till.balance("ada") == "986"
    check(till)


def test_all_reversed_is_as_if_nothing_had_been() -> None:
    tiers = [{"up_to": "10", "price": "1", "fee": "3"}, {"price": "0.5", "fee": "4"}]
    till = till_of({**GRADUATED, "tiers": tiers})
    assert charged(till, units=2) == "5"
    till.reverse("ada")
    assert till.balance("ada") == "1000"
    assert charged(till, units=2) == "5"
    check(till)


def test_a_fee_of_the_period_is_paid_by_the_next_event() -> None:
    till = till_of({"model": "flat", "price": "20", "period": "month"})
    assert charged(till, units=1) == "20"
    till.reverse("ada")
    assert charged(till, units=1) == "20"
    assert charged(till, units=1) == "0"
    check(till)


def test_what_was_given_back_is_taken_again() -> None:
    till = till_of(VOLUME)
    assert charged(till, units=10) == "10"
    assert charged(till, units=1) == "-4.5"
    till.reverse("ada")
    assert till.statement("ada")[-1] == ("reversal", "4.5", "990", {"g": "4.5"})
    assert running(till) == ("10", "10")
    assert charged(till, units=1) == "-4.5"
    check(till)


def test_a_reversed_reversal_counts_again() -> None:
    till = till_of(GRADUATED)
    charged(till, units=12)
    till.reverse("ada")
    till.reverse("ada")
    assert running(till) == ("12", "11")
    assert till.balance("ada") == "989"
    assert charged(till, units=8) == "4"
    check(till)


def test_an_outcome_can_happen_again() -> None:
    till = till_of(OUTCOME)
    assert [charged(till, units=1, case=case) for case in "ab"] == ["0", "0.99"]
    till.reverse("ada")
    assert charged(till, units=1, case="b") == "0.99"
    till.use("ada", units=1, case="b", state="reopened")
    assert till.balance("ada") == "1000"
    till.reverse("ada")  # it did hold
    assert till.balance("ada") == "999.01"
    till.use("ada", units=1, case="b", state="reopened")
    assert till.balance("ada") == "1000"
    check(till)


def test_an_outcome_that_was_given_back_is_not_reversed() -> None:
    till = till_of({**OUTCOME, "included": "0"})
    charged(till, units=1, case="a")
    till.use("ada", units=1, case="a", state="reopened")
    with pytest.raises(RecordError, match="was given back since") as refused:
        till.reverse("ada", 2)
    assert refused.value.reason == Reason.NOT_REVERSIBLE
    till.use("ada", units=1, case="a")
    with pytest.raises(RecordError, match="was counted again since"):
        till.reverse("ada", 3)
    check(till)


@pytest.mark.parametrize(
    "tiers", [[{"price": "1"}], [{"up_to": "1", "price": "5"}, {"price": "1"}]]
)
def test_a_value_that_was_counted_once_can_be_counted_again(tiers: list[dict[str, Any]]) -> None:
    till = till_of(
        {"model": "volume", "quantity": "wallets", "tiers": tiers},
        meter={"unique": {"wallets": "wallet"}},
    )
    first = charged(till, units=0, wallet="w1")
    charged(till, units=0, wallet="w2")
    assert charged(till, units=0, wallet="w1") == "0"
    till.reverse("ada", 3)
    assert running(till) == ("1", first)
    charged(till, units=0, wallet="w2")
    assert running(till) == ("2", "2")
    check(till)


@pytest.mark.parametrize("how", ["max", "latest"])
def test_of_a_maximum_or_the_latest_only_the_last_is_reversed(how: str) -> None:
    till = till_of(SEATS, meter={"aggregate": {"seats": how}})
    assert [charged(till, seats=seats) for seats in (5, 8)] == ["20", "12"]
    with pytest.raises(RecordError, match=f"a later entry changed the {how} of 'r'"):
        till.reverse("ada", 2)
    till.reverse("ada", 3)
    assert running(till) == ("5", "20")
    till.reverse("ada", 2)
    assert running(till) == ("0", "0")
    assert till.balance("ada") == "1000"
    check(till)


def test_a_commitment_is_short_again() -> None:
    till = till_of(COMMITMENT, grant="5000")
    charged(till, units=700)
    charged(till, units=200)
    till.reverse("ada", 2)
    assert running(till) == ("200", "200")
    till.tick(NOW + 20 * DAY)
    assert till.statement("ada")[-1][:2] == ("debit", "800")
    with pytest.raises(RecordError, match="trued up again"):
        till.reverse("ada")
    check(till)


def test_of_a_closed_period_only_the_money_comes_back() -> None:
    till = till_of(VOLUME)
    charged(till, units=1)
    till.tick(NOW + 60 * DAY)
    assert till.statement("ada")[-1][0] == "close"
    with pytest.raises(RecordError, match="closed for good"):
        till.reverse("ada")
    till.reverse("ada", 2)
    assert till.balance("ada") == "1000"
    assert "running" not in till.entry("ada")["data"]
    check(till)


@settings(max_examples=40, deadline=None)
@given(
    price=st.sampled_from([GRADUATED, VOLUME]),
    uses=st.lists(st.integers(1, 15), min_size=1, max_size=6),
    reversed_=st.lists(st.integers(0, 5), max_size=4, unique=True),
    more=st.integers(0, 10),
)
def test_the_money_of_an_entry_returns_exactly(
    price: dict[str, Any], uses: list[int], reversed_: list[int], more: int
) -> None:
    till = till_of(price)
    amounts = [Decimal(charged(till, units=units)) for units in uses]
    back = [place for place in reversed_ if place < len(uses)]
    for place in back:
        till.reverse("ada", place + 2)
    kept = sum(amount for place, amount in enumerate(amounts) if place not in back)
    assert Decimal(till.balance("ada")) == 1000 - kept
    assert running(till)[0] == str(sum(u for place, u in enumerate(uses) if place not in back))
    charged(till, units=more)
    check(till)
