"""What a usage event debits: from what is there, on credit, overdrawn; once; and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.till import (
    DAY,
    SECOND,
    START_MS,
    Till,
    llm_book,
    price_book,
    tokens,
)

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason

NOW = START_MS
GPT = tokens("gpt", {"input": "2", "output": "10"}, model="gpt")


def refused(till: Till, customer: str = "ada", units: Any = 1, **more: Any) -> RecordError:
    with pytest.raises(RecordError) as found:
        till.use(customer, units, **more)
    return found.value


def test_a_wallet_is_spent_line_by_line() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.command("set_terms", "ada", credit_limits={"USD": "3"})
    for units in (4, "5.5", 2, 4):
        till.use("ada", units)
    till.grant("ada", "8", "h")

    assert till.statement("ada") == [
        ("grant", "10", "10", {}),
        ("terms", "", "", {}),
        ("debit", "4", "6", {"g": "4"}),
        ("debit", "5.5", "0.5", {"g": "5.5"}),
        ("debit", "2", "-1.5", {"g": "0.5", "credit": "1.5"}),
        ("debit", "4", "-5.5", {"credit": "1.5", "overdrawn": "2.5"}),
        ("grant", "8", "2.5", {"credit": "-3", "overdrawn": "-2.5"}),
    ]
    assert till.left("ada") == {"h": "2.5"}
    assert till.account("ada") == {
        "available": "5.5",
        "balance": "2.5",
        "unspent": "2.5",
        "credit_limit": "3",
        "granted": "18",
        "debited": "15.5",
    }
    assert till.wrongs() == []


def test_usage_of_a_customer_nobody_has_seen_opens_a_wallet_and_overdraws_it() -> None:
    till = Till()
    decided = till.use("new", 7)
    assert till.statement("new") == [("debit", "7", "-7", {"overdrawn": "7"})]
    assert decided.overdrawn == 7 * 10**12
    assert till.account("new") == {
        "available": "0",
        "balance": "-7",
        "overdrawn": "7",
        "debited": "7",
    }


def test_what_is_overdrawn_is_paid_first_and_in_part() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "2"})
    till.use("ada", 7)
    till.grant("ada", "4", "small")
    assert till.statement("ada")[-1] == ("grant", "4", "-3", {"overdrawn": "-4"})
    assert till.left("ada") == {}
    till.grant("ada", "2", "more")
    assert till.statement("ada")[-1] == ("grant", "2", "-1", {"credit": "-1", "overdrawn": "-1"})
    assert till.account("ada")["credit_used"] == "1"
    assert till.wrongs() == []


@pytest.mark.parametrize(
    "terms",
    [{"effective_at": NOW + DAY}, {"scope": {"meters": ["other"]}}],
    ids=["later", "scoped"],
)
def test_a_grant_that_cannot_pay_for_everything_now_pays_no_debt(terms: dict[str, Any]) -> None:
    till = Till()
    till.use("ada", 3)
    till.grant("ada", "5", "g", **terms)
    assert till.statement("ada")[-1] == ("grant", "5", "2", {})
    assert till.account("ada")["overdrawn"] == "3"
    assert till.left("ada") == {"g": "5"}


def test_a_free_use_is_an_entry_too() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 0)
    assert till.statement("ada")[-1] == ("debit", "0", "10", {})


# --- unpriced ------------------------------------------------------------------------------------


def test_usage_without_a_matching_rate_is_recorded_with_its_cost_and_debits_nothing() -> None:
    till = Till(llm_book(GPT, costs=[tokens("any", {"input": "1"})]))
    till.grant("ada", "10", "g")
    decided = till.use("ada", type="llm", input=2_000_000, model="new-model")
    assert decided.unpriced == "no rate matches"
    entry = till.entries("ada")[-1]
    assert entry["type"] == "drawdown.entry.unpriced"
    assert entry["data"]["price"] == {
        "book": "v1",
        "book_offset": 4,
        "cost_rate": "any",
        "unpriced": "no rate matches",
    }
    assert entry["data"]["usage"]["quantities"] == {"input": 2_000_000}
    assert entry["data"]["cost"] == "2"
    assert "amount" not in entry["data"]
    assert till.balance("ada") == "10"
    assert till.wallet("ada")["cost"] == "2"


def test_a_quantity_without_a_price_makes_the_whole_use_unpriced() -> None:
    till = Till(llm_book(GPT))
    assert till.use("ada", type="llm", input=1, reasoning=5, model="gpt").unpriced == "reasoning"
    assert till.use("ada", type="llm", input=1, reasoning=0, model="gpt").unpriced is None


def test_reported_costs_override_the_cost_book() -> None:
    till = Till(llm_book(GPT, costs=[tokens("gpt", {"input": "1", "output": "5"}, model="gpt")]))
    till.use("ada", type="llm", input=1_000_000, model="gpt")
    till.use("ada", type="llm", input=1, model="gpt", costs={"openai": "0.5", "tax": 1, "x": "0"})
    till.use("ada", type="llm", input=1, reasoning=1, model="gpt")
    by_rate, reported, unknown = [entry["data"] for entry in till.entries("ada")]
    assert (by_rate["cost"], by_rate["price"]["cost_rate"]) == ("1", "gpt")
    assert (reported["cost"], reported["price"]["cost_rate"]) == ("1.5", "reported")
    assert "cost" not in unknown
    assert "cost_rate" not in unknown["price"]
    assert till.wallet("ada")["cost"] == "2.5"


# --- identity ------------------------------------------------------------------------------------


def test_the_same_event_again_is_a_duplicate_and_gets_the_first_result() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    first = till.use("ada", 3, id="e1", time=at_text(NOW))
    till.at_ms += 10 * DAY
    again = till.use("ada", 3, id="e1", time=at_text(NOW))
    assert again.repeated == b"2 USD 3000000000000"
    assert (first.repeated, again.entries) == (None, ())
    assert till.balance("ada") == "7"


def test_the_same_id_of_another_source_or_customer_is_another_event() -> None:
    till = Till()
    for customer, source in (("ada", "a"), ("ada", "b"), ("bob", "a")):
        till.use(customer, 1, id="e1", source=source)
    assert len(till.journal) == 3


OTHER_CONTENT = [
    {"units": 2},
    {"units": "1"},
    {"units": 1.5},
    {"team": "red"},
    {"type": "work.done"},
    {"time": at_text(NOW + 1)},
]


@pytest.mark.parametrize("changed", OTHER_CONTENT, ids=str)
def test_the_same_id_with_other_content_is_a_conflict(changed: dict[str, Any]) -> None:
    till = Till()
    event = {"units": 1, "id": "e1", "time": at_text(NOW)}
    till.use("ada", **event)
    with pytest.raises(RecordError) as found:
        till.use("ada", **{**event, **changed})
    assert (found.value.reason, found.value.field) == (Reason.CONFLICT, "id")
    assert len(till.journal) == 1
    assert till.use("ada", **event).repeated is not None


def test_the_order_of_the_fields_is_no_content() -> None:
    till = Till()
    till.use("ada", 1, id="e1", team="red", tier="pro")
    assert till.use("ada", tier="pro", id="e1", team="red", units=1).repeated is not None


def test_a_time_that_a_gateway_filled_in_is_no_content() -> None:
    till = Till()
    till.use("ada", 1, id="e1", time=at_text(NOW), timesource="gateway")
    again = till.use("ada", 1, id="e1", time=at_text(NOW + SECOND), timesource="gateway")
    assert again.repeated is not None
    assert refused(till, id="e1", time=at_text(NOW)).reason == Reason.CONFLICT


# --- late and early ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead_ms", "reason"),
    [
        (-35 * DAY, None),
        (-35 * DAY - 1, Reason.TOO_LATE),
        (-35 * DAY - SECOND, Reason.TOO_LATE),
        (0, None),
        (300_000, None),
        (300_001, Reason.TOO_EARLY),
    ],
)
def test_lateness_is_bounded_to_the_millisecond(ahead_ms: int, reason: Reason | None) -> None:
    till = Till()
    if reason is None:
        till.use("ada", 1, time=at_text(NOW + ahead_ms))
        assert till.entries("ada")[0]["data"]["usage"]["time"] == at_text(NOW + ahead_ms)
    else:
        error = refused(till, time=at_text(NOW + ahead_ms))
        assert (error.reason, error.field) == (reason, "time")


def test_a_book_may_accept_less_lateness() -> None:
    till = Till(price_book(lateness_days=1))
    till.use("ada", 1, time=at_text(NOW - DAY))
    error = refused(till, time=at_text(NOW - DAY - 1))
    assert error.reason == Reason.TOO_LATE
    assert "at most 86400 s (1 days)" in error.detail


def test_the_book_in_effect_says_how_late_an_event_may_be() -> None:
    till = Till(price_book())
    till.publish(price_book("v2", lateness_days=1), NOW)
    assert refused(till, time=at_text(NOW - 2 * DAY)).reason == Reason.TOO_LATE
    till.at_ms = NOW - 1
    till.use("ada", 1, time=at_text(NOW - 2 * DAY))


def test_without_a_time_it_is_the_time_of_arrival() -> None:
    till = Till()
    till.use("ada", 1)
    assert till.entries("ada")[0]["data"]["usage"]["time"] == at_text(NOW)


def test_an_event_before_any_price_book_says_so() -> None:
    till = Till(book=None)
    till.publish(price_book(), NOW)
    assert refused(till, time=at_text(NOW - 1)).reason == Reason.NO_PRICE_BOOK
    till.use("ada", 1, time=at_text(NOW))
    assert refused(Till(book=None)).reason == Reason.NO_PRICE_BOOK


def test_a_late_event_is_priced_by_its_own_time_and_paid_by_what_is_in_effect_now() -> None:
    till = Till()
    dear = price_book("v2").model_dump(mode="json")
    dear["rates"][0]["price"]["price"] = "3"
    till.publish(type(price_book()).model_validate_json(json.dumps(dear)), NOW)
    till.grant("ada", "10", "then", effective_at=NOW - 9 * DAY, expires_at=NOW + 1)
    till.grant("ada", "10", "now")
    till.at_ms = NOW + SECOND
    till.use("ada", 1, time=at_text(NOW - DAY))
    till.use("ada", 1, time=at_text(NOW))
    assert [line[1:] for line in till.statement("ada")[2:]] == [
        ("1", "19", {"now": "1"}),
        ("3", "16", {"now": "3"}),
    ]
    assert [e["data"]["price"]["book"] for e in till.entries("ada")[2:]] == ["v1", "v2"]


# --- bounds --------------------------------------------------------------------------------------


def test_no_account_ever_holds_more_than_38_digits() -> None:
    till = Till()
    till.grant("ada", "9" * 26, "g")
    with pytest.raises(RecordError) as found:
        till.grant("ada", "1", "h")
    assert (found.value.reason, found.value.field) == (Reason.INVALID, "amount")
    million = Till(
        price_book(
            rates=[
                rate.model_copy(update={"price": rate.price.model_copy(update={"price": "9" * 20})})
                for rate in price_book().rates[:1]
            ]
        )
    )
    error = refused(million, units=10**19)
    assert (error.reason, error.field) == (Reason.BAD_QUANTITY, "data")
    assert million.journal == []


def test_a_rate_below_zero_is_refused_and_changes_nothing() -> None:
    rate = price_book().rates[0]
    gift = rate.model_copy(update={"price": rate.price.model_copy(update={"price": "-1"})})
    till = Till(price_book(rates=[gift]))
    assert "below zero" in refused(till).detail
    till.use("ada", 0)


# --- what an entry says --------------------------------------------------------------------------


def test_an_entry_carries_all_that_later_questions_need() -> None:
    till = Till(
        llm_book(
            GPT,
            costs=[tokens("gpt-cost", {"input": "1", "output": "5"}, model="gpt")],
        )
    )
    till.grant("ada", "0.000003", "promo", category="promotional")
    till.grant("ada", "1", "paid")
    before = till.entries("ada")[-1]
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "proxy",
        "type": "llm",
        "subject": "ada",
        "time": "2027-01-15T09:00:00+01:00",
        "data": {
            "model": "gpt",
            "input": 1,
            "output": "0.5",
            "team": "red",
            "batch": False,
            "tier": 2.5,
            "tags": ["dropped"],
            "none": None,
        },
    }
    till.at_ms = NOW + 7
    till.take_event(json.dumps(event).encode())
    entry = till.entries("ada")[-1]
    digest, fingerprint = entry.pop("digest"), entry["data"].pop("fingerprint")
    assert (len(digest), len(fingerprint)) == (64, 32)
    assert entry == {
        "specversion": "1.0",
        "id": "ada/3",
        "source": "drawdown",
        "type": "drawdown.entry.debit",
        "subject": "ada",
        "time": at_text(NOW + 7),
        "datacontenttype": "application/json",
        "data": {
            "sequence": 3,
            "previous": before["digest"],
            "cause": {"topic": "usage-events", "partition": 0, "offset": 2},
            "actor": "k1",
            "source": "proxy",
            "id": "e1",
            "usage": {
                "meter": "llm",
                "time": "2027-01-15T09:00:00+01:00",
                "quantities": {"input": 1, "output": "0.5"},
                "dimensions": {"model": "gpt", "team": "red", "batch": "false", "tier": "2.5"},
            },
            "price": {
                "book": "v1",
                "book_offset": 4,
                "rate": "gpt",
                "rounding": "exact",
                "cost_rate": "gpt-cost",
                "match": "exact",
            },
            "asset": "USD",
            "amount": "0.000007",
            "before": "1.000003",
            "after": "0.999996",
            "allocations": [
                {"grant": "promo", "amount": "0.000003"},
                {"grant": "paid", "amount": "0.000004", "revenue": "0.000004"},
            ],
            "revenue": "0.000004",
            "cost": "0.0000035",
        },
    }
