"""Reversals: the exact inverse of an entry, once; and once more of that."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ledger.test_corrections import CONVERSIONS, refusal, sound
from tests.support.till import DAY, START_MS, Till, llm_book, price_book

from drawdown.events.base import at_text
from drawdown.events.reasons import Reason

NOW = START_MS


def test_a_reversed_debit_is_back_in_the_very_grants_it_came_from() -> None:
    till = Till()
    till.grant("ada", "4", "a", cost_basis="0.5", scope={"dimensions": {"team": ["red"]}})
    till.grant("ada", "10", "b")
    till.use("ada", 3, team="red", costs={"vendor": "0.7"})
    till.use("ada", 2)
    till.reverse("ada", 3, reason="the model failed")
    assert till.statement("ada")[-1] == ("reversal", "3", "12", {"a": "-3"})
    data = till.entry("ada")["data"]
    assert data["reverses"] == {
        "sequence": 3,
        "entry_digest": till.entry("ada", 3)["digest"],
        "kind": "debit",
        "back": True,
    }
    assert (data["revenue"], data["cost"], data["reason"]) == ("-1.5", "-0.7", "the model failed")
    assert data["usage"]["meter"] == "work"
    assert till.left("ada") == {"a": "4", "b": "8"}
    assert till.wallet("ada")["revenue"] == "2"
    assert till.account("ada")["reversed_in"] == "3"
    sound(till)


def test_the_cost_of_what_was_done_and_is_refunded_may_stay() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 5, costs={"vendor": "0.7"})
    till.reverse("ada", keep_cost=True)
    assert till.wallet("ada")["cost"] == "0.7"


def test_a_grant_that_is_spent_lives_no_more_and_what_it_paid_is_a_new_one() -> None:
    till = Till()
    till.grant("ada", "3", "a", cost_basis="0.5")
    till.use("ada", 3)
    till.reverse("ada", id="r1")
    assert till.left("ada") == {"r1": "3"}
    (grant,) = till.wallet("ada")["grants"]
    assert (grant["paid"], grant["category"]) == ("1.5", "paid")
    till.use("ada", 3)
    assert till.wallet("ada")["revenue"] == "1.5"
    sound(till)


def test_or_it_stays_with_the_grant_that_is_gone() -> None:
    till = Till()
    till.grant("ada", "3", "a", priority=1)
    till.grant("ada", "10", "b", priority=2)
    till.use("ada", 5)
    till.reverse("ada", gone="lapse")
    assert till.statement("ada")[-1] == ("reversal", "2", "10", {"b": "-2"})
    assert till.wallet("ada")["revenue"] == "3"
    sound(till)


def test_another_grant_of_the_same_id_is_another_grant() -> None:
    till = Till()
    till.grant("ada", "3", "a")
    till.use("ada", 3)
    till.grant("ada", "4", "a")
    till.reverse("ada", 2, id="r1")
    assert till.left("ada") == {"a": "4", "r1": "3"}
    sound(till)


def test_a_grant_that_expired_gets_nothing_back() -> None:
    till = Till()
    till.grant("ada", "10", "a", expires_at=NOW + DAY)
    till.use("ada", 3)
    till.at_ms = NOW + DAY
    till.reverse("ada", 2, id="r1")
    till.tick()
    assert till.left("ada") == {"r1": "3"}
    assert till.statement("ada")[-1] == ("lapse", "7", "3", {"a": "7"})
    sound(till)


def test_credit_and_what_was_overdrawn_are_owed_no_more() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "2"})
    till.grant("ada", "1", "g")
    till.use("ada", 5)
    till.reverse("ada", id="r1")
    assert till.statement("ada")[-1] == ("reversal", "5", "1", {"credit": "-2", "overdrawn": "-2"})
    assert till.account("ada")["available"] == "3"
    assert "revenue" not in till.wallet("ada")
    sound(till)


def test_debts_that_were_paid_since_come_back_as_a_grant() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "2"})
    till.use("ada", 5)
    till.grant("ada", "10", "g")
    assert till.wallet("ada")["revenue"] == "5"
    till.reverse("ada", 2, id="r1")
    assert till.left("ada") == {"g": "5", "r1": "5"}
    till.use("ada", 10)
    assert till.wallet("ada")["revenue"] == "10", "what was sold, and no more"
    sound(till)


def test_what_comes_back_pays_what_is_owed() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 9)
    till.use("ada", 4)
    till.reverse("ada", 2, id="r1")
    assert till.statement("ada")[-2:] == [
        ("reversal", "9", "6", {}),
        ("settle", "3", "6", {"r1": "3", "overdrawn": "-3"}),
    ]
    assert till.left("ada") == {"r1": "6"}
    assert "overdrawn" not in till.account("ada")
    assert till.wallet("ada")["revenue"] == "4"
    sound(till)


def test_credit_that_was_revenue_when_it_was_used_is_not_so_again_when_it_is_paid() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "6"})
    till.grant("ada", "9", "g")
    till.use("ada", 9)
    till.use("ada", 8)
    assert till.wallet("ada")["revenue"] == "15"
    till.reverse("ada", 3, id="r1")
    assert till.statement("ada")[-1] == (
        "settle", "8", "1", {"r1": "8", "credit": "-6", "overdrawn": "-2"},
    )  # fmt: skip
    assert till.wallet("ada")["revenue"] == "8", "what was used and not reversed"
    sound(till)


def test_a_capture_is_reversed_like_a_debit() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.authorize("ada", 5, require="hold", hold={"hold_id": "h"})
    till.command("capture", "ada", hold_id="h", amount="7")
    till.reverse("ada")
    assert till.statement("ada")[-1] == ("reversal", "7", "10", {"g": "-7"})
    sound(till)


def test_unpriced_usage_is_cancelled_with_its_cost() -> None:
    till = Till(llm_book())
    till.use("ada", type="llm", input=5, costs={"v": "0.5"})
    till.reverse("ada")
    assert "cost" not in till.wallet("ada")
    assert till.entry("ada")["data"]["cost"] == "-0.5"
    sound(till)


def test_a_lapse_is_reversed_with_its_breakage() -> None:
    till = Till()
    till.grant("ada", "10", "g", expires_at=NOW + DAY)
    till.tick(NOW + DAY)
    assert till.wallet("ada")["breakage"] == "10"
    till.reverse("ada", id="r1")
    assert till.left("ada") == {"r1": "10"}
    assert "breakage" not in till.wallet("ada")
    till.use("ada", 10)
    assert till.wallet("ada")["revenue"] == "10"
    sound(till)


# --- what was given is taken back ----------------------------------------------------------------


def test_a_top_up_that_is_refunded_takes_what_is_left_of_it_first() -> None:
    till = Till()
    till.grant("ada", "10", "refunded", priority=1)
    till.grant("ada", "3", "other", priority=2, cost_basis="0.5")
    till.use("ada", 4)
    till.reverse("ada", 1, reason="chargeback")
    parts = {"refunded": "6", "other": "3", "overdrawn": "1"}
    assert till.statement("ada")[-1] == ("reversal", "10", "-1", parts)
    # The 4 that were used are paid by the other grant now, as far as it goes.
    assert till.wallet("ada")["revenue"] == "1.5"
    assert till.entry("ada")["data"]["reverses"]["deferred"] == "6"
    assert till.account("ada")["reversed_out"] == "10"
    sound(till)


def test_a_top_up_that_is_all_spent_is_owed() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 10)
    till.reverse("ada", 1)
    assert till.account("ada")["overdrawn"] == "10"
    assert "revenue" not in till.wallet("ada")
    sound(till)


def test_a_top_up_that_is_held_is_not_refunded_before_the_hold_ends() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.authorize("ada", 5, require="hold", hold={"hold_id": "h"})
    assert refusal(till, "reverse", sequence=1).reason == Reason.NOT_REVERSIBLE


@pytest.mark.parametrize("how", ["void", "lapse"])
def test_a_grant_that_ended_otherwise_is_not_taken_back(how: str) -> None:
    till = Till()
    till.grant("ada", "10", "g", expires_at=NOW + DAY)
    if how == "void":
        till.command("void", "ada", grant_id="g")
    else:
        till.tick(NOW + DAY)
    reason = Reason.ALREADY_REVERSED if how == "void" else Reason.NOT_REVERSIBLE
    assert refusal(till, "reverse", sequence=1).reason == reason


def test_an_adjustment_is_reversed_either_way() -> None:
    till = Till()
    till.command("adjust", "ada", asset="USD", amount="10", reason="why", grant_id="g")
    till.command("adjust", "ada", asset="USD", amount="-4", reason="why")
    till.reverse("ada", 2)
    assert till.left("ada") == {"g": "10"}
    till.reverse("ada", 1)
    assert till.balance("ada") == "0"
    sound(till)


# --- of a reversal, and no further ---------------------------------------------------------------


@pytest.mark.parametrize("spent_meanwhile", [0, 2, 8])
def test_a_reversed_reversal_is_as_if_nothing_had_been(spent_meanwhile: int) -> None:
    till = Till()
    till.grant("ada", "10", "g", cost_basis="0.5")
    till.use("ada", 4, costs={"v": "1"})
    before = {**till.wallet("ada")}
    till.reverse("ada", 2)
    if spent_meanwhile:
        till.use("ada", spent_meanwhile)
    till.reverse("ada", 3)
    after = till.wallet("ada")
    assert after["cost"] == before["cost"]
    if not spent_meanwhile:
        assert (after["revenue"], till.balance("ada")) == (before["revenue"], "6")
    assert till.balance("ada") == str(6 - spent_meanwhile)
    sound(till)
    error = refusal(till, "reverse")
    assert (error.reason, error.field) == (Reason.NOT_REVERSIBLE, "entry")


def test_a_reversed_refund_gives_back_the_price_too() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 4)
    till.reverse("ada", 1)
    till.reverse("ada", id="r1")
    assert till.balance("ada") == "6"
    till.use("ada", 6)
    assert till.wallet("ada")["revenue"] == "10"
    sound(till)


def test_an_entry_is_reversed_once() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 4)
    till.reverse("ada", 2)
    for _ in range(2):
        error = refusal(till, "reverse", sequence=2)
        assert (error.reason, error.field) == (Reason.ALREADY_REVERSED, "entry")
        if len(till.journal) == 3:
            till.reverse("ada", 3)


def test_the_same_reversal_again_is_the_first_answer() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 4)
    entry = till.entry("ada")
    fields: dict[str, Any] = {"entry": entry, "reason": "why", "id": "r", "time": at_text(NOW)}
    first = till.command("reverse", "ada", **fields).answer
    again = till.command("reverse", "ada", **fields)
    assert first is not None
    assert again.answer is not None
    assert (again.entries, again.answer.duplicate, again.answer.sequence) == ((), True, 3)


def test_what_is_no_entry_of_this_journal() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 4)
    till.grant("bob", "10", "g")
    entry, of_bob = till.entry("ada"), till.entry("bob")
    forged = {**entry, "data": {**entry["data"], "amount": "400"}}
    for wrong, field in [
        (of_bob, "entry"),
        (forged, "entry.digest"),
        ({}, "entry.specversion"),
        ({**entry, "data": 5}, "entry.data"),
    ]:
        error = refusal(till, "reverse", entry=wrong, reason="why")
        assert error.reason == Reason.INVALID
        assert error.field is not None
        assert error.field.startswith("entry")
        assert error.field == field or field == "entry.specversion"
    assert refusal(till, "reverse", entry=entry, reason="").field == "reason"


KINDS = ["terms", "hold", "extend", "release", "state", "convert", "rollover"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_inverse_says_what_to_do_instead(kind: str) -> None:
    till = Till(price_book(conversions=CONVERSIONS))
    recurrence = {"every": "day", "cycles": 3, "rollover": {}}
    till.grant("ada", "10", "g", recurrence=recurrence)
    till.command("set_terms", "ada", credit_limits={"USD": "1"})
    till.authorize("ada", 1, require="hold", hold={"hold_id": "h"})
    till.command("extend", "ada", hold_id="h", expires_in_s=60)
    till.command("release", "ada", hold_id="h")
    till.command("set_state", "ada", state="suspended")
    till.command("convert", "ada", asset="USD", amount="1", to="credit")
    till.tick(NOW + DAY)
    (found, *_) = [e for e in till.entries("ada") if e["type"].endswith(f".{kind}")]
    error = refusal(till, "reverse", sequence=found["data"]["sequence"])
    assert error.reason == Reason.NOT_REVERSIBLE
    assert ";" in error.detail
