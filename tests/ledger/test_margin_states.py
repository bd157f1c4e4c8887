"""Budgets without a cap as people read them: margins, and what is only watched."""

from __future__ import annotations

from typing import Any

import msgspec
from tests.support.till import Till, price_book

from drawdown.events.limit_words import terms_words
from drawdown.events.pricebook import PerUnit, Rate
from drawdown.ledger.budgets import Budget, budget_key
from drawdown.ledger.limit_states import budget_state, value_state
from drawdown.ledger.margin_floor import margin_key


def given(**budgets: dict[str, Any]) -> Till:
    """Work is sold at 1 USD, and costs 0.75."""
    cost = Rate(id="cost", meter="work", asset="USD", price=PerUnit(quantity="units", price="0.75"))
    till = Till(book=price_book(costs=[cost]))
    till.grant("ada", "100", "g")
    for name, terms in budgets.items():
        till.command("set_budget", "ada", budget_id=name, budget=terms)
    return till


def state(till: Till, name: str) -> dict[str, Any]:
    """The budget as it is read, in JSON's terms."""
    budget: Budget = till.row(budget_key("ada", name))
    scopes = till.wallet("ada")["scopes"]
    found: dict[str, Any] = msgspec.to_builtins(budget_state(till, scopes, budget, till.at_ms))
    return found


def test_a_margin_is_shown_with_its_figures() -> None:
    till = given(floor={"measure": "margin", "floor": "20"})
    till.use("ada", 8)
    found = state(till, "floor")
    assert found["margin"] == {
        "budget": "floor",
        "floor": "20",
        "revenue": "8",
        "cost": "6",
        "margin": "2",
        "resets_at": "2027-02-01T00:00:00Z",
    }
    assert "state" not in found
    assert terms_words(found["terms"]) == "margin at least 20 % a month"


def test_each_value_has_a_margin_of_its_own() -> None:
    till = given(each={"measure": "margin", "scope": {"team": "*"}})
    till.use("ada", 8, team="a")
    found = state(till, "each")
    assert not {"margin", "state"} & found.keys()
    budget, row = till.row(budget_key("ada", "each")), till.row(margin_key("ada", "each", "team=a"))
    value = value_state(budget, row, till.at_ms)
    assert value is not None
    assert (value.scope, msgspec.to_builtins(value)["margin"]) == ("team=a", "2")
    assert terms_words(found["terms"]) == "each margin, its sign is told, a month"


def test_what_is_only_watched_has_no_bar() -> None:
    till = given(pace={"asset": "USD", "velocity": {"times": 5}, "scope": {"key": "*"}})
    till.use("ada", 8, key="k")
    found = state(till, "pace")
    assert "state" not in found
    assert terms_words(found["terms"]) == "each USD without a cap, told at 5 times its usual hour"
