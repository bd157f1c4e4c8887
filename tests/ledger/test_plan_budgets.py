"""Budgets of plans: they count from the subscription's beginning to its end, and change with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drawdown.pure import Ledger

START = "2027-01-15T08:00:00Z"
NEXT = "2027-02-15T08:00:00Z"
LATER = "2027-03-15T08:00:00Z"


def book(*plans: dict[str, Any], version: str = "v1") -> dict[str, Any]:
    """A book with these plans; a unit is 1 USD, and costs 0.50."""
    per_unit = {"model": "per_unit", "quantity": "units"}
    return {
        "version": version,
        "assets": [{"code": "USD", "scale": 12}, {"code": "token", "scale": 0}],
        "meters": [
            {"id": "work", "event_types": ["work"], "fields": {"units": "units"},
             "dimensions": ["team", "key"]}
        ],
        "rates": [
            {"id": "work", "meter": "work", "asset": "USD", "price": {**per_unit, "price": "1"}}
        ],
        "costs": [
            {"id": "cost", "meter": "work", "asset": "USD", "price": {**per_unit, "price": "0.5"}}
        ],
        "plans": list(plans),
    }  # fmt: skip


def cap(budget_id: str, amount: str, **terms: Any) -> dict[str, Any]:
    return {"id": budget_id, "asset": "USD", "cap": amount, **terms}


def plan(plan_id: str, *budgets: dict[str, Any], **terms: Any) -> dict[str, Any]:
    return {"id": plan_id, "budgets": list(budgets), **terms}


def given(*plans: dict[str, Any]) -> Ledger:
    found = Ledger(book(*plans), at=START)
    found.grant("ada", "1000", asset="USD")
    return found


def caps(books: Ledger) -> dict[str, str]:
    """The budgets there are, and their caps."""
    rows = [json.loads(value) for key, value in books.rows().items() if "\x1fbudget\x1f" in key]
    return {row["id"]: row["terms"].get("cap", "-") for row in rows}


def ask(books: Ledger, units: int = 1, **dimensions: str) -> dict[str, Any]:
    return books.authorize("ada", "work", quantities={"units": units}, dimensions=dimensions)


def kinds(books: Ledger) -> list[str]:
    return [entry["type"].rpartition(".")[2] for entry in books.entries("ada")]


def test_a_plans_budget_counts_from_the_beginning_to_the_end() -> None:
    books = given(plan("pro", cap("all", "10"), cap("key", "4", scope={"key": "*"})))
    assert ask(books, 11)["allowed"]
    books.subscribe("ada", "pro", subscription="s")
    assert caps(books) == {"plan:pro/all": "10", "plan:pro/key": "4"}
    denied = ask(books, 5, key="k")
    assert denied["reason"] == "budget_exceeded"
    assert denied["limits"][0]["budget"] == "plan:pro/key"
    assert ask(books, 10)["allowed"]
    assert books.wallet("ada")["scopes"] == {"": 1, "key*": 1}
    books.cancel_subscription("ada", "s", when="now")
    assert caps(books) == {}
    assert "scopes" not in books.wallet("ada")
    assert ask(books, 11)["allowed"]
    assert kinds(books) == ["grant", *["subscription", "budget", "budget"] * 2]


def test_a_margin_floor_of_a_plan() -> None:
    floor = {"id": "floor", "measure": "margin", "floor": "40"}
    books = given(plan("pro", floor))
    books.subscribe("ada", "pro", subscription="s")
    assert ask(books)["allowed"]
    books.use("ada", "work", {"units": 1, "costs": {"model": "0.9"}})
    denied = ask(books)
    assert denied["reason"] == "margin_floor"
    assert denied["margins"][0]["budget"] == "plan:pro/floor"


def test_an_invoiced_fee_is_revenue_of_the_margin() -> None:
    fee = {"id": "base", "asset": "USD", "amount": "20", "pay": "invoice"}
    floor = {"id": "floor", "measure": "margin", "floor": "0", "window": {"every": "total"}}
    books = given(plan("flat", floor, fees=[fee]))
    books.subscribe("ada", "flat", subscription="s")
    (margin,) = ask(books)["margins"]
    assert (margin["revenue"], margin["margin"]) == ("20", "20")
    books.use("ada", "work", {"units": 0, "costs": {"model": "21"}})
    assert ask(books)["reason"] == "margin_floor"
    books.advance(NEXT)
    (margin,) = ask(books)["margins"]
    assert (margin["revenue"], margin["cost"]) == ("40", "21")


def test_a_new_version_counts_from_the_cycle_that_takes_it() -> None:
    books = given(plan("pro", cap("all", "10"), cap("gone", "7", scope={"team": "a"})))
    books.subscribe("ada", "pro", subscription="s")
    books.use("ada", "work", {"units": 3})
    new = plan("pro", cap("all", "20"), cap("key", "4", scope={"key": "*"}))
    books.publish(book(new, version="v2"), effective_at="2027-01-20T00:00:00Z")
    books.advance("2027-01-31T00:00:00Z")
    assert caps(books) == {"plan:pro/all": "10", "plan:pro/gone": "7"}
    books.advance(NEXT)
    assert caps(books) == {"plan:pro/all": "20", "plan:pro/key": "4"}
    assert books.wallet("ada")["scopes"] == {"": 1, "key*": 1}
    before = len(books.entries("ada"))
    books.advance(LATER)
    assert len(books.entries("ada")) == before + 1, "a cycle without other terms says nothing more"


def test_a_budget_of_a_calendar_month_goes_on_over_a_renewal() -> None:
    books = given(plan("pro", cap("all", "10")))
    books.subscribe("ada", "pro", subscription="s")
    books.advance("2027-02-10T00:00:00Z")
    books.use("ada", "work", {"units": 3})
    books.publish(book(plan("pro", cap("all", "20")), version="v2"), effective_at=NEXT)
    books.advance(NEXT)
    (state,) = ask(books)["limits"]
    assert (state["cap"], state["used"]) == ("20", "3")


def test_another_plan_brings_its_own() -> None:
    books = given(plan("pro", cap("all", "10")), plan("max", cap("all", "50")))
    books.subscribe("ada", "pro", subscription="s")
    books.change_subscription("ada", "s", plan="max")
    assert caps(books) == {"plan:max/all": "50"}


def test_phases_have_budgets_of_their_own() -> None:
    trial = {"id": "trial", "days": 14, "budgets": [cap("all", "1")]}
    books = given(plan("pro", cap("all", "10"), phases=[trial, {"id": "paid"}]))
    books.subscribe("ada", "pro", subscription="s")
    assert caps(books) == {"plan:pro/all": "1"}
    books.advance(NEXT)
    assert caps(books) == {"plan:pro/all": "10"}


def test_budgets_stay_while_another_subscription_has_them() -> None:
    books = given(plan("pro", cap("all", "10")))
    books.subscribe("ada", "pro", subscription="s")
    books.subscribe("ada", "pro", subscription="t")
    books.cancel_subscription("ada", "s", when="now")
    assert caps(books) == {"plan:pro/all": "10"}
    books.cancel_subscription("ada", "t", when="now")
    assert caps(books) == {}


def test_a_scope_is_shared_with_a_budget_of_the_customers_own() -> None:
    books = given(plan("pro", cap("all", "10")))
    own = {"asset": "USD", "cap": "5"}
    books.command("set_budget", "ada", budget_id="own", budget=own)
    books.subscribe("ada", "pro", subscription="s")
    assert [each["budget"] for each in ask(books)["limits"]] == ["own", "plan:pro/all"]
    books.cancel_subscription("ada", "s", when="now")
    assert caps(books) == {"own": "5"}
    assert books.wallet("ada")["scopes"] == {"": 1}


def test_one_budget_of_a_plan_within_another() -> None:
    books = given(plan("pro", cap("key", "4", scope={"key": "*"}, within="a"),
                       cap("a", "5", scope={"team": "a"})))  # fmt: skip
    books.subscribe("ada", "pro", subscription="s")
    books.use("ada", "work", {"units": 4, "key": "k"})
    denied = ask(books, 2, key="l")
    assert denied["limits"][0]["budget"] == "plan:pro/a"


def test_a_plans_budget_is_neither_set_nor_removed_by_command() -> None:
    books = given(plan("pro", cap("all", "10")))
    books.subscribe("ada", "pro", subscription="s")
    for kind, fields in (
        ("set_budget", {"budget": {"asset": "USD", "cap": "5"}}),
        ("remove_budget", {}),
    ):
        answer = books.command(kind, "ada", budget_id="plan:pro/all", **fields)
        assert (answer["reason"], answer["field"]) == ("invalid", "budget_id")
        assert "which the price book sets" in answer["detail"]
    assert caps(books) == {"plan:pro/all": "10"}


def test_a_closed_wallet_keeps_what_it_had() -> None:
    books = given(plan("pro", cap("all", "10")))
    books.subscribe("ada", "pro", subscription="s")
    assert books.command("set_state", "ada", state="closed", reason="left")["allowed"]
    assert ask(books)["reason"] == "wallet_closed"


WRONG: list[tuple[list[dict[str, Any]], str]] = [
    ([cap("a", "1"), cap("a", "2")], r"plans.pro.budgets.a: stands there twice"),
    ([cap("a", "1", asset="EUR")], r"plans.pro.budgets.a.asset: no asset 'EUR'"),
    ([cap("a", "1.5", asset="token")], r"plans.pro.budgets.a.cap: 1.5 is finer than token"),
    ([{"id": "a", "asset": "USD"}], r"plans.pro.budgets.a.cap: say how much"),
    ([cap("a", "1", scope={"tema": "x"})], r"plans.pro.budgets.a.scope.tema: no meter"),
    ([cap("a", "1", meters=["x"])], r"plans.pro.budgets.a.meters: .* no meter 'x'"),
    ([cap("a", "1", within="b")], r"plans.pro.budgets.a.within: .* is not among the plan's"),
    ([cap("a", "1", within="a")], r"plans.pro.budgets.a.within: .* is within itself"),
    ([cap("a", "1", within="b"), cap("b", "1", scope={"key": "*"})], r"within: .* is for each"),
    (
        [cap("a", "1", window={"every": "day", "zone": "Mars/X"})],
        r"budgets.a.window.zone: .* is no zone",
    ),
    ([{"id": "a", "measure": "margin", "floor": "101"}], r"budgets.a.floor: .* 100 at most"),
    ([{"id": "a", "measure": "margin", "cap": "1"}], r"plans.pro.budgets.a.cap: a margin has no"),
]


@pytest.mark.parametrize(("budgets", "words"), WRONG)
def test_a_plan_whose_budgets_cannot_be_is_refused_with_where(
    budgets: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        given(plan("pro", *budgets))
