"""Margins and paces under any history: rows are what the entries add up to, and a margin of all the
customer's time is the wallet's own."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.till import DAY, HOUR, MINUTE, Till, price_book

from drawdown.events.codec import RecordError
from drawdown.events.pricebook import PerUnit, Rate
from drawdown.ledger.rows import row_bytes, row_of

TOTAL = {"every": "total"}
BUDGETS: dict[str, dict[str, Any]] = {
    "all": {"measure": "margin", "window": TOTAL},
    "each": {"measure": "margin", "window": TOTAL, "scope": {"model": "*"}},
    "day": {"measure": "margin", "floor": "20", "window": {"every": "day"}},
    "hour": {
        "measure": "margin",
        "floor": "-5",
        "scope": {"model": "*"},
        "cost_min": "3",
        "window": {"every": "rolling", "length_s": 3600},
    },
    "life": {
        "measure": "margin",
        "scope": {"model": "a"},
        "window": {"every": "life", "idle_s": 900},
    },
    "pace": {
        "measure": "quantity",
        "quantity": "units",
        "scope": {"model": "*"},
        "velocity": {"times": 2, "history": 2},
    },
}
KEPT = {"all", "each"}
MODELS = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), MODELS, st.integers(0, 9)),
        st.tuples(st.just("use"), MODELS, st.integers(0, 9), st.sampled_from([None, "0", "7"])),
        st.tuples(st.just("hold"), MODELS, st.integers(1, 9)),
        st.tuples(st.just("capture"), st.integers(0, 5), st.integers(0, 9)),
        st.tuples(st.just("reverse"), st.integers(1, 20)),
        st.tuples(st.just("rerate"), st.integers(1, 20)),
        st.tuples(st.just("grant"), st.integers(1, 20), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([MINUTE, 20 * MINUTE, HOUR, DAY, 36 * DAY])),
        st.tuples(st.just("remove"), st.sampled_from(sorted(BUDGETS.keys() - KEPT))),
        st.tuples(st.just("set"), st.sampled_from(sorted(BUDGETS))),
        st.tuples(st.just("store")),
    ),
    max_size=30,
)


def rates(price: str) -> dict[str, Any]:
    def rate(rate_id: str, text: str) -> Rate:
        per_unit = PerUnit(quantity="units", price=text)
        return Rate(id=rate_id, meter="work", asset="USD", price=per_unit)

    return {"rates": [rate("work", price)], "costs": [rate("cost", "0.7")]}


def opened() -> Till:
    till = Till(price_book(**rates("1")))
    till.publish(price_book("v2", **rates("1.3")), 1 << 42)
    till.command("set_terms", "ada", credit_limits={"USD": "5"})
    for name, terms in BUDGETS.items():
        till.command("set_budget", "ada", budget_id=name, budget=terms)
    till.grant("ada", "30", "free", category="promotional")
    return till


def play(till: Till, steps: list[Any]) -> list[Any]:
    """Do them; the answers to what was asked. What is refused changes nothing."""
    answers, holds, grants = [], 0, 0
    for step in steps:
        before = len(till.journal)
        try:
            match step:
                case "ask", model, units:
                    answers.append(till.authorize("ada", units, dimensions={"model": model}))
                case "use", model, units, cost:
                    data = {} if cost is None else {"costs": {"x": cost}}
                    till.use("ada", units, model=model, **data)
                case "hold", model, units:
                    holds += 1
                    terms = {"hold_id": f"h{holds}"}
                    till.authorize(
                        "ada", units, dimensions={"model": model}, require="hold", hold=terms
                    )
                case "capture", number, units:
                    quantities = {"units": units}
                    till.command("capture", "ada", hold_id=f"h{number}", quantities=quantities)
                case "reverse", number:
                    till.reverse("ada", 1 + number % len(till.journal))
                case "rerate", number:
                    entry = till.entry("ada", 1 + number % len(till.journal))
                    said = {"run": "r", "reason": "wrong", "book": "v2", "entry": entry}
                    till.command("rerate", "ada", **said)
                case "grant", amount, paid:
                    grants += 1
                    category = "paid" if paid else "promotional"
                    till.grant("ada", str(amount), f"g{grants}", category=category)
                case "wait", length_ms:
                    till.tick(till.at_ms + length_ms)
                case "remove", name:
                    till.command("remove_budget", "ada", budget_id=name)
                case "set", name:
                    till.command("set_budget", "ada", budget_id=name, budget=BUDGETS[name])
                case ("store",):
                    kept = {key: row for key, row in till.rows.items() if row is not None}
                    till.rows = {key: row_of(row_bytes(row)) for key, row in kept.items()}
        except RecordError:
            assert len(till.journal) == before
    return answers


def margins(till: Till) -> dict[tuple[str, str], tuple[Fraction, Fraction]]:
    """Revenue and cost of each row, by budget and scope."""
    found = [json.loads(value) for value in till.bytes_of_rows().values()]
    return {
        (row["budget"], row["scope"]): (
            Fraction(row.get("revenue", "0")),
            Fraction(row.get("cost", "0")),
        )
        for row in found
        if row.get("row") == "margin"
    }


@settings(max_examples=200)
@given(STEPS)
def test_rows_are_what_the_entries_say(steps: list[Any]) -> None:
    till = opened()
    play(till, steps)
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    wallet, rows = till.wallet("ada"), margins(till)
    whole = Fraction(wallet.get("revenue", "0")), Fraction(wallet.get("cost", "0"))
    assert rows.get(("all", ""), (Fraction(0), Fraction(0))) == whole
    of_models: dict[str, list[Fraction]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for entry in till.entries("ada"):
        usage = entry["data"].get("usage")
        if usage is not None:
            for place, name in enumerate(("revenue", "cost")):
                of_models[usage["dimensions"]["model"]][place] += Fraction(
                    entry["data"].get(name, "0")
                )
    for model, (revenue, cost) in of_models.items():
        zero = Fraction(0), Fraction(0)
        assert rows.get(("each", f"model={model}"), zero) == (revenue, cost)


@settings(max_examples=200)
@given(STEPS)
def test_what_is_allowed_leaves_every_margin_at_its_floor_or_above(steps: list[Any]) -> None:
    till = opened()
    for answer in play(till, steps):
        if answer.reason == "insufficient_balance":
            continue  # it is said first
        under = set()
        for state in answer.margins:
            revenue = Fraction(state.revenue) + Fraction(state.expected_revenue or "0")
            cost = Fraction(state.cost) + Fraction(state.expected_cost or "0")
            least = Fraction(BUDGETS[state.budget].get("cost_min", "0"))
            if state.floor is None or cost < least:
                continue
            margin = revenue - cost
            if revenue > 0 and margin / revenue < Fraction(state.floor) / 100:
                under.add((state.budget, state.scope))
            if revenue <= 0 and margin < 0:
                under.add((state.budget, state.scope))
        assert {(each.budget, each.scope) for each in answer.margins if each.denies} == under
        assert (answer.reason == "margin_floor") == bool(under)


@settings(max_examples=200)
@given(STEPS)
def test_each_change_of_sign_is_told_in_turn(steps: list[Any]) -> None:
    """Down, up, down, ...: of a window without an end each is told once."""
    till = opened()
    play(till, steps)
    below: Counter[tuple[str, str]] = Counter()
    for entry in till.entries("ada"):
        for each in entry["data"].get("margins", []):
            key = each["budget"], each.get("scope", "")
            if key[0] not in KEPT:
                continue
            negative = Fraction(each.get("revenue", "0")) < Fraction(each.get("cost", "0"))
            assert ("sign" in each.get("tells", [])) == (negative != bool(below[key]))
            below[key] = int(negative)
