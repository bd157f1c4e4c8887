"""Margins: revenue less cost over a scope and a window, told and held to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, MINUTE, Till, price_book

from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Asset, PerUnit, Rate
from drawdown.events.reasons import Reason
from drawdown.ledger.margin_floor import margin_key, percent_text
from drawdown.ledger.rows import row_bytes, row_of


def unit(rate_id: str, asset: str, price: str, **more: Any) -> Rate:
    return Rate(
        id=rate_id,
        meter="work",
        asset=asset,
        price=PerUnit(quantity="units", price=price),
        **more,
    )


def given(cost: str | None = "0.64", price: str = "1", **margins: dict[str, Any]) -> Till:
    """Ada has 1000 USD; a unit is sold at `price` and costs us `cost`."""
    costs = [] if cost is None else [unit("cost", "USD", cost)]
    till = Till(price_book(rates=[unit("work", "USD", price)], costs=costs))
    till.grant("ada", "1000", "g")
    for name, terms in margins.items():
        margin(till, name, **terms)
    return till


def margin(till: Till, name: str, **terms: Any) -> None:
    till.command("set_budget", "ada", budget_id=name, budget={"measure": "margin", **terms})


def ask(till: Till, units: Any = 1, **dimensions: str) -> Any:
    return till.authorize("ada", units, dimensions=dimensions)


def row(till: Till, name: str, scope: str = "") -> tuple[str, str] | None:
    """Revenue and cost as the row has them."""
    found = till.rows.get(margin_key("ada", name, scope))
    if found is None:
        return None
    said = json.loads(row_bytes(found))
    return said.get("revenue", "0"), said.get("cost", "0")


def told(decided: Any) -> list[str]:
    return [
        what
        for sealed in decided.entries
        for each in sealed.entry.rare.margins
        for what in each.tells
    ]


# --- the floor -----------------------------------------------------------------------------------


def test_5_a_use_that_would_take_the_margin_under_its_floor_is_denied_with_the_figures() -> None:
    """Price 0.25, cost 0.16, then 0.285: margins of 36 % and -14 %, over both 11 %."""
    rates = [unit("work", "USD", "0.25")]
    costs = [unit("cheap", "USD", "0.16"), unit("dear", "USD", "0.285", match={"model": "o1"})]
    till = Till(price_book(rates=rates, costs=costs))
    till.grant("ada", "25", "g")
    margin(till, "floor", floor="20")
    assert ask(till).allowed
    till.use("ada", 1)
    answer = ask(till, model="o1")
    assert (answer.allowed, answer.reason) == (False, Reason.MARGIN_FLOOR)
    assert answer.detail == (
        "margin 'floor' would be with this use 0.055 (11 %): revenue 0.5 less cost 0.445, from"
        " 2027-01-01T00:00:00Z until 2027-02-01T00:00:00Z; its floor is 20 %"
    )
    (state,) = answer.margins
    assert (state.budget, state.floor, state.denies) == ("floor", "20", True)
    assert (state.revenue, state.cost, state.margin) == ("0.25", "0.16", "0.09")
    assert (state.expected_revenue, state.expected_cost) == ("0.25", "0.285")
    assert len(till.entries("ada")) == 3, "a denial changes nothing"
    assert ask(till).allowed
    assert till.wrongs() == []


@pytest.mark.parametrize(
    ("floor", "allowed"), [("36", True), ("36.000000000001", False), ("-10", True), ("100", False)]
)
def test_a_floor_is_held_to_exactly(floor: str, allowed: bool) -> None:
    till = given(m={"floor": floor})
    assert ask(till, "0.333333").allowed == allowed


def test_a_cost_nobody_knows_before_leaves_the_margin_as_it_stands() -> None:
    """What is reported with the use, and of an amount alone: neither revenue nor cost is added."""
    till = given(cost=None, m={"floor": "20"})
    assert ask(till).allowed
    till.use("ada", 1, costs={"model": "0.9"})
    answer = ask(till)
    assert answer.reason == Reason.MARGIN_FLOOR
    assert answer.detail.startswith("margin 'm' is 0.1 (10 %): revenue 1 less cost 0.9")
    assert answer.margins[0].expected_revenue is None
    till = given(m={"floor": "50"})
    amount = {"estimate": {"amount": "5"}}
    assert till.authorize("ada", **amount).allowed
    till.use("ada", 1)
    assert till.authorize("ada", **amount).reason == Reason.MARGIN_FLOOR
    assert till.authorize("ada").reason == Reason.MARGIN_FLOOR


def test_without_revenue_any_cost_is_under_any_floor_and_nothing_at_all_is_under_none() -> None:
    till = given(price="0", cost="0", m={"floor": "-500"})
    assert ask(till, 5).allowed
    till = given(price="0", m={"floor": "-500"})
    answer = ask(till, 5)
    assert answer.reason == Reason.MARGIN_FLOOR
    assert "-3.2 (no revenue to be a part of)" in answer.detail


def test_a_floor_waits_for_so_much_cost() -> None:
    till = given(price="0", m={"floor": "20", "cost_min": "3"})
    assert ask(till, 4).allowed
    till.use("ada", 4)
    assert ask(till).reason == Reason.MARGIN_FLOOR


def test_37_promotional_credits_are_no_revenue() -> None:
    """50 promotional and 50 paid at 0.01, of which 100 are used at a cost of 0.60: -20 %."""
    till = Till(
        price_book(
            assets=[Asset(code="USD", scale=12), Asset(code="credit", scale=2)],
            rates=[unit("work", "credit", "1")],
            costs=[unit("cost", "USD", "0.006")],
        )
    )
    till.grant("ada", "50", "promo", asset="credit", category="promotional")
    till.grant("ada", "50", "paid", asset="credit", cost_basis="0.01")
    margin(till, "m", floor="-20")
    answer = ask(till, 100)
    assert answer.allowed
    (state,) = answer.margins
    assert (state.expected_revenue, state.expected_cost) == ("0.5", "0.6")
    till.use("ada", 100)
    assert row(till, "m") == ("0.5", "0.6")
    till.grant("ada", "50", "more", asset="credit", category="promotional")
    assert ask(till).reason == Reason.MARGIN_FLOOR


def test_credit_in_the_reporting_currency_is_revenue_when_it_is_used() -> None:
    till = given(m={"floor": "20"})
    till.use("ada", 1000)
    till.command("set_terms", "ada", credit_limits={"USD": "10"})
    answer = ask(till, 5)
    assert answer.allowed
    assert answer.margins[0].expected_revenue == "5"


def test_a_hold_counts_nothing_until_it_is_captured() -> None:
    till = given(m={"floor": "20"})
    terms = {"require": "hold", "hold": {"hold_id": "h"}}
    assert till.authorize("ada", 10, **terms).allowed
    assert row(till, "m") is None
    till.command("capture", "ada", hold_id="h", quantities={"units": 4})
    assert row(till, "m") == ("4", "2.56")
    assert till.authorize("ada", 2, capture=True).margins[0].revenue == "6"
    assert till.wrongs() == []


def test_a_hold_that_would_take_it_under_is_denied_and_so_is_a_debit() -> None:
    till = given(m={"floor": "40"})
    assert till.authorize("ada", 1, require="hold").reason == Reason.MARGIN_FLOOR
    assert till.authorize("ada", 1, capture=True).reason == Reason.MARGIN_FLOOR
    assert till.balance("ada") == "1000"


def test_a_balance_that_is_too_small_is_said_first() -> None:
    till = given(m={"floor": "40"})
    assert ask(till, 5000).reason == Reason.INSUFFICIENT_BALANCE


def test_alert_only_tells() -> None:
    till = given(m={"floor": "40", "at_cap": "alert"})
    assert ask(till).allowed
    assert told(till.use("ada", 1)) == ["floor"]
    assert told(till.use("ada", 1)) == []
    assert ask(till).allowed


def test_each_model_has_a_margin_of_its_own() -> None:
    till = given(each={"scope": {"model": "*"}, "floor": "20"})
    till.use("ada", 1, model="a", costs={"x": "5"})
    till.use("ada", 1, model="b", costs={"x": "0.1"})
    assert ask(till, model="a").reason == Reason.MARGIN_FLOOR
    assert ask(till, model="b").allowed
    assert ask(till).allowed
    assert row(till, "each", "model=a") == ("1", "5")
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


@pytest.mark.parametrize(
    ("revenue", "cost", "percent"),
    [
        (100, 64, "36"),
        (3, 4, "-33.33"),
        (3, 1, "66.67"),
        (80_000, 79_999, "0"),
        (80_000, 79_988, "0.02"),
        (80_000, 79_996, "0"),
        (80_000, 80_004, "0"),
        (80_000, 80_012, "-0.02"),
        (0, 5, None),
        (-5, 5, None),
    ],
)
def test_percents_are_told_half_even_to_two_places(
    revenue: int, cost: int, percent: str | None
) -> None:
    assert percent_text(revenue, cost) == percent


# --- windows -------------------------------------------------------------------------------------


def test_another_window_begins_at_nothing() -> None:
    till = given(cost="0.1", m={"floor": "20", "window": {"every": "day"}})
    till.use("ada", 1, costs={"x": "3"})
    assert ask(till).reason == Reason.MARGIN_FLOOR
    till.at_ms += DAY
    assert ask(till).allowed
    till.use("ada", 1)
    assert row(till, "m") == ("1", "0.1")


def test_a_rolling_window_forgets_what_is_over() -> None:
    till = given(cost="0.1", m={"floor": "20", "window": {"every": "rolling", "length_s": 3600}})
    assert told(till.use("ada", 1, costs={"x": "3"})) == ["sign", "floor"]
    till.at_ms += 30 * MINUTE
    till.use("ada", 1)
    assert row(till, "m") == ("2", "3.1")
    till.at_ms += 31 * MINUTE + MINUTE
    assert ask(till).allowed
    assert told(till.use("ada", 1)) == ["sign"], "by time alone it was no more below zero"
    assert row(till, "m") == ("2", "0.2")
    assert till.wrongs() == []


def test_a_margin_of_a_session_goes_with_it() -> None:
    window = {"every": "life", "idle_s": 600}
    till = given(m={"floor": "20", "scope": {"session": "*"}, "window": window})
    till.use("ada", 1, session="s", costs={"x": "3"})
    assert ask(till, session="s").reason == Reason.MARGIN_FLOOR
    till.tick(till.at_ms + 10 * MINUTE)
    assert row(till, "m", "session=s") is None
    assert till.entry("ada")["type"] == "drawdown.entry.close"
    assert ask(till, session="s").allowed
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


# --- what counts ---------------------------------------------------------------------------------


def test_use_without_a_price_costs() -> None:
    book = price_book(
        rates=[unit("work", "USD", "1", match={"model": "known"})],
        costs=[unit("cost", "USD", "0.5")],
    )
    till = Till(book)
    till.grant("ada", "10", "g")
    margin(till, "m")
    assert told(till.use("ada", 2, model="new")) == ["sign"]
    assert row(till, "m") == ("0", "1")


def test_what_is_reversed_is_taken_off_where_it_counted() -> None:
    till = given(each={"scope": {"model": "*"}}, all={})
    till.use("ada", 4, model="a")
    till.reverse("ada")
    assert row(till, "each", "model=a") == row(till, "all") == ("0", "0")
    till.reverse("ada")
    assert row(till, "all") == ("4", "2.56"), "the reversal is reversed"
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_a_debt_that_is_paid_is_revenue_of_the_customer_and_of_no_model() -> None:
    till = given(each={"scope": {"model": "*"}}, all={})
    till.use("ada", 1005, model="a")
    assert row(till, "all") == ("1000", "643.2")
    till.grant("ada", "20", "more")
    assert row(till, "all") == ("1005", "643.2")
    assert row(till, "each", "model=a") == ("1000", "643.2")
    assert till.wallet("ada")["revenue"] == "1005"


def test_priced_anew_changes_a_margin_and_no_cap() -> None:
    till = given(m={})
    till.command(
        "set_budget",
        "ada",
        budget_id="cap",
        budget={"asset": "USD", "cap": "100", "window": {"every": "total"}},
    )
    till.use("ada", 4)
    till.publish(price_book("v2", rates=[unit("work", "USD", "2")], costs=[]))
    till.command("rerate", "ada", run="r", reason="wrong", entry=till.entry("ada"), book="v2")
    assert row(till, "m") == ("8", "2.56")
    (cap,) = ask(till).limits
    assert cap.used == "4"
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_only_use_of_these_meters() -> None:
    till = given(m={"meters": ["other"]})
    till.use("ada", 4)
    assert row(till, "m") is None


# --- what is told --------------------------------------------------------------------------------


def test_a_change_of_sign_is_told_once_both_ways() -> None:
    till = given(cost="0.1", m={})
    assert told(till.use("ada", 1)) == []
    assert told(till.use("ada", 1, costs={"x": "2"})) == ["sign"]
    assert told(till.use("ada", 1, costs={"x": "2"})) == []
    assert told(till.use("ada", 1)) == [], "still 0.2 below"
    assert told(till.use("ada", 1)) == ["sign"]
    assert told(till.use("ada", 1)) == []
    assert ask(till).allowed, "without a floor nothing is denied"


@pytest.mark.parametrize(("cost", "days"), [("1", 11), ("4", 3)])
def test_32_a_flat_fee_is_told_on_the_day_its_margin_crosses_zero(cost: str, days: int) -> None:
    """10 a month; 20 for one user and 80 for another, in 20 days: below zero on the 11th, and on
    the 3rd."""
    till = given(price="0", cost=cost, m={})
    till.publish(price_book("v2", rates=[unit("fee", "USD", "10", match={"what": "fee"}),
                                         unit("work", "USD", "0")],
                            costs=[unit("cost", "USD", cost)]))  # fmt: skip
    till.use("ada", 1, what="fee", costs={})
    told_on = []
    for day in range(1, 21):
        if told(till.use("ada", 1)):
            told_on.append(day)
        till.at_ms += HOUR
    assert told_on == [days]
    assert row(till, "m") == ("10", {"1": "20", "4": "80"}[cost])


def test_falling_under_the_floor_is_told_again_once_it_was_above() -> None:
    till = given(cost="0.1", m={"floor": "50"})
    till.use("ada", 1)
    assert told(till.use("ada", 1, costs={"x": "1.9"})) == ["floor"]
    assert told(till.use("ada", 1)) == []
    assert told(till.use("ada", 4)) == []
    assert told(till.use("ada", 1, costs={"x": "4"})) == ["floor"]
    assert told(till.use("ada", 1, costs={"x": "5"})) == ["sign"]


# --- changing them -------------------------------------------------------------------------------


def test_another_floor_goes_on_with_what_was_counted() -> None:
    """Also where rows were stored and read meanwhile."""
    till = given(m={"floor": "20", "window": {"every": "day"}})
    till.use("ada", 10)
    till.rows = {key: row_of(row_bytes(each)) for key, each in till.rows.items() if each}
    margin(till, "m", floor="37", window={"every": "day"})
    assert ask(till).reason == Reason.MARGIN_FLOOR
    till.use("ada", 1)
    assert row(till, "m") == ("11", "7.04")


def test_a_margin_that_is_removed_is_gone() -> None:
    till = given(m={"floor": "99"})
    till.use("ada", 1)
    till.command("remove_budget", "ada", budget_id="m")
    assert [key for key in till.bytes_of_rows() if key != "ada"] == []
    assert ask(till).allowed


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"cap": "5"}, "budget.cap", "give a floor"),
    ({"asset": "USD"}, "budget.asset", "in the reporting currency"),
    ({"quantity": "units"}, "budget.quantity", "is for measure: quantity"),
    ({"floor": "100.5"}, "budget.floor", "100 at most"),
    ({"floor": "20 %"}, "budget.floor", "no amount"),
    ({"floor": "1e1"}, "budget.floor", "no amount"),
    ({"cost_min": "5"}, "budget.cost_min", "give one"),
    ({"floor": "5", "cost_min": "-1"}, "budget.cost_min", "no amount"),
    ({"floor": "5", "velocity": {"times": 3}}, "budget.velocity", "for what is used"),
    ({"measure": "requests", "cap": "5", "floor": "5"}, "budget.floor", "give a cap"),
    ({"measure": "requests", "cap": "5", "cost_min": "5"}, "budget.cost_min", "margin"),
    ({"measure": "requests"}, "budget.cap", "say how much; or give velocity"),
    ({"window": {"every": "rolling"}}, "budget.window.length_s", "say how long"),
    ({"scope": {"team": "a*"}}, "budget.scope", "alone for each value"),
]


@pytest.mark.parametrize(("terms", "field", "words"), REFUSED)
def test_a_margin_that_cannot_be_is_refused_by_its_field(
    terms: dict[str, Any], field: str, words: str
) -> None:
    till = given()
    with pytest.raises(RecordError) as refused:
        margin(till, "m", **terms)
    assert words in str(refused.value)
    assert (refused.value.field or field).startswith(field)
    assert len(till.journal) == 1, "nothing changed"
