"""Auto top-ups through settlement itself: told once, outlive kills, and all decided again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.replay.proof import replayed, told, verified
from tests.settlement.test_subscriptions import DAY_S, TEAM
from tests.support.desk import Desk, book

from drawdown.events.catalogue import BALANCES, DECISIONS, NOTIFICATIONS, USAGE_EVENTS
from drawdown.events.pricebook import Plan

TERMS: dict[str, Any] = {
    "asset": "USD",
    "below": {"amount": "2"},
    "top_up": {"amount": "5"},
    "caps": {"per": "day", "requests": 2},
}


@pytest.fixture
def desk() -> Desk:
    found = Desk(partitions=1)
    found.publish(book("v2", plans=[Plan.model_validate(TEAM)]), found.now)
    found.start()
    found.grant("acme", "6")
    found.command("set_auto_topup", "acme", **TERMS)
    found.settle()
    return found


def row(desk: Desk) -> dict[str, Any]:
    key = b"acme\x1ftopup\x1fUSD"
    values = [m.value() for m in desk.records(BALANCES) if m.key() == key]
    found: dict[str, Any] = json.loads(values[-1] or b"")
    return found


def requests(desk: Desk) -> list[str]:
    """Ids of the top-ups that were requested, as they were told."""
    notices = [json.loads(message.value() or b"") for message in desk.records(NOTIFICATIONS)]
    asked = [notice for notice in notices if notice["type"] == "drawdown.topup.requested"]
    assert len({notice["id"] for notice in asked}) == len(asked), "each is told once"
    return [notice["data"]["request"] for notice in asked]


def settle(desk: Desk, request: str, outcome: str = "paid") -> str:
    fields = {"request_id": request, "outcome": outcome, "id": f"{request}:{outcome}"}
    return desk.command("settle_topup", "acme", **fields)


def proven(desk: Desk) -> None:
    """The judge, the rows from the journal, and every cause decided again."""
    assert desk.wrongs() == []
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []


def test_it_is_told_once_and_paid_once(desk: Desk) -> None:
    desk.use("acme", input=1_000_000)
    desk.use("acme", input=1_500_000)
    desk.settle()
    (request,) = requests(desk)
    for _ in range(2):
        settle(desk, request)
    desk.settle()
    assert desk.notices("acme")[-1] == "drawdown.topup.succeeded"
    assert desk.wallet("acme")["grants"][-1]["id"] == request
    assert "outstanding" not in row(desk)
    proven(desk)


def test_an_answer_to_usage_is_about_the_usage_and_not_what_came_with_it(desk: Desk) -> None:
    event = {"specversion": "1.0", "id": "answered", "source": "test", "type": "llm.completion"}
    event |= {"subject": "acme", "data": {"model": "gpt-5", "input": 2_500_000}}
    headers = [("reply_to", b"me"), ("attempt_id", b"1")]
    value = json.dumps({**event, "time": desk.now.isoformat()}).encode()
    desk.produce(USAGE_EVENTS, b"acme", value, headers=headers)
    desk.settle()
    answer = json.loads(desk.records(DECISIONS)[-1].value() or b"")
    assert (answer["id"], answer["amount"], answer["sequence"]) == ("answered", "5", 3)
    assert len(requests(desk)) == 1
    proven(desk)


@pytest.mark.parametrize("point", ["produced", "offsets-sent", "committed", "stored"])
def test_a_kill_anywhere_leaves_one_request_and_one_grant(desk: Desk, point: str) -> None:
    (settler,) = desk.settlers
    kills = []

    class KilledError(BaseException):
        """The process is gone."""

    def crash(at: str) -> None:
        if at == point:
            desk.crash = lambda _: None
            settler.process.kill()
            kills.append(at)
            raise KilledError

    def through_a_kill() -> None:
        nonlocal settler
        desk.crash = crash
        try:
            desk.settle()
        except KilledError:
            settler = settler.restart()
        desk.crash = lambda _: None
        desk.settle()

    desk.use("acme", input=2_500_000)
    through_a_kill()
    (request,) = requests(desk)
    settle(desk, request)
    through_a_kill()
    assert kills == [point, point]
    grants = [entry for entry in desk.entries("acme") if entry["type"].endswith(".grant")]
    assert [entry["data"]["grant"]["id"] for entry in grants] == [grants[0]["data"]["id"], request]
    proven(desk)


def test_nobody_answers_for_days_then_money_comes(desk: Desk) -> None:
    desk.use("acme", input=2_500_000)
    desk.settle()
    for _ in range(6):
        desk.pass_time(DAY_S / 2 + 1)
        desk.settle()
    asked = requests(desk)
    assert len(asked) >= 2
    settle(desk, asked[0])
    desk.settle()
    settle(desk, asked[0], "failed")
    desk.settle()
    assert desk.notices("acme").count("drawdown.topup.failed") >= 2
    (settler,) = desk.settlers
    settler.restart()
    desk.settle()
    proven(desk)


@pytest.mark.parametrize("first", ["usage", "a check", "a hold", "the timer"])
def test_cycles_with_fees_and_top_ups_are_decided_again_whatever_began_them(
    desk: Desk, first: str
) -> None:
    desk.command("subscribe", "acme", plan="team", subscription_id="s", seats=2)
    terms = {"below": {"amount": "9", "days_left": 3}}
    desk.command("set_auto_topup", "acme", **{**TERMS, **terms})
    desk.settle()
    for day in range(16):
        desk.use("acme", input=700_000)
        if day % 3 == 0:
            desk.settle()
        if first == "usage":
            desk.use("acme", input=1_000)
        elif first == "a check":
            desk.authorize("acme", estimate={"quantities": {"input": 1}})
        elif first == "a hold":
            desk.authorize("acme", estimate={"amount": "0.5"}, require="hold")
        desk.settle()
        for request in requests(desk)[-1:]:
            settle(desk, request, "failed" if day % 4 == 1 else "paid")
        desk.pass_time(DAY_S + 17)
        if first != "the timer":
            desk.authorize("acme", estimate={"quantities": {"input": 1}})
        desk.settle()
    assert len(requests(desk)) > 3
    proven(desk)
