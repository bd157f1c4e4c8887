"""Subscriptions through settlement itself: journal, rows, restarts, and all decided again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.replay.proof import replayed, told, verified
from tests.support.desk import Desk, book

from drawdown.events.catalogue import BALANCES
from drawdown.events.pricebook import Plan
from drawdown.stream.store import MemoryStores

DAY_S = 86_400
TEAM = {
    "id": "team",
    "cycle": {"every": "day", "count": 10},
    "phases": [{"id": "trial", "days": 3, "fees": []}, {"id": "paid"}],
    "fees": [
        {"id": "base", "asset": "USD", "amount": "2", "per": "seat", "pay": "wallet"},
        {"id": "support", "asset": "USD", "amount": "1", "when": "arrears"},
    ],
    "grants": [
        {"id": "pool", "asset": "USD", "amount": "5", "per": "seat", "rollover": {"cycles": 1}},
        {"id": "daily", "asset": "credit", "amount": "3", "schedule": {"every": "day"}},
    ],
    "entitlements": [{"id": "tokens", "meter": "llm", "quantity": "input", "limit": "500000"}],
    "terms": {"credit_limits": {"USD": "1"}},
}
BIG = {**TEAM, "id": "big", "fees": [{**TEAM["fees"][0], "amount": "7"}]}


@pytest.fixture
def desk() -> Desk:
    found = Desk(partitions=1)
    plans = [Plan.model_validate(plan) for plan in (TEAM, BIG)]
    found.publish(book("v2", plans=plans), found.now)
    found.start()
    found.grant("acme", "50")
    found.settle()
    return found


def row(desk: Desk, subscription: str) -> dict[str, Any]:
    """The last row of a subscription."""
    key = f"acme\x1fsubscription\x1f{subscription}".encode()
    values = [m.value() for m in desk.records(BALANCES) if m.key() == key]
    found: dict[str, Any] = json.loads(values[-1] or b"")
    return found


@pytest.mark.parametrize("first", ["usage", "a check", "a change", "the timer"])
def test_cycles_are_decided_again_whatever_began_them(desk: Desk, first: str) -> None:
    desk.command("subscribe", "acme", plan="team", subscription_id="s", seats=2)
    desk.use("acme", input=100_000)
    desk.settle()
    desk.pass_time(13 * DAY_S + 5)
    if first == "usage":
        desk.use("acme", input=1_000)
    elif first == "a check":
        desk.authorize("acme", estimate={"quantities": {"input": 1}})
    elif first == "a change":
        desk.command("change_subscription", "acme", subscription_id="s", plan="big", seats=3)
    desk.settle()
    desk.pass_time(DAY_S)
    desk.settle()
    assert row(desk, "s")["cycle"] == 2
    assert desk.wrongs() == []
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []


def test_a_life_of_changes_outlives_restarts_and_is_decided_again(desk: Desk) -> None:
    subscribed = desk.command("subscribe", "acme", plan="team", subscription_id="s", seats=2)
    desk.command("subscribe", "acme", plan="big", subscription_id="t", start_at=_in(desk, 4))
    desk.settle()
    assert desk.decision(subscribed)["subscription"]["phase"] == "trial"
    (settler,) = desk.settlers
    for day in range(30):
        desk.use("acme", input=20_000, cached_input=day)
        desk.use("acme", images=1)
        if day == 5:
            desk.command("change_subscription", "acme", subscription_id="s", seats=4)
        if day == 8:
            desk.command(
                "change_subscription", "acme", subscription_id="s", plan="big", when="cycle_end"
            )
        if day == 15:
            desk.command("cancel_subscription", "acme", subscription_id="t", when="now")
        if day == 20:
            desk.command("cancel_subscription", "acme", subscription_id="s")
            settler = settler.restart(disk=MemoryStores())
        if day == 25:
            settler = settler.restart()
        desk.settle()
        desk.pass_time(DAY_S)
        if day % 2:
            desk.settle()
    desk.settle()
    assert (row(desk, "s")["status"], row(desk, "t")["status"]) == ("ended", "ended")
    assert "subscriptions" not in desk.wallet("acme")
    assert desk.wrongs() == []
    assert desk.dead_letters() == []
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []


def test_a_fee_that_the_wallet_does_not_cover_is_told(desk: Desk) -> None:
    desk.command("subscribe", "acme", plan="big", subscription_id="s", seats=5)
    desk.command("adjust", "acme", asset="USD", amount="-60", reason="spent elsewhere")
    desk.settle()
    desk.pass_time(3 * DAY_S)
    desk.settle()
    assert "drawdown.balance.overdrawn" in desk.notices("acme")
    assert desk.low_balances("acme")


def test_beyond_a_metered_right_nothing_is_authorized(desk: Desk) -> None:
    desk.command("subscribe", "acme", plan="team", subscription_id="s")
    desk.settle()
    desk.use("acme", input=499_999)
    desk.settle()
    asked = [
        desk.authorize("acme", estimate={"quantities": {"input": tokens}}) for tokens in (1, 2)
    ]
    desk.settle()
    assert [desk.decision(each)["reason"] for each in asked] == ["ok", "entitlement_exceeded"]
    assert row(desk, "s")["used"] == {"tokens": "499999"}
    assert told(verified(desk)) == []


def _in(desk: Desk, days: int) -> str:
    desk.clock.ms += days * DAY_S * 1000
    text = desk.now.isoformat()
    desk.clock.ms -= days * DAY_S * 1000
    return text
