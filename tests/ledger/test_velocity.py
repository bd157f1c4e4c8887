"""Velocity: a scope that uses many times what it usually does is told of, once a stretch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, Till

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.ledger.rows import row_bytes, row_of
from drawdown.ledger.velocity import pace_key


def given(**budgets: dict[str, Any]) -> Till:
    till = Till()
    till.grant("ada", "100000", "g")
    for name, terms in budgets.items():
        watch(till, name, **terms)
    return till


def watch(till: Till, name: str, **terms: Any) -> None:
    content = {"velocity": {"times": 3}, **terms}
    if content.get("measure", "amount") == "amount":
        content = {"asset": "USD", **content}
    till.command("set_budget", "ada", budget_id=name, budget=content)


def told(decided: Any) -> list[tuple[str, str, str]]:
    """Budget, used and usual of each velocity that is told."""
    return [
        (each.budget, each.after, each.usual)
        for sealed in decided.entries
        for each in sealed.entry.rare.paces
        if each.tells
    ]


def hours(till: Till, *units: int, **dimensions: str) -> list[Any]:
    """Use so much in each of the next hours; what was told in each."""
    found = []
    for each in units:
        found.append(told(till.use("ada", each, **dimensions)) if each else [])
        till.at_ms += HOUR
    return found


def pace(till: Till, name: str, scope: str = "") -> dict[str, Any]:
    row = till.rows.get(pace_key("ada", name, scope))
    return {} if row is None else json.loads(row_bytes(row))


def test_three_times_the_usual_is_told_at_once_and_once_an_hour() -> None:
    till = given(agent={})
    assert hours(till, 10, 8, 12) == [[], [], []]
    assert told(till.use("ada", 29)) == []
    assert told(till.use("ada", 1)) == [("agent", "30", "10")]
    assert told(till.use("ada", 50)) == []
    till.at_ms += HOUR
    assert pace(till, "agent")["used"] == "80"
    assert told(till.use("ada", 80)) == [], "the usual is 27.5 by now: 82.5 would be told"
    assert told(till.use("ada", 3)) == [("agent", "83", "27.5")]
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_nothing_is_told_before_enough_is_known() -> None:
    till = given(a={"velocity": {"times": 2, "history": 5}})
    assert hours(till, 1, 1, 1, 1, 500) == [[], [], [], [], []]
    assert hours(till, 202) == [[("a", "202", "100.8")]]
    till = given(a={"velocity": {"times": 2, "history": 1}})
    assert hours(till, 1, 2) == [[], [("a", "2", "1")]]


def test_hours_without_use_are_not_its_usual() -> None:
    """An agent that works one hour a day is compared with its working hours."""
    till = given(agent={})
    for _ in range(3):
        assert told(till.use("ada", 10)) == []
        till.at_ms += DAY
    assert told(till.use("ada", 10)) == []
    assert told(till.use("ada", 20)) == [("agent", "30", "10")]


def test_of_the_latest_24_hours_with_use() -> None:
    till = given(agent={})
    assert not any(hours(till, *[100] * 3, *[1] * 24))
    assert pace(till, "agent")["stretches"] == ["100"] + ["1"] * 23
    assert hours(till, 3) == [[("agent", "3", "1")]]


def test_nothing_is_denied_by_a_budget_that_only_watches() -> None:
    till = given(agent={"scope": {"agent": "*"}})
    hours(till, 1, 1, 1, agent="x")
    assert told(till.use("ada", 9000, agent="x"))
    answer = till.authorize("ada", 9000, dimensions={"agent": "x"})
    assert (answer.allowed, answer.limits) == (True, [])


def test_a_cap_and_a_velocity_in_one_budget() -> None:
    till = given(agent={"cap": "20", "scope": {"agent": "*"}})
    hours(till, 2, 2, 2, agent="x")
    assert told(till.use("ada", 6, agent="x")) == [("agent", "6", "2")]
    assert told(till.use("ada", 60, agent="y")) == [], "another agent has its own usual"
    answer = till.authorize("ada", 9, dimensions={"agent": "x"})
    assert answer.reason == Reason.BUDGET_EXCEEDED
    assert answer.limits[0].used == "12"


def test_requests_and_quantities_have_a_velocity_too() -> None:
    till = given(
        calls={"measure": "requests", "velocity": {"times": 2, "every": "day", "history": 1}},
        units={
            "measure": "quantity",
            "quantity": "units",
            "velocity": {"times": 4, "every": "week", "history": 1},
        },
    )
    till.use("ada", 5)
    till.at_ms += DAY
    assert told(till.use("ada", 5)) == []
    assert told(till.use("ada", 5)) == [("calls", "2", "1")]
    till.at_ms += 7 * DAY
    assert told(till.use("ada", 60)) == [("units", "60", "15")]


def test_what_is_held_is_used_when_it_is_captured() -> None:
    till = given(a={"velocity": {"times": 2, "history": 1}})
    hours(till, 5)
    till.authorize("ada", 50, require="hold", hold={"hold_id": "h"})
    assert pace(till, "a")["used"] == "5"
    assert told(till.command("capture", "ada", hold_id="h", amount="9")) == []
    assert told(till.use("ada", 1)) == [("a", "10", "5")]


def test_days_are_those_of_the_zone() -> None:
    """It is 08:00 in UTC, and 17:00 in Tokyo, whose day ends seven hours later."""
    day = {"times": 2, "every": "day", "history": 1}
    zone = {"every": "total", "zone": "Asia/Tokyo"}
    till = given(a={"velocity": day, "window": zone})
    till.use("ada", 5)
    till.at_ms += 6 * HOUR
    assert told(till.use("ada", 5)) == []
    till.at_ms += HOUR
    assert told(till.use("ada", 20)) == [("a", "20", "10")]


def test_a_value_that_is_not_used_for_long_is_forgotten() -> None:
    till = given(a={"scope": {"session": "*"}}, b={})
    till.use("ada", 5, session="s")
    till.tick(till.at_ms + 35 * DAY)
    assert pace(till, "a", "session=s") == {}
    assert pace(till, "b") != {}
    assert till.entry("ada")["type"] == "drawdown.entry.close"
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_another_stretch_begins_anew_and_another_number_goes_on() -> None:
    till = given(a={})
    hours(till, 10, 10, 10)
    till.rows = {key: row_of(row_bytes(each)) for key, each in till.rows.items() if each}
    watch(till, "a", velocity={"times": 2})
    assert told(till.use("ada", 20)) == [("a", "20", "10")]
    watch(till, "a", velocity={"times": 2, "every": "day"})
    assert told(till.use("ada", 500)) == []
    assert "stretches" not in pace(till, "a")
    till.command("remove_budget", "ada", budget_id="a")
    assert pace(till, "a") == {}
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


@pytest.mark.parametrize(
    ("terms", "field", "words"),
    [
        ({"velocity": {"times": 1}}, "budget.velocity.times", ">= 2"),
        ({"velocity": {"times": "3.5"}}, "budget.velocity.times", "int"),
        ({"velocity": {"times": 3, "every": "minute"}}, "budget.velocity.every", "minute"),
        ({"velocity": {"times": 3, "history": 0}}, "budget.velocity.history", ">= 1"),
        ({"velocity": {"times": 3, "history": 25}}, "budget.velocity.history", "<= 24"),
        ({"velocity": None}, "budget.cap", "say how much; or give velocity"),
        (
            {"measure": "open_holds", "cap": "5", "window": {"every": "total"}},
            "budget.velocity",
            "for what is used",
        ),
    ],
)
def test_a_velocity_that_cannot_be_is_refused_by_its_field(
    terms: dict[str, Any], field: str, words: str
) -> None:
    till = given()
    with pytest.raises(RecordError) as refused:
        watch(till, "a", **terms)
    assert words in str(refused.value)
    assert (refused.value.field or field).startswith(field)
    assert len(till.journal) == 1, "nothing changed"
