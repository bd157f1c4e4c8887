"""Subscriptions in whatever order they are begun, changed, used and ended: money adds up, and the
rows are what the journal says."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.till import DAY, HOUR, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.plans import Plan
from drawdown.ledger.fees import share
from drawdown.ledger.rows import row_bytes, row_of


def fee(id_: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "asset": "USD", "amount": amount, **more}


def grant(id_: str, amount: str, asset: str = "USD", **more: Any) -> dict[str, Any]:
    return {"id": id_, "asset": asset, "amount": amount, **more}


PLANS = [
    {
        "id": "basic",
        "cycle": {"every": "week"},
        "fees": [fee("base", "7", pay="wallet"), fee("after", "0.1", when="arrears")],
        "grants": [
            grant("included", "10", cost_basis="0.3"),
            grant("daily", "1", schedule={"every": "day"}),
            grant("welcome", "5", "credit", per="once", kept=True),
        ],
        "proration": {"seats": "full", "cancel": "time"},
    },
    {
        "id": "team",
        "cycle": {"every": "week"},
        "phases": [
            {"id": "trial", "days": 3, "fees": []},
            {"id": "intro", "cycles": 1, "fees": [fee("base", "1", per="seat", pay="wallet")]},
            {"id": "paid"},
        ],
        "fees": [
            fee("base", "10", per="seat", pay="wallet"),
            fee("support", "1", when="arrears", pay="wallet"),
        ],
        "grants": [
            grant("included", "4", per="seat", rollover={"max": "3", "cycles": 2}),
            grant("credits", "3", "credit", per="seat", mode="accumulate"),
        ],
        "entitlements": [{"id": "units", "meter": "work", "limit": "20", "per": "seat"}],
        "proration": {"downgrade": "time", "cancel": "full"},
        "grant_proration": {"downgrade": "time", "seats_fewer": "full", "upgrade": "time"},
        "terms": {"credit_limits": {"USD": "5"}, "thresholds": {"USD": ["2"]}},
        "seats_max": 9,
    },
    {
        "id": "yearly",
        "cycle": {"every": "month", "zone": "Europe/Berlin", "anchor": "2027-01-01T00:00:00Z"},
        "fees": [fee("base", "100", pay="wallet")],
        "grants": [grant("included", "30"), grant("tokens", "9", "token", per="seat")],
        "proration": {"upgrade": "full", "start": "none", "cancel": "none"},
        "grant_proration": {"start": "time", "seats_more": "time"},
    },
]
BOOK = price_book(plans=[Plan.model_validate(plan) for plan in PLANS])
IDS = st.sampled_from(["s1", "s2"])
NAMES = st.sampled_from([plan["id"] for plan in PLANS])
SEATS = st.integers(1, 4)
WHEN = st.sampled_from(["now", "now", "cycle_end"])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("subscribe"),
            st.fixed_dictionaries(
                {"subscription_id": IDS, "plan": NAMES, "seats": SEATS},
                optional={"anchor": st.just("2027-01-04T12:00:00Z")},
            ),
        ),
        st.tuples(
            st.just("change_subscription"),
            st.fixed_dictionaries(
                {"subscription_id": IDS, "when": WHEN}, optional={"plan": NAMES, "seats": SEATS}
            ),
        ),
        st.tuples(
            st.just("cancel_subscription"),
            st.fixed_dictionaries({"subscription_id": IDS, "when": WHEN}),
        ),
        st.tuples(st.just("resume_subscription"), st.fixed_dictionaries({"subscription_id": IDS})),
        st.tuples(st.just("grant"), st.sampled_from(["3", "20", "100"])),
        st.tuples(st.just("use"), st.sampled_from(["1", "2.5", "12"])),
        st.tuples(st.just("spend"), st.sampled_from(["credit", "token"])),
        st.tuples(st.just("hold"), st.sampled_from(["h1", "h2"])),
        st.tuples(st.just("capture"), st.sampled_from(["h1", "h2"])),
        st.tuples(st.just("wait"), st.sampled_from([HOUR, DAY, 5 * DAY, 19 * DAY])),
        st.tuples(st.just("fall behind"), st.sampled_from([HOUR, 3 * DAY, 9 * DAY])),
    ),
    min_size=3,
    max_size=25,
)


def play(till: Till, kind: str, what: Any) -> None:
    """One step; what is refused changes nothing."""
    before = till.bytes_of_rows()
    try:
        match kind:
            case "grant":
                till.grant("ada", what, f"g{len(till.journal)}")
            case "use":
                till.use("ada", what)
            case "spend":
                till.use("ada", 1, **{"in": what})
            case "hold":
                till.authorize("ada", "2", require="hold", hold={"hold_id": what})
            case "capture":
                till.use("ada", "3", hold=what, final=True)
            case "wait":
                till.tick(till.at_ms + what)
            case "fall behind":
                till.at_ms += what  # and no timer fires before the next record
            case _:
                till.command(kind, "ada", **what)
    except RecordError:
        assert till.bytes_of_rows() == before


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_money_adds_up_and_rows_are_the_fold_of_the_journal(
    steps: list[tuple[str, Any]],
) -> None:
    till = Till(BOOK)
    till.grant("ada", "60", "first")
    for kind, what in steps:
        play(till, kind, what)
    till.tick()
    assert till.wrongs() == []
    rows = till.bytes_of_rows()
    assert till.replayed().bytes_of_rows() == rows
    for value in rows.values():
        assert row_bytes(row_of(value)) == value
    _check_subscriptions(till)


def _check_subscriptions(till: Till) -> None:
    """No grant of a subscription that is over comes again; those under way are ahead of time."""
    rows = {key: json.loads(value) for key, value in till.bytes_of_rows().items()}
    found = {row["id"]: row for row in rows.values() if row["row"] == "subscription"}
    wallet = rows["ada"]
    due = {each["id"]: each["next_at"] for each in wallet.get("subscriptions", [])}
    assert due == {
        name: row["starts_at" if row["status"] == "scheduled" else "ends_at"]
        for name, row in found.items()
        if row["status"] != "ended"
    }
    assert all(at > at_text(till.at_ms) for at in due.values())
    for each in wallet["grants"]:
        owner = each.get("subscription")
        if owner is not None and found[owner]["status"] == "ended":
            assert "next_at" not in each
            assert each["id"] == f"{owner}/welcome" or each.get("held", "0") != "0"


@given(
    st.integers(1, 10**20),
    st.integers(1, 10**10),
    st.lists(st.integers(0, 10**10), max_size=6),
    st.sampled_from([1, 10**10]),
)
def test_parts_of_a_fee_sum_to_the_whole_wherever_the_cycle_is_cut(
    steps: int, length_ms: int, cuts: list[int], step: int
) -> None:
    whole = steps * step
    ends = sorted({0, length_ms, *(cut % length_ms for cut in cuts)})
    parts = [
        share(whole, until, length_ms, step) - share(whole, since, length_ms, step)
        for since, until in itertools.pairwise(ends)
    ]
    assert sum(parts) == whole
    for part, (since, until) in zip(parts, itertools.pairwise(ends), strict=True):
        assert abs(part - Fraction(whole * (until - since), length_ms)) <= step


@given(STEPS)
@settings(max_examples=50, deadline=None)
def test_what_is_invoiced_and_debited_of_fees_is_in_their_facts(
    steps: list[tuple[str, Any]],
) -> None:
    till = Till(BOOK)
    for kind, what in steps:
        play(till, kind, what)
    for entry in till.entries("ada"):
        data = entry["data"]
        facts = data.get("fee")
        if facts is None:
            assert not entry["type"].endswith(".fee")
        elif facts["pay"] == "wallet":
            assert (data["asset"], data["amount"]) == (facts["asset"], facts["amount"])
        else:
            assert "amount" not in data
            assert data.get("revenue", "0") == facts["amount"]
