"""Authorization: allow or deny, with the reason, what was read, and how much was missing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import DAY, START_MS, Till, decision, llm_book, price_book, tokens

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.ledger.decide import refused

NOW = START_MS


def given(*grants: dict[str, Any], limit: str | None = None) -> Till:
    till = Till()
    for number, terms in enumerate(grants):
        till.grant("ada", terms.pop("amount", "10"), f"g{number}", **terms)
    if limit is not None:
        till.command("set_terms", "ada", credit_limits={"USD": limit})
    return till


CASES: list[tuple[str, Till, dict[str, Any], bool, str | None, str]] = [
    # what, the wallet, the question, allowed, shortfall, available
    ("enough", given({}), {"units": 9}, True, None, "10"),
    ("exactly enough", given({}), {"units": 10}, True, None, "10"),
    ("a little too much", given({}), {"units": "10.000000000001"}, False, "0.000000000001", "10"),
    ("much too much", given({}), {"units": 25}, False, "15", "10"),
    ("an amount", given({}), {"estimate": {"amount": "10.5"}}, False, "0.5", "10"),
    ("an amount in its asset", given({}), {"estimate": {"amount": "1", "asset": "USD"}}, True,
     None, "10"),
    ("no estimate, something there", given({"amount": "0.000000000001"}), {}, True, None,
     "0.000000000001"),
    ("no estimate, nothing there", given({"expires_at": NOW + 1}), {"at": NOW + 1}, False,
     "0.000000000001", "0"),
    ("nothing asked, nothing there", given({"expires_at": NOW + 1}), {"at": NOW + 1, "units": 0},
     False, "0.000000000001", "0"),
    ("two grants together", given({}, {}), {"units": 20}, True, None, "20"),
    ("with the credit limit", given({}, limit="5"), {"units": 15}, True, None, "15"),
    ("past the credit limit", given({}, limit="5"), {"units": 16}, False, "1", "15"),
    ("credit alone", given(limit="5"), {"units": 5}, True, None, "5"),
    ("not yet in effect", given({"effective_at": NOW + DAY}), {"units": 1}, False, "1", "0"),
    ("out of scope", given({"scope": {"meters": ["other"]}}), {"units": 1}, False, "1", "0"),
    ("in scope by dimension", given({"scope": {"dimensions": {"team": ["red"]}}}),
     {"units": 1, "dimensions": {"team": "red"}}, True, None, "10"),
    ("another asset's balance", given({}), {"units": 1, "dimensions": {"in": "credit"}}, False,
     "1", "0"),
    ("by its event type", given({}), {"units": 1, "meter": "work.done"}, True, None, "10"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("till", "question", "allowed", "shortfall", "available"),
    [pytest.param(*rest, id=what) for what, *rest in CASES],
)
def test_allowed_or_denied(
    till: Till, question: dict[str, Any], allowed: bool, shortfall: str | None, available: str
) -> None:
    question = dict(question)
    till.at_ms = question.pop("at", NOW)
    entries = len(till.journal)
    answer = till.authorize("ada", **question)
    assert answer.allowed is allowed
    assert answer.reason == (Reason.OK if allowed else Reason.INSUFFICIENT_BALANCE)
    assert answer.shortfall == shortfall
    assert answer.available == {answer.asset: available}
    assert len(till.journal) == entries, "a plain check is no entry"


def test_a_decision_says_what_was_read() -> None:
    till = given({})
    last = till.entries("ada")[-1]
    answer = decision(till.authorize("ada", 4, id="a1"))
    assert answer == {
        "kind": "authorization",
        "id": "a1",
        "customer": "ada",
        "command": "authorize",
        "at": at_text(NOW),
        "allowed": True,
        "reason": "ok",
        "asset": "USD",
        "amount": "4",
        "available": {"USD": "10"},
        "rate": "work",
        "book": "v1",
        "book_offset": 11,
        "sequence": 1,
        "digest": last["digest"],
        "usage_lag_records": 0,
        "usage_lag_ms": 0,
    }


def test_without_an_estimate_there_is_no_amount_to_tell() -> None:
    assert given({}).authorize("ada").amount is None


def test_a_customer_nobody_has_seen_is_denied_and_not_remembered() -> None:
    till = Till()
    answer = till.authorize("new", 1, id="a1")
    assert (answer.allowed, answer.reason) == (False, Reason.UNKNOWN_CUSTOMER)
    assert (till.rows, till.identities, till.journal) == ({}, {}, [])
    till.grant("new", "5", "g")
    assert till.authorize("new", 1, id="a1").allowed


def test_asked_again_it_is_decided_again() -> None:
    till = given({})
    assert till.authorize("ada", 10, id="a1").allowed
    till.use("ada", 1)
    again = till.authorize("ada", 10, id="a1")
    assert (again.allowed, again.shortfall, again.duplicate) == (False, "1", False)


def test_what_has_no_price_is_denied() -> None:
    till = Till(llm_book(tokens("gpt", {"input": "1"}, model="gpt")))
    till.grant("ada", "5", "g")
    for dimensions, quantities, says in [
        ({"model": "other"}, {"input": 1}, "no rate matches"),
        ({"model": "gpt"}, {"input": 1, "output": 1}, "has no price for 'output'"),
    ]:
        answer = till.authorize(
            "ada", meter="llm", dimensions=dimensions, estimate={"quantities": quantities}
        )
        assert (answer.allowed, answer.reason) == (False, Reason.UNPRICED)
        assert says in answer.detail
        assert (answer.book, answer.sequence) == ("v1", 1)


def test_without_a_price_book_nothing_may_run() -> None:
    till = Till(book=None)
    till.grant("ada", "5", "g")
    answer = till.authorize("ada", 1)
    assert (answer.allowed, answer.reason, answer.book) == (False, Reason.NO_PRICE_BOOK, None)


WRONG: list[tuple[dict[str, Any], Reason, str]] = [
    ({"meter": "fax"}, Reason.UNKNOWN_METER, "meter"),
    ({"estimate": {"quantities": {"units": -1}}}, Reason.BAD_QUANTITY, "estimate.quantities.units"),
    ({"estimate": {"quantities": {"units": 10**20}}}, Reason.BAD_QUANTITY,
     "estimate.quantities.units"),
    ({"estimate": {"amount": "1", "asset": "credit"}}, Reason.INVALID, "estimate.asset"),
    ({"estimate": {"amount": "0.001"}, "dimensions": {"in": "credit"}}, Reason.INVALID,
     "estimate.amount"),
    ({"time": at_text(NOW - 36 * DAY)}, Reason.TOO_LATE, "time"),
    ({"time": at_text(NOW + 300_001)}, Reason.TOO_EARLY, "time"),
    ({"deadline_at": at_text(NOW - 1)}, Reason.DEADLINE_PASSED, "deadline_at"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "reason", "field"), WRONG)
def test_a_question_that_is_wrong_names_its_field(
    question: dict[str, Any], reason: Reason, field: str
) -> None:
    till = given({})
    with pytest.raises(RecordError) as found:
        till.authorize("ada", **question)
    assert (found.value.reason, found.value.field) == (reason, field)


def test_a_refusal_is_an_answer_of_the_commands_kind() -> None:
    from drawdown.events.codec import decode_command

    error = RecordError(Reason.INVALID, "because", "amount")
    for kind, fields, answered in [
        ("authorize", '"meter":"work"', "authorization"),
        ("grant", '"asset":"USD","amount":"1"', "command"),
    ]:
        command = decode_command(
            f'{{"type":"{kind}","id":"c","customer":"ada","time":"{at_text(NOW)}",{fields}}}'.encode()
        )
        said = decision(refused(command, error, Till().now))
        assert said == {
            "kind": answered,
            "id": "c",
            "customer": "ada",
            "command": kind,
            "at": at_text(NOW),
            "allowed": False,
            "reason": "invalid",
            "detail": "because",
            "field": "amount",
        }


def test_the_price_of_now_counts() -> None:
    till = Till()
    dear = price_book("v2")
    rate = dear.rates[0]
    price = rate.price.model_copy(update={"price": "2"})
    till.publish(
        dear.model_copy(update={"rates": [rate.model_copy(update={"price": price})]}), NOW + 5
    )
    till.grant("ada", "10", "g")
    till.at_ms = NOW + 4
    assert till.authorize("ada", 10).allowed
    till.at_ms = NOW + 5
    assert till.authorize("ada", 10).shortfall == "10"
