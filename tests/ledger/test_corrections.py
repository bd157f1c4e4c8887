"""Corrections and states: voids, adjustments, conversions, reversals; and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import DAY, HOUR, START_MS, Till, decision, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Conversion
from drawdown.events.reasons import Reason
from drawdown.ledger.book import BookError

NOW = START_MS
CONVERSIONS = [
    Conversion(asset="USD", to="credit", price="100"),
    Conversion(asset="credit", to="token", price="0.333"),
]


def refusal(till: Till, kind: str, customer: str = "ada", **fields: Any) -> RecordError:
    """Why a command is refused; nothing has changed by it."""
    before = dict(till.rows), len(till.journal)
    with pytest.raises(RecordError) as found:
        if kind == "reverse" and "entry" not in fields:
            till.reverse(customer, **fields)
        else:
            till.command(kind, customer, **fields)
    assert (dict(till.rows), len(till.journal)) == before
    return found.value


def sound(till: Till) -> None:
    """Whatever was done: the judge finds nothing, and a replay gives the same bytes."""
    assert till.wrongs() == []
    other = till.replayed()
    assert other.bytes_of_rows() == till.bytes_of_rows()
    assert other.identities == till.identities


# --- void ----------------------------------------------------------------------------------------


def test_a_voided_grant_is_gone_with_what_was_left_of_it() -> None:
    till = Till()
    till.grant("ada", "10", "g", cost_basis="0.5")
    till.grant("ada", "5", "h")
    till.use("ada", 4)
    answer = till.command("void", "ada", grant_id="g", reason="fraud").answer
    assert decision(answer)["balance"] == "5"
    assert till.statement("ada")[-1] == ("void", "6", "5", {"g": "6"})
    data = till.entry("ada")["data"]
    assert (data["reason"], data["breakage"], data["void"]) == (
        "fraud", "3", {"grant": "g", "sequence": 1},
    )  # fmt: skip
    assert (till.wallet("ada")["revenue"], till.wallet("ada")["breakage"]) == ("2", "3")
    assert till.account("ada")["voided"] == "6"
    sound(till)


def test_voided_twice_it_is_unknown() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.command("void", "ada", grant_id="g")
    error = refusal(till, "void", grant_id="g")
    assert (error.reason, error.field) == (Reason.GRANT_UNKNOWN, "grant_id")
    assert refusal(till, "void", grant_id="never was").reason == Reason.GRANT_UNKNOWN


def test_what_a_hold_has_of_a_voided_grant_is_the_holds() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.authorize("ada", 6, require="hold", hold={"hold_id": "h"})
    till.command("void", "ada", grant_id="g")
    assert refusal(till, "void", grant_id="g").reason == Reason.GRANT_UNKNOWN
    assert not till.authorize("ada", 1).allowed
    till.command("capture", "ada", hold_id="h", amount="5")
    till.tick()
    assert till.statement("ada")[-1] == ("lapse", "1", "0", {"g": "1"})
    sound(till)


def test_a_recurring_grant_is_voided_by_its_own_id_and_comes_no_more() -> None:
    till = Till()
    till.grant("ada", "10", "plan", recurrence={"every": "day", "cycles": 9})
    till.tick(NOW + DAY)
    till.command("void", "ada", grant_id="plan")
    assert till.statement("ada")[-1][3] == {f"plan@{at_text(NOW + DAY)}": "10"}
    assert till.tick(NOW + 5 * DAY) == []
    sound(till)


def test_a_recurring_grant_may_be_kept_to_the_end_of_its_cycle() -> None:
    till = Till()
    till.grant("ada", "10", "plan", recurrence={"every": "day", "cycles": 9})
    till.command("void", "ada", grant_id="plan", keep=True)
    assert till.balance("ada") == "10"
    assert refusal(till, "void", grant_id="plan", keep=True).field == "keep"
    till.tick(NOW + 5 * DAY)
    assert [line[0] for line in till.statement("ada")] == ["grant", "void", "lapse"]
    sound(till)


# --- adjust --------------------------------------------------------------------------------------


def test_an_adjustment_upwards_is_a_grant_that_nothing_was_paid_for() -> None:
    till = Till()
    till.use("ada", 3)
    till.command("adjust", "ada", asset="USD", amount="10", reason="goodwill", grant_id="g")
    assert till.statement("ada")[-1] == ("adjust", "10", "7", {"overdrawn": "-3"})
    assert till.left("ada") == {"g": "7"}
    assert till.entry("ada")["data"]["actor"] == "k1"
    till.use("ada", 7)
    assert "revenue" not in till.wallet("ada")
    assert till.account("ada")["adjusted_up"] == "10"
    sound(till)


def test_an_adjustment_downwards_is_paid_as_usage_is() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.command("adjust", "ada", asset="USD", amount="-12", reason="forgotten in May")
    assert till.statement("ada")[-1] == ("adjust", "12", "-2", {"g": "10", "overdrawn": "2"})
    assert till.wallet("ada")["revenue"] == "10"
    assert till.account("ada")["adjusted_down"] == "12"
    sound(till)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-0"}, "amount"),
        ({"asset": "EUR"}, "asset"),
        ({"asset": "token", "amount": "-0.5"}, "amount"),
        ({"amount": "-1", "grant_id": "g"}, "grant_id"),
        ({"expires_at": at_text(NOW)}, "expires_at"),
        ({"reason": ""}, "reason"),
        ({"reason": None}, "reason"),
    ],
)
def test_an_adjustment_that_cannot_be(fields: dict[str, Any], field: str) -> None:
    content = {"asset": "USD", "amount": "1", "reason": "why", **fields}
    assert refusal(Till(), "adjust", **content).field == field


# --- convert -------------------------------------------------------------------------------------


def test_one_asset_becomes_another_at_the_books_rate_with_its_price_and_its_end() -> None:
    till = Till(price_book(conversions=CONVERSIONS))
    till.grant("ada", "2", "short", expires_at=NOW + DAY)
    till.grant("ada", "10", "long", cost_basis="0.5")
    answer = decision(
        till.command("convert", "ada", asset="USD", amount="5", to="credit", grant_id="c").answer
    )
    assert (answer["asset"], answer["amount"], answer["grant"]) == ("credit", "500", "c")
    assert till.statement("ada")[2:] == [
        ("convert", "5", "7", {"short": "2", "long": "3"}),
        ("convert", "500", "500", {}),
    ]
    (made,) = [grant for grant in till.wallet("ada")["grants"] if grant["id"] == "c"]
    assert (made["paid"], made["expires_at"]) == ("3.5", at_text(NOW + DAY))
    till.use("ada", 500, **{"in": "credit"})
    assert till.wallet("ada")["revenue"] == "3.5"
    till.use("ada", 7)
    assert till.wallet("ada")["revenue"] == "7"
    sound(till)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"to": "token"}, Reason.NO_CONVERSION, "to"),
        ({"asset": "credit", "to": "USD"}, Reason.NO_CONVERSION, "to"),
        ({"amount": "0"}, Reason.INVALID, "amount"),
        ({"amount": "0.00001"}, Reason.INVALID, "amount"),
        ({"amount": "10.01"}, Reason.INSUFFICIENT_BALANCE, "amount"),
        ({"grant_id": "g"}, Reason.INVALID, "grant_id"),
    ],
)
def test_a_conversion_that_cannot_be(fields: dict[str, Any], reason: Reason, field: str) -> None:
    till = Till(price_book(conversions=CONVERSIONS))
    till.grant("ada", "10", "g")
    content = {"asset": "USD", "amount": "5", "to": "credit", **fields}
    error = refusal(till, "convert", **content)
    assert (error.reason, error.field) == (reason, field)


@pytest.mark.parametrize(
    ("pairs", "where"),
    [
        ([("USD", "credit"), ("credit", "token"), ("token", "USD")], "conversions.USD"),
        ([("USD", "USD")], "conversions.USD"),
        ([("USD", "credit"), ("credit", "USD")], "conversions.USD"),
        ([("USD", "EUR")], "conversions.USD"),
        ([("USD", "credit"), ("USD", "credit")], "conversions.USD"),
    ],
)
def test_a_book_whose_conversions_go_round_is_refused(
    pairs: list[tuple[str, str]], where: str
) -> None:
    book = price_book(conversions=[Conversion(asset=a, to=b, price="2") for a, b in pairs])
    with pytest.raises(BookError) as found:
        Till(book)
    assert found.value.where == where


def test_conversions_that_meet_again_are_no_circle() -> None:
    pairs = [("USD", "credit"), ("USD", "token"), ("credit", "gpu-hour"), ("token", "gpu-hour")]
    Till(price_book(conversions=[Conversion(asset=a, to=b, price="2") for a, b in pairs]))


# --- states --------------------------------------------------------------------------------------


def test_a_suspended_wallet_authorizes_nothing_and_books_what_was_used() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.authorize("ada", 4, require="hold", hold={"hold_id": "h"})
    till.command("set_state", "ada", state="suspended", reason="unpaid")
    denied = till.authorize("ada", 1)
    assert (denied.allowed, denied.reason) == (False, Reason.WALLET_SUSPENDED)
    assert not till.authorize("ada", 1, capture=True).allowed
    till.use("ada", 1)
    till.command("capture", "ada", hold_id="h")
    till.grant("ada", "5", "g2")
    assert till.wallet("ada")["state"] == "suspended"
    till.command("set_state", "ada", state="active")
    assert till.authorize("ada", 10).allowed
    assert "state" not in till.wallet("ada")
    sound(till)


def test_a_closed_wallet_is_kept_and_takes_no_command() -> None:
    till = Till()
    till.grant("ada", "10", "g", recurrence={"every": "day", "cycles": 9})
    till.authorize("ada", 4, require="hold", hold={"hold_id": "h"})
    till.command("set_state", "ada", state="closed")
    denied = till.authorize("ada", 1)
    assert (denied.allowed, denied.reason) == (False, Reason.WALLET_CLOSED)
    for kind, fields in [
        ("grant", {"asset": "USD", "amount": "1"}),
        ("set_terms", {"credit_limits": {"USD": "1"}}),
        ("set_state", {"state": "active"}),
        ("void", {"grant_id": "g"}),
        ("adjust", {"asset": "USD", "amount": "1", "reason": "why"}),
        ("convert", {"asset": "USD", "amount": "1", "to": "credit"}),
        ("extend", {"hold_id": "h", "expires_in_s": 60}),
        ("reverse", {"sequence": 1}),
    ]:
        error = refusal(till, kind, **fields)
        assert (error.reason, error.field) == (Reason.WALLET_CLOSED, "customer")
    till.command("release", "ada", hold_id="h")
    till.use("ada", 3)
    till.tick(NOW + 3 * DAY)
    assert [line[:3] for line in till.statement("ada")][3:] == [
        ("release", "4", "10"), ("debit", "3", "7"), ("lapse", "7", "0"),
    ]  # fmt: skip
    assert till.wallet("ada")["state"] == "closed"
    sound(till)


# --- drawdown policies of a wallet and of a book -------------------------------------------------


def test_a_wallets_policy_goes_before_the_books_and_a_new_book_counts_at_once() -> None:
    till = Till(price_book(drawdown="openmeter"))
    till.grant("ada", "10", "paid")
    till.grant("ada", "10", "promo", category="promotional")
    till.use("ada", 1)
    assert till.statement("ada")[-1][3] == {"paid": "1"}
    till.command("set_terms", "ada", drawdown="stripe")
    till.use("ada", 1)
    assert till.statement("ada")[-1][3] == {"promo": "1"}
    till.use("bob", 0)
    till.command("set_terms", "ada", drawdown="lago")
    till.publish(price_book("v2"), NOW + HOUR)
    till.at_ms = NOW + HOUR
    assert list(till.left("ada")) == ["promo", "paid"]
    sound(till)
