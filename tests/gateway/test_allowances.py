"""Who may run in an outage and up to what: what is kept of `balances`, and what is counted."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from prometheus_client import REGISTRY

from drawdown.events.codec import decode_command, decode_decision, encode
from drawdown.events.commands import Authorize
from drawdown.gateway.outage import Allowances, NotAllowedError


def row(customer: str = "ada", **terms: Any) -> bytes:
    return json.dumps({"row": "wallet", "customer": customer, **terms}).encode()


def opened(amount: str = "5", asset: str = "USD", customer: str = "ada") -> bytes:
    return row(customer, outage={"mode": "open", "amount": amount, "asset": asset})


def asked(amount: str | None = "2", customer: str = "ada", **more: Any) -> Authorize:
    content = {
        "id": "run-1",
        "type": "authorize",
        "customer": customer,
        "time": "2026-11-03T09:30:00Z",
        "meter": "llm",
        "estimate": {} if amount is None else {"amount": amount, "asset": "USD"},
        **more,
    }
    command = decode_command(encode(content))
    assert command.customer == customer
    return command  # type: ignore[return-value]


def given(amount: str = "5") -> Allowances:
    allowances = Allowances()
    allowances.take(b"ada", opened(amount))
    return allowances


def counted() -> float:
    return REGISTRY.get_sample_value("drawdown_outage_allowed_total") or 0.0


def test_it_runs_up_to_the_amount_and_no_further() -> None:
    allowances, before = given(), counted()
    for left in ("3", "1"):
        decision = decode_decision(allowances.allow(asked(), 1.0))
        assert (decision.allowed, decision.reason) == (True, "outage_open")
        assert (decision.id, decision.customer, decision.command) == ("run-1", "ada", "authorize")
        assert (decision.amount, decision.asset, decision.hold) == ("2", "USD", None)
        assert f" {left} are left" in (decision.detail or "")
    with pytest.raises(NotAllowedError, match="of the 5 USD that may run in an outage 1 are left"):
        allowances.allow(asked(), 1.0)
    allowances.allow(asked("1"), 1.0)
    with pytest.raises(NotAllowedError, match="0 are left"):
        allowances.allow(asked("0.000000000001"), 1.0)
    assert counted() == before + 3


def test_it_counts_anew_once_the_customer_was_decided_about() -> None:
    allowances = given("2")
    allowances.take(b"bob", opened("2", customer="bob"))
    for customer in ("ada", "bob"):
        allowances.allow(asked(customer=customer), 1.0)
    allowances.decided("ada")
    allowances.decided("nobody")
    allowances.allow(asked(), 1.0)
    with pytest.raises(NotAllowedError):
        allowances.allow(asked(customer="bob"), 1.0)


def test_what_is_held_runs_without_a_hold() -> None:
    decision = decode_decision(given().allow(asked(require="hold"), 1.0))
    assert (decision.allowed, decision.hold) == (True, None)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (asked(None), "is not known here"),
        (asked(None, estimate={"quantities": {"input": 5}}), "is not known here"),
        (asked(None, estimate={"amount": "1"}), "is not known here"),
        (asked(None, estimate={"amount": "1", "asset": "credit"}), "`estimate.asset` USD"),
        (asked("0"), "is not known here"),
        (asked(capture=True), "debits at once"),
    ],
)
def test_what_never_runs_in_an_outage(command: Authorize, why: str) -> None:
    with pytest.raises(NotAllowedError, match=why):
        given().allow(command, 5.0)


def test_a_decision_that_was_hardly_waited_for_is_no_outage() -> None:
    with pytest.raises(NotAllowedError, match="waited for 1 s"):
        given().allow(asked(), 0.9)


def test_who_has_no_such_terms_is_told_nothing_of_them() -> None:
    with pytest.raises(NotAllowedError) as raised:
        Allowances().allow(asked(), 5.0)
    assert not str(raised.value)


@pytest.mark.parametrize(
    "after",
    [
        None,
        row(),
        row(outage={"mode": "closed"}),
        row(outage={"mode": "open"}),
        row(outage={"mode": "open", "amount": "much", "asset": "USD"}),
        row(outage=[]),
        row(grants=[{"metadata": {"outage": "open"}}]),
        b'{"outage"',
    ],
)
def test_it_is_dropped_when_the_terms_no_longer_say_it(after: bytes | None) -> None:
    allowances = given()
    allowances.take(b"ada", after)
    assert len(allowances) == 0


def test_what_was_allowed_stays_counted_when_the_row_is_written_again() -> None:
    allowances = given("2")
    allowances.allow(asked(), 1.0)
    allowances.take(b"ada", opened("2"))
    with pytest.raises(NotAllowedError):
        allowances.allow(asked(), 1.0)
    allowances.take(b"ada", opened("3"))  # new terms are a decision
    allowances.allow(asked("3"), 1.0)


def test_rows_that_are_no_wallets_are_passed_over() -> None:
    allowances = given()
    allowances.take(b"ada\x1fhold\x1fh", json.dumps({"dimensions": {"outage": "x"}}).encode())
    allowances.take(b"ada\x1fhold\x1fh", None)
    allowances.take(None, opened())
    assert len(allowances) == 1


def test_only_so_many_are_kept_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    allowances = Allowances(customers_max=2)
    with caplog.at_level(logging.WARNING, "drawdown.outage"):
        for number in range(5):
            allowances.take(f"c{number}".encode(), opened())
    assert len(allowances) == 2
    assert len(caplog.records) == 1
    with pytest.raises(NotAllowedError):
        allowances.allow(asked(customer="c3"), 1.0)
    allowances.take(b"c0", opened("1"))  # who is kept may change
    allowances.take(b"c1", None)
    allowances.take(b"c3", opened())
    allowances.allow(asked(customer="c3"), 1.0)
