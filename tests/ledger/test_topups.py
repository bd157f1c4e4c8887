"""Auto top-ups: one request at a time, caps, waits after failures, and a grant once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, MINUTE, START_MS, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import Rate
from drawdown.events.pricemodels import PerUnit
from drawdown.events.reasons import Reason
from drawdown.ledger.rows import row_bytes
from drawdown.ledger.topup_values import Burn, request_key, topup_key
from drawdown.settlement.topup_notices import topup_notice

NOW = START_MS
MONTHLY = {"per": "month", "requests": 3}


def till_with(amount: str = "100", **terms: Any) -> Till:
    till = Till()
    till.grant("ada", amount, "g")
    fields = {"below": {"amount": "20"}, "top_up": {"amount": "50"}, "caps": MONTHLY, **terms}
    till.command("set_auto_topup", "ada", asset="USD", **fields)
    return till


def changes(till: Till, customer: str = "ada") -> list[str]:
    """What entries did about top-ups, in order."""
    found = [entry["data"].get("topup") for entry in till.entries(customer)]
    return [facts["change"] for facts in found if facts is not None]


def row(till: Till, asset: str = "USD") -> dict[str, Any]:
    found = till.rows[topup_key("ada", asset)]
    assert found is not None
    said: dict[str, Any] = json.loads(row_bytes(found))
    return said


def settle(till: Till, request: str, outcome: str = "paid", **fields: Any) -> Any:
    return till.command("settle_topup", "ada", request_id=request, outcome=outcome, **fields)


def outstanding(till: Till) -> str:
    request = row(till)["outstanding"]
    assert isinstance(request, str)
    return request


def kept(till: Till) -> None:
    """The judge finds nothing wrong, and the journal alone makes the same rows."""
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


def test_the_debit_that_leaves_it_low_asks_for_one_top_up_in_the_same_decision() -> None:
    till = till_with()
    till.use("ada", 80)  # 20 are left: not below
    decided = till.use("ada", 1)
    debit, request = (sealed.entry for sealed in decided.entries)
    assert (debit.kind, request.kind) == ("debit", "topup")
    assert request.origin.offset == debit.origin.offset
    facts = till.entry("ada")["data"]["topup"]
    assert (facts["change"], facts["request"], facts["amount"]) == ("request", "topup-USD-5", "50")
    assert facts["available"] == "19"
    assert facts["deadline_at"] == at_text(NOW + DAY)
    till.use("ada", 5)
    till.use("ada", 50)  # overdrawn by then: still one
    assert changes(till) == ["set", "request"]
    kept(till)


def test_a_paid_one_is_a_grant_with_its_id_and_no_more_is_asked_for() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    decided = settle(till, request, reference="pi_1")
    assert decided.answer.command == "settle_topup"
    assert decided.answer.topup.request == request
    assert till.left("ada") == {"g": "5", request: "50"}
    assert till.wallet("ada")["grants"][1]["paid"] == "50"
    assert "outstanding" not in row(till)
    assert changes(till) == ["set", "request", "paid"]
    kept(till)


def test_it_is_settled_once_whoever_answers_again() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    first = settle(till, request, id="settled")
    again = settle(till, request, id="settled")
    assert (again.entries, again.answer.duplicate) == ((), True)
    assert again.answer.sequence == first.answer.sequence
    for outcome in ("paid", "failed"):
        with pytest.raises(RecordError) as refused:
            settle(till, request, outcome)
        assert (refused.value.reason, refused.value.field) == (Reason.TOPUP_SETTLED, "request_id")
    assert till.balance("ada") == "55"


def test_a_top_up_that_is_not_enough_is_followed_by_another() -> None:
    till = till_with()
    till.use("ada", 190)
    first = outstanding(till)
    decided = settle(till, first)
    assert [sealed.entry.kind for sealed in decided.entries] == ["grant", "topup"]
    assert decided.answer.grant == first
    assert outstanding(till) != first
    assert till.account("ada")["overdrawn"] == "40"
    kept(till)


def test_a_failure_waits_twice_as_long_each_time_and_asks_again_by_its_timer() -> None:
    till = till_with(caps={"per": "month", "requests": 20})
    till.use("ada", 95)
    waited = []
    for _ in range(12):
        settle(till, outstanding(till), "failed", detail="card declined")
        due_ms = till.rows[topup_key("ada", "USD")].due_ms  # type: ignore[union-attr]
        assert due_ms is not None
        waited.append((due_ms - till.at_ms) // MINUTE)
        till.use("ada", 1)  # while it waits, nothing is asked for
        assert "outstanding" not in row(till)
        till.tick(due_ms)
    assert waited == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440, 1440]
    settle(till, outstanding(till))
    assert "failures" not in row(till)
    kept(till)


def test_nobody_answers_and_it_counts_as_failed_after_a_day() -> None:
    till = till_with()
    till.use("ada", 95)
    first = outstanding(till)
    till.tick(NOW + DAY - 1)
    assert outstanding(till) == first
    till.tick(NOW + DAY)
    assert changes(till)[-1] == "unanswered"
    till.tick(NOW + DAY + 5 * MINUTE)
    assert changes(till)[-2:] == ["rearm", "request"]
    with pytest.raises(RecordError) as refused:
        settle(till, first, "failed")
    assert refused.value.reason == Reason.TOPUP_SETTLED
    kept(till)


@pytest.mark.parametrize("ended", ["unanswered", "failed"])
def test_money_that_comes_after_a_failure_is_granted_once_all_the_same(ended: str) -> None:
    till = till_with()
    till.use("ada", 95)
    first = outstanding(till)
    if ended == "failed":
        settle(till, first, "failed")
    else:
        till.tick(NOW + DAY)
    till.tick(till.at_ms + HOUR)
    second = outstanding(till)
    settle(till, first)
    assert till.entry("ada")["data"]["topup"]["late"]
    assert outstanding(till) == second  # which is not ended by it
    with pytest.raises(RecordError):
        settle(till, first)
    settle(till, second)
    assert till.left("ada") == {"g": "5", first: "50", second: "50"}
    kept(till)


def test_the_caps_of_a_period_stop_it_until_the_next() -> None:
    till = till_with(caps={"per": "day", "requests": 5, "amount": "120", "zone": "Europe/Berlin"})
    for _ in range(2):
        till.use("ada", 100)
        settle(till, outstanding(till))
    till.use("ada", 100)
    assert changes(till)[-1] == "capped"
    till.use("ada", 1)
    assert changes(till).count("capped") == 1  # told once
    midnight_ms = NOW + 15 * HOUR  # 08:00 UTC is 09:00 in Berlin
    till.tick(midnight_ms - 1)
    assert changes(till)[-1] == "capped"
    till.tick(midnight_ms)
    assert changes(till)[-2:] == ["rearm", "request"]
    assert row(till)["window"]["requests"] == 1
    kept(till)


def test_other_terms_do_not_open_another_cap() -> None:
    till = till_with(caps={"per": "month", "requests": 1})
    till.use("ada", 95)
    settle(till, outstanding(till))
    terms = {"below": {"amount": "20"}, "top_up": {"amount": "50"}}
    till.command("set_auto_topup", "ada", asset="USD", remove=True)
    caps = {"per": "day", "requests": 1}
    till.command("set_auto_topup", "ada", asset="USD", caps=caps, **terms)
    till.use("ada", 50)
    assert changes(till) == ["set", "request", "paid", "remove", "set", "capped"]
    till.tick(NOW + DAY)
    assert changes(till)[-1] == "request"
    kept(till)


def test_setting_the_terms_again_ends_a_wait() -> None:
    till = till_with()
    till.use("ada", 95)
    settle(till, outstanding(till), "failed")
    terms = {"below": {"amount": "20"}, "top_up": {"amount": "70"}, "caps": MONTHLY}
    till.command("set_auto_topup", "ada", asset="USD", **terms)
    assert till.entry("ada")["data"]["topup"]["amount"] == "70"
    kept(till)


def test_terms_that_are_removed_ask_for_nothing_and_what_was_asked_for_is_still_granted() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    till.command("set_auto_topup", "ada", asset="USD", remove=True)
    assert "topups" not in till.wallet("ada")
    settle(till, request)
    till.use("ada", 55)
    assert changes(till) == ["set", "request", "remove", "paid"]
    kept(till)


def test_setting_terms_on_an_empty_wallet_asks_at_once() -> None:
    till = Till()
    fields = {"below": {"amount": "20"}, "top_up": {"amount": "50"}, "caps": MONTHLY}
    decided = till.command("set_auto_topup", "new", asset="USD", **fields)
    assert decided.answer is not None
    assert decided.answer.topup is not None
    assert decided.answer.topup.change == "set"
    assert changes(till, "new") == ["set", "request"]
    kept(till)


@pytest.mark.parametrize(
    "lower",
    [
        lambda till: till.authorize("ada", 90, require="hold"),
        lambda till: till.authorize("ada", 90, capture=True),
        lambda till: till.command("adjust", "ada", asset="USD", amount="-90", reason="x"),
        lambda till: till.command("void", "ada", grant_id="g"),
        lambda till: till.command("reverse", "ada", entry=till.entry("ada", 1), reason="x"),
    ],
)
def test_whatever_lowers_the_balance_asks(lower: Any) -> None:
    till = till_with()
    lower(till)
    assert changes(till) == ["set", "request"]
    kept(till)


def test_a_lapse_asks_and_a_cycle_that_fills_the_wallet_does_not() -> None:
    till = Till()
    till.grant("ada", "100", "short", expires_at=NOW + HOUR)
    fields = {"below": {"amount": "20"}, "top_up": {"amount": "50"}, "caps": MONTHLY}
    till.command("set_auto_topup", "ada", asset="USD", **fields)
    till.tick(NOW + HOUR)
    assert changes(till) == ["set", "request"]
    kept(till)
    again = Till()
    again.grant("ada", "100", "daily", recurrence={"every": "day", "cycles": 5})
    again.command("set_auto_topup", "ada", asset="USD", **fields)
    held = {"require": "hold", "hold": {"expires_at": at_text(NOW + DAY)}}
    again.authorize("ada", 60, **held)
    again.tick(NOW + DAY)
    assert changes(again) == ["set"]
    kept(again)


def test_a_suspended_wallet_asks_for_nothing_until_it_is_active() -> None:
    till = till_with()
    till.command("set_state", "ada", state="suspended")
    till.use("ada", 95)
    assert changes(till) == ["set"]
    till.command("set_state", "ada", state="active")
    assert changes(till) == ["set", "request"]
    kept(till)


def test_a_closed_wallet_asks_for_nothing_and_takes_what_was_paid() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    till.command("set_state", "ada", state="closed")
    settle(till, request)
    assert till.left("ada")[request] == "50"
    till.use("ada", 55)
    assert changes(till) == ["set", "request", "paid"]
    with pytest.raises(RecordError) as refused:
        till.command("set_auto_topup", "ada", asset="USD", remove=True)
    assert refused.value.reason == Reason.WALLET_CLOSED
    kept(till)


def test_a_grant_of_the_same_id_does_not_swallow_what_was_paid() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    till.grant("ada", "1", request)
    settle(till, request)
    assert till.balance("ada") == "56"
    assert len(till.left("ada")) == 3
    kept(till)


def test_what_was_paid_for_is_said_where_it_is_another_asset() -> None:
    till = till_with()
    fields = {
        "below": {"amount": "10"},
        "top_up": {"amount": "1000", "cost_basis": "0.01", "expires_in_days": 30},
        "caps": MONTHLY,
    }
    till.command("set_auto_topup", "ada", asset="credit", **fields)
    request = row(till, "credit")["outstanding"]
    settle(till, request, amount="500")
    grant = next(each for each in till.wallet("ada")["grants"] if each["id"] == request)
    assert (grant["amount"], grant["paid"]) == ("500", "5")
    assert grant["expires_at"] == at_text(NOW + 30 * DAY)
    assert "waits_until" not in row(till, "credit")
    kept(till)


def test_days_left_are_said_of_what_the_last_day_used() -> None:
    till = till_with("1000", below={"days_left": 3})
    till.at_ms = NOW + HOUR - 1
    till.use("ada", 500)  # less than an hour is known: nothing is said
    assert changes(till) == ["set"]
    till.at_ms = NOW + 24 * HOUR
    till.use("ada", 1)  # 501 a day: less than a day is left
    facts = till.entry("ada")["data"]["topup"]
    assert (facts["change"], facts["burn_a_day"]) == ("request", "501")
    assert facts.get("days_left", 0) == 0
    kept(till)


def test_few_days_are_told_once_and_again_after_a_top_up_of_any_kind() -> None:
    till = till_with("240", below={"days_left": 5}, top_up=None, caps=None)
    till.at_ms = NOW + 2 * HOUR
    till.use("ada", 5)  # 60 a day: 3.9 days
    facts = till.entry("ada")["data"]["topup"]
    assert facts["change"] == "low"
    assert (facts["burn_a_day"], facts["days_left"]) == ("60", 3)
    till.use("ada", 1)
    assert changes(till) == ["set", "low"]
    till.grant("ada", "1000", "more")
    till.use("ada", 900)
    assert changes(till) == ["set", "low", "low"]
    kept(till)


def test_burn_is_never_less_than_the_last_24_hours_used() -> None:
    start_ms = NOW - NOW % HOUR
    burn = Burn(start_ms, start_ms, (0,)).with_spent(100, start_ms + HOUR - 1)
    assert burn.a_day(start_ms + HOUR - 1) is None
    assert burn.a_day(start_ms + HOUR) == 2400
    assert burn.a_day(start_ms + 7 * HOUR) == 343  # 342.86, rounded up
    assert burn.a_day(start_ms + 25 * HOUR - 1) == 100
    assert burn.a_day(start_ms + 25 * HOUR) == 0
    later = burn.with_spent(7, start_ms + 24 * HOUR)
    assert (len(later.spent), later.a_day(start_ms + 24 * HOUR)) == (25, 107)
    assert later.with_spent(1, start_ms + 25 * HOUR).a_day(start_ms + 25 * HOUR) == 8
    assert later.with_spent(1, start_ms + 500 * HOUR).a_day(start_ms + 500 * HOUR) == 1


def test_what_is_priced_anew_is_not_burned_twice() -> None:
    till = till_with("1000", below={"days_left": 1})
    till.use("ada", 10)
    dear = Rate(id="work", meter="work", asset="USD", price=PerUnit(quantity="units", price="2"))
    till.publish(price_book("v2", rates=[dear]))
    till.command("rerate", "ada", entry=till.entry("ada"), run="r", book="v2", reason="x")
    assert till.entry("ada")["data"]["amount"] == "20"
    assert row(till)["burn"]["spent"] == ["10"]


def test_customers_without_one_have_no_bytes_of_it() -> None:
    till = Till()
    till.grant("bob", "10", "g")
    till.use("bob", 9)
    assert b"topup" not in b"".join(till.bytes_of_rows().values())


def test_it_is_told_once_for_each_entry_that_concerns_others() -> None:
    till = till_with()
    request = till.use("ada", 95).entries[-1].entry
    told = json.loads(topup_notice(request) or b"")
    assert (told["id"], told["type"]) == ("ada/4/topup", "drawdown.topup.requested")
    assert told["data"]["request"] == outstanding(till)
    failed = settle(till, outstanding(till), "failed", detail="no such card").entries[0].entry
    told = json.loads(topup_notice(failed) or b"")
    assert told["type"] == "drawdown.topup.failed"
    assert told["data"]["detail"] == "50 USD were not paid: no such card"
    paid = settle(till, str(request.rare.topup and request.rare.topup.request)).entries[0].entry
    assert json.loads(topup_notice(paid) or b"")["type"] == "drawdown.topup.succeeded"


BELOW: dict[str, Any] = {"below": {"amount": "5"}}
BUY: dict[str, Any] = {**BELOW, "top_up": {"amount": "50"}, "caps": MONTHLY}


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({**BUY, "below": None}, "below", "say what is low"),
        ({**BUY, "below": {}}, "below", "say what is low"),
        ({**BUY, "below": {"amount": "-1"}}, "below.amount", "no amount"),
        ({**BUY, "below": {"days_left": 0}}, "below.days_left", ">= 1"),
        ({**BUY, "asset": "gold"}, "asset", "no asset 'gold'"),
        ({**BUY, "asset": "gold", "below": {"days_left": 1}}, "asset", "no asset 'gold'"),
        ({**BUY, "top_up": {"amount": "0"}}, "top_up.amount", "is zero"),
        ({**BUY, "asset": "credit"}, "top_up.cost_basis", "say what one credit was sold for"),
        (
            {**BUY, "asset": "token", "top_up": {"amount": "0.5", "cost_basis": "1"}},
            "top_up.amount",
            "finer than token",
        ),
        ({**BUY, "caps": None}, "caps", "say how often"),
        ({**BUY, "caps": {**MONTHLY, "amount": "49"}}, "caps.amount", "less than one top-up"),
        ({**BUY, "caps": {**MONTHLY, "zone": "Mars"}}, "caps.zone", "no time zone 'Mars'"),
        ({**BUY, "caps": {"per": "month", "requests": 0}}, "caps.requests", ">= 1"),
        (BELOW, "below.amount", "thresholds in amount are those of set_terms"),
        ({"below": {"days_left": 3}, "caps": MONTHLY}, "caps", "there is no top_up"),
        ({"remove": True}, "asset", "there is no auto top-up"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(
    fields: dict[str, Any], field: str, said: str
) -> None:
    till = Till()
    till.grant("ada", "100", "g")
    with pytest.raises(RecordError, match=said) as refused:
        till.command("set_auto_topup", "ada", **{"asset": "USD", **fields})
    assert refused.value.field == field
    assert len(till.entries("ada")) == 1


def test_a_request_of_somebody_else_is_unknown() -> None:
    till = till_with()
    till.use("ada", 95)
    request = outstanding(till)
    with pytest.raises(RecordError) as refused:
        till.command("settle_topup", "bob", request_id=request, outcome="paid")
    assert refused.value.reason == Reason.TOPUP_UNKNOWN
    with pytest.raises(RecordError, match="nothing was paid"):
        settle(till, request, "failed", amount="1")
    assert till.rows[request_key("ada", request)].state == "outstanding"  # type: ignore[union-attr]
