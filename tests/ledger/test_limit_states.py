"""Limits as they are read: how budgets stand at a moment, and which is within which."""

from __future__ import annotations

from typing import Any

from drawdown.ledger.book import Book
from drawdown.pure import Ledger, load

NOON = "2027-01-15T12:00:00Z"


def book() -> Book:
    return load(
        {
            "version": "v1",
            "assets": [{"code": "USD", "scale": 12}],
            "meters": [{"id": "work", "event_types": ["work"], "fields": {"n": "n"}}],
            "rates": [
                {
                    "id": "work",
                    "meter": "work",
                    "asset": "USD",
                    "price": {"model": "per_unit", "quantity": "n", "price": "1"},
                }
            ],
        }
    )


def given(**budgets: dict[str, Any]) -> Ledger:
    """Ada's ledger with budgets by id, of 10 USD where nothing else is said."""
    ledger = Ledger(book(), at=NOON)
    ledger.grant("ada", 1000)
    for name, terms in budgets.items():
        said = {"asset": "USD", "cap": "10", **terms}
        done = ledger.set_budget("ada", name, **said)
        assert done["allowed"], done
    return ledger


def use(ledger: Ledger, n: int, **dimensions: str) -> None:
    ledger.use("ada", "work", {"n": n, **dimensions})


def parents(ledger: Ledger) -> dict[str, str | None]:
    return {each["id"]: each.get("parent") for each in ledger.budgets("ada")}


def states(ledger: Ledger) -> dict[str, Any]:
    return {each["id"]: each.get("state") for each in ledger.budgets("ada")}


# --- which is within which ------------------------------------------------------------------------


def test_a_budget_is_within_that_of_the_nearest_wider_scope() -> None:
    ledger = given(
        all={},
        team={"scope": {"team": "a"}},
        key={"scope": {"team": "a", "key": "k"}},
        other={"scope": {"team": "b", "key": "k"}},
        each={"scope": {"team": "a", "session": "*"}},
    )
    assert parents(ledger) == {
        "all": None,
        "team": "all",
        "key": "team",
        "other": "all",
        "each": "team",
    }


def test_a_value_is_nearer_than_each_value() -> None:
    ledger = given(
        each={"scope": {"team": "*"}},
        team={"scope": {"team": "a"}},
        key={"scope": {"team": "a", "key": "k"}},
        other={"scope": {"team": "b", "key": "k"}},
    )
    assert parents(ledger) == {"each": None, "team": None, "key": "team", "other": "each"}


def test_the_one_it_names_comes_first_while_it_is_there() -> None:
    ledger = given(
        all={}, team={"scope": {"team": "a"}}, key={"scope": {"key": "k"}, "within": "team"}
    )
    assert parents(ledger) == {"all": None, "team": "all", "key": "team"}
    ledger.remove_budget("ada", "team")
    assert parents(ledger) == {"all": None, "key": "all"}


def test_no_budget_is_within_itself_whatever_names_what() -> None:
    """The customer's budget counts in a narrower one: what is wider than that is not it again."""
    ledger = given(narrow={"scope": {"x": "1"}}, deep={"scope": {"x": "1", "y": "1"}})
    ledger.set_budget("ada", "all", 10, asset="USD", within="deep")
    found = parents(ledger)
    assert found == {"narrow": None, "deep": "narrow", "all": "deep"}


# --- how they stand -------------------------------------------------------------------------------


def test_what_was_used_in_another_window_does_not_count() -> None:
    ledger = given(day={"window": {"every": "day"}}, month={})
    use(ledger, 4)
    assert [states(ledger)[name]["used"] for name in ("day", "month")] == ["4", "4"]
    assert states(ledger)["day"]["resets_at"] == "2027-01-16T00:00:00Z"
    ledger.advance("2027-01-16T00:00:00Z")
    assert [states(ledger)[name]["used"] for name in ("day", "month")] == ["0", "4"]
    assert states(ledger)["day"]["resets_at"] == "2027-01-17T00:00:00Z"


def test_what_is_held_is_told_beside_what_is_used() -> None:
    ledger = given(all={})
    use(ledger, 3)
    ledger.authorize("ada", "work", quantities={"n": 5}, hold="h")
    found = states(ledger)["all"]
    assert (found["used"], found["held"], found["left"]) == ("3", "5", "2")


def test_each_value_stands_for_itself_until_it_is_over() -> None:
    ledger = given(sessions={"scope": {"session": "*"}, "window": {"every": "life", "idle_s": 60}})
    use(ledger, 3, session="s1")
    use(ledger, 4, session="s&2")
    assert states(ledger) == {"sessions": None}
    found = ledger.budget_values("ada", "sessions")
    assert [(each["scope"], each["used"]) for each in found] == [
        ("session=s%262", "4"),
        ("session=s1", "3"),
    ]
    ledger.advance("2027-01-15T12:01:00Z")
    assert ledger.budget_values("ada", "sessions") == []


def test_values_are_those_of_this_budget_and_of_its_scope_now() -> None:
    ledger = given(keys={"scope": {"key": "*"}}, **{"keys#1": {"scope": {"key": "*"}, "cap": "20"}})
    use(ledger, 3, key="k")
    assert [each["cap"] for each in ledger.budget_values("ada", "keys")] == ["10"]
    assert [each["cap"] for each in ledger.budget_values("ada", "keys#1")] == ["20"]
    ledger.set_budget("ada", "keys", 10, asset="USD", scope={"session": "*"})
    assert ledger.budget_values("ada", "keys") == []
    assert ledger.budget_values("ada", "none") == []


# --- blocks ---------------------------------------------------------------------------------------


def test_a_block_is_told_until_its_time_is_over() -> None:
    ledger = given(all={})
    ledger.block("ada", {"key": "k"}, reason="leaked", until="2027-01-15T13:00:00Z")
    ledger.block("ada", {}, reason="unpaid")
    found = [(each["scope"], each["block"]["reason"]) for each in ledger.blocks("ada")]
    assert found == [({}, "unpaid"), ({"key": "k"}, "leaked")]
    assert ledger.authorize("ada", "work", quantities={"n": 1})["reason"] == "blocked"
    ledger.unblock("ada", {})
    ledger.advance("2027-01-15T13:00:00Z")
    assert ledger.blocks("ada") == []
    assert ledger.unblock("ada", {"key": "k"})["reason"] == "not_blocked"
