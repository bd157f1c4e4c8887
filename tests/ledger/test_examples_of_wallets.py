"""Worked examples of domain.md about grants that come again, and pools: to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.support.till import DAY, START_MS, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.pricebook import Meter, PerUnit, Rate

NOW = START_MS


def monthly(**more: Any) -> dict[str, Any]:
    return {"every": "month", "cycles": 12, **more}


def left_by_id(till: Till) -> dict[str, str]:
    """What is left, by the first part of the id."""
    return {name.partition("@")[0]: left for name, left in till.left("ada").items() if left != "0"}


def test_1_plain_credits() -> None:
    """12 credits a response, 480 there: the check after the first reads 468, the 41st is denied."""
    till = Till(
        price_book(
            rates=[
                Rate(
                    id="response",
                    meter="work",
                    asset="credit",
                    price=PerUnit(quantity="events", price="12"),
                )
            ],
            meters=[Meter(id="work", event_types=["work"])],
        )
    )
    till.grant("ada", "480", "g", asset="credit", cost_basis="0.01")
    till.use("ada")
    check = till.authorize("ada", estimate={"quantities": {}})
    assert (check.allowed, check.available) == (True, {"credit": "468"})
    till.use("ada")
    assert till.balance("ada", "credit") == "456"
    for _ in range(38):
        assert till.authorize("ada", estimate={"quantities": {}}).allowed
        till.use("ada")
    denied = till.authorize("ada", estimate={"quantities": {}})
    assert (denied.allowed, denied.reason, denied.shortfall) == (
        False,
        "insufficient_balance",
        "12",
    )


def test_2_an_entitlement_that_resets_and_a_top_up_that_stays() -> None:
    till = Till()
    till.grant("ada", "10000", "included", category="included", recurrence=monthly())
    till.grant("ada", "5000", "bought")
    till.use("ada", 12_000)
    assert till.left("ada") == {"included": "0", "bought": "3000"}
    till.tick(NOW + 31 * DAY)
    assert left_by_id(till) == {"included": "10000", "bought": "3000"}
    till.use("ada", 4_000)
    till.tick(NOW + 59 * DAY)
    assert till.statement("ada")[-1][:2] == ("lapse", "6000")
    assert left_by_id(till) == {"included": "10000", "bought": "3000"}
    assert till.wrongs() == []


def test_16_lovable_monthly_that_rolls_over_and_daily_that_lapses() -> None:
    till = Till()
    till.grant(
        "ada", "100", "monthly", category="included", priority=60, recurrence=monthly(rollover={})
    )
    daily = {"every": "day", "cycles": 365}
    till.grant("ada", "5", "daily", category="included", priority=50, recurrence=daily)
    till.use("ada", 8)
    assert till.left("ada") == {"daily": "0", "monthly": "97"}
    till.tick(NOW + DAY)
    till.use("ada", 2)
    assert left_by_id(till) == {"daily": "3", "monthly": "97"}
    till.tick(NOW + 2 * DAY)
    assert left_by_id(till) == {"daily": "5", "monthly": "97"}
    till.tick(NOW + 31 * DAY)
    assert left_by_id(till) == {"daily": "5", "monthly": "100", "monthly+": "97"}
    assert till.wrongs() == []


def test_17_midjourney_fast_hours() -> None:
    """15 fast hours that lapse, 2 bought that stay; 15.5 are used, it renews; a failed job is
    free."""
    till = Till(price_book(meters=[GPU], rates=[HOURS]))
    terms = {"asset": "gpu-hour", "category": "included", "recurrence": monthly()}
    till.grant("ada", "15", "fast", **terms)
    till.grant("ada", "2", "bought", asset="gpu-hour", cost_basis="4")
    till.use("ada", hours="15.5")
    assert till.left("ada") == {"fast": "0", "bought": "1.5"}
    till.use("ada", hours="0")
    assert till.statement("ada")[-1][:3] == ("debit", "0", "1.5")
    till.tick(NOW + 31 * DAY)
    assert left_by_id(till) == {"fast": "15", "bought": "1.5"}
    till.use("ada", hours="0.25")
    till.reverse("ada", reason="the job failed")
    assert left_by_id(till) == {"fast": "15", "bought": "1.5"}
    assert till.wrongs() == []


GPU = Meter(id="work", event_types=["work"], fields={"hours": "hours"})
HOURS = Rate(id="gpu", meter="work", asset="gpu-hour", price=PerUnit(quantity="hours", price="1"))


def test_19_fly_a_monthly_credit_for_shared_machines_in_one_region() -> None:
    till = Till()
    scope = {"dimensions": {"machine": ["shared"], "region": ["cdg"]}}
    till.grant("ada", "5", "reserved", category="included", scope=scope, recurrence=monthly())
    till.grant("ada", "100", "money")
    till.use("ada", "7.30", machine="shared", region="cdg")
    till.use("ada", "3", machine="shared", region="iad")
    parts = [line[3] for line in till.statement("ada")[2:]]
    assert parts == [{"reserved": "5", "money": "2.3"}, {"money": "3"}]


def test_24_a_seat_more_is_a_thousand_credits_at_once_in_the_pool() -> None:
    till = Till()
    seats = {"asset": "credit", "category": "included", "cost_basis": "0.01"}
    till.grant("ada", "5000", "seats", recurrence=monthly(), **seats)
    till.use("ada", 1_200, **{"in": "credit", "member": "m1"})
    till.at_ms = NOW + 15 * DAY
    sixth = {"every": "month", "cycles": 12, "anchor": at_text(NOW)}
    till.grant("ada", "1000", "sixth seat", recurrence=sixth, **seats)
    assert till.balance("ada", "credit") == "4800"
    till.use("ada", 4_800, **{"in": "credit", "member": "m6"})
    assert not till.authorize("ada", 1, dimensions={"in": "credit"}).allowed
    till.tick(NOW + 31 * DAY)
    assert till.balance("ada", "credit") == "6000"
    assert Decimal(till.wallet("ada")["revenue"]) == 60
    assert till.wrongs() == []
