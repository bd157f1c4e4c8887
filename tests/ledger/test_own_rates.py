"""Rates of a customer and of a plan: a customer's own win, then the plan's, then those for all."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import START_MS, Till, price_book

from drawdown.events.pricebook import Rate
from drawdown.ledger.book import BookError
from drawdown.pure import Ledger, load, price


def rate(rate_id: str, amount: str, **more: Any) -> dict[str, Any]:
    return {
        "id": rate_id,
        "meter": "work",
        "asset": "USD",
        "price": {"model": "per_unit", "quantity": "units", "price": amount},
        **more,
    }


def book(*rates: dict[str, Any], **more: Any) -> Any:
    return price_book(rates=[Rate.model_validate(each) for each in rates], **more)


GENERAL = rate("all", "1")
OF_MODEL = rate("large", "3", match={"model": "large"})
PRO = rate("pro", "0.8", plan="pro")
ADA = rate("ada", "0.5", customer="ada")
ADA_LARGE = rate("ada-large", "2", customer="ada", match={"model": "la*"})

ORDER: list[tuple[list[dict[str, Any]], str, str | None, str | None, str, str, str | None]] = [
    # rates, customer, plan, model, the charge of one unit, how it matched, whose rate it was
    ([GENERAL, PRO, ADA], "bob", None, None, "1", "default", None),
    ([GENERAL, PRO, ADA], "bob", "pro", None, "0.8", "default", "plan pro"),
    ([GENERAL, PRO, ADA], "bob", "free", None, "1", "default", None),
    ([GENERAL, PRO, ADA], "ada", "pro", None, "0.5", "default", "customer ada"),
    ([GENERAL, PRO, ADA], "ada", None, None, "0.5", "default", "customer ada"),
    # whose rate it is comes before how much it says
    ([GENERAL, OF_MODEL, PRO], "bob", "pro", "large", "0.8", "default", "plan pro"),
    ([GENERAL, OF_MODEL, ADA, ADA_LARGE], "ada", None, "large", "2", "model=la*", "customer ada"),
    ([GENERAL, OF_MODEL, ADA_LARGE], "ada", None, "small", "1", "default", None),
    ([GENERAL, OF_MODEL, ADA_LARGE, PRO], "ada", "pro", "small", "0.8", "default", "plan pro"),
]


@pytest.mark.parametrize(
    ("rates", "customer", "plan", "model", "amount", "match", "own"), ORDER
)  # fmt: skip
def test_the_customers_own_rate_wins_then_the_plans_then_the_one_for_all(
    rates: list[dict[str, Any]],
    customer: str,
    plan: str | None,
    model: str | None,
    amount: str,
    match: str,
    own: str | None,
) -> None:
    till = Till(book(*rates))
    till.grant(customer, "10", "g")
    if plan is not None:
        till.command("set_terms", customer, plan=plan)
    till.use(customer, 1, **({} if model is None else {"model": model}))
    entry = till.entry(customer)["data"]
    assert (entry["amount"], entry["price"]["match"]) == (amount, match)
    assert entry["price"].get("own") == own
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_an_authorization_and_its_capture_are_priced_alike() -> None:
    till = Till(book(GENERAL, ADA))
    till.grant("ada", "10", "g")
    held = till.authorize("ada", 4, require="hold", hold={"hold_id": "h"})
    assert held.amount == "2"
    till.command("capture", "ada", hold_id="h", quantities={"units": 3})
    entry = till.entry("ada")["data"]
    assert (entry["amount"], entry["price"]["own"]) == ("1.5", "customer ada")


def test_a_customer_leaves_a_plan() -> None:
    till = Till(book(GENERAL, PRO))
    till.grant("ada", "10", "g")
    till.command("set_terms", "ada", plan="pro")
    assert till.wallet("ada")["plan"] == "pro"
    till.command("set_terms", "ada", plan="none")
    assert "plan" not in till.wallet("ada")
    till.use("ada", 1)
    assert till.balance("ada") == "9"


def test_a_new_version_changes_a_customers_rate_from_its_instant_on() -> None:
    till = Till(book(GENERAL))
    till.grant("ada", "10", "g")
    till.publish(book(GENERAL, ADA, version="v2"), START_MS + 1000)
    till.use("ada", 1)
    till.at_ms += 1000
    till.use("ada", 1)
    assert [entry["data"]["amount"] for entry in till.entries("ada")] == ["10", "1", "0.5"]


def test_a_running_quantity_of_all_is_shared_by_name() -> None:
    tiers = {
        "model": "graduated",
        "quantity": "units",
        "counter": "units",
        "tiers": [{"up_to": "10", "price": "1"}, {"price": "0.5"}],
    }
    cheaper = {**tiers, "tiers": [{"up_to": "10", "price": "1"}, {"price": "0.1"}]}
    till = Till(book(rate("all", "1", price=tiers), rate("pro", "1", price=cheaper, plan="pro")))
    till.grant("ada", "100", "g")
    till.use("ada", 10)
    till.command("set_terms", "ada", plan="pro")
    till.use("ada", 10)
    assert till.balance("ada") == "89"


CONTRADICTIONS = [
    ([rate("a", "1", customer="ada", plan="pro")], "rates.a.plan", "leave one out"),
    ([rate("a", "1", plan="none")], "rates.a.plan", "is no plan"),
    (
        [ADA, rate("b", "2", customer="ada")],
        "rates.b.match",
        "matches exactly what rate 'ada' matches",
    ),
]


@pytest.mark.parametrize(("rates", "where", "says"), CONTRADICTIONS)
def test_what_cannot_be_is_refused(rates: list[dict[str, Any]], where: str, says: str) -> None:
    with pytest.raises(BookError) as found:
        Till(book(*rates))
    assert found.value.where == where
    assert says in found.value.detail


def test_a_cost_is_the_same_for_all() -> None:
    with pytest.raises(BookError, match="the same whoever it is for") as found:
        Till(book(GENERAL, costs=[Rate.model_validate(ADA)]))
    assert found.value.where == "costs.ada.customer"


def test_without_kafka() -> None:
    content = {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "work", "event_types": ["work"], "fields": {"units": "units"}}],
        "rates": [GENERAL, PRO, ADA],
    }
    made = load(content)
    priced = [
        price(made, "work", {"units": 1}, at=0, customer=customer, plan=plan).rate
        for customer, plan in (("ada", "pro"), ("bob", "pro"), ("bob", None))
    ]
    assert priced == ["ada", "pro", "all"]
    ledger = Ledger(content, at=0)
    assert ledger.use("ada", "work", {"units": 1})["data"]["price"]["own"] == "customer ada"


def test_a_subscription_brings_the_rates_of_its_plan() -> None:
    content = {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "work", "event_types": ["work"], "fields": {"units": "units"}}],
        "rates": [GENERAL, PRO],
        "plans": [{"id": "professional", "terms": {"plan": "pro"}}],
    }
    ledger = Ledger(content, at="2027-01-01T00:00:00Z")
    ledger.subscribe("ada", "professional", subscription="s")
    assert ledger.use("ada", "work", {"units": 1})["data"]["price"]["own"] == "plan pro"
    ledger.cancel_subscription("ada", "s", when="now")
    assert "own" not in ledger.use("ada", "work", {"units": 1})["data"]["price"]
