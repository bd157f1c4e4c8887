"""What `explain` makes of every model of price: the arithmetic done again agrees with the entry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.ledger.test_price_models import COMMITMENT, ONE, SERIES, book, till_of
from tests.support.till import DAY, Till

from drawdown.cli.explain import Explained
from drawdown.cli.history import Found
from drawdown.events.base import at_text
from drawdown.settlement.books import read_books


def problems(till: Till) -> list[str]:
    """What `explain` finds wrong with any entry."""
    contents = read_books(enumerate(till._book_records), keep=True).contents
    found: list[str] = []
    for value in till.journal:
        entry = json.loads(value)
        price = entry["data"].get("price")
        content = None if price is None else contents[price["book"]]
        taken = {part["grant"]: 0 for part in entry["data"].get("allocations", [])}
        explained = Explained(Found(value, entry, taken, taken), content)
        found += explained.problems
        assert json.dumps(explained.as_json(), default=str)
    return found


@pytest.mark.parametrize(("price", "data", "amount"), ONE)
def test_one_event(price: dict[str, Any], data: dict[str, Any], amount: str) -> None:
    till = till_of(price)
    till.use("ada", **data)
    assert problems(till) == []


@pytest.mark.parametrize(("price", "meter", "uses", "amounts"), SERIES)
def test_a_period(
    price: dict[str, Any], meter: dict[str, Any], uses: list[Any], amounts: list[str]
) -> None:
    till = till_of(price, meter=meter)
    for use in uses:
        till.at_ms += 1000
        till.use("ada", **(use if isinstance(use, dict) else {"units": use}))
    till.tick(till.at_ms + 60 * DAY)
    assert problems(till) == []


def test_what_a_true_up_pays_and_what_is_given_back_no_further() -> None:
    till = till_of(COMMITMENT)
    till.use("ada", 700)
    late = till.at_ms
    till.tick(till.at_ms + 20 * DAY)
    for units in (250, 100):
        till.at_ms += 1
        till.use("ada", units, time=at_text(late))
    assert problems(till) == []
    steep = [{"up_to": "10", "price": "10"}, {"price": "1"}]
    cheap = till_of({"model": "volume", "quantity": "units", "tiers": [{"price": "0.1"}]})
    cheap.use("ada", 10)
    cheap.publish(book({"model": "volume", "quantity": "units", "tiers": steep}, version="v2"))
    cheap.use("ada", 1)
    assert problems(cheap) == []
