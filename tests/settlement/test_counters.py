"""Running quantities through the real loop: their rows, their timers, and both after a restart."""

from __future__ import annotations

import json
from datetime import datetime
from fractions import Fraction
from typing import Any

import pytest
from tests.support.desk import Desk, book

from drawdown.events.base import MILLISECOND, at_text
from drawdown.events.catalogue import BALANCES
from drawdown.events.numbers import amount_of, rational_of
from drawdown.events.pricebook import PriceBook
from drawdown.stream.store import MemoryStores

DAY_S = 86_400
FEBRUARY_S = 16 * DAY_S + 16 * 3600
"""From when a desk's time begins."""


def prices() -> PriceBook:
    """Images by volume, wallets that were active, outcomes, and minutes with a commitment."""
    meters = [
        {"id": "image", "event_types": ["image"], "fields": {"images": "images"}},
        {"id": "activity", "event_types": ["activity"], "unique": {"wallets": "wallet"}},
        {"id": "fin", "event_types": ["fin"]},
        {"id": "call", "event_types": ["call"], "fields": {"minutes": "minutes"}},
        {
            "id": "disk",
            "event_types": ["disk"],
            "fields": {"gb": "gb"},
            "aggregate": {"gb": "time_weighted"},
        },
    ]
    minutes = {"model": "per_unit", "quantity": "minutes", "price": "1"}
    tiers = [{"up_to": "10", "price": "1"}, {"price": "0.5"}]
    undo = {"dimension": "state", "value": "reopened"}
    rates = [
        ("image", {"model": "volume", "quantity": "images", "tiers": tiers}),
        ("activity", {"model": "allowance", "quantity": "wallets", "included": "1", "price": "2"}),
        ("fin", {"model": "outcome", "key": "task", "price": "0.99", "undo": undo}),
        ("disk", {"model": "graduated", "quantity": "gb", "tiers": [{"price": "0.31"}]}),
        ("call", {"model": "commitment", "amount": "10", "factor": "1.5", "base": minutes}),
    ]
    return PriceBook.model_validate(
        {
            **book("v2").model_dump(),
            "meters": meters,
            "rates": [
                {"id": name, "meter": name, "asset": "USD", "price": price} for name, price in rates
            ],
            "costs": [],
        }
    )


def rows(desk: Desk) -> dict[str, Any]:
    """The customer's rows but the wallet, as a new reader of `balances` finds them."""
    last = {message.key() or b"": message.value() for message in desk.records(BALANCES)}
    return {
        key.decode().partition("\x1f")[2].replace("\x1f", " "): json.loads(value)
        for key, value in last.items()
        if value is not None and b"\x1f" in key
    }


@pytest.fixture
def desk() -> Desk:
    """One partition, and a wallet of 100 in it."""
    desk = Desk(partitions=1)
    desk.publish(prices())
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


def use(desk: Desk, kind: str, **data: Any) -> None:
    desk.event("ada", data, type=kind)


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_what_runs_goes_on_after_a_restart(desk: Desk, disk: str) -> None:
    use(desk, "image", images=10)
    use(desk, "activity", wallet="a")
    use(desk, "activity", wallet="b")
    use(desk, "fin", task="t")
    desk.settle()
    assert desk.balance("ada") == "87.01"
    before = rows(desk)
    assert before["running image#2027-01-01T00:00:00Z"]["quantity"] == "10"

    settler = desk.settlers[0]
    settler.restart(disk=None if disk == "kept" else MemoryStores())
    use(desk, "image", images=1)
    use(desk, "activity", wallet="a")
    use(desk, "fin", task="t", state="reopened")
    desk.settle()
    assert desk.balance("ada") == "92.5"
    assert rows(desk).keys() - before.keys() == set()
    assert desk.wrongs() == []


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_a_period_ends_by_its_timer_and_leaves_no_row(desk: Desk, disk: str) -> None:
    use(desk, "image", images=1)
    use(desk, "activity", wallet="a")
    desk.settle()
    assert len(rows(desk)) == 3
    desk.settlers[0].restart(disk=None if disk == "kept" else MemoryStores())
    desk.settle()
    desk.pass_time(FEBRUARY_S + 35 * DAY_S)
    desk.settle()
    assert rows(desk) == {}
    assert sorted(desk.kinds("ada")) == ["close", "close", "debit", "debit", "grant"]
    assert desk.wrongs() == []


@pytest.mark.parametrize("disk", ["kept", "lost"])
def test_what_holds_is_charged_at_the_end_of_each_period_and_goes_on(desk: Desk, disk: str) -> None:
    use(desk, "disk", gb=10)
    desk.settle()
    for _ in range(2):
        desk.settlers[0].restart(disk=None if disk == "kept" else MemoryStores())
        desk.settle()
        desk.pass_time(FEBRUARY_S + 3600)
        desk.settle()
    use(desk, "disk", gb=0)
    desk.settle()
    assert rows(desk)["running disk#2027-02-01T00:00:00Z"]["level"] == "0"
    began, january, february = [e["data"] for e in desk.entries("ada")[1:]]
    ends, since = (
        datetime.fromisoformat(january["running"][at]) for at in ("ends_at", "starts_at")
    )
    held = ends - datetime.fromisoformat(began["usage"]["time"])
    average = 10 * Fraction(held // MILLISECOND, (ends - since) // MILLISECOND)
    assert rational_of(january["running"]["after"]) == average
    assert amount_of(january["amount"]) == round(average * Fraction("0.31") * 10**12)
    assert february["running"]["before"] == "0"
    assert desk.wrongs() == []


def test_a_late_event_counts_in_its_own_period(desk: Desk) -> None:
    use(desk, "image", images=10)
    desk.settle()
    january = desk.clock.ms
    desk.pass_time(FEBRUARY_S)
    use(desk, "image", images=4)
    desk.event("ada", {"images": 1}, type="image", time=at_text(january))
    desk.settle()
    assert [entry["data"]["amount"] for entry in desk.entries("ada")[2:]] == ["4", "-4.5"]
    assert desk.wrongs() == []
