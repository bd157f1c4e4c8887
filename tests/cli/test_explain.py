"""`explain`: the arithmetic of an entry, done again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka


def test_a_price_line_by_line(stack: Drawdown) -> None:
    stack.ok("grant", "lines", 25, "--id", "first")
    stack.ok(
        *("send", "lines", "llm.request", "model=gpt-5", "input=500", "cached_input=1500"),
        *("output=400", "--id", "req-1"),
    )

    said = stack.ok("explain", "lines", "req-1")

    assert said.rows[0] == ["entry", "2", "of", "lines:", "debit", "of", "0.0048125", "USD"]
    for row in (
        "input 500 x 1.25 / 1,000,000 = 0.000625",
        "cached_input 1500 x 0.125 / 1,000,000 = 0.0001875",
        "output 400 x 10 / 1,000,000 = 0.004",
        "sum = 0.0048125",
        "charge 0.0048125 USD",
        "output 400 x 8 / 1,000,000 = 0.0032",
        "charge 0.00385 USD",
        "grant first 25 0.0048125 24.9951875 0.0048125",
        "balance 25 - 0.0048125 = 24.9951875 USD",
        "margin revenue 0.0048125 - cost 0.00385 = 0.0009625 (20.0 %) USD",
    ):
        assert row.split() in said.rows, row
    assert said.rows[-1][0] == "checked:"


def test_a_sum_without_end_is_a_fraction_and_rounded_once(stack: Drawdown) -> None:
    stack.ok("send", "thirds", "llm.request", "model=thirds", "input=10")

    said = stack.ok("explain", "thirds")

    assert "10/3 = 3.333333333333333333333333..." in said.out
    assert ["rounding", "half", "up", "to", "4", "places"] in said.rows
    assert ["charge", "3.3333", "USD"] in said.rows
    assert ["overdrawn", "-", "3.3333", "-", "-"] in said.rows


def test_grants_before_and_after_an_entry_that_is_long_ago(stack: Drawdown) -> None:
    customer = "long ago"
    stack.ok("grant", customer, 20, "--asset", "credit", "--cost-basis", 0, "--id", "a")
    stack.ok("grant", customer, 30, "--asset", "credit", "--cost-basis", 0, "--id", "b")
    for number in range(3):
        stack.ok("send", customer, "response.sent", "responses=1", "--id", f"e{number}")
    stack.ok("grant", customer, 20, "--asset", "credit", "--cost-basis", 0, "--id", "c")
    stack.settled(customer, 6)

    assert stack.json("explain", customer, "e1")["taken"] == [
        {"grant": "a", "before": "8", "amount": "8", "after": "0", "revenue": "0"},
        {"grant": "b", "before": "30", "amount": "4", "after": "26", "revenue": "0"},
    ]


def test_everything_as_json_is_exact(stack: Drawdown) -> None:
    stack.ok("send", "as json", "llm.request", "model=gpt-5", "input=7", "output=0.000000000001")

    explained = stack.json("explain", "as json", "1")

    assert explained["problems"] == []
    price = explained["price"]
    products = [Decimal(line["product"]) for line in price["lines"]]
    assert sum(products) == Decimal(price["sum"]) == Decimal("0.00000875000000001")
    assert price["exact"] is False
    assert price["charge"] == explained["entry"]["data"]["amount"] == "0.00000875"
    assert explained["book"]["version"] == "v1"
    assert explained["margin"] == "-0.000007"


def test_grants_terms_and_what_has_no_price(stack: Drawdown) -> None:
    stack.ok("send", "kinds", "response.sent", "responses=1", "--id", "over")
    stack.ok(
        *("grant", "kinds", 20, "--asset", "credit", "--cost-basis", "0.01", "--id", "17"),
        *("--reason", "welcome"),
    )
    stack.ok("terms", "kinds", "--credit-limit", "credit=5")
    stack.ok("send", "kinds", "llm.request", "model=unheard-of", "input=1")
    stack.settled("kinds", 4)

    grant = stack.ok("explain", "kinds", "--id", "17")
    assert ["paid", "back", "12", "credit", "that", "was", "overdrawn"] in grant.rows
    assert ["reason", "welcome"] in grant.rows
    assert ["balance", "-12", "+", "20", "=", "8", "credit"] in grant.rows
    assert ["credit", "limit", "5", "credit"] in stack.ok("explain", "kinds", 3).rows
    assert "no price: no rate matches" in stack.ok("explain", "kinds").out


def test_an_entry_that_is_not_there(stack: Drawdown) -> None:
    stack.ok("grant", "short", 1)
    stack.settled("short", 1)

    beyond = stack("explain", "short", 99)
    assert beyond.code == FAILED
    assert beyond.error == "ENTRY: 'short' has the entries 1 to 1, and no 99"
    refused = stack("explain", "short", "no such event")
    assert refused.code == FAILED
    assert "drawdown tail dead-letters" in refused.error


def test_bad_arguments(stack: Drawdown) -> None:
    assert stack("explain", "nobody at all").error.startswith("CUSTOMER: no wallet")
    assert stack("explain", "short", "1", "--id", "1").code == USAGE
    assert stack("explain", "short", "1", "--source", "cli").code == USAGE
