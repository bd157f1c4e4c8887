"""`grant`, `terms`, `authorize`: money in, and may it be spent."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown, Ended, until

from drawdown.cli.outcome import DENIED, FAILED, UNREACHABLE, USAGE

pytestmark = pytest.mark.kafka

GPT_5 = ("--dimension", "model=gpt-5")


def test_a_grant_is_booked_when_the_command_returns(stack: Drawdown) -> None:
    said = stack.ok("grant", "new", "25.50", "--id", "first")

    assert said.rows == [
        ["granted", "25.5", "USD", "to", "new"],
        ["balance", "25.5", "USD"],
        ["entry", "1"],
        ["grant", "first"],
    ]
    assert "drawdown wallet new" in said.err


def test_the_same_grant_again_grants_nothing_more(stack: Drawdown) -> None:
    stack.ok("grant", "again", 25, "--id", "order-7")

    assert "before: this is that result" in stack.ok("grant", "again", 25, "--id", "order-7").out
    assert stack.json("grant", "again", 25, "--id", "order-7")["balance"] == "25"
    other = stack("grant", "again", 26, "--id", "order-7")
    assert other.code == FAILED
    assert other.error.endswith("[conflict]")


def test_a_grant_carries_its_terms(stack: Drawdown) -> None:
    stack.ok(
        *("grant", "terms", 5000, "--asset", "credit", "--category", "promotional"),
        *("--priority", 7, "--expires-at", "2999-01-01T00:00:00+01:00", "--meter", "responses"),
        *("--dimension", "model=a", "--dimension", "model=b", "--reason", "welcome"),
    )

    (grant,) = stack.settled("terms", 1)["wallet"]["grants"]
    assert grant["priority"] == 7
    assert grant["category"] == "promotional"
    assert grant["expires_at"] == "2998-12-31T23:00:00Z"
    assert grant["scope"] == {"meters": ["responses"], "dimensions": {"model": ["a", "b"]}}


@pytest.mark.parametrize("customer", ["a/b", "ünï code/ß", "..", "100% #?&+", "日本"])
def test_a_customers_id_may_be_anything_printable(stack: Drawdown, customer: str) -> None:
    stack.ok("grant", customer, 1)
    stack.ok("terms", customer, "--credit-limit", "USD=2")

    assert stack.settled(customer, 2)["wallet"]["customer"] == customer
    assert stack.json("authorize", customer, "llm", *GPT_5)["available"] == {"USD": "3"}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("acme", "x"), "AMOUNT"),
        (("acme", "1e40"), "AMOUNT"),
        (("acme", "0.1234567890123"), "AMOUNT"),
        (("acme", "NaN"), "AMOUNT"),
        (("", 1), "CUSTOMER"),
        (("a\tb", 1), "CUSTOMER"),
        (("a" * 129, 1), "CUSTOMER"),
        (("acme", 1, "--asset", "US D"), "--asset"),
        (("acme", 1, "--category", "free"), "--category"),
        (("acme", 1, "--expires-at", "2030-01-01"), "--expires-at"),
        (("acme", 1, "--effective-at", "tomorrow"), "--effective-at"),
        (("acme", 1, "--cost-basis", "-1"), "--cost-basis"),
        (("acme", 1, "--dimension", "model"), "--dimension"),
        (("acme", 1, "--id", ""), "--id"),
    ],
)
def test_a_bad_grant_is_one_line_that_names_the_field(
    stack: Drawdown, arguments: tuple[object, ...], field: str
) -> None:
    ended = stack("grant", *arguments)

    assert ended.code == USAGE
    assert ended.error.startswith(f"{field}: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("acme", 0), "amount"),
        (("acme", 1, "--asset", "euro"), "asset"),
        (("acme", 1.5, "--asset", "credit", "--cost-basis", "0.01"), "amount"),
        (("acme", 1, "--asset", "credit"), "cost_basis"),
        (("acme", 1, "--expires-at", "2020-01-01T00:00:00Z"), "expires_at"),
    ],
)
def test_what_the_ledger_refuses_is_one_line_too(
    stack: Drawdown, arguments: tuple[object, ...], field: str
) -> None:
    ended = stack("grant", *arguments)

    assert ended.code == FAILED
    assert ended.error.startswith(f"{field}: ")
    assert ended.error.endswith("[invalid]")


def test_terms_set_limits_and_thresholds(stack: Drawdown) -> None:
    stack.ok("grant", "limits", 1)
    said = stack.ok(
        *("terms", "limits", "--credit-limit", "USD=100"),
        *("--threshold", "USD=1", "--threshold", "USD=10.0"),
    )
    assert ["credit", "limit", "100", "USD"] in said.rows

    stack.ok("terms", "limits", "--threshold", "credit=50")
    wallet = stack.settled("limits", 3)["wallet"]
    assert wallet["accounts"][0]["credit_limit"] == "100"
    assert wallet["thresholds"] == {"USD": ["10", "1"], "credit": ["50"]}

    stack.ok("terms", "limits", "--threshold", "USD=none")
    assert stack.settled("limits", 4)["wallet"]["thresholds"]["USD"] == []

    for given, outage in (
        ("open:5", {"mode": "open", "amount": "5", "asset": "USD"}),
        ("open:60:credit", {"mode": "open", "amount": "60", "asset": "credit"}),
        ("closed", None),
    ):
        sequence = stack.json("terms", "limits", "--outage", given)["sequence"]
        assert stack.settled("limits", sequence)["wallet"].get("outage") == outage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to change"),
        (("--credit-limit", "USD"), "--credit-limit: 'USD' is not NAME=VALUE"),
        (("--credit-limit", "USD=-1"), "--credit-limit USD: '-1' is no amount"),
        (("--threshold", "USD=low"), "--threshold USD: 'low' is no amount"),
        (("--outage", "open"), "--outage: 'open' is neither closed nor open:AMOUNT"),
        (("--outage", "shut:5"), "--outage: 'shut:5' is neither closed nor open:AMOUNT"),
        (("--outage", "open:much"), "--outage: 'much' is no amount"),
    ],
)
def test_bad_terms(stack: Drawdown, arguments: tuple[str, ...], says: str) -> None:
    ended = stack("terms", "acme", *arguments)

    assert ended.code == USAGE
    assert ended.error.startswith(says)


def test_an_allowed_authorization_says_the_price(stack: Drawdown) -> None:
    stack.ok("grant", "asks", 25)

    said = stack.ok(
        *("authorize", "asks", "llm", *GPT_5, "--quantity", "input=500"),
        *("--quantity", "cached_input=1500", "--quantity", "output=400"),
    )

    assert said.rows[:3] == [
        ["allowed"],
        ["price", "0.0048125", "USD"],
        ["available", "25", "USD"],
    ]
    assert stack.json("authorize", "asks", "llm", *GPT_5, "--amount", 25)["allowed"]
    assert stack.settled("asks", 1)["wallet"]["sequence"] == 1  # nothing was booked


def test_a_denial_is_exit_code_3_with_its_reason_and_shortfall(stack: Drawdown) -> None:
    stack.ok("grant", "poor", "0.01")

    said = stack("authorize", "poor", "llm", *GPT_5, "--amount", "0.05")

    assert said.code == DENIED
    assert said.rows[0] == ["denied", "insufficient_balance"]
    assert ["shortfall", "0.04", "USD"] in said.rows
    assert said.err == ""
    as_json = stack("authorize", "poor", "llm", *GPT_5, "--amount", "0.05", "--json")
    assert as_json.code == DENIED
    assert as_json.json["shortfall"] == "0.04"
    hushed = stack("authorize", "poor", "llm", *GPT_5, "--amount", "0.05", "--quiet")
    assert (hushed.code, hushed.out, hushed.err) == (DENIED, "", "")


def test_who_is_unknown_is_denied(stack: Drawdown) -> None:
    said = stack("authorize", "nobody", "llm")

    assert said.code == DENIED
    assert said.rows[0] == ["denied", "unknown_customer"]


def test_a_question_that_is_wrong_is_no_denial(stack: Drawdown) -> None:
    stack.ok("grant", "wrong", 1)

    unknown = stack("authorize", "wrong", "chat")
    assert unknown.code == FAILED
    assert unknown.error == "meter: price book 'v1' has no meter 'chat' [unknown_meter]"
    both = stack("authorize", "wrong", "llm", "--amount", 1, "--quantity", "input=1")
    assert both.code == USAGE
    quantity = stack("authorize", "wrong", "llm", "--quantity", "input=many")
    assert quantity.error.startswith("--quantity input: 'many' is no quantity")


def test_a_key_that_may_not_is_exit_code_2(stack: Drawdown) -> None:
    key = stack.json("keys", "create", "--permission", "read")["key"]

    def refused() -> Ended | None:
        """Once the gateway knows the key."""
        ended = stack("grant", "acme", 1, DRAWDOWN_KEY=key)
        return None if "unauthenticated" in ended.error else ended

    ended = until(refused)

    assert ended.code == USAGE
    assert "lacks the permission 'admin'" in ended.error


def test_a_gateway_that_does_not_answer_is_exit_code_4(stack: Drawdown) -> None:
    ended = stack("grant", "acme", 1, "--gateway", "http://127.0.0.1:1")

    assert ended.code == UNREACHABLE
    assert "the gateway does not answer at http://127.0.0.1:1" in ended.error
    assert "repeat it with --id grant-" in ended.error
