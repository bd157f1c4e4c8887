"""Every model of price: its formula, its edges, and what it does to the wallet."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, START_MS, Till

from drawdown.events.base import at_text
from drawdown.events.pricebook import PriceBook
from drawdown.ledger.rows import due_of, row_bytes

NOW = START_MS
"""2027-01-15T08:00:00Z."""
FIELDS = ("units", "input", "cached_input", "output", "seats", "seconds")


def book(price: dict[str, Any], version: str = "v1", **more: Any) -> PriceBook:
    """A book of one rate with this price, and what `more` says of rate, meter and book."""
    content: dict[str, Any] = {
        "version": version,
        "assets": [{"code": "USD", "scale": 12}, {"code": "credit", "scale": 2}],
        "meters": [
            {
                "id": "work",
                "event_types": ["work"],
                "fields": {name: name for name in FIELDS},
                **more.pop("meter", {}),
            }
        ],
        "rates": [
            {"id": "r", "meter": "work", "asset": "USD", "price": price, **more.pop("rate", {})}
        ],
    }
    return PriceBook.model_validate({**content, **more})


def till_of(price: dict[str, Any], grant: str = "1000", **more: Any) -> Till:
    till = Till(book(price, **more))
    till.grant("ada", grant, "g")
    return till


def charged(till: Till, **data: Any) -> str:
    """What this use is charged."""
    till.use("ada", **data)
    return str(till.entries("ada")[-1]["data"].get("amount", "unpriced"))


def charges(till: Till, *uses: dict[str, Any]) -> list[str]:
    found = [charged(till, **data) for data in uses]
    check(till)
    return found


def check(till: Till) -> None:
    """The judge finds nothing wrong, and a fold of the journal gives the same rows."""
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


TIERS = [{"up_to": "10", "price": "1"}, {"up_to": "20", "price": "0.5"}, {"price": "0.25"}]

ONE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # price, data, the charge
    ({"model": "flat", "price": "12"}, {"units": 3, "output": 7}, "12"),
    ({"model": "flat", "price": "12"}, {"units": 0}, "12"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "100"}, {"units": 0}, "0"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "100"}, {"units": 1}, "2"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "100"}, {"units": 100}, "2"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "100"}, {"units": 101}, "4"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "0.5"}, {"units": "0.7"}, "4"),
    ({"model": "percentage", "quantity": "units", "percent": "2.9", "fixed": "0.30"},
     {"units": "120.00"}, "3.78"),
    ({"model": "percentage", "quantity": "units", "basis_points": "25"}, {"units": 1000}, "2.5"),
    ({"model": "percentage", "quantity": "units", "percent": "1", "min": "0.5", "max": "2"},
     {"units": 10}, "0.5"),
    ({"model": "percentage", "quantity": "units", "percent": "1", "min": "0.5", "max": "2"},
     {"units": 100}, "1"),
    ({"model": "percentage", "quantity": "units", "percent": "1", "min": "0.5", "max": "2"},
     {"units": 1000}, "2"),
    ({"model": "cost_plus", "percent": "30"}, {"units": 1, "costs": {"v": "0.1"}}, "0.13"),
    ({"model": "cost_plus", "percent": "0", "unit": "0.01"},
     {"units": 1, "costs": {"v": "5.76"}}, "576"),
    ({"model": "cost_plus", "percent": "30"}, {"units": 1}, "unpriced"),
    ({"model": "matrix", "quantity": "units", "cells": [
        {"match": {"zone": "na"}, "price": "0.02"}, {"match": {"zone": "apac"}, "price": "0.04"}]},
     {"units": 300, "zone": "apac"}, "12"),
    ({"model": "matrix", "quantity": "units", "cells": [
        {"match": {"zone": "na"}, "price": "0.02"}]}, {"units": 3, "zone": "eu"}, "unpriced"),
    ({"model": "matrix", "quantity": "units", "default": "0.5", "cells": [
        {"match": {"zone": "na", "size": "m"}, "price": "0.02"}]}, {"units": 3, "zone": "na"},
     "1.5"),
    ({"model": "credits", "unit": "0.01", "per": 1000, "prices": {"input": "1", "output": "2"}},
     {"input": 500, "output": 250}, "100"),
    ({"model": "duration", "quantity": "seconds", "price": "3.6", "per": 3600, "minimum": "60"},
     {"seconds": 24}, "0.06"),
    ({"model": "duration", "quantity": "seconds", "price": "3.6", "per": 3600, "minimum": "60"},
     {"seconds": "60.2"}, "0.061"),
    ({"model": "duration", "quantity": "seconds", "price": "3.6", "per": 3600, "minimum": "60"},
     {"seconds": 0}, "0"),
    ({"model": "duration", "quantity": "seconds", "price": "0.01", "increment": "6"},
     {"seconds": 7}, "0.12"),
    ({"model": "token_map", "prices": {"input": "2", "output": "8"},
      "variants": [{"match": {"tier": "batch"}, "factor": "0.5"}]},
     {"input": 1, "output": 1, "tier": "batch"}, "5"),
    ({"model": "token_map", "prices": {"input": "2", "output": "8"},
      "variants": [{"match": {"tier": "priority"}, "factor": "2", "prices": {"output": "9"}}]},
     {"input": 1, "output": 1, "tier": "priority"}, "13"),
    ({"model": "token_map", "prices": {"input": "2"},
      "variants": [{"match": {"tier": "free"}, "factor": "0"}]}, {"input": 5, "tier": "free"}, "0"),
    ({"model": "token_map", "prices": {"input": "1", "output": "2"}, "above": [
        {"over": "10", "prices": {"input": "3"}}, {"over": "20", "prices": {"input": "5"}}]},
     {"input": 10, "output": 1}, "12"),
    ({"model": "token_map", "prices": {"input": "1", "output": "2"}, "above": [
        {"over": "10", "prices": {"input": "3"}}, {"over": "20", "prices": {"input": "5"}}]},
     {"input": 11, "output": 1}, "35"),
    ({"model": "token_map", "prices": {"input": "1", "cached_input": "0.1"}, "above": [
        {"over": "20", "of": ["input", "cached_input"], "prices": {"input": "5"}}]},
     {"input": 11, "cached_input": 10}, "56"),
    ({"model": "per_unit", "quantity": "units", "price": "1"}, {"units": 1, "output": 1},
     "unpriced"),
    ({"model": "package", "quantity": "units", "price": "2", "size": "1"}, {"output": 1},
     "unpriced"),
    ({"model": "graduated", "quantity": "units", "tiers": TIERS}, {"output": 1}, "unpriced"),
]  # fmt: skip


@pytest.mark.parametrize(("price", "data", "amount"), ONE)
def test_one_event(price: dict[str, Any], data: dict[str, Any], amount: str) -> None:
    till = till_of(price)
    assert charges(till, data) == [amount]


# --- over a period -------------------------------------------------------------------------------

SERIES: list[tuple[dict[str, Any], dict[str, Any], list[Any], list[str]]] = [
    # price, meter, units of each use (or data), the charges
    ({"model": "graduated", "quantity": "units", "tiers": TIERS}, {}, [5, 5, 1, 20, 0],
     ["5", "5", "0.5", "7.25", "0"]),
    ({"model": "graduated", "quantity": "units", "tiers": TIERS}, {}, ["9.5", "1"],
     ["9.5", "0.75"]),
    ({"model": "graduated", "quantity": "units", "tiers": [
        {"up_to": "10", "price": "1", "fee": "3"}, {"price": "0.5", "fee": "4"}]}, {},
     [0, 1, 9, 1, 1], ["0", "4", "9", "4.5", "0.5"]),
    ({"model": "graduated", "quantity": "units", "at_zero": "fee", "tiers": [
        {"up_to": "10", "price": "1", "fee": "3"}, {"price": "0.5", "fee": "4"}]}, {},
     [0, 1, 0], ["3", "1", "0"]),
    ({"model": "graduated", "quantity": "units", "at_bound": "upper", "tiers": [
        {"up_to": "10", "price": "1"}, {"price": "0.5", "fee": "4"}]}, {},
     [10, 1], ["14", "0.5"]),
    ({"model": "graduated", "quantity": "events", "tiers": [
        {"up_to": "2", "price": "1"}, {"price": "0"}]}, {"fields": {}}, [{}, {}, {}],
     ["1", "1", "0"]),
    ({"model": "volume", "quantity": "units", "tiers": TIERS}, {}, [10, 1, 9, 1, 1],
     ["10", "-4.5", "4.5", "-4.75", "0.25"]),
    ({"model": "volume", "quantity": "units", "at_bound": "upper", "tiers": TIERS}, {}, [9, 1],
     ["9", "-4"]),
    ({"model": "volume", "quantity": "units", "tiers": [
        {"up_to": "10", "price": "1", "fee": "1"}, {"price": "1", "fee": "5"}]}, {}, [10, 1],
     ["11", "5"]),
    ({"model": "allowance", "quantity": "units", "included": "50", "price": "2"}, {}, [49, 2, 1],
     ["0", "2", "2"]),
    ({"model": "allowance", "quantity": "units", "included": "0", "price": "2"}, {}, [1], ["2"]),
    ({"model": "package", "quantity": "units", "size": "100", "price": "3", "period": "month"}, {},
     [1, 99, 1, 250], ["3", "0", "3", "6"]),
    ({"model": "flat", "price": "49", "period": "month"}, {}, [1, 0, 7], ["49", "0", "0"]),
    ({"model": "seat", "quantity": "seats", "price": "20"}, {"aggregate": {"seats": "max"}},
     [{"seats": 5}, {"seats": 3}, {"seats": 6}], ["100", "0", "20"]),
    ({"model": "seat", "quantity": "seats", "price": "20"}, {"aggregate": {"seats": "latest"}},
     [{"seats": 5}, {"seats": 3}, {"seats": 6}, {"seats": 0}], ["100", "-40", "60", "-120"]),
    ({"model": "allowance", "quantity": "wallets", "included": "2", "price": "1"},
     {"fields": {}, "unique": {"wallets": "wallet"}},
     [{"wallet": w} for w in ("a", "b", "a", "c", "c", "d")], ["0", "0", "0", "1", "0", "1"]),
    ({"model": "allowance", "quantity": "wallets", "included": "2", "price": "1"},
     {"fields": {}, "unique": {"wallets": "wallet"}}, [{"other": "a"}], ["unpriced"]),
    ({"model": "outcome", "key": "task", "price": "0.99", "included": "1"}, {"fields": {}},
     [{"task": t} for t in ("a", "a", "b", "b", "c")], ["0", "0", "0.99", "0", "0.99"]),
    ({"model": "outcome", "key": "task", "price": "0.99"}, {"fields": {}}, [{"units": 1}],
     ["unpriced"]),
    ({"model": "outcome", "key": "task", "price": "0.99",
      "undo": {"dimension": "state", "value": "reopened"}}, {"fields": {}},
     [{"task": "a"}, {"task": "a", "state": "reopened"}, {"task": "a", "state": "reopened"},
      {"task": "a"}], ["0.99", "-0.99", "0", "0.99"]),
    ({"model": "commitment", "amount": "1000", "factor": "1.5",
      "base": {"model": "per_unit", "quantity": "units", "price": "1"}}, {}, [900, 400],
     ["900", "550"]),
]  # fmt: skip


@pytest.mark.parametrize(("price", "meter", "uses", "amounts"), SERIES)
def test_a_period(
    price: dict[str, Any], meter: dict[str, Any], uses: list[Any], amounts: list[str]
) -> None:
    till = till_of(price, grant="5000", meter=meter)
    data = [use if isinstance(use, dict) else {"units": use} for use in uses]
    found = []
    for use in data:
        if "seats" in use:
            till.at_ms += 1000
        found.append(charged(till, **use))
        check(till)
    assert found == amounts
    priced = [Decimal(amount) for amount in amounts if amount != "unpriced"]
    assert Decimal(till.balance("ada")) == 5000 - sum(priced)
    assert till.left("ada") == {"g": till.balance("ada")}  # given back where it came from


def test_an_event_counts_in_the_period_of_its_own_time() -> None:
    till = till_of({"model": "allowance", "quantity": "units", "included": "10", "price": "1"})
    assert charges(till, {"units": 10}, {"units": 1}) == ["0", "1"]
    till.at_ms = NOW + 20 * DAY  # the fourth of February
    assert charges(till, {"units": 4}) == ["0"]
    assert charges(till, {"units": 3, "time": at_text(NOW)}) == ["3"]
    assert charges(till, {"units": 7}) == ["1"]


@pytest.mark.parametrize(
    ("period", "zone", "before", "after"),
    [
        ("hour", "UTC", "2027-01-15T08:59:59.999Z", "2027-01-15T09:00:00Z"),
        ("day", "UTC", "2027-01-15T23:59:59.999Z", "2027-01-16T00:00:00Z"),
        ("day", "America/New_York", "2027-01-16T04:59:59.999Z", "2027-01-16T05:00:00Z"),
        ("day", "Asia/Kolkata", "2027-01-15T18:29:59.999Z", "2027-01-15T18:30:00Z"),
        ("week", "UTC", "2027-01-17T23:59:59.999Z", "2027-01-18T00:00:00Z"),
        ("month", "UTC", "2027-01-31T23:59:59.999Z", "2027-02-01T00:00:00Z"),
        ("month", "Europe/Berlin", "2027-01-31T22:59:59.999Z", "2027-01-31T23:00:00Z"),
        ("year", "UTC", "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z"),
    ],
)
def test_periods_of_the_calendar(period: str, zone: str, before: str, after: str) -> None:
    price = {"model": "flat", "price": "1", "period": period, "zone": zone}
    till = till_of(price, meter={"fields": {}})
    till.at_ms = NOW + 18 * DAY
    assert charges(till, {"time": before}, {"time": before}, {"time": after}) == ["1", "0", "1"]


def test_a_counter_for_life_is_never_closed() -> None:
    till = till_of(
        {"model": "allowance", "quantity": "units", "included": "10", "price": "1",
         "period": "life"}
    )  # fmt: skip
    charged(till, units=8)
    till.tick(NOW + 4000 * DAY)
    assert charges(till, {"units": 3}) == ["1"]


def test_a_period_is_closed_when_no_event_of_it_is_accepted_any_more() -> None:
    till = till_of(
        {"model": "allowance", "quantity": "wallets", "included": "1", "price": "1"},
        meter={"fields": {}, "unique": {"wallets": "wallet"}},
    )
    charged(till, wallet="a")
    charged(till, wallet="b")
    assert len(till.bytes_of_rows()) == 4  # the wallet, the counter, and the shards of a and b
    february = NOW + 16 * DAY + 16 * HOUR
    till.tick(february + 35 * DAY - 1)
    assert len(till.bytes_of_rows()) == 4
    till.tick(february + 35 * DAY)
    assert [line[0] for line in till.statement("ada")][-1] == "close"
    assert set(till.bytes_of_rows()) == {"ada"}
    check(till)
    assert charges(till, {"wallet": "a"}) == ["0"]


def test_rates_that_name_a_counter_share_it() -> None:
    tiers = {"model": "graduated", "quantity": "units", "counter": "egress"}
    content = book({**tiers, "tiers": [{"up_to": "10", "price": "0"}, {"price": "1"}]})
    other = {
        "id": "r2",
        "meter": "work",
        "asset": "USD",
        "match": {"zone": "apac"},
        "price": {**tiers, "tiers": [{"up_to": "10", "price": "0"}, {"price": "3"}]},
    }
    rates = [content.rates[0].model_dump(), other]
    till = Till(PriceBook.model_validate({**content.model_dump(), "rates": rates}))
    assert charges(till, {"units": 8}, {"units": 4, "zone": "apac"}, {"units": 1}) == [
        "0", "6", "1",
    ]  # fmt: skip


# --- giving back ---------------------------------------------------------------------------------

HALF = [{"up_to": "10", "price": "1"}, {"price": "0.5"}]


def test_what_is_given_back_goes_to_the_very_grants_it_came_from_newest_first() -> None:
    till = Till(book({"model": "volume", "quantity": "units", "tiers": HALF}))
    till.grant("ada", "8", "first", priority=1)
    till.grant("ada", "20", "second", priority=2)
    till.grant("ada", "20", "never", priority=3)
    charged(till, units=10)
    assert till.left("ada") == {"second": "18", "never": "20"}
    charged(till, units=1)
    # 4.50 back: 2 to the second, and 2.50 of the first, which is gone
    assert till.statement("ada")[-1] == (
        "debit", "-4.5", "42.5", {"second": "-2", "given-back:5": "-2.5"},
    )  # fmt: skip
    data = till.entries("ada")[-1]["data"]
    assert data["revenue"] == "-4.5"
    assert data["grant"]["paid"] == "2.5"
    assert till.wallet("ada")["revenue"] == "5.5"
    charged(till, units=60)
    assert (till.balance("ada"), till.wallet("ada")["revenue"]) == ("12.5", "35.5")
    check(till)


def test_what_was_overdrawn_and_on_credit_is_given_back_first() -> None:
    till = Till(book({"model": "volume", "quantity": "units", "tiers": HALF}))
    till.grant("ada", "7", "g")
    till.command("set_terms", "ada", credit_limits={"USD": "2"})
    charged(till, units=10)
    account = till.account("ada")
    assert (account["overdrawn"], account["credit_used"]) == ("1", "2")
    charged(till, units=1)
    assert till.statement("ada")[-1] == (
        "debit", "-4.5", "1.5", {"given-back:4": "-1.5", "credit": "-2", "overdrawn": "-1"},
    )  # fmt: skip
    check(till)


def test_no_more_is_given_back_than_was_charged() -> None:
    """A new version with higher prices, and a crossing under it."""
    till = till_of({"model": "volume", "quantity": "units", "tiers": [{"price": "0.1"}]})
    charged(till, units=10)
    steep = [{"up_to": "10", "price": "10"}, {"price": "1"}]
    price = {"model": "volume", "quantity": "units", "tiers": steep}
    till.publish(book(price, version="v2"), NOW + 1)
    till.at_ms = NOW + 1
    assert charges(till, {"units": 1}, {"units": 1}) == ["-1", "1"]


def test_a_hold_pays_nothing_of_what_is_given_back_and_returns_what_it_has() -> None:
    till = Till(book({"model": "volume", "quantity": "units", "tiers": HALF}))
    till.grant("ada", "30", "g")
    charged(till, units=10)
    hold = {"hold_id": "h"}
    question = {"estimate": {"amount": "5"}, "require": "hold", "hold": hold}
    assert till.authorize("ada", **question).allowed
    charged(till, units=1, hold="h", final=True)
    assert till.held("ada", "h") is None
    assert (till.balance("ada"), till.left("ada")) == ("24.5", {"g": "24.5"})
    check(till)


def test_a_capture_counts_and_a_hold_does_not() -> None:
    till = till_of({"model": "graduated", "quantity": "units", "tiers": TIERS})
    asked = till.authorize("ada", 15, require="hold", hold={"hold_id": "h"})
    assert asked.amount == "12.5"
    assert till.authorize("ada", 15).amount == "12.5"
    till.command("capture", "ada", hold_id="h", quantities={"units": 12})
    assert till.entries("ada")[-1]["data"]["amount"] == "11"
    assert till.authorize("ada", 8, capture=True).amount == "4"
    assert charges(till, {"units": 4}) == ["1"]


def test_an_estimate_that_would_give_back_needs_nothing() -> None:
    till = Till(book({"model": "volume", "quantity": "units", "tiers": HALF}))
    till.grant("ada", "10.5", "g")
    charged(till, units=10)
    assert till.authorize("ada", 1).allowed
    assert till.authorize("ada", 1, capture=True).balance == "5"
    check(till)


def test_an_outcome_is_undone_exactly_in_the_period_it_happens_in() -> None:
    undo = {"dimension": "state", "value": "reopened"}
    till = till_of(
        {"model": "outcome", "key": "task", "price": "0.99", "included": "1", "undo": undo},
        meter={"fields": {}},
    )
    assert charges(till, {"task": "a"}, {"task": "b"}) == ["0", "0.99"]
    till.tick(NOW + 100 * DAY)
    reopened = {"state": "reopened"}
    assert charges(till, {"task": "b", **reopened}, {"task": "a", **reopened}) == ["-0.99", "0"]
    assert till.left("ada") == {"g": "1000"}
    # counted anew: the first of its period is free
    assert charges(till, {"task": "b"}, {"task": "a"}) == ["0", "0.99"]


# --- commitments ---------------------------------------------------------------------------------

COMMITMENT = {
    "model": "commitment",
    "amount": "1000",
    "factor": "1.5",
    "base": {"model": "per_unit", "quantity": "units", "price": "1"},
}


def test_a_commitment_is_trued_up_at_the_end_of_its_period_and_pays_what_comes_late() -> None:
    till = till_of(COMMITMENT, grant="5000")
    charged(till, units=700)
    february = NOW + 16 * DAY + 16 * HOUR
    till.tick(february - 1)
    assert till.balance("ada") == "4300"
    till.tick(february)
    assert till.statement("ada")[-1] == ("debit", "300", "4000", {"g": "300"})
    late = {"time": at_text(NOW)}
    assert charges(till, {"units": 250, **late}, {"units": 100, **late}) == ["0", "75"]
    till.tick(february + 40 * DAY)
    assert [line[0] for line in till.statement("ada")][-1] == "close"
    check(till)


def test_a_true_up_tells_of_a_low_balance_and_may_overdraw() -> None:
    till = till_of(COMMITMENT, grant="900", thresholds={"USD": ["100"]})
    charged(till, units=700)
    (fired,) = till.tick(NOW + 17 * DAY)
    assert [crossing.threshold for crossing in fired.crossed] == [100 * 10**12]
    assert (fired.overdrawn, till.balance("ada")) == (100 * 10**12, "-100")
    check(till)


def test_a_commitment_is_trued_up_and_closed_at_once_where_the_time_is_over_for_both() -> None:
    till = till_of(COMMITMENT, grant="900")
    charged(till, units=700)
    (fired,) = till.tick(NOW + 60 * DAY)
    assert fired.overdrawn == 100 * 10**12
    assert [line[:3] for line in till.statement("ada")][-2:] == [
        ("debit", "300", "-100"),
        ("close", "", ""),
    ]
    check(till)


def test_a_commitment_that_was_used_up_needs_no_true_up() -> None:
    till = till_of(COMMITMENT, grant="5000")
    charged(till, units=1300)
    till.tick(NOW + 60 * DAY)
    assert [line[0] for line in till.statement("ada")] == ["grant", "debit", "close"]
    assert till.balance("ada") == "3550"


def test_thirds_add_up_in_a_commitment() -> None:
    base = {"model": "per_unit", "quantity": "units", "price": "1", "per": 3}
    till = till_of({**COMMITMENT, "base": base})
    amounts = charges(till, *[{"units": 1}] * 3)
    assert sum(Decimal(amount) for amount in amounts) == 1
    assert till.entries("ada")[1]["data"]["running"]["after"] == "1/3"


# --- what the entry says -------------------------------------------------------------------------


def test_an_entry_says_what_it_was_priced_by() -> None:
    till = till_of({"model": "graduated", "quantity": "units", "tiers": TIERS})
    charged(till, units=8)
    assert till.entries("ada")[-1]["data"]["running"]["first"]
    charged(till, units=8)
    data = till.entries("ada")[-1]["data"]
    assert data["price"]["match"] == "default"
    assert data["running"] == {
        "counter": "r",
        "starts_at": "2027-01-01T00:00:00Z",
        "ends_at": "2027-02-01T00:00:00Z",
        "closes_at": "2027-03-08T00:00:00Z",
        "before": "8",
        "after": "16",
        "meter": "work",
    }
    (row,) = [json.loads(value) for key, value in till.bytes_of_rows().items() if "running" in key]
    assert (row["quantity"], row["charged"]) == ("16", "13")


def test_the_latest_is_that_of_the_events_own_time() -> None:
    till = till_of(
        {"model": "seat", "quantity": "seats", "price": "1"},
        meter={"aggregate": {"seats": "latest"}},
    )
    till.at_ms = NOW + HOUR
    assert charges(
        till,
        {"seats": 5},
        {"seats": 9, "time": at_text(NOW)},
        {"units": 0, "time": at_text(NOW + HOUR)},
    ) == ["5", "0", "0"]


# --- beside recurrence, corrections and orders ---------------------------------------------------

VOLUME = {"model": "volume", "quantity": "units", "tiers": HALF}


@pytest.mark.parametrize("policy", ["drawdown", "orb"])
def test_what_is_counted_and_trued_up_is_paid_in_the_books_order(policy: str) -> None:
    till = Till(book(COMMITMENT, drawdown=policy))
    till.grant("ada", "5000", "first", priority=1)
    till.grant("ada", "5000", "ends sooner", expires_at=NOW + 30 * DAY)
    charged(till, units=700)
    till.tick(NOW + 17 * DAY)
    paying = "first" if policy == "drawdown" else "ends sooner"
    assert [line[3] for line in till.statement("ada")[2:]] == [{paying: "700"}, {paying: "300"}]
    check(till)


def test_a_capture_of_what_is_counted_is_paid_in_the_books_order() -> None:
    till = Till(book(VOLUME, drawdown="orb"))
    till.grant("ada", "1", "first", priority=1)
    till.grant("ada", "5", "ends sooner", expires_at=NOW + DAY)
    till.authorize("ada", estimate={"amount": "1"}, require="hold", hold={"hold_id": "h"})
    charged(till, units=3, hold="h", final=True)
    assert till.statement("ada")[-1] == ("capture", "3", "3", {"ends sooner": "3"})
    check(till)


def test_what_a_cycle_before_paid_is_given_back_with_its_revenue() -> None:
    till = Till(book(VOLUME))
    every = {"every": "day", "cycles": 3, "mode": "accumulate"}
    till.grant("ada", "10", "plan", recurrence=every, cost_basis="0.5", category="paid")
    charged(till, units=10)
    assert till.wallet("ada")["revenue"] == "5"
    till.at_ms = NOW + DAY
    charged(till, units=1)
    assert till.left("ada") == {"plan": "10", "given-back:4": "4.5"}
    assert till.wallet("ada")["revenue"] == "2.75"
    assert till.entries("ada")[-1]["data"]["grant"]["paid"] == "2.25"
    check(till)


def test_a_reset_begins_before_what_gives_back_in_the_new_cycle() -> None:
    till = Till(book(VOLUME))
    till.grant("ada", "10", "plan", recurrence={"every": "day", "cycles": 3})
    charged(till, units=9)
    till.at_ms = NOW + DAY
    charged(till, units=2)
    assert [line[:3] for line in till.statement("ada")] == [
        ("grant", "10", "10"),
        ("debit", "9", "1"),
        ("grant", "10", "11"),
        ("debit", "-3.5", "14.5"),
    ]
    till.tick()  # what went back into the cycle that is over lapses with it
    assert till.statement("ada")[-1][:3] == ("lapse", "4.5", "10")
    check(till)


def test_the_timer_of_every_row_is_told_from_its_bytes() -> None:
    """Grants that come again and do not expire, periods, commitments, and what has no end."""
    till = Till(book(COMMITMENT))
    every = {"every": "day", "cycles": 3, "mode": "accumulate"}
    till.grant("ada", "5000", "again", recurrence=every)
    till.grant("bob", "5000", "b")
    for units in (700, 400):
        till.use("bob", units=units)
        for row in till.rows.values():
            assert row is not None
            assert due_of(row_bytes(row)) == row.due_ms
    for_life = Till(book({**COMMITMENT, "period": "life"}))
    for_life.grant("ada", "5000", "g")
    for_life.use("ada", units=1)
    rows = [row for row in for_life.rows.values() if row is not None]
    assert [(due_of(row_bytes(row)), row.due_ms) for row in rows] == [(None, None)] * 2
