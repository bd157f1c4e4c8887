"""Budgets under any history: the rows are what the entries add up to, and no cap is passed by what
was held."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.till import DAY, HOUR, MINUTE, Till

from drawdown.events.codec import RecordError
from drawdown.events.numbers import amount_of
from drawdown.ledger.rows import row_bytes, row_of

BUDGETS: dict[str, dict[str, Any]] = {
    "all": {"asset": "USD", "cap": "60", "window": {"every": "day"}},
    "team": {"asset": "USD", "cap": "25", "scope": {"team": "a"}, "window": {"every": "total"}},
    "hour": {
        "asset": "USD",
        "cap": "12",
        "scope": {"key": "*"},
        "window": {"every": "rolling", "length_s": 3600},
    },
    "session": {
        "asset": "USD",
        "cap": "9",
        "scope": {"session": "*"},
        "window": {"every": "life", "idle_s": 900},
        "within": "team",
    },
    "open": {"measure": "open_holds", "cap": "3", "window": {"every": "total"}},
    "units": {"measure": "quantity", "quantity": "units", "cap": "40", "scope": {"team": "b"}},
}
DIMENSIONS = st.fixed_dictionaries(
    {},
    optional={
        "team": st.sampled_from(["a", "b"]),
        "key": st.sampled_from(["k", "l"]),
        "session": st.sampled_from(["s", "t"]),
    },
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), DIMENSIONS, st.integers(0, 9)),
        st.tuples(st.just("capture"), st.integers(0, 5), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("use hold"), st.integers(0, 5), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("release"), st.integers(0, 5)),
        st.tuples(st.just("debit"), DIMENSIONS, st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([MINUTE, 10 * MINUTE, HOUR, DAY])),
        st.tuples(st.just("remove"), st.sampled_from(sorted(BUDGETS))),
        st.tuples(st.just("set"), st.sampled_from(sorted(BUDGETS))),
        st.tuples(st.just("read anew"), st.integers(0, 2)),
    ),
    max_size=40,
)


def opened() -> Till:
    till = Till()
    till.grant("ada", "10000", "g")
    till.command("set_terms", "ada", capture_policy="cap")
    for name, terms in BUDGETS.items():
        till.command("set_budget", "ada", budget_id=name, budget=terms)
    return till


def play(till: Till, steps: list[Any], *, use: bool) -> None:
    """Do them; what is refused or denied changes nothing. Without `use` nothing is used but what a
    hold was made for."""
    holds = 0
    for step in steps:
        before = len(till.journal)
        try:
            match step:
                case "hold", dimensions, units:
                    terms = {"hold_id": f"h{holds}"}
                    holds += 1
                    till.authorize("ada", units, dimensions=dimensions, require="hold", hold=terms)
                case "capture", number, amount, final:
                    till.command(
                        "capture", "ada", hold_id=f"h{number}", amount=str(amount), final=final
                    )
                case "use hold", number, units, final:
                    found = till.held("ada", f"h{number}")
                    said = {} if found is None else found.get("dimensions", {})
                    if use or found is not None:
                        till.use("ada", units, hold=f"h{number}", final=final, **said)
                case "release", number:
                    till.command("release", "ada", hold_id=f"h{number}")
                case "debit", dimensions, units:
                    if use:
                        till.use("ada", units, **dimensions)
                case "wait", length_ms:
                    till.tick(till.at_ms + length_ms)
                case "remove", name:
                    if use:
                        till.command("remove_budget", "ada", budget_id=name)
                case "read anew", part:  # a cache dropped some of the rows
                    for number, (key, row) in enumerate(till.rows.items()):
                        if row is not None and number % 3 == part:
                            till.rows[key] = row_of(row_bytes(row))
                case "set", name:
                    till.command("set_budget", "ada", budget_id=name, budget=BUDGETS[name])
        except RecordError:
            assert len(till.journal) == before


def rows(till: Till, kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(row_bytes(row))
        for key, row in till.rows.items()
        if row is not None and f"\u001f{kind}\u001f" in key
    ]


@settings(max_examples=150)
@given(STEPS)
def test_rows_are_what_the_entries_and_the_open_holds_say(steps: list[Any]) -> None:
    till = opened()
    play(till, steps, use=True)
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    held: Counter[tuple[str, str]] = Counter()
    for hold in rows(till, "hold"):
        for limit in hold.get("limits", []):
            held[limit["budget"], limit.get("scope", "")] += amount_of(limit["held"])
    known = {row["id"] for row in rows(till, "budget")}
    for row in rows(till, "spent"):
        key = row["budget"], row["scope"]
        # A hold from before a budget was removed and set again does not count in the new one.
        assert amount_of(row.get("held", "0")) <= held[key]
        buckets = sum(amount_of(bucket["used"]) for bucket in row.get("buckets", []))
        if row["window"].get("every") == "rolling":
            assert buckets == amount_of(row.get("used", "0"))
        assert row["budget"] in known or row.get("each")


@settings(max_examples=150)
@given(STEPS)
def test_no_cap_is_passed_by_what_was_held(steps: list[Any]) -> None:
    """Where every use is held first and none is more than its hold, a budget is never passed: at no
    entry, in no window."""
    till = opened()
    play(till, steps, use=False)
    caps = {name: amount_of(terms["cap"]) for name, terms in BUDGETS.items()}
    for entry in till.entries("ada"):
        for limit in entry["data"].get("limits", []):
            used = amount_of(limit.get("after", "0")) + amount_of(limit.get("held", "0"))
            assert used <= caps[limit["budget"]], (entry["data"]["sequence"], limit)
    held: Counter[tuple[str, str]] = Counter()
    for hold in rows(till, "hold"):
        for limit in hold.get("limits", []):
            held[limit["budget"], limit.get("scope", "")] += amount_of(limit["held"])
    assert held == Counter(
        {
            (row["budget"], row["scope"]): amount_of(row["held"])
            for row in rows(till, "spent")
            if "held" in row
        }
    )
