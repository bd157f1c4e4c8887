"""Margins and velocity through settlement itself: told, kept over restarts, and decided again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.replay.proof import replayed, told, verified
from tests.support.desk import Desk, book

from drawdown.events.catalogue import BALANCES, NOTIFICATIONS
from drawdown.events.pricebook import Plan
from drawdown.stream.store import MemoryStores

HOUR_S = 3600
DAY_S = 24 * HOUR_S
PRO = {
    "id": "pro",
    "cycle": {"every": "day", "count": 3},
    "fees": [{"id": "base", "asset": "USD", "amount": "3"}],
    "budgets": [
        {"id": "floor", "measure": "margin", "floor": "20", "window": {"every": "day"}},
        {"id": "calls", "measure": "requests", "velocity": {"times": 2, "history": 2}},
    ],
}


@pytest.fixture
def desk() -> Desk:
    """One partition. A million of input is 2 USD, and costs 1."""
    desk = Desk(partitions=1)
    desk.publish(book("v2", plans=[Plan.model_validate(PRO)]), desk.now)
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


def notices(desk: Desk, customer: str = "ada") -> list[tuple[str, dict[str, Any]]]:
    """Types and data of what was told of margins and paces."""
    found = [json.loads(message.value() or b"") for message in desk.records(NOTIFICATIONS)]
    return [
        (notice["type"].removeprefix("drawdown."), notice["data"])
        for notice in found
        if notice["subject"] == customer
    ]


def rows(desk: Desk, kind: str) -> dict[str, dict[str, Any]]:
    """Rows of a kind as a new reader of `balances` finds them, by what their keys end in."""
    last = {m.key() or b"": m.value() for m in desk.records(BALANCES)}
    return {
        key.decode().split("\x1f")[2]: json.loads(value)
        for key, value in last.items()
        if value is not None and f"\x1f{kind}\x1f".encode() in key
    }


def margin(desk: Desk, budget_id: str, **terms: Any) -> None:
    desk.command("set_budget", "ada", budget_id=budget_id, budget={"measure": "margin", **terms})
    desk.settle()


def test_a_change_of_sign_is_told_with_its_figures(desk: Desk) -> None:
    margin(desk, "each", scope={"feature": "*"}, floor="20")
    desk.use("ada", input=1_000_000, feature="chat")
    desk.use("ada", input=1_000_000, feature="chat", costs={"openai": "3.5"})
    desk.use("ada", input=1_000_000, feature="chat", costs={})
    desk.settle()
    (first, down), (second, floor), (third, up) = notices(desk)
    assert (first, second, third) == (
        "margin.sign_changed",
        "margin.floor_passed",
        "margin.sign_changed",
    )
    assert down["detail"] == (
        "margin 'each' of feature=chat fell below zero: -0.5 (-12.5 %), revenue 4 less cost 4.5"
    )
    assert {name: down[name] for name in ("budget", "scope", "revenue", "cost", "margin")} == {
        "budget": "each",
        "scope": "feature=chat",
        "revenue": "4",
        "cost": "4.5",
        "margin": "-0.5",
    }
    assert (floor["floor"], floor["resets_at"]) == ("20", "2027-02-01T00:00:00Z")
    assert "is no more below zero: 1.5 (25 %)" in up["detail"]


def test_a_pace_is_told_with_what_is_usual(desk: Desk) -> None:
    terms = {"asset": "USD", "velocity": {"times": 3, "history": 2}, "scope": {"key": "*"}}
    desk.command("set_budget", "ada", budget_id="pace", budget=terms)
    for _ in range(2):
        desk.use("ada", input=1_000_000, key="k")
        desk.settle()
        desk.pass_time(HOUR_S)
    for _ in range(4):
        desk.use("ada", input=1_000_000, key="k")
    desk.settle()
    ((kind, data),) = notices(desk)
    assert kind == "budget.velocity"
    assert data["detail"] == (
        "budget 'pace' of key=k: 6 are used, 3 times the usual 2 of such a stretch or more"
    )
    assert (data["amount"], data["usual"], data["times"], data["asset"]) == ("6", "2", 3, "USD")


@pytest.mark.parametrize("disk", [None, "another"])
def test_a_life_under_a_plans_floor_outlives_restarts_and_is_decided_again(
    desk: Desk, disk: str | None
) -> None:
    (settler,) = desk.settlers
    desk.command("subscribe", "ada", plan="pro", subscription_id="s")
    margin(desk, "hour", scope={"session": "*"}, floor="5", cost_min="1",
           window={"every": "rolling", "length_s": HOUR_S})  # fmt: skip
    margin(desk, "life", scope={"session": "*"}, window={"every": "life", "idle_s": 1800})
    asked = []
    for turn in range(24):
        session = "st"[turn % 2]
        for _ in range(40 if turn == 14 else 1 + turn % 5):
            desk.use("ada", input=100_000, session=session)
        desk.use("ada", input=10_000, session=session, costs={"openai": f"0.{turn}"})
        desk.use("ada", model="nobody-prices-this", input=5, session=session)
        hold = desk.authorize(
            "ada",
            require="hold",
            estimate={"quantities": {"input": 50_000}},
            dimensions={"model": "gpt-5", "session": session},
        )
        asked.append(hold)
        desk.settle()
        if desk.decision(hold)["allowed"]:
            desk.command("capture", "ada", hold_id=hold, quantities={"input": 40_000})
        if turn == 9:
            settler = settler.restart(disk=MemoryStores() if disk else None)
        if turn == 18:
            desk.command("cancel_subscription", "ada", subscription_id="s", when="now")
        desk.settle()
        desk.pass_time(5 * HOUR_S if turn % 6 == 5 else 1200)
    desk.settle()
    reasons = {desk.decision(each)["reason"] for each in asked}
    assert reasons == {"ok", "margin_floor"}
    assert {kind for kind, _ in notices(desk)} >= {"margin.sign_changed", "budget.velocity"}
    assert desk.wrongs() == []
    assert desk.dead_letters() == []
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []
    desk.pass_time(36 * DAY_S)
    desk.settle()
    assert rows(desk, "pace").keys() == rows(desk, "spent").keys() == set()
    assert {key.partition("#")[0] for key in rows(desk, "margin")} == set()
    assert told(replayed(desk)) == []
