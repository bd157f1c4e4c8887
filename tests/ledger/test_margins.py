"""Costs of a task joined to its outcome, and margins by any dimension."""

from __future__ import annotations

from typing import Any

from drawdown.events.numbers import amount_of, amount_text
from drawdown.pure import Ledger


def fin(**more: Any) -> Ledger:
    """0.99 a resolution after 50 included, whose model calls are priced at zero; a call costs by
    its tokens, a GPU by the second."""
    resolution = {
        "model": "outcome",
        "key": "conversation",
        "price": "0.99",
        "included": "50",
        "undo": {"dimension": "state", "value": "reopened"},
    }
    zero = {"model": "flat", "price": "0"}
    tokens = {"model": "token_map", "per": 1_000_000, "prices": {"input": "3", "output": "15"}}
    second = {"model": "per_unit", "quantity": "seconds", "price": "0.000306"}
    fields = {"input": "input", "output": "output"}
    content = {
        "version": "fin",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [
            {"id": "fin", "event_types": ["fin"]},
            {"id": "llm", "event_types": ["llm"], "fields": fields},
            {"id": "gpu", "event_types": ["gpu"], "fields": {"seconds": "seconds"}},
        ],
        "rates": [
            {"id": "fin", "meter": "fin", "asset": "USD", "price": resolution},
            {"id": "calls", "meter": "llm", "asset": "USD", "price": zero},
            {"id": "gpus", "meter": "gpu", "asset": "USD", "price": zero},
        ],
        "costs": [
            {"id": "llm", "meter": "llm", "asset": "USD", "price": tokens},
            {"id": "a100", "meter": "gpu", "match": {"gpu": "a100"}, "asset": "USD",
             "price": second},
        ],
    }  # fmt: skip
    ledger = Ledger({**content, **more}, at="2027-01-01T00:00:00Z")
    ledger.grant("ada", "10000")
    return ledger


def test_an_outcome_bears_the_cost_of_all_its_calls() -> None:
    ledger = fin()
    for number in range(51):
        task = {"conversation": f"c{number}"}
        for _ in range(3):
            ledger.use("ada", "llm", {**task, "input": 10_000, "output": 500})
        ledger.use("ada", "gpu", {**task, "seconds": 10, "gpu": "a100"})
        ledger.use("ada", "llm", {**task, "input": 1, "costs": {"vendor": "0.05"}})
        ledger.use("ada", "fin", task)
    found = ledger.margins("ada", "conversation")
    free, paid = found["c0"], found["c50"]
    # 3 x (0.03 + 0.0075) + 10 x 0.000306 + 0.05, as reported
    assert amount_text(paid.cost) == amount_text(free.cost) == "0.16556"
    assert (amount_text(paid.revenue), amount_text(paid.margin)) == ("0.99", "0.82444")
    assert (free.revenue, amount_text(free.margin), paid.uses) == (0, "-0.16556", 6)
    whole = ledger.wallet("ada")
    assert sum(of.cost for of in found.values()) == amount_of(whole["cost"])
    assert sum(of.revenue for of in found.values()) == amount_of(whole["revenue"])


def test_resolutions_of_a_month_and_those_that_open_again_in_the_next() -> None:
    """3,412 resolutions after 50 included; twelve re-open."""
    ledger = fin()
    for number in range(3412):
        ledger.use("ada", "fin", {"conversation": f"c{number}"})
    assert ledger.wallet("ada")["accounts"][0]["debited"] == "3328.38"
    ledger.advance("2027-02-03T00:00:00Z")
    for number in range(3400, 3412):
        task = {"conversation": f"c{number}"}
        ledger.use("ada", "llm", {**task, "input": 10_000})
        back = ledger.use("ada", "fin", {**task, "state": "reopened"})
        assert back["data"]["amount"] == "-0.99"
        assert back["data"]["running"]["starts_at"] == "2027-02-01T00:00:00Z"
    assert ledger.wallet("ada")["accounts"][0]["debited"] == "3316.5"
    found = ledger.margins("ada", "conversation")
    assert (found["c3411"].charged, amount_text(found["c3411"].margin)) == ({"USD": 0}, "-0.03")
    assert amount_text(found["c3399"].margin) == "0.99"


def test_what_is_reversed_or_priced_anew_counts_once() -> None:
    ledger = fin()
    for _ in range(2):
        ledger.use("ada", "llm", {"input": 10_000, "output": 0, "model": "m"})
    ledger.reverse("ada", 2, reason="the model failed")
    assert amount_text(ledger.margins("ada", "model")["m"].cost) == "0.03"
    tokens = {"model": "token_map", "per": 1_000_000, "prices": {"input": "5", "output": "5"}}
    priced = {"id": "calls", "meter": "llm", "asset": "USD", "price": tokens}
    content: dict[str, Any] = {
        "version": "priced",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [
            {"id": "llm", "event_types": ["llm"], "fields": {"input": "input", "output": "output"}}
        ],
        "rates": [priced],
    }
    ledger.publish(content, effective_at="2027-03-01T00:00:00Z")
    ledger.rerate("ada", 3, run="priced", reason="sold after all", book="priced")
    of = ledger.margins("ada", "model")["m"]
    assert {asset: amount_text(amount) for asset, amount in of.charged.items()} == {"USD": "0.05"}
    assert amount_text(of.margin) == "0.02"
