"""Grants: what puts value into a wallet, what it was sold for, and its lapse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.till import DAY, START_MS, Till, decision

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.ledger.values import GRANTS_LENGTH_MAX, GRANTS_MAX, recognized

NOW = START_MS


def refused(till: Till, amount: str = "1", grant_id: str = "x", **terms: Any) -> RecordError:
    with pytest.raises(RecordError) as found:
        till.grant("ada", amount, grant_id, **terms)
    return found.value


def test_a_grant_opens_a_wallet_and_says_all_of_its_terms() -> None:
    till = Till()
    decided = till.grant(
        "ada",
        "12.50",
        "g",
        id="c1",
        asset="credit",
        category="paid",
        priority=7,
        effective_at=NOW - DAY,
        expires_at=NOW + DAY,
        scope={"meters": ["work"], "dimensions": {"team": ["red"]}},
        cost_basis="0.008",
        reason="order 17",
        metadata={"invoice": "17"},
    )
    (entry,) = till.entries("ada")
    data = entry["data"]
    assert data["grant"] == {
        "id": "g",
        "category": "paid",
        "priority": 7,
        "effective_at": at_text(NOW - DAY),
        "expires_at": at_text(NOW + DAY),
        "scope": {"meters": ["work"], "dimensions": {"team": ["red"]}},
        "paid": "0.1",
        "metadata": {"invoice": "17"},
    }
    assert (data["amount"], data["before"], data["after"]) == ("12.5", "0", "12.5")
    assert (data["reason"], data["id"], data["previous"]) == ("order 17", "c1", "0" * 64)
    answer = decision(decided.answer)
    assert {name: answer[name] for name in ("allowed", "reason", "asset", "amount", "balance")} == {
        "allowed": True,
        "reason": "ok",
        "asset": "credit",
        "amount": "12.5",
        "balance": "12.5",
    }
    assert (answer["grant"], answer["sequence"], answer["digest"]) == ("g", 1, entry["digest"])


def test_the_grants_id_defaults_to_the_commands() -> None:
    till = Till()
    till.command("grant", "ada", id="c9", asset="USD", amount="1")
    assert till.left("ada") == {"c9": "1"}


@pytest.mark.parametrize(
    ("category", "priority"), [("paid", 100), ("promotional", 100), ("included", 50)]
)
def test_default_priorities(category: str, priority: int) -> None:
    till = Till()
    till.grant("ada", "1", "g", category=category)
    assert till.wallet("ada")["grants"][0]["priority"] == priority


REFUSED: list[tuple[str, dict[str, Any], Reason, str | None]] = [
    ("zero", {"amount": "0.000"}, Reason.INVALID, "amount"),
    ("unknown asset", {"asset": "EUR"}, Reason.INVALID, "asset"),
    ("too fine", {"asset": "token", "amount": "0.5", "cost_basis": "1"}, Reason.INVALID, "amount"),
    ("over now", {"expires_at": NOW}, Reason.INVALID, "expires_at"),
    ("over before it begins", {"effective_at": NOW + 9, "expires_at": NOW + 9}, Reason.INVALID,
     "expires_at"),
    ("live id", {"grant_id": "live"}, Reason.INVALID, "grant_id"),
    ("negative basis", {"cost_basis": "-0.1"}, Reason.INVALID, "cost_basis"),
    ("endless basis", {"amount": "9" * 20, "cost_basis": "9" * 20}, Reason.INVALID, "cost_basis"),
    ("paid, of another asset, basis unsaid", {"asset": "credit"}, Reason.INVALID, "cost_basis"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("terms", "reason", "field"), [pytest.param(*rest, id=name) for name, *rest in REFUSED]
)
def test_impossible_grants_name_the_field_and_change_nothing(
    terms: dict[str, Any], reason: Reason, field: str | None
) -> None:
    till = Till()
    till.grant("ada", "1", "live")
    error = refused(till, **terms)
    assert (error.reason, error.field) == (reason, field)
    assert len(till.journal) == 1


def test_an_id_may_be_used_again_when_its_grant_is_spent() -> None:
    till = Till()
    till.grant("ada", "1", "monthly")
    till.use("ada", 1)
    till.grant("ada", "1", "monthly")
    assert till.left("ada") == {"monthly": "1"}
    assert till.wrongs() == []


def test_a_wallet_holds_so_many_live_grants() -> None:
    till = Till()
    for number in range(GRANTS_MAX):
        till.grant("ada", "1", f"g{number}")
    assert refused(till).reason == Reason.TOO_MANY_GRANTS
    till.use("ada", 1)
    till.grant("ada", "1", "now there is room")


def test_what_grants_say_of_themselves_is_bounded_too() -> None:
    """Every debit writes the wallet: it must stay a record that a topic takes."""
    till = Till()
    much = {f"name{number}": "x" * 256 for number in range(32)}
    till.grant("ada", "1", "first", metadata=much)
    error = refused(till, metadata=much)
    assert (error.reason, str(GRANTS_LENGTH_MAX) in error.detail) == (Reason.TOO_MANY_GRANTS, True)
    till.grant("ada", "1", "modest")


# --- commands are idempotent ---------------------------------------------------------------------


def test_the_same_grant_again_gets_the_first_answer_and_grants_nothing_more() -> None:
    till = Till()
    first = till.grant("ada", "5", "g", id="c1", time=at_text(NOW))
    till.use("ada", 5)
    till.at_ms = NOW + DAY
    again = till.grant("ada", "5", "g", id="c1", time=at_text(NOW), deadline_at=at_text(NOW + DAY))
    assert decision(again.answer) == {**decision(first.answer), "duplicate": True}
    assert till.balance("ada") == "0"


@pytest.mark.parametrize(
    "changed", [{"amount": "6"}, {"priority": 3}, {"time": at_text(NOW + 1)}, {"reason": "why"}]
)
def test_the_same_id_for_another_command_is_a_conflict(changed: dict[str, Any]) -> None:
    till = Till()
    command = {"id": "c1", "asset": "USD", "amount": "5", "time": at_text(NOW)}
    till.command("grant", "ada", **command)
    with pytest.raises(RecordError) as found:
        till.command("grant", "ada", **{**command, **changed})
    assert (found.value.reason, found.value.field) == (Reason.CONFLICT, "id")


def test_past_its_deadline_a_command_is_not_evaluated() -> None:
    till = Till()
    till.grant("ada", "5", "in-time", deadline_at=at_text(NOW))
    assert refused(till, deadline_at=at_text(NOW - 1)).reason == Reason.DEADLINE_PASSED
    assert till.balance("ada") == "5"


# --- revenue -------------------------------------------------------------------------------------

REVENUE: list[tuple[dict[str, Any], str]] = [
    # how 10 were granted, what spending 4 of them recognizes
    ({}, "4"),
    ({"cost_basis": "0.5"}, "2"),
    ({"cost_basis": "0"}, "0"),
    ({"category": "promotional"}, "0"),
    ({"category": "included"}, "0"),
    ({"category": "included", "cost_basis": "0.25"}, "1"),
    ({"category": "promotional", "cost_basis": "0.1"}, "0.4"),
]


@pytest.mark.parametrize(("terms", "revenue"), REVENUE)
def test_spending_recognizes_what_was_paid(terms: dict[str, Any], revenue: str) -> None:
    till = Till()
    till.grant("ada", "10", "g", **terms)
    till.use("ada", 4)
    assert till.wallet("ada").get("revenue", "0") == revenue


def test_the_parts_of_a_grants_revenue_sum_to_what_was_paid() -> None:
    """10 sold for 1/3 each: rounded in parts, exact in all."""
    till = Till()
    till.grant("ada", "10", "g", cost_basis="0." + "3" * 30)
    paid = till.wallet("ada")["grants"][0]["paid"]
    assert paid == "3.333333333333"
    for _ in range(10):
        till.use("ada", 1)
    assert till.wallet("ada")["revenue"] == paid
    parts = [entry["data"]["revenue"] for entry in till.entries("ada")[1:]]
    assert set(parts) == {"0.333333333333", "0.333333333334"} or set(parts) == {"0.333333333333"}


@given(
    st.integers(0, 10**40),
    st.lists(st.integers(1, 10**14), min_size=1, max_size=20),
)
def test_recognition_is_monotonic_and_complete(paid: int, parts: list[int]) -> None:
    amount = sum(parts)
    spent, recognized_so_far, total = 0, 0, 0
    for part in parts:
        spent += part
        total = recognized(paid, amount, spent)
        assert total >= recognized_so_far
        recognized_so_far = total
    assert total == paid


@pytest.mark.parametrize(
    ("paid", "amount", "spent", "revenue"),
    [
        (1, 2, 1, 0),
        (3, 2, 1, 2),
        (5, 2, 1, 2),
        (2, 3, 1, 1),
        (1, 3, 1, 0),
        (7, 7, 3, 3),
        (0, 7, 3, 0),
    ],
)
def test_revenue_is_rounded_half_even(paid: int, amount: int, spent: int, revenue: int) -> None:
    assert recognized(paid, amount, spent) == revenue


def test_debts_are_revenue_when_a_grant_pays_them() -> None:
    till = Till()
    till.use("ada", 4)
    assert "revenue" not in till.wallet("ada")
    till.grant("ada", "10", "g", cost_basis="0.5")
    assert till.wallet("ada")["revenue"] == "2"
    till.use("ada", 6)
    assert till.wallet("ada")["revenue"] == "5"


def test_credit_in_the_reporting_currency_is_revenue_when_used_because_it_is_invoiced() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "3"})
    till.use("ada", 4)
    assert till.wallet("ada")["revenue"] == "3"
    till.grant("ada", "10", "g")
    assert till.wallet("ada")["revenue"] == "4"
    till.use("ada", 6)
    assert till.wallet("ada")["revenue"] == "10"


# --- lapse ---------------------------------------------------------------------------------------


def test_what_is_left_of_a_grant_lapses_at_its_expiry() -> None:
    till = Till()
    till.grant("ada", "10", "g", expires_at=NOW + DAY)
    till.grant("ada", "5", "h")
    till.use("ada", 4)
    assert till.tick(NOW + DAY - 1) == []
    till.tick(NOW + DAY)
    assert till.statement("ada")[-1] == ("lapse", "6", "5", {"g": "6"})
    assert till.entries("ada")[-1]["data"]["cause"] == {
        "timer": "expiry",
        "due_at": at_text(NOW + DAY),
    }
    assert till.account("ada") == {
        "available": "5",
        "balance": "5",
        "unspent": "5",
        "granted": "15",
        "debited": "4",
        "lapsed": "6",
    }
    assert till.tick() == []
    assert till.wrongs() == []


def test_a_timer_that_comes_late_lapses_all_that_is_due_in_turn() -> None:
    till = Till()
    till.grant("ada", "1", "b", expires_at=NOW + 2)
    till.grant("ada", "2", "a", expires_at=NOW + 1)
    till.grant("ada", "3", "c", expires_at=NOW + 3)
    till.tick(NOW + 2)
    assert till.statement("ada")[3:] == [
        ("lapse", "2", "4", {"a": "2"}),
        ("lapse", "1", "3", {"b": "1"}),
    ]
    row = till.rows["ada"]
    assert row is not None
    assert row.due_ms == NOW + 3


def test_a_spent_grant_has_nothing_to_lapse() -> None:
    till = Till()
    till.grant("ada", "1", "g", expires_at=NOW + 1)
    till.use("ada", 1)
    assert till.tick(NOW + 1) == []


def test_between_expiry_and_its_timer_a_grant_pays_nothing() -> None:
    till = Till()
    till.grant("ada", "1", "g", expires_at=NOW + 1)
    till.at_ms = NOW + 1
    assert not till.authorize("ada", 1).allowed
    till.use("ada", 1)
    assert till.statement("ada")[-1] == ("debit", "1", "0", {"overdrawn": "1"})
    till.tick()
    assert till.statement("ada")[-1] == ("lapse", "1", "-1", {"g": "1"})


def test_grants_as_far_away_as_there_are_times() -> None:
    till = Till()
    till.command("grant", "ada", asset="USD", amount="1", grant_id="g",
                 effective_at="0001-01-01T00:00:00+14:00",
                 expires_at="9999-12-31T23:59:59-14:00")  # fmt: skip
    assert till.authorize("ada", 1).allowed
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
