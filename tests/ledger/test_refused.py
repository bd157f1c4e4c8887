"""What cannot be is refused, with the field, the rule and the fix; and nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ledger.test_corrections import refusal
from tests.support.till import DAY, HOUR, START_MS, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Conversion
from drawdown.events.reasons import Reason
from drawdown.ledger.book import BookError

NOW = START_MS


def refused(till: Till, kind: str, **fields: Any) -> tuple[str, str | None, str]:
    """Reason, field, and the rule with its fix."""
    error: RecordError = refusal(till, kind, **fields)
    return str(error.reason), error.field, error.detail


@pytest.mark.parametrize(
    ("terms", "field", "rule", "fix"),
    [
        pytest.param(
            {"effective_at": at_text(NOW + DAY), "expires_at": at_text(NOW + HOUR)},
            "expires_at", f"is not after {at_text(NOW + DAY)}", "give a later time",
            id="it expires before it takes effect",
        ),
        pytest.param(
            {"effective_at": at_text(NOW + DAY), "expires_at": at_text(NOW + DAY)},
            "expires_at", "is not after", "give a later time",
            id="it expires at the instant it takes effect",
        ),
        pytest.param(
            {"expires_at": at_text(NOW)},
            "expires_at", "is not after", "give a later time",
            id="it is over already",
        ),
        pytest.param({"amount": "0"}, "amount", "is zero", "grant more", id="of nothing"),
        pytest.param(
            {"amount": "-1"},
            "amount", "without a sign", "give decimal text",
            id="less than nothing",
        ),
        pytest.param(
            {"asset": "EUR"},
            "asset", "no asset 'EUR'", "the price book has USD, credit, gpu-hour, token",
            id="of an asset nobody knows",
        ),
        pytest.param(
            {"amount": "9" * 27},
            "amount", "at most 38 digits", "26 before the point",
            id="too large",
        ),
        pytest.param(
            {"amount": f"0.{'0' * 12}1"}, "amount", "at most 38 digits", "12 behind", id="too fine"
        ),
        pytest.param(
            {"asset": "token", "amount": "0.5"},
            "amount", "is finer than token", "which has 0 places",
            id="finer than its asset",
        ),
        pytest.param(
            {"amount": "9" * 20, "cost_basis": "9" * 20},
            "cost_basis", "more than 38 digits", "give a smaller one",
            id="sold for more than there is",
        ),
        pytest.param(
            {"asset": "credit"},
            "cost_basis", "recognizes revenue by it", "say what one credit was sold for",
            id="paid, and nobody says how much",
        ),
        pytest.param(
            {"recurrence": {"every": "day"}},
            "recurrence.cycles", "no end is in sight", "give cycles",
            id="it comes again for ever",
        ),
        pytest.param(
            {"recurrence": {"every": "hour"}, "expires_at": at_text(NOW + 20_000 * HOUR)},
            "expires_at", "20,000 cycles away", "end it sooner",
            id="its end is out of sight",
        ),
        pytest.param(
            {"recurrence": {"every": "day", "cycles": 10_001}},
            "recurrence.cycles", "<= 10000", "",
            id="more cycles than anybody waits for",
        ),
        pytest.param(
            {"recurrence": {"every": "day", "cycles": 2, "zone": "Mars"}},
            "recurrence.zone", "no time zone 'Mars'", "give an IANA name",
            id="by a clock that is none",
        ),
    ],
)  # fmt: skip
def test_an_impossible_grant(terms: dict[str, Any], field: str, rule: str, fix: str) -> None:
    reason, where, detail = refused(Till(), "grant", **{"asset": "USD", "amount": "1", **terms})
    assert reason in (Reason.INVALID, Reason.MALFORMED)
    assert (where, rule in detail, fix in detail) == (field, True, True), detail


def test_grants_that_make_more_than_38_digits_together() -> None:
    till = Till()
    till.grant("ada", "9" * 26, "all there is")
    assert refused(till, "grant", asset="USD", amount="1") == (
        "invalid", "amount", "makes more than 38 digits of USD granted in all: grant less",
    )  # fmt: skip


@pytest.mark.parametrize(
    "pairs",
    [
        [("USD", "USD")],
        [("USD", "credit"), ("credit", "USD")],
        [("USD", "credit"), ("credit", "token"), ("token", "USD")],
    ],
)
def test_conversions_that_lead_back(pairs: list[tuple[str, str]]) -> None:
    """Money would be made by going round."""
    book = price_book(conversions=[Conversion(asset=a, to=b, price="2") for a, b in pairs])
    with pytest.raises(BookError, match=r"lead back .*; leave one of the circle out") as found:
        Till(book)
    assert found.value.where == "conversions.USD"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("grant", {"asset": "USD", "amount": "1"}),
        ("void", {"grant_id": "g"}),
        ("adjust", {"asset": "USD", "amount": "1", "reason": "why"}),
        ("convert", {"asset": "USD", "amount": "1", "to": "credit"}),
        ("reverse", {"sequence": 1}),
        ("set_terms", {"credit_limits": {"USD": "1"}}),
        ("set_state", {"state": "active"}),
    ],
)
def test_a_command_for_a_closed_wallet(kind: str, fields: dict[str, Any]) -> None:
    till = Till()
    till.grant("ada", "5", "g")
    till.command("set_state", "ada", state="closed")
    assert refused(till, kind, **fields) == (
        "wallet_closed", "customer", "the wallet is closed for good: use another customer id",
    )  # fmt: skip


def test_a_grant_that_is_voided_twice() -> None:
    till = Till()
    till.grant("ada", "5", "g")
    till.command("void", "ada", grant_id="g")
    reason, field, detail = refused(till, "void", grant_id="g")
    assert (reason, field) == ("grant_unknown", "grant_id")
    assert "it was spent, lapsed or voided" in detail
    assert "name one that the wallet shows" in detail


def test_a_reversal_of_a_reversals_reversal() -> None:
    till = Till()
    till.grant("ada", "5", "g")
    till.use("ada", 1)
    till.reverse("ada", 2)
    till.reverse("ada", 3)
    reason, field, detail = refused(till, "reverse", sequence=4)
    assert (reason, field) == ("not_reversible", "entry")
    assert "this one reversed a reversal, and that is the end of it" in detail
    assert "adjust" in detail


def test_an_entry_that_is_reversed_twice() -> None:
    till = Till()
    till.grant("ada", "5", "g")
    till.use("ada", 1)
    till.reverse("ada", 2)
    assert refused(till, "reverse", sequence=2) == (
        "already_reversed", "entry",
        "entry 2 was reversed or ended by entry 3: reverse that one, or adjust",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"amount": "1"}, "amount", "is for a refund: leave it out"),
        ({"refund": True, "amount": "0"}, "amount", "is zero; refund more than that"),
        ({"refund": True, "amount": "6"}, "amount", "5 USD are left: refund no more"),
    ],
)
def test_a_refund_that_cannot_be(fields: dict[str, Any], field: str, rule: str) -> None:
    till = Till()
    till.grant("ada", "5", "g")
    reason, where, detail = refused(till, "void", grant_id="g", **fields)
    assert (reason, where, rule in detail) == ("invalid", field, True)
