"""Recurring grants: cycles that begin at their instant, and what becomes of what was left."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, START_MS, Till

from drawdown.events.base import at_text, milliseconds
from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason

NOW = START_MS  # 2027-01-15T08:00:00Z


def ms(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))


def recurring(till: Till, amount: str = "100", grant_id: str = "plan", **recurrence: Any) -> None:
    """An included grant that comes again every month for two years, unless said otherwise."""
    terms = {
        name: recurrence.pop(name)
        for name in (
            *("priority", "category", "expires_at", "effective_at", "asset", "scope"),
            *("cost_basis", "metadata"),
        )
        if name in recurrence
    }
    if "anchor" in recurrence:
        recurrence["anchor"] = at_text(recurrence["anchor"])
    said = {"every": "month", **recurrence}
    if "expires_at" not in terms:
        said.setdefault("cycles", 24)
    till.grant("ada", amount, grant_id, **{"category": "included", **terms}, recurrence=said)


def cycles(till: Till) -> list[str]:
    """When the cycles of grants began, as far as they were granted by timer."""
    return [
        entry["data"]["grant"]["effective_at"]
        for entry in till.entries("ada")
        if entry["type"].endswith(".grant") and "timer" in entry["data"]["cause"]
    ]


# --- when cycles begin ---------------------------------------------------------------------------

INSTANTS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("hour", {"every": "hour"}, ["2027-01-15T09:00:00Z", "2027-01-15T10:00:00Z"]),
    ("6 hours", {"every": "hour", "count": 6}, ["2027-01-15T14:00:00Z", "2027-01-15T20:00:00Z"]),
    ("day", {"every": "day"}, ["2027-01-16T08:00:00Z", "2027-01-17T08:00:00Z"]),
    ("week", {"every": "week"}, ["2027-01-22T08:00:00Z", "2027-01-29T08:00:00Z"]),
    ("2 weeks", {"every": "week", "count": 2}, ["2027-01-29T08:00:00Z", "2027-02-12T08:00:00Z"]),
    ("month", {"every": "month"}, ["2027-02-15T08:00:00Z", "2027-03-15T08:00:00Z"]),
    ("quarter", {"every": "month", "count": 3}, ["2027-04-15T08:00:00Z", "2027-07-15T08:00:00Z"]),
    ("year", {"every": "year"}, ["2028-01-15T08:00:00Z", "2029-01-15T08:00:00Z"]),
    ("month's end", {"every": "month", "anchor": ms("2026-12-31T00:00:00Z")},
     ["2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z",
      "2027-04-30T00:00:00Z"]),
    ("29 February", {"every": "year", "anchor": ms("2024-02-29T12:00:00Z")},
     ["2027-02-28T12:00:00Z", "2028-02-29T12:00:00Z"]),
    ("an anchor to come", {"every": "month", "anchor": ms("2027-08-01T00:00:00Z")},
     ["2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"]),
    ("midnight in New York", {"every": "day", "zone": "America/New_York",
     "anchor": ms("2027-01-01T05:00:00Z")}, ["2027-01-16T05:00:00Z", "2027-01-17T05:00:00Z"]),
    ("first of the month in Berlin, over the change of the clock", {"every": "month",
     "zone": "Europe/Berlin", "anchor": ms("2026-12-31T23:00:00Z")},
     ["2027-01-31T23:00:00Z", "2027-02-28T23:00:00Z", "2027-03-31T22:00:00Z"]),
    ("a time of day that the clock skips", {"every": "day", "zone": "Europe/Berlin", "count": 72,
     "anchor": ms("2027-01-15T01:30:00Z")}, ["2027-03-28T01:30:00Z"]),
]  # fmt: skip


@pytest.mark.parametrize(("recurrence", "instants"), [pytest.param(*r, id=n) for n, *r in INSTANTS])
def test_cycles_begin_by_the_wall_clock(recurrence: dict[str, Any], instants: list[str]) -> None:
    till = Till()
    recurring(till, **recurrence)
    for instant in instants:
        till.tick(ms(instant) - 1)
        before = len(cycles(till))
        till.tick(ms(instant))
        assert cycles(till)[before:] == [instant]
    assert till.wrongs() == []


def test_a_day_of_25_hours_is_one_cycle_and_hours_count_as_they_pass() -> None:
    till = Till(at_ms=ms("2027-10-30T22:00:00Z"))
    recurring(till, grant_id="day", every="day", zone="Europe/Berlin")
    recurring(till, grant_id="hour", every="hour", zone="Europe/Berlin", cycles=30)
    till.tick(ms("2027-10-31T23:00:00Z"))
    instants = cycles(till)
    assert instants.count("2027-10-31T23:00:00Z") == 2  # the day's, and the 25th hour's
    assert len(instants) == 26


# --- at the instant ------------------------------------------------------------------------------


def test_at_the_instant_of_a_reset_the_new_grant_is_whole_and_the_old_gone() -> None:
    till = Till()
    recurring(till, every="day")
    till.use("ada", 30)
    till.at_ms = NOW + DAY - 1
    assert not till.authorize("ada", 71).allowed
    assert till.authorize("ada", 70).allowed
    till.at_ms = NOW + DAY  # and no timer has fired
    assert till.authorize("ada", 100).allowed
    assert not till.authorize("ada", 101).allowed
    till.use("ada", 100)
    till.tick()
    assert [line[:3] for line in till.statement("ada")] == [
        ("grant", "100", "100"),
        ("debit", "30", "70"),
        ("grant", "100", "170"),
        ("debit", "100", "70"),
        ("lapse", "70", "0"),
    ]
    assert till.wrongs() == []


def test_what_was_appended_before_the_instant_still_has_the_old_grant() -> None:
    """An authorization at the instant overtakes usage from before: neither loses anything."""
    till = Till()
    recurring(till, every="day")
    till.at_ms = NOW + DAY
    assert till.authorize("ada", 100, require="hold", hold={"hold_id": "h"}).allowed
    till.at_ms = NOW + DAY - 1
    till.use("ada", 60)
    assert till.statement("ada")[-1][3] == {"plan": "60"}
    till.tick(NOW + DAY)
    assert till.statement("ada")[-1] == ("lapse", "40", "0", {"plan": "40"})
    assert till.wrongs() == []


def test_a_customer_who_sends_nothing_is_reset_by_timer() -> None:
    till = Till()
    recurring(till, every="day", cycles=3)
    till.tick(NOW + 10 * DAY)
    assert [line[:3] for line in till.statement("ada")] == [
        ("grant", "100", "100"),
        ("grant", "100", "200"),
        ("lapse", "100", "100"),
        ("grant", "100", "200"),
        ("lapse", "100", "100"),
        ("lapse", "100", "0"),
    ]
    assert till.wallet("ada")["grants"] == []
    assert till.tick(NOW + 20 * DAY) == []
    assert till.wrongs() == []


def test_many_cycles_at_once_are_many_firings() -> None:
    till = Till()
    recurring(till, every="hour", cycles=1000)
    fired = till.tick(NOW + 500 * HOUR)
    assert max(len(decided.entries) for decided in fired) < 300
    assert till.account("ada")["granted"] == "50100"
    assert till.left("ada") == {f"plan@{at_text(NOW + 500 * HOUR)}": "100"}
    assert till.wrongs() == []


def test_a_spent_allowance_stays_to_be_seen_until_it_comes_again() -> None:
    till = Till()
    recurring(till, every="day")
    till.use("ada", 130)
    (grant,) = till.wallet("ada")["grants"]
    assert (grant["id"], grant["remaining"]) == ("plan", "0")
    assert grant["next_at"] == at_text(NOW + DAY)
    till.tick(NOW + DAY)
    assert till.account("ada")["balance"] == "70", "what was overdrawn is paid first"
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    assert till.wrongs() == []


def test_a_reset_is_no_crossing_of_a_threshold_and_the_last_lapse_is() -> None:
    till = Till()
    till.command("set_terms", "ada", thresholds={"USD": ["50"]})
    recurring(till, every="day", cycles=2)
    assert [d.crossed for d in till.tick(NOW + DAY)] == [()]
    (crossing,) = till.tick(NOW + 2 * DAY)[-1].crossed
    assert (crossing.before, crossing.after) == (100 * 10**12, 0)


# --- accumulate and roll over --------------------------------------------------------------------


def test_what_accumulates_keeps_what_is_left_and_is_one_grant() -> None:
    till = Till()
    recurring(till, every="day", mode="accumulate", cycles=4, cost_basis="0.333333333333")
    till.use("ada", 30)
    till.tick(NOW + 9 * DAY)
    assert till.left("ada") == {"plan": "370"}
    till.use("ada", 370)
    assert till.wallet("ada")["revenue"] == "133.3333333332"
    assert till.wallet("ada")["grants"] == []
    assert till.wrongs() == []


ROLLS: list[tuple[str, dict[str, Any], list[tuple[int, dict[str, str]]]]] = [
    # what, the rollover; and what is used on each day, with what it comes from
    ("nothing", {"max": "0"}, [(60, {"0": "60"}), (100, {"1": "100"})]),
    ("all of it", {}, [(60, {"0": "60"}), (100, {"1": "100"}), (140, {"2": "100", "+": "40"})]),
    ("at most", {"max": "30"}, [(60, {"0": "60"}), (120, {"1": "100", "+": "20"})]),
    ("for one cycle", {"cycles": 1},
     [(60, {"0": "60"}), (110, {"1": "100", "+1": "10"}), (150, {"2": "100", "overdrawn": "50"})]),
    ("for two cycles", {"cycles": 2},
     [(60, {"0": "60"}), (90, {"1": "90"}), (150, {"2": "100", "+1": "40", "+2": "10"})]),
    ("at least", {"min": "50", "max": "80", "cycles": 1},
     [(60, {"0": "60"}), (150, {"1": "100", "+1": "50"}), (150, {"2": "100", "+2": "50"})]),
    ("at least, of nothing", {"min": "50", "cycles": 1},
     [(100, {"0": "100"}), (150, {"1": "100", "+1": "50"})]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rollover", "days"), [pytest.param(*rest, id=why) for why, *rest in ROLLS]
)
def test_what_rolls_over(rollover: dict[str, Any], days: list[tuple[int, dict[str, str]]]) -> None:
    till = Till()
    till.command("set_terms", "ada", drawdown="openmeter")
    recurring(till, every="day", rollover=rollover)
    names = {"0": "plan", "+": "plan+", "overdrawn": "overdrawn"}
    for day in range(1, 4):
        names[str(day)] = f"plan@{at_text(NOW + day * DAY)}"
        names[f"+{day}"] = f"plan+{at_text(NOW + day * DAY)}"
    for day, (used, parts) in enumerate(days):
        till.tick(NOW + day * DAY)
        till.use("ada", used)
        assert till.statement("ada")[-1][3] == {names[key]: part for key, part in parts.items()}
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_what_rolls_over_takes_its_price_along() -> None:
    till = Till()
    recurring(
        till, category="paid", cost_basis="0.1", every="day", cycles=2, rollover={"max": "30"}
    )
    till.use("ada", 60)
    till.tick(NOW + DAY)
    lapse, rollover = till.entries("ada")[-2:]
    assert (lapse["data"]["amount"], lapse["data"]["breakage"]) == ("10", "1")
    assert (rollover["data"]["amount"], rollover["data"]["grant"]["paid"]) == ("30", "3")
    till.use("ada", 130)
    assert till.wallet("ada")["revenue"] == "19"
    assert till.wallet("ada")["breakage"] == "1"


def test_a_hold_over_a_reset_gives_back_to_where_it_came_from_and_that_rolls_over() -> None:
    till = Till()
    recurring(till, every="day", rollover={"max": "50"})
    terms = {"hold_id": "h", "expires_in_s": 86400}
    till.at_ms = NOW + HOUR
    assert till.authorize("ada", 90, require="hold", hold=terms).allowed
    till.tick(NOW + DAY)
    till.command("capture", "ada", hold_id="h", amount="20")
    till.tick()
    assert till.left("ada") == {f"plan@{at_text(NOW + DAY)}": "100", "plan+": "50"}
    assert till.wrongs() == []


# --- what is refused -----------------------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("no end in sight", {"cycles": None}, "recurrence.cycles"),
    ("an end beyond sight", {"every": "hour", "expires_at": NOW + 10_001 * HOUR}, "expires_at"),
    ("over before it begins", {"effective_at": NOW + 9, "expires_at": NOW + 9}, "expires_at"),
    ("a zone there is not", {"zone": "Mars/Olympus"}, "recurrence.zone"),
    ("a zone that is a path", {"zone": "../etc/passwd"}, "recurrence.zone"),
    ("both", {"mode": "accumulate", "rollover": {}}, "recurrence.rollover"),
    ("max below min", {"rollover": {"min": "5", "max": "4", "cycles": 1}},
     "recurrence.rollover.max"),
    ("a min for ever", {"rollover": {"min": "5"}}, "recurrence.rollover.min"),
    ("too fine", {"asset": "token", "amount": "10", "rollover": {"max": "0.5"}},
     "recurrence.rollover.max"),
    ("of nothing", {"amount": "0"}, "amount"),
]  # fmt: skip


@pytest.mark.parametrize(("recurrence", "field"), [pytest.param(*r, id=why) for why, *r in WRONG])
def test_what_cannot_be_is_refused_and_nothing_changes(
    recurrence: dict[str, Any], field: str
) -> None:
    till = Till()
    with pytest.raises(RecordError) as found:
        recurring(till, **recurrence)
    assert (found.value.reason, found.value.field) == (Reason.INVALID, field)
    assert till.journal == []


@pytest.mark.parametrize(
    "recurrence",
    [
        {"every": "minute"},
        {"count": 0},
        {"cycles": 0},
        {"cycles": 10_001},
        {"rollover": {"cycles": 0}},
    ],
)
def test_what_is_no_recurrence_at_all(recurrence: dict[str, Any]) -> None:
    with pytest.raises(RecordError) as found:
        recurring(Till(), **recurrence)
    assert found.value.field is not None
    assert found.value.field.startswith("recurrence")


def test_the_id_of_a_recurring_grant_is_its_own_as_long_as_it_comes() -> None:
    till = Till()
    recurring(till, every="day")
    till.tick(NOW + DAY)
    with pytest.raises(RecordError) as found:
        till.grant("ada", "1", "plan")
    assert found.value.field == "grant_id"
    till.command("void", "ada", grant_id="plan")
    till.grant("ada", "1", "plan")
    assert till.left("ada") == {"plan": "1"}


def test_two_of_the_same_reset_each_on_its_own() -> None:
    till = Till()
    recurring(till, "5", "daily", every="day")
    recurring(till, "7", "hourly", every="hour", cycles=30)
    till.use("ada", 9)
    till.tick(NOW + HOUR)
    assert sorted(till.left("ada").values()) == ["3", "7"]
    till.tick(NOW + DAY)
    assert sorted(till.left("ada").values()) == ["5", "7"]
    assert till.wrongs() == []
