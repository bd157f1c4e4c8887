"""Publishing versions: once each, rolled back as new ones, and superseding what was scheduled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.desk import ENVIRONMENT, Desk, book

from drawdown.events.base import EPOCH
from drawdown.events.pricebook import Conversion, PerUnit, PriceBook, Rate
from drawdown.settlement.publish import (
    NOTICE,
    PublishError,
    RolledBack,
    publish,
    read_topic,
    roll_back,
)

HOUR = timedelta(hours=1)


def priced(version: str, price: str, **more: Any) -> PriceBook:
    rate = Rate(id="llm", meter="llm", asset="USD", price=PerUnit(quantity="input", price=price))
    return book(version, rates=[rate], **more)


class Shop:
    """A desk whose only version is v1, always in effect; and the publisher beside it."""

    def __init__(self) -> None:
        self.desk = Desk()

    @property
    def now(self) -> datetime:
        return self.desk.now

    def publish(self, version: PriceBook, **more: Any) -> tuple[datetime, int]:
        return publish(self.desk.cluster, ENVIRONMENT, version, now=self.now, **more)

    def roll_back(self, version: str, **more: Any) -> RolledBack:
        return roll_back(self.desk.cluster, ENVIRONMENT, version, now=self.now, **more)

    def at(self, hours: int) -> str:
        """The version in effect in so many hours."""
        books = read_topic(self.desk.cluster, ENVIRONMENT).books
        found = books.at(self.desk.clock.ms + hours * 3_600_000)
        assert found is not None
        return found.version


def test_a_version_is_published_once() -> None:
    shop = Shop()
    first = shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR)
    assert shop.publish(priced("v2", "3")) == first
    assert shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR) == first
    with pytest.raises(PublishError, match="'v2' was published before, with other content"):
        shop.publish(priced("v2", "4"))
    with pytest.raises(PublishError, match="'v2' was published before, in effect from 20"):
        shop.publish(priced("v2", "3"), effective_at=shop.now + 2 * HOUR)


def test_the_past_was_priced_already() -> None:
    shop = Shop()
    with pytest.raises(PublishError, match="in the past, where usage was priced already"):
        shop.publish(priced("v2", "3"), effective_at=shop.now - HOUR)
    with pytest.raises(PublishError, match="less than 60 s from now"):
        shop.publish(priced("v2", "3"), effective_at=shop.now + NOTICE / 2)


def test_a_former_version_is_in_effect_again_as_a_new_one() -> None:
    shop = Shop()
    shop.publish(priced("v2", "3", drawdown="orb"), effective_at=shop.now + HOUR)
    shop.desk.pass_time(7200)
    assert (shop.at(0), shop.at(1)) == ("v2", "v2")

    done = shop.roll_back("v1")

    assert (done.version, done.effective_at, done.superseded) == ("v1+2", shop.now + NOTICE, [])
    assert (shop.at(0), shop.at(1)) == ("v2", "v1+2")
    again = shop.roll_back("v2", effective_at=shop.now + 2 * HOUR)
    assert again.version == "v2+2"
    contents = read_topic(shop.desk.cluster, ENVIRONMENT, keep=True).contents
    assert contents["v2+2"].commit.restores == "v2"
    assert contents["v2+2"].commit.drawdown == "orb"
    assert contents["v2+2"].prices == contents["v2"].prices


def test_what_was_scheduled_for_later_never_takes_effect() -> None:
    shop = Shop()
    shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR)
    shop.publish(priced("v3", "4"), effective_at=shop.now + 3 * HOUR)
    done = shop.roll_back("v1", name="v4", effective_at=shop.now + 2 * HOUR)
    assert done.superseded == ["v3"]
    assert [shop.at(hours) for hours in (0, 1, 2, 3, 4)] == ["v1", "v2", "v4", "v4", "v4"]


def test_or_it_is_kept() -> None:
    shop = Shop()
    shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR)
    shop.publish(priced("v3", "4"), effective_at=shop.now + 3 * HOUR)
    done = shop.roll_back("v1", effective_at=shop.now + 2 * HOUR, keep_scheduled=True)
    assert done.superseded == []
    assert [shop.at(hours) for hours in (2, 3)] == ["v1+2", "v3"]


def test_a_scheduled_version_is_withdrawn_before_it_counts() -> None:
    shop = Shop()
    shop.publish(priced("v2", "3"), effective_at=shop.now + 2 * HOUR)
    done = shop.roll_back("v1")
    assert done.superseded == ["v2"]
    assert [shop.at(hours) for hours in (0, 1, 3)] == ["v1", "v1+2", "v1+2"]


def test_a_version_supersedes_what_it_names() -> None:
    shop = Shop()
    shop.publish(priced("v2", "30"), effective_at=shop.now + 2 * HOUR)
    shop.publish(priced("v3", "3"), effective_at=shop.now + HOUR, supersedes=["v2"])
    assert [shop.at(hours) for hours in (0, 1, 3)] == ["v1", "v3", "v3"]


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("v9", {}, "no version 'v9'"),
    ("v1", {}, "nothing to roll back"),
    ("v0", {"name": "v1"}, "no version 'v0'"),
    ("v1", {"name": "v2", "effective_at": 2 * HOUR}, "'v2' was published before"),
    ("v1", {"effective_at": -HOUR}, "in the past"),
]


@pytest.mark.parametrize(("version", "how", "says"), WRONG)
def test_what_cannot_be_rolled_back(version: str, how: dict[str, Any], says: str) -> None:
    shop = Shop()
    if "name" in how:
        shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR)
    if "effective_at" in how:
        how = {**how, "effective_at": shop.now + how["effective_at"]}
    with pytest.raises(PublishError, match=says):
        shop.roll_back(version, **how)


def test_what_is_in_effect_is_not_superseded() -> None:
    shop = Shop()
    with pytest.raises(PublishError, match="in effect from 1970"):
        shop.publish(priced("v2", "3"), supersedes=["v1"])
    with pytest.raises(PublishError, match="no version 'v7'"):
        shop.publish(priced("v2", "3"), supersedes=["v7"])


def test_conversions_and_order_are_restored_too() -> None:
    shop = Shop()
    assets = [*book().assets, book().assets[0].model_copy(update={"code": "gem"})]
    way = Conversion(asset="USD", to="gem", price="10")
    shop.publish(priced("v2", "1", assets=assets, conversions=[way]), effective_at=shop.now + HOUR)
    shop.roll_back("v1", effective_at=shop.now + 2 * HOUR)
    shop.roll_back("v2", effective_at=shop.now + 3 * HOUR)
    contents = read_topic(shop.desk.cluster, ENVIRONMENT, keep=True).contents
    assert contents["v2+2"].commit.conversions == contents["v2"].commit.conversions != []
    assert contents["v1"].commit.effective_at == EPOCH


def test_settlement_prices_by_what_is_in_effect_after_a_rollback() -> None:
    shop = Shop()
    desk = shop.desk
    desk.start()
    desk.grant("acme", "100")
    shop.publish(priced("v2", "3"), effective_at=shop.now + HOUR)
    desk.pass_time(3600)
    desk.use("acme", input=1)
    desk.settle()
    shop.roll_back("v1")
    desk.pass_time(120)
    desk.use("acme", input=1)
    desk.settle()
    found = [e["data"]["price"]["book"] for e in desk.entries("acme") if "price" in e["data"]]
    assert found == ["v2", "v1+2"]
    assert desk.wrongs() == []
