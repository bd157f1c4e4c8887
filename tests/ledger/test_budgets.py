"""Budgets: caps over scopes and windows, held to in the very decision that spends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, MINUTE, SECOND, START_MS, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Meter
from drawdown.events.reasons import Reason
from drawdown.ledger.budgets import spent_key
from drawdown.ledger.rows import row_bytes, row_of


def given(amount: str = "1000", **budgets: dict[str, Any]) -> Till:
    """A wallet of ada's with budgets by id."""
    till = Till()
    till.grant("ada", amount, "g")
    for name, terms in budgets.items():
        budget(till, name, **terms)
    return till


def budget(till: Till, name: str, **terms: Any) -> None:
    content = {"cap": "10", **terms}
    if content.get("measure", "amount") == "amount":
        content = {"asset": "USD", **content}
    till.command("set_budget", "ada", budget_id=name, budget=content)


def ask(till: Till, units: Any, **dimensions: str) -> Any:
    return till.authorize("ada", units, dimensions=dimensions)


def hold(till: Till, units: Any, hold_id: str, **dimensions: str) -> Any:
    return till.authorize(
        "ada", units, dimensions=dimensions, require="hold", hold={"hold_id": hold_id}
    )


def spent(till: Till, name: str, scope: str = "") -> dict[str, Any]:
    """The row of what counts, without what says nothing here."""
    row = till.rows.get(spent_key("ada", name, scope))
    if row is None:
        return {}
    found: dict[str, Any] = json.loads(row_bytes(row))
    return {key: found[key] for key in ("used", "held") if key in found}


def limits(answer: Any) -> list[tuple[str, str, str, str]]:
    """Budget, scope, used and left of each that a decision looked at."""
    return [(each.budget, each.scope, each.used, each.left) for each in answer.limits]


# --- one budget ----------------------------------------------------------------------------------


def test_usage_counts_and_the_cap_denies_the_next() -> None:
    till = given(team={"scope": {"team": "a"}})
    till.use("ada", 8, team="a")
    answer = ask(till, 3, team="a")
    assert (answer.allowed, answer.reason) == (False, Reason.BUDGET_EXCEEDED)
    assert answer.detail == (
        "budget 'team' of team=a has 2 USD left of 10 until 2027-02-01T00:00:00Z (8 used); 3 wanted"
    )
    assert limits(answer) == [("team", "team=a", "8", "2")]
    assert answer.limits[0].wanted == "3"
    assert ask(till, 2, team="a").allowed
    assert till.wrongs() == []


def test_use_of_another_scope_does_not_count() -> None:
    till = given(team={"scope": {"team": "a"}})
    till.use("ada", 10, team="a")
    assert ask(till, 5, team="b").allowed
    assert ask(till, 5).allowed
    assert ask(till, 5, team="a").reason == Reason.BUDGET_EXCEEDED


def test_the_customers_own_budget_counts_all_of_it() -> None:
    till = given(all={})
    till.use("ada", 4, team="a")
    till.use("ada", 4)
    assert spent(till, "all") == {"used": "8"}
    assert ask(till, 3).reason == Reason.BUDGET_EXCEEDED


def test_what_was_used_is_a_fact_and_passes_the_cap() -> None:
    till = given(team={"scope": {"team": "a"}})
    till.use("ada", 25, team="a")
    assert spent(till, "team", "team=a") == {"used": "25"}
    assert limits(ask(till, 1, team="a")) == [("team", "team=a", "25", "0")]
    assert till.balance("ada") == "975"


def test_nothing_is_asked_and_nothing_is_left() -> None:
    """A check without an estimate needs anything at all."""
    till = given(team={"scope": {"team": "a"}})
    assert ask(till, None, team="a").allowed
    till.use("ada", 10, team="a")
    assert ask(till, None, team="a").reason == Reason.BUDGET_EXCEEDED


def test_an_allow_says_every_budget_it_counts_in() -> None:
    till = given(all={"cap": "100"}, team={"scope": {"team": "a"}})
    answer = hold(till, 4, "h", team="a")
    assert [(each.budget, each.held, each.left) for each in answer.limits] == [
        ("all", "4", "96"),
        ("team", "4", "6"),
    ]


# --- nesting -------------------------------------------------------------------------------------


def test_all_have_room_or_none_is_taken() -> None:
    till = given(
        all={"cap": "100"},
        team={"scope": {"team": "a"}, "cap": "20"},
        key={"scope": {"team": "a", "key": "k"}, "cap": "5"},
    )
    assert hold(till, 6, "h", team="a", key="k").reason == Reason.BUDGET_EXCEEDED
    assert spent(till, "all") == spent(till, "team", "team=a") == {}
    assert hold(till, 5, "h", team="a", key="k").allowed
    assert spent(till, "all") == spent(till, "key", "key=k&team=a") == {"held": "5"}
    # The key is spent, the team is not.
    assert hold(till, 1, "i", team="a", key="k").reason == Reason.BUDGET_EXCEEDED
    assert hold(till, 15, "j", team="a", key="other").allowed
    assert hold(till, 1, "l", team="a").reason == Reason.BUDGET_EXCEEDED


def test_a_denial_names_all_that_deny_first() -> None:
    till = given(
        all={"cap": "100"}, team={"scope": {"team": "a"}}, key={"scope": {"key": "k"}, "cap": "1"}
    )
    answer = ask(till, 11, team="a", key="k")
    assert [each.budget for each in answer.limits if each.wanted] == ["team", "key"]
    assert [each.budget for each in answer.limits][-1] == "all"


def test_a_key_counts_in_its_team_though_its_use_names_none() -> None:
    till = given(team={"scope": {"team": "a"}})
    budget(till, "key", scope={"key": "k"}, cap="8", within="team")
    till.use("ada", 6, key="k")
    assert spent(till, "team", "team=a") == {"used": "6"}
    till.use("ada", 3, team="a")
    assert ask(till, 2, key="k").reason == Reason.BUDGET_EXCEEDED
    assert ask(till, 1, key="k").allowed
    assert till.wrongs() == []


def test_use_that_names_both_counts_once() -> None:
    till = given(team={"scope": {"team": "a"}})
    budget(till, "key", scope={"key": "k"}, within="team")
    till.use("ada", 6, key="k", team="a")
    assert spent(till, "team", "team=a") == {"used": "6"}


# --- each value ----------------------------------------------------------------------------------


def test_one_budget_caps_each_session_by_itself() -> None:
    till = given(session={"scope": {"session": "*"}, "cap": "2", "window": {"every": "life"}})
    for name in ("s1", "s2"):
        assert hold(till, 2, name, session=name).allowed
        assert hold(till, 1, name + "+", session=name).reason == Reason.BUDGET_EXCEEDED
    assert till.wallet("ada")["scopes"] == {"session*": 1}
    assert ask(till, 50).allowed, "use without a session is in none"


def test_a_session_that_is_idle_is_closed_by_a_timer() -> None:
    till = given(session={"scope": {"session": "*"}, "window": {"every": "life", "idle_s": 600}})
    till.use("ada", 3, session="s")
    till.tick(till.at_ms + 599 * SECOND)
    assert spent(till, "session", "session=s") == {"used": "3"}
    till.tick(till.at_ms + SECOND)
    assert spent(till, "session", "session=s") == {}
    assert till.entries("ada")[-1]["type"] == "drawdown.entry.close"
    assert till.wrongs() == []


def test_a_session_with_an_open_hold_is_not_idle() -> None:
    till = given(session={"scope": {"session": "*"}, "window": {"every": "life", "idle_s": 60}})
    hold(till, 3, "h", session="s")
    till.tick(till.at_ms + 10 * MINUTE)
    assert spent(till, "session", "session=s") == {"held": "3"}
    till.command("capture", "ada", hold_id="h")
    assert spent(till, "session", "session=s") == {"used": "3"}
    till.tick(till.at_ms + MINUTE)
    assert spent(till, "session", "session=s") == {}


def test_a_value_may_look_like_a_key() -> None:
    till = given(
        team={"scope": {"team": "a&key=k"}},
        both={"scope": {"team": "a", "key": "k"}, "cap": "3"},
        each={"scope": {"task": "*"}, "cap": "1"},
    )
    till.use("ada", 3, team="a", key="k")
    assert spent(till, "both", "key=k&team=a") == {"used": "3"}
    assert ask(till, 4, team="a&key=k").allowed
    till.use("ada", 1, task="*")
    assert spent(till, "each", "task=%2A") == {"used": "1"}
    till.use("ada", 1, task="\u001f#")
    assert spent(till, "each", "task=%1F%23") == {"used": "1"}


# --- windows -------------------------------------------------------------------------------------


WINDOWS = [
    # window, times and units used, time of the question, left of 10
    ({"every": "hour"}, [(0, 8)], 59 * MINUTE, "2"),
    ({"every": "hour"}, [(0, 8)], 60 * MINUTE, "10"),
    ({"every": "day"}, [(0, 8)], 16 * HOUR - 1, "2"),
    ({"every": "day"}, [(0, 8)], 16 * HOUR, "10"),
    ({"every": "day", "zone": "America/New_York"}, [(0, 8)], 16 * HOUR, "2"),
    ({"every": "day", "zone": "America/New_York"}, [(0, 8)], 21 * HOUR, "10"),
    # the 15th is a Friday
    ({"every": "week"}, [(0, 8)], 2 * DAY, "2"),
    ({"every": "week"}, [(0, 8)], 3 * DAY, "10"),
    ({"every": "month"}, [(0, 8)], 16 * DAY, "2"),
    ({"every": "month"}, [(0, 8)], 17 * DAY, "10"),
    ({"every": "total"}, [(0, 8)], 999 * DAY, "2"),
    # a bucket of a minute counts until all of it is over
    ({"every": "rolling", "length_s": 3600}, [(0, 5), (30 * MINUTE, 3)], 60 * MINUTE, "2"),
    ({"every": "rolling", "length_s": 3600}, [(0, 5), (30 * MINUTE, 3)], 61 * MINUTE, "7"),
    ({"every": "rolling", "length_s": 3600}, [(0, 5), (30 * MINUTE, 3)], 91 * MINUTE, "10"),
    ({"every": "life", "idle_s": 60}, [(0, 8)], 59 * SECOND, "2"),
    ({"every": "life", "idle_s": 60}, [(0, 8)], 60 * SECOND, "10"),
]


@pytest.mark.parametrize(("window", "used", "asked_ms", "left"), WINDOWS)
def test_what_counts_in_a_window(
    window: dict[str, Any], used: list[tuple[int, int]], asked_ms: int, left: str
) -> None:
    till = given(b={"scope": {"team": "a"}, "window": window})
    for at_ms, units in used:
        till.at_ms = START_MS + at_ms
        till.use("ada", units, team="a")
    till.at_ms = START_MS + asked_ms
    assert limits(ask(till, 1, team="a"))[0][3] == left
    till.use("ada", 1, team="a")
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_a_day_of_a_changed_clock_has_23_or_25_hours() -> None:
    """Berlin, 28 March 2027: the day begins at 23:00Z and ends at 22:00Z."""
    till = given(day={"window": {"every": "day", "zone": "Europe/Berlin"}})
    midnight_ms = 1_806_188_400_000
    assert at_text(midnight_ms) == "2027-03-27T23:00:00Z"
    till.at_ms = midnight_ms
    till.use("ada", 10)
    till.at_ms = midnight_ms + 23 * HOUR - 1
    answer = ask(till, 1)
    assert at_text(midnight_ms + 23 * HOUR) in answer.detail
    till.at_ms += 1
    assert ask(till, 1).allowed


def test_what_is_late_counts_when_it_is_decided() -> None:
    """Yesterday's budget cannot be spent today by a time that somebody states."""
    till = given(day={"window": {"every": "day"}})
    till.use("ada", 8, time=at_text(till.at_ms - DAY))
    assert spent(till, "day") == {"used": "8"}


def test_a_hold_counts_in_the_next_window_too_until_it_ends() -> None:
    till = given(day={"window": {"every": "day"}})
    till.at_ms = START_MS + 16 * HOUR - MINUTE
    hold(till, 4, "h")
    till.use("ada", 5)
    till.at_ms += 2 * MINUTE
    assert limits(ask(till, 7)) == [("day", "", "0", "6")]
    till.command("capture", "ada", hold_id="h", amount="3")
    assert spent(till, "day") == {"used": "3"}
    assert till.wrongs() == []


# --- holds ---------------------------------------------------------------------------------------


def test_a_hold_counts_and_a_release_gives_it_back() -> None:
    till = given(team={"scope": {"team": "a"}})
    hold(till, 7, "h", team="a")
    assert spent(till, "team", "team=a") == {"held": "7"}
    assert ask(till, 4, team="a").reason == Reason.BUDGET_EXCEEDED
    till.command("release", "ada", hold_id="h")
    assert spent(till, "team", "team=a") == {}
    assert ask(till, 10, team="a").allowed


def test_an_expired_hold_gives_it_back() -> None:
    till = given(team={"scope": {"team": "a"}})
    hold(till, 7, "h", team="a")
    till.tick(till.at_ms + HOUR)
    assert ask(till, 10, team="a").allowed
    assert till.wrongs() == []


CAPTURES: list[tuple[str, list[tuple[str, dict[str, Any]]], dict[str, str]]] = [
    ("all", [("capture", {})], {"used": "4"}),
    ("less", [("capture", {"amount": "1"})], {"used": "1"}),
    ("more", [("capture", {"amount": "6"})], {"used": "6"}),
    ("nothing", [("capture", {"amount": "0"})], {}),
    ("in parts", [("capture", {"amount": "1", "final": False})], {"used": "1", "held": "3"}),
    (
        "in parts, to the end",
        [("capture", {"amount": "1", "final": False}), ("capture", {"amount": "1"})],
        {"used": "2"},
    ),
    ("by usage", [("use", {"units": 3, "final": True})], {"used": "3"}),
    ("by usage in parts", [("use", {"units": 3})], {"used": "3", "held": "1"}),
    ("a part, then released", [("use", {"units": 1}), ("release", {})], {"used": "1"}),
]


@pytest.mark.parametrize(("what", "steps", "left"), CAPTURES, ids=[each[0] for each in CAPTURES])
def test_a_capture_moves_what_was_held_to_what_is_used(
    what: str, steps: list[tuple[str, dict[str, Any]]], left: dict[str, str]
) -> None:
    till = given(team={"scope": {"team": "a"}})
    hold(till, 4, "h", team="a")
    for kind, fields in steps:
        if kind == "use":
            till.use("ada", **fields, hold="h", team="a")
        else:
            till.command(kind, "ada", hold_id="h", **fields)
    assert spent(till, "team", "team=a") == left, what
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_usage_after_its_hold_expired_counts_once() -> None:
    till = given(team={"scope": {"team": "a"}})
    hold(till, 4, "h", team="a")
    till.at_ms += HOUR
    till.use("ada", 3, hold="h", team="a", final=True)
    assert spent(till, "team", "team=a") == {"used": "3"}


def test_a_hold_from_before_the_budget_counts_when_it_is_captured() -> None:
    till = given()
    hold(till, 4, "h", team="a")
    budget(till, "team", scope={"team": "a"})
    assert ask(till, 10, team="a").allowed
    till.command("capture", "ada", hold_id="h")
    assert spent(till, "team", "team=a") == {"used": "4"}


def test_a_budget_that_is_gone_while_a_hold_counts_in_it() -> None:
    till = given(team={"scope": {"team": "a"}}, session={"scope": {"session": "*"}})
    hold(till, 4, "h", team="a", session="s")
    till.command("remove_budget", "ada", budget_id="team")
    till.command("remove_budget", "ada", budget_id="session")
    till.command("capture", "ada", hold_id="h", amount="1")
    till.tick(till.at_ms + 40 * DAY)
    assert [key for key in till.bytes_of_rows() if "\u001fspent" in key] == []
    assert till.wrongs() == []


def test_known_prices_are_authorized_and_debited_in_one() -> None:
    till = given(team={"scope": {"team": "a"}})
    answer = till.authorize("ada", 4, dimensions={"team": "a"}, capture=True)
    assert limits(answer) == [("team", "team=a", "4", "6")]
    assert spent(till, "team", "team=a") == {"used": "4"}


# --- measures ------------------------------------------------------------------------------------


def test_a_quantity_is_capped() -> None:
    till = given(units={"measure": "quantity", "quantity": "units", "cap": "100.5"})
    hold(till, "60.5", "h")
    assert ask(till, 41).reason == Reason.BUDGET_EXCEEDED
    till.command("capture", "ada", hold_id="h", quantities={"units": "50.25"})
    assert spent(till, "units") == {"used": "50.25"}
    till.use("ada", "0.25")
    assert limits(ask(till, 50)) == [("units", "", "50.5", "50")]


def test_a_capture_that_says_no_quantity_used_what_was_estimated() -> None:
    till = given(units={"measure": "quantity", "quantity": "units", "cap": "100"})
    hold(till, 60, "h")
    till.command("capture", "ada", hold_id="h")
    assert spent(till, "units") == {"used": "60"}


def test_what_is_finer_than_a_budget_counts_is_rounded_up() -> None:
    till = given(units={"measure": "quantity", "quantity": "units", "cap": "1"})
    till.use("ada", "0.0000000000001")
    assert spent(till, "units") == {"used": "0.000000000001"}


def test_requests_are_capped_and_a_held_one_counts_once() -> None:
    till = given(rate={"measure": "requests", "cap": "2", "window": {"every": "hour"}})
    hold(till, 1, "h")
    till.use("ada", 1, hold="h", final=True)
    till.use("ada", 1)
    answer = ask(till, 1)
    assert answer.reason == Reason.BUDGET_EXCEEDED
    assert "has 0 requests left of 2" in answer.detail
    till.at_ms += HOUR
    assert ask(till, 1).allowed


def test_a_request_that_was_released_was_one() -> None:
    till = given(rate={"measure": "requests", "cap": "1", "window": {"every": "hour"}})
    hold(till, 1, "h")
    till.command("release", "ada", hold_id="h")
    assert ask(till, 1).reason == Reason.BUDGET_EXCEEDED


def test_ten_renders_at_once_and_the_eleventh_waits() -> None:
    """Worked example 35."""
    till = given(renders={"measure": "open_holds", "cap": "10", "window": {"every": "total"}})
    for number in range(10):
        assert hold(till, 1, f"h{number}").allowed
    answer = hold(till, 1, "h10")
    assert answer.reason == Reason.BUDGET_EXCEEDED
    assert "0 open holds left of 10" in answer.detail
    assert ask(till, 1).allowed, "a check holds nothing"
    till.command("capture", "ada", hold_id="h3")
    assert hold(till, 1, "h10").allowed
    assert till.wrongs() == []


def test_use_without_a_price_is_a_request_and_a_quantity() -> None:
    till = Till(book=price_book(rates=[]))
    till.grant("ada", "10", "g")
    budget(till, "rate", measure="requests", cap="2")
    budget(till, "units", measure="quantity", quantity="units", cap="9")
    budget(till, "usd", cap="1")
    till.use("ada", 4)
    assert spent(till, "rate") == {"used": "1"}
    assert spent(till, "units") == {"used": "4"}
    assert spent(till, "usd") == {}
    assert till.wrongs() == []


def test_only_the_meters_it_names_count() -> None:
    till = given(b={"meters": ["other"]})
    till.use("ada", 10)
    assert ask(till, 5).allowed
    till.use("ada", 10, type="other")
    assert ask(till, 5).allowed
    assert till.authorize("ada", 1, meter="other").reason == Reason.BUDGET_EXCEEDED


def test_another_asset_does_not_count() -> None:
    till = given(usd={})
    till.grant("ada", "50", "c", asset="credit", cost_basis="0.1")
    till.use("ada", 20, **{"in": "credit"})
    assert ask(till, 10).allowed


# --- alerts --------------------------------------------------------------------------------------


def told(decided: Any) -> list[int]:
    return [
        percent
        for sealed in decided.entries
        for each in sealed.entry.rare.limits
        for percent in each.tells
    ]


def test_each_percent_is_told_once_a_window() -> None:
    till = given(day={"window": {"every": "day"}, "alerts": [50, 80, 100]})
    assert told(till.use("ada", 4)) == []
    assert told(till.use("ada", 1)) == [50]
    assert told(till.use("ada", 1)) == []
    assert told(till.use("ada", 6)) == [80, 100]
    assert told(till.use("ada", 6)) == []
    till.at_ms += DAY
    assert told(till.use("ada", 5)) == [50]


def test_at_the_cap_alerts_only_where_it_says_so() -> None:
    till = given(day={"at_cap": "alert", "alerts": [100, 150]})
    assert told(till.use("ada", 12)) == [100]
    assert ask(till, 50).allowed
    assert told(till.use("ada", 3)) == [150]


def test_what_is_held_is_not_told() -> None:
    till = given(day={})
    assert told(till.command("authorize", "ada", meter="work", require="hold",
                             estimate={"amount": "9", "asset": "USD"})) == []  # fmt: skip


def test_a_rolling_budget_tells_again_after_it_went_down() -> None:
    till = given(hour={"window": {"every": "rolling", "length_s": 3600}, "alerts": [80]})
    assert told(till.use("ada", 8)) == [80]
    till.at_ms += 61 * MINUTE
    assert told(till.use("ada", 1)) == []
    assert told(till.use("ada", 8)) == [80]


# --- changing them -------------------------------------------------------------------------------


def test_a_cap_below_what_is_used_lets_nothing_more_run() -> None:
    till = given(b={})
    till.use("ada", 8)
    budget(till, "b", cap="5")
    assert limits(ask(till, 1)) == [("b", "", "8", "0")]
    assert till.balance("ada") == "992"
    budget(till, "b", cap="9")
    assert ask(till, 1).allowed


def test_another_cap_tells_the_percents_that_are_reached_anew() -> None:
    till = given(b={})
    assert told(till.use("ada", 8)) == [50, 80]
    budget(till, "b", cap="100")
    assert told(till.use("ada", 32)) == []
    assert told(till.use("ada", 10)) == [50]


def test_another_window_begins_anew() -> None:
    till = given(b={"window": {"every": "day"}})
    hold(till, 1, "h")
    till.use("ada", 8)
    budget(till, "b", window={"every": "hour"})
    assert limits(ask(till, 1)) == [("b", "", "0", "9")]
    till.use("ada", 2)
    till.command("release", "ada", hold_id="h")
    assert spent(till, "b") == {"used": "2"}
    assert till.wrongs() == []


def test_another_scope_leaves_the_first() -> None:
    till = given(b={"scope": {"team": "a"}})
    till.use("ada", 8, team="a")
    budget(till, "b", scope={"team": "b"})
    assert ask(till, 10, team="a").limits == []
    assert ask(till, 10, team="b").allowed
    assert till.wallet("ada")["scopes"] == {"team": 1}
    budget(till, "b", scope={"key": "*"})
    assert till.wallet("ada")["scopes"] == {"key*": 1}
    assert till.wrongs() == []


def test_a_removed_budget_counts_no_more() -> None:
    till = given(b={})
    till.use("ada", 10)
    till.command("remove_budget", "ada", budget_id="b")
    assert ask(till, 10).allowed
    assert "scopes" not in till.wallet("ada")
    rows = [key for key in till.bytes_of_rows() if key != "ada"]
    assert rows == []
    with pytest.raises(RecordError) as refused:
        till.command("remove_budget", "ada", budget_id="b")
    assert refused.value.reason == Reason.BUDGET_UNKNOWN


@pytest.mark.parametrize("which", ["budget", "spent", "scope"])
def test_rows_that_were_read_anew_are_the_same(which: str) -> None:
    """A cache drops one row and keeps another."""
    till = given(b={"scope": {"team": "a"}, "window": {"every": "rolling", "length_s": 3600}})
    till.use("ada", 8, team="a")
    for key, row in till.rows.items():
        if row is not None and f"\u001f{which}" in key:
            till.rows[key] = row_of(row_bytes(row))
            assert till.rows[key] == row
    assert limits(ask(till, 1, team="a")) == [("b", "team=a", "8", "2")]
    till.use("ada", 1, team="a")
    assert spent(till, "b", "team=a") == {"used": "9"}


def test_a_retried_command_gets_its_first_answer() -> None:
    till = given()
    fields = {"id": "same", "budget_id": "b", "budget": {"cap": "1", "asset": "USD"}}
    first = till.command("set_budget", "ada", **fields).answer
    again = till.command("set_budget", "ada", **fields).answer
    assert first is not None and again is not None
    assert (again.duplicate, again.sequence) == (True, first.sequence)
    assert first.command == "set_budget"


def test_budgets_of_many_do_not_grow_the_wallet() -> None:
    till = given()
    budget(till, "b0", scope={"engineer": "e0"})
    length = len(row_bytes(till.rows["ada"]))  # type: ignore[arg-type]
    for number in range(1, 900):
        budget(till, f"b{number}", scope={"engineer": f"e{number}"})
    assert len(row_bytes(till.rows["ada"])) - length < 8  # type: ignore[arg-type]
    till.use("ada", 10, engineer="e700")
    assert ask(till, 1, engineer="e700").reason == Reason.BUDGET_EXCEEDED
    assert ask(till, 1, engineer="e701").allowed


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"asset": None}, "budget.asset", "say of which asset"),
    ({"measure": "requests", "asset": "USD"}, "budget.asset", "is for measure: amount"),
    ({"measure": "quantity"}, "budget.quantity", "say which quantity"),
    ({"quantity": "units"}, "budget.quantity", "is for measure: quantity"),
    ({"asset": "EUR"}, "budget.asset", "no asset 'EUR'"),
    ({"cap": "-1"}, "budget.cap", "no amount"),
    ({"cap": "1e3"}, "budget.cap", "no amount"),
    ({"measure": "requests", "cap": "0"}, "budget.cap", "block the scope"),
    ({"asset": "token", "cap": "1.5"}, "budget.cap", "finer than token"),
    ({"window": {"every": "fortnight"}}, "budget.window.every", "fortnight"),
    ({"window": {"every": "day", "zone": "Mars/Olympus"}}, "budget.window.zone", "no zone"),
    ({"window": {"every": "rolling"}}, "budget.window.length_s", "say how long"),
    ({"window": {"every": "day", "length_s": 60}}, "budget.window.length_s", "rolling"),
    ({"window": {"every": "day", "idle_s": 60}}, "budget.window.idle_s", "of a life"),
    ({"measure": "open_holds"}, "budget.window.every", "at a time"),
    ({"scope": {"team": "a*"}}, "budget.scope", "alone for each value"),
    ({"scope": {"team": ""}}, "budget.scope", ">= 1"),
    ({"scope": {"team": "x" * 10_240}}, "budget.scope", "<= 256"),
    ({"scope": {"a team": "x"}}, "budget.scope", "no name"),
    ({"scope": {f"d{n}": "x" for n in range(9)}}, "budget.scope", "<= 8"),
    ({"meters": ["telepathy"]}, "budget.meters", "no meter 'telepathy'"),
    ({"within": "none"}, "budget.within", "no budget 'none'"),
    ({"alerts": [0]}, "budget.alerts", ">= 1"),
    ({"capp": "1"}, "budget", "capp"),
]


@pytest.mark.parametrize(("terms", "field", "words"), REFUSED)
def test_a_budget_that_cannot_be_is_refused_by_its_field(
    terms: dict[str, Any], field: str, words: str
) -> None:
    till = given()
    content = {"asset": "USD", "cap": "10", **terms}
    if "measure" in terms and "asset" not in terms:
        del content["asset"]
    with pytest.raises(RecordError) as refused:
        till.command("set_budget", "ada", budget_id="b", budget=content)
    assert words in str(refused.value)
    assert (refused.value.field or field).startswith(field)
    assert len(till.journal) == 1, "nothing changed"


def test_a_dimension_no_meter_has_is_refused_where_meters_say_theirs() -> None:
    meters = [
        Meter(id="work", event_types=["work"], fields={"units": "units"}, dimensions=["team"]),
        Meter(id="other", event_types=["other"], fields={"units": "units"}),
    ]
    till = Till(book=price_book(meters=meters))
    till.grant("ada", "5", "g")
    budget(till, "b", scope={"team": "a"})
    budget(till, "c", scope={"in": "credit"})  # a rate looks at it
    with pytest.raises(RecordError, match="has the dimension 'tema'; there are in, team"):
        budget(till, "b", scope={"tema": "a"})


def test_budgets_within_each_other_have_an_end() -> None:
    till = given(a={"scope": {"a": "1"}})
    budget(till, "b", scope={"b": "1"}, within="a")
    with pytest.raises(RecordError, match="would be within itself"):
        budget(till, "a", scope={"a": "1"}, within="b")
    with pytest.raises(RecordError, match="would be within itself"):
        budget(till, "a", scope={"a": "1"}, within="a")
    before = "b"
    for number in range(7):
        budget(till, f"n{number}", scope={"n": str(number)}, within=before)
        before = f"n{number}"
    with pytest.raises(RecordError, match="more than 8 budgets within each other"):
        budget(till, "last", within=before)
    budget(till, "each", scope={"s": "*"})
    with pytest.raises(RecordError, match="for each value of a dimension"):
        budget(till, "x", within="each")


def test_as_many_combinations_of_dimensions_as_may_be() -> None:
    till = given()
    for number in range(16):
        budget(till, f"b{number}", scope={f"d{number}": "x"})
    with pytest.raises(RecordError) as refused:
        budget(till, "b16", scope={"d16": "x"})
    assert refused.value.reason == Reason.TOO_MANY_BUDGETS
    budget(till, "b17", scope={"d1": "y"})


def test_as_many_budgets_of_a_scope_as_may_be() -> None:
    till = given()
    for number in range(16):
        budget(till, f"b{number}")
    with pytest.raises(RecordError) as refused:
        budget(till, "b16")
    assert refused.value.reason == Reason.TOO_MANY_BUDGETS
    budget(till, "b3", cap="99")


# --- blocks --------------------------------------------------------------------------------------


def block(till: Till, reason: str = "leaked", **scope: str) -> Any:
    return till.command("block", "ada", scope=scope, reason=reason)


def test_a_blocked_key_runs_nothing_from_the_next_decision_on() -> None:
    till = given()
    hold(till, 2, "h", key="k")
    block(till, key="k")
    answer = ask(till, 1, key="k", team="a")
    assert (answer.allowed, answer.reason) == (False, Reason.BLOCKED)
    assert answer.detail == "key=k is blocked since 2027-01-15T08:00:00Z by k1: leaked"
    assert ask(till, 1, key="other").allowed
    till.use("ada", 1, key="k")
    till.command("capture", "ada", hold_id="h")
    assert till.balance("ada") == "997", "what was used is booked, and what was held"
    till.command("unblock", "ada", scope={"key": "k"})
    assert ask(till, 1, key="k").allowed
    assert "scopes" not in till.wallet("ada")
    assert till.wrongs() == []


def test_all_of_a_scope_must_be_there() -> None:
    till = given()
    block(till, team="a", agent="x")
    assert ask(till, 1, team="a").allowed
    assert ask(till, 1, team="a", agent="x").reason == Reason.BLOCKED


def test_a_block_of_the_customer() -> None:
    till = given()
    block(till, "chargeback")
    answer = ask(till, 1, key="k")
    assert answer.detail.startswith("the customer is blocked since")


def test_a_block_ends_by_itself() -> None:
    till = given()
    till.command(
        "block", "ada", scope={"key": "k"}, reason="cool down", until_at=at_text(till.at_ms + HOUR)
    )
    assert "until 2027-01-15T09:00:00Z" in ask(till, 1, key="k").detail
    till.at_ms += HOUR
    assert ask(till, 1, key="k").allowed
    with pytest.raises(RecordError) as refused:
        till.command("unblock", "ada", scope={"key": "k"})
    assert refused.value.reason == Reason.NOT_BLOCKED


def test_a_block_and_a_budget_share_a_scope() -> None:
    till = given(b={"scope": {"key": "k"}})
    till.use("ada", 4, key="k")
    block(till, key="k")
    till.command("remove_budget", "ada", budget_id="b")
    assert ask(till, 1, key="k").reason == Reason.BLOCKED
    budget(till, "b", scope={"key": "k"})
    till.command("unblock", "ada", scope={"key": "k"})
    assert limits(ask(till, 1, key="k")) == [("b", "key=k", "0", "10")]
    assert till.wallet("ada")["scopes"] == {"key": 1}
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scope": {"key": "*"}}, r"\* is no value"),
        ({"scope": {"key": "k"}, "reason": ""}, ">= 1"),
        ({"scope": {"key": "k"}, "until_at": at_text(START_MS)}, "is not after now"),
        ({"scope": {"key": "x" * 10_240}}, "<= 256"),
    ],
)
def test_a_block_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    till = given()
    with pytest.raises(RecordError, match=words):
        till.command("block", "ada", **{"reason": "leaked", **fields})
    assert len(till.journal) == 1


def test_unblocking_what_is_not_blocked_says_so() -> None:
    till = given()
    with pytest.raises(RecordError, match="key=k is not blocked"):
        till.command("unblock", "ada", scope={"key": "k"})
