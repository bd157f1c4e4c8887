"""The adapter over HTTP, against a provider that misbehaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from drawdown.notify.http_payments import HttpPayments
from drawdown.notify.payments import Charge, Failed, Nothing, Paid, Unknown, key_of
from drawdown.notify.sandbox import Sandbox

ADA = Charge(key_of("test", "ada", "topup-USD-4"), "ada", "USD", "50")
SECRET = "sk_test_never_told"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(failing=["bob"]) as found:
        yield found


@pytest.fixture
def payments(sandbox: Sandbox) -> Iterator[HttpPayments]:
    found = HttpPayments(sandbox.url, SECRET, timeout_s=5.0)
    yield found
    found.close()


def test_a_key_is_charged_once_and_answers_the_same_again(
    sandbox: Sandbox, payments: HttpPayments
) -> None:
    assert payments.charge(ADA) == payments.charge(ADA) == Paid("charge-1")
    assert payments.find(ADA) == Paid("charge-1")
    assert (len(sandbox.charges), sandbox.asked[ADA.key]) == (1, 2)


def test_a_declined_card_is_a_failure(payments: HttpPayments) -> None:
    bob = Charge(key_of("test", "bob", "topup-USD-4"), "bob", "USD", "50")
    assert payments.charge(bob) == Failed("charge-1", "the card was declined")


def test_charged_and_not_answered_is_unknown_until_it_is_asked_again(
    sandbox: Sandbox, payments: HttpPayments
) -> None:
    sandbox.silent["ada"] = 1
    assert isinstance(payments.charge(ADA), Unknown)
    assert payments.find(ADA) == payments.charge(ADA) == Paid("charge-1")


def test_what_was_never_charged_is_nothing(payments: HttpPayments) -> None:
    assert payments.find(ADA) == Nothing()


def test_an_answer_that_is_none_is_unknown(sandbox: Sandbox, payments: HttpPayments) -> None:
    keyless = Charge("", "ada", "USD", "50")
    assert payments.charge(keyless) == Unknown("answered 400")
    sandbox.charges[ADA.key] = {"id": "x", "status": "pending"}
    assert payments.charge(ADA) == Unknown("answered 402") or payments.find(ADA) == Unknown(
        "its status is 'pending'"
    )


def test_nobody_there_is_unknown_and_no_message_has_the_secret() -> None:
    payments = HttpPayments("http://127.0.0.1:9", SECRET, timeout_s=1.0)
    outcome = payments.charge(ADA)
    payments.close()
    assert isinstance(outcome, Unknown)
    assert SECRET not in f"{outcome} {payments!r} {payments.__dict__}"


def test_keys_are_of_one_request_alone_and_fit_everywhere() -> None:
    keys = {
        key_of("live", "ada", "topup-USD-4"),
        key_of("test", "ada", "topup-USD-4"),
        key_of("live", "ada\u00e9/ 4", "topup-USD-4"),
        key_of("live", "ada", "topup-USD-5"),
    }
    assert len(keys) == 4
    assert all(key.isascii() and len(key) == 46 for key in keys)


def test_its_counters_are_registered() -> None:
    assert REGISTRY.get_sample_value("drawdown_topups_pending") is not None
