"""The worked examples of domain.md that concern prices, by their numbers and figures there."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, START_MS, Till

from drawdown.events.base import at_text
from drawdown.events.pricebook import PriceBook

NOW = START_MS
FEBRUARY = NOW + 16 * DAY + 16 * HOUR
TOKENS = ["input", "cached_input", "cache_write", "cache_write_1h", "output"]


def book(meters: dict[str, list[str]], rates: list[dict[str, Any]], **more: Any) -> PriceBook:
    """A book of these meters (id -> quantities) and rates, in USD unless they say otherwise."""
    content: dict[str, Any] = {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}, {"code": "credit", "scale": 12}],
        "meters": [
            {"id": name, "event_types": [name], "fields": {field: field for field in fields}}
            for name, fields in meters.items()
        ],
        "rates": [{"asset": "USD", **rate} for rate in rates],
    }
    return PriceBook.model_validate({**content, **more})


def used(till: Till, meter: str, **data: Any) -> str:
    till.use("ada", type=meter, **data)
    return str(json.loads(till.journal[-1])["data"]["amount"])


def total(till: Till, asset: str = "USD") -> Decimal:
    """All that was debited."""
    return sum(
        (
            Decimal(entry["data"]["amount"])
            for entry in till.entries("ada")
            if entry["type"].endswith(("debit", "capture")) and entry["data"]["asset"] == asset
        ),
        Decimal(0),
    )


def llm(model: str, prices: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "id": model,
        "meter": "llm",
        "match": {"model": model},
        "price": {"model": "token_map", "per": 1_000_000, "prices": prices, **more},
    }


BATCH = [{"match": {"tier": "batch"}, "factor": "0.5"}]


def test_3_cursor_on_demand_within_a_limit() -> None:
    prices = {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"}
    till = Till(book({"llm": TOKENS}, [llm("sonnet-4-5", prices)]))
    till.grant("ada", "20", "included", category="included")
    till.command("set_terms", "ada", credit_limits={"USD": "100"})
    for _ in range(200):
        amount = used(
            till, "llm", model="sonnet-4-5",
            input=12_000, cached_input=80_000, cache_write=6_000, output=2_500,
        )  # fmt: skip
        assert amount == "0.12"
    assert till.account("ada")["credit_used"] == "4"


def test_6_intercom_fin() -> None:
    """0.99 a resolution after 50 included, base 49; 3,412 resolutions; 12 re-open next month."""
    price = {
        "model": "outcome",
        "key": "conversation",
        "price": "0.99",
        "included": "50",
        "undo": {"dimension": "state", "value": "reopened"},
    }
    till = Till(
        book(
            {"fin": [], "base": [], "call": ["input"]},
            [
                {"id": "resolution", "meter": "fin", "price": price},
                {"id": "base", "meter": "base",
                 "price": {"model": "flat", "price": "49", "period": "month"}},
                {"id": "call", "meter": "call", "price": {"model": "flat", "price": "0"}},
            ],
            costs=[{"id": "call", "meter": "call", "asset": "USD",
                    "price": {"model": "per_unit", "quantity": "input", "price": "0.00001"}}],
        )
    )  # fmt: skip
    till.grant("ada", "5000", "g")
    used(till, "base")
    for number in range(3412):
        if number % 100 == 0:
            used(till, "call", input=1000, conversation=f"c{number}")
        used(till, "fin", conversation=f"c{number}")
    assert total(till) == Decimal("3328.38") + 49
    assert used(till, "fin", conversation="c7") == "0"
    till.at_ms = FEBRUARY + DAY
    for number in range(3400, 3412):
        assert used(till, "fin", conversation=f"c{number}", state="reopened") == "-0.99"
    in_february = [
        Decimal(entry["data"]["amount"])
        for entry in till.entries("ada")
        if entry["time"] >= "2027-02"
    ]
    assert sum(in_february) == Decimal("-11.88")
    assert till.wallet("ada")["cost"] == "0.35"
    assert till.wrongs() == []


def test_7_openai_o1() -> None:
    prices = {"input": "15", "cached_input": "7.5", "output": "60"}
    till = Till(book({"llm": TOKENS}, [llm("o1", prices)]))
    use = {"input": 5_000_000, "cached_input": 1_000_000, "output": 2_000_000}
    assert used(till, "llm", model="o1", **use) == "202.5"


def test_8_gpt_5_and_its_batch_as_a_variant() -> None:
    prices = {"input": "1.25", "cached_input": "0.125", "output": "10"}
    till = Till(book({"llm": TOKENS}, [llm("gpt-5", prices, variants=BATCH)]))
    call = {"model": "gpt-5", "input": 500, "cached_input": 1_500, "output": 400}
    assert used(till, "llm", **call) == "0.0048125"
    assert used(till, "llm", **call, tier="batch") == "0.00240625"


def test_9_gpt_5_4_over_272k_for_the_whole_request() -> None:
    above = [{"over": "272000", "prices": {"input": "5", "output": "22.5"}}]
    rate = llm("gpt-5.4", {"input": "2.50", "output": "15"}, above=above)
    till = Till(book({"llm": TOKENS}, [rate]))
    assert used(till, "llm", model="gpt-5.4", input=300_000, output=1_000) == "1.5225"
    assert used(till, "llm", model="gpt-5.4", input=272_000, output=1_000) == "0.695"


def test_10_gemini_over_200k() -> None:
    above = [{"over": "200000", "prices": {"input": "2.50", "output": "15"}}]
    rate = llm("gemini-2.5-pro", {"input": "1.25", "output": "10"}, above=above)
    till = Till(book({"llm": TOKENS}, [rate]))
    call = {"model": "gemini-2.5-pro", "output": 2_000}
    assert used(till, "llm", **call, input=200_000) == "0.27"
    assert used(till, "llm", **call, input=200_001) == "0.5300025"


def test_11_opus_with_a_cache_write_for_an_hour() -> None:
    prices = {"input": "5", "cached_input": "0.5", "cache_write_1h": "10", "output": "25"}
    till = Till(book({"llm": TOKENS}, [llm("opus-4-5", prices)]))
    use = {"input": 10_000, "cached_input": 100_000, "cache_write_1h": 20_000, "output": 5_000}
    assert used(till, "llm", model="opus-4-5", **use) == "0.425"


@pytest.mark.parametrize(("more", "amount"), [({}, "6"), ({"tier": "batch"}, "3")])
def test_12_sonnet_below_200k_and_at_the_batch_price(more: dict[str, str], amount: str) -> None:
    above = [{"over": "200000", "prices": {"input": "6", "output": "22.5"}}]
    rate = llm("sonnet", {"input": "3", "output": "15"}, above=above, variants=BATCH)
    till = Till(book({"llm": TOKENS}, [rate]))
    for _ in range(10):
        used(till, "llm", model="sonnet", input=100_000, output=20_000, **more)
    assert total(till) == Decimal(amount)


def test_13_a_price_changes_at_an_instant_and_tiers_go_on() -> None:
    """The running quantity is the customer's, whatever the version: only the next price differs."""
    midnight = NOW + 16 * HOUR

    def version(name: str, price: str) -> PriceBook:
        tiers = [{"up_to": "10", "price": "0"}, {"price": price}]
        graduated = {"model": "graduated", "quantity": "n", "tiers": tiers}
        return book({"w": ["n"]}, [{"id": "w", "meter": "w", "price": graduated}], version=name)

    till = Till(version("v1", "75"))
    till.publish(version("v2", "25"), midnight)
    till.at_ms = midnight
    late = at_text(midnight - 1)
    assert [used(till, "w", n=n, time=t) for n, t in [(11, late), (1, at_text(midnight))]] == [
        "75", "25",
    ]  # fmt: skip
    assert used(till, "w", n=1, time=late) == "75"


def test_14_copilot_credits_from_the_cost() -> None:
    """1 AI credit = $0.01: a prompt that costs 5.76 is 576 credits."""
    rate = {"id": "prompt", "meter": "prompt", "asset": "credit",
            "price": {"model": "cost_plus", "unit": "0.01"}}  # fmt: skip
    till = Till(book({"prompt": []}, [rate]))
    till.grant("ada", "1000", "pro", asset="credit", category="included")
    till.grant("ada", "500", "bonus", asset="credit", category="promotional")
    assert used(till, "prompt", costs={"models": "5.76"}) == "576"
    assert till.balance("ada", "credit") == "924"


def test_15_elevenlabs_characters_as_a_matrix_of_models() -> None:
    cells = [{"match": {"model": "flash"}, "price": "0.04"},
             {"match": {"model": "multilingual"}, "price": "0.08"}]  # fmt: skip
    price = {"model": "matrix", "quantity": "characters", "per": 1000, "cells": cells}
    till = Till(book({"tts": ["characters"]}, [{"id": "tts", "meter": "tts", "price": price}]))
    assert used(till, "tts", model="multilingual", characters=12_345) == "0.9876"


def test_18_fly_io_dimensions() -> None:
    zones = {"na": "0.02", "apac": "0.04", "africa": "0.12", "india": "0.12"}
    cells = [{"match": {"zone": zone}, "price": price} for zone, price in zones.items()]
    rates = [
        {"id": "egress", "meter": "egress",
         "price": {"model": "matrix", "quantity": "gb", "cells": cells}},
        {"id": "volume", "meter": "volume",
         "price": {"model": "per_unit", "quantity": "gb_months", "price": "0.15"}},
        {"id": "snapshots", "meter": "snapshots",
         "price": {"model": "allowance", "quantity": "gb_months", "included": "10",
                   "price": "0.08"}},
        {"id": "ipv4", "meter": "ipv4",
         "price": {"model": "per_unit", "quantity": "addresses", "price": "2"}},
        {"id": "rootfs", "meter": "rootfs",
         "price": {"model": "per_unit", "quantity": "gb_days", "price": "0.15", "per": 30}},
    ]  # fmt: skip
    till = Till(
        book(
            {"egress": ["gb"], "volume": ["gb_months"], "snapshots": ["gb_months"],
             "ipv4": ["addresses"], "rootfs": ["gb_days"]},
            rates,
        )
    )  # fmt: skip
    used(till, "egress", gb=1200, zone="na", app="web")
    used(till, "egress", gb=300, zone="apac", app="web")
    used(till, "egress", gb=50, zone="india", app="api")
    used(till, "volume", gb_months=40, app="api")
    used(till, "snapshots", gb_months=25, app="api")
    used(till, "ipv4", addresses=2, app="web")
    used(till, "rootfs", gb_days=90, app="api")
    used(till, "rootfs", gb_days=10, app="api")
    assert total(till) == Decimal("53.70")
    apps = {"web": Decimal(0), "api": Decimal(0)}
    for entry in till.entries("ada"):
        apps[entry["data"]["usage"]["dimensions"]["app"]] += Decimal(entry["data"]["amount"])
    assert apps == {"web": Decimal("40.00"), "api": Decimal("13.70")}


@pytest.mark.parametrize(
    ("size", "seconds", "places", "amount"),
    [("M", 90, 12, "0.1"), ("XS", 10, 12, "0.016666666667"), ("XS", 10, 2, "0.02")],
)
def test_21_snowflake_a_minute_at_least_then_by_the_second(
    size: str, seconds: int, places: int, amount: str
) -> None:
    per_hour = {"XS": "1", "M": "4"}
    rates = [
        {"id": name, "meter": "warehouse", "asset": "credit", "match": {"size": name},
         "rounding": {"places": places},
         "price": {"model": "duration", "quantity": "seconds", "price": price, "per": 3600,
                   "minimum": "60"}}
        for name, price in per_hour.items()
    ]  # fmt: skip
    till = Till(book({"warehouse": ["seconds"]}, rates))
    assert used(till, "warehouse", size=size, seconds=seconds) == amount


def test_22_a_gpu_hour_by_the_second() -> None:
    price = {"model": "per_unit", "quantity": "seconds", "price": "2.99", "per": 3600}
    till = Till(book({"gpu": ["seconds"]}, [{"id": "gpu", "meter": "gpu", "price": price}]))
    till.grant("ada", "1", "g")
    hold = {"meter": "gpu", "require": "hold", "hold": {"hold_id": "h"}}
    assert till.authorize("ada", **hold, estimate={"quantities": {"seconds": 60}}).hold.amount == (
        "0.049833333333"
    )
    assert used(till, "gpu", seconds=24, hold="h", final=True) == "0.019933333333"


TIERS = [
    {"up_to": "1000", "price": "0.01"},
    {"up_to": "10000", "price": "0.008"},
    {"price": "0.005"},
]


@pytest.mark.parametrize(("model", "amount"), [("graduated", "94.50"), ("volume", "62.50")])
@pytest.mark.parametrize("step", [1, 500, 12_500])
def test_25_graduated_and_volume(model: str, amount: str, step: int) -> None:
    price = {"model": model, "quantity": "n", "tiers": TIERS}
    till = Till(book({"w": ["n"]}, [{"id": "w", "meter": "w", "price": price}]))
    till.grant("ada", "100", "g")
    for _ in range(12_500 // step):
        till.use("ada", type="w", n=step)
    assert Decimal(till.balance("ada")) == 100 - Decimal(amount)
    assert Decimal(till.wallet("ada")["revenue"]) == Decimal(amount)
    if step > 1:
        assert till.wrongs() == []
        assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


@pytest.mark.parametrize(("units", "amount"), [(1300, "1450"), (700, "1000")])
def test_26_a_commitment_with_overage_and_true_up(units: int, amount: str) -> None:
    price = {"model": "commitment", "amount": "1000", "factor": "1.5",
             "base": {"model": "per_unit", "quantity": "n", "price": "1"}}  # fmt: skip
    till = Till(book({"w": ["n"]}, [{"id": "w", "meter": "w", "price": price}]))
    till.grant("ada", "2000", "g")
    for _ in range(units // 100):
        used(till, "w", n=100)
    till.tick(FEBRUARY)
    assert total(till) == Decimal(amount)
    assert till.wrongs() == []


def test_33_payments_beside_usage_and_a_fee() -> None:
    """2.9 % + 0.30 on a 120.00 payment; 49 a month; usage."""
    till = Till(
        book(
            {"payment": ["amount"], "plan": [], "api": ["calls"]},
            [
                {"id": "payment", "meter": "payment",
                 "price": {"model": "percentage", "quantity": "amount", "percent": "2.9",
                           "fixed": "0.30"}},
                {"id": "plan", "meter": "plan",
                 "price": {"model": "flat", "price": "49", "period": "month"}},
                {"id": "api", "meter": "api",
                 "price": {"model": "per_unit", "quantity": "calls", "price": "0.001"}},
            ],
        )
    )  # fmt: skip
    till.grant("ada", "100", "g")
    assert used(till, "payment", amount="120.00") == "3.78"
    assert used(till, "plan") == "49"
    assert used(till, "api", calls=220) == "0.22"
    assert till.balance("ada") == "47"


def test_34_credyts_own_price() -> None:
    """10 wallets and 1M events free, then 1 for each active wallet: 14 active ones."""
    price = {"model": "allowance", "quantity": "wallets", "included": "10", "price": "1"}
    meter = {"id": "activity", "event_types": ["activity"], "unique": {"wallets": "wallet"}}
    rate = {"id": "w", "meter": "activity", "price": price}
    till = Till(
        PriceBook.model_validate(
            {
                "version": "v1",
                "assets": [{"code": "USD", "scale": 12}],
                "meters": [meter],
                "rates": [{"asset": "USD", **rate}],
            }
        )
    )
    till.grant("ada", "10", "g")
    for _ in range(3):
        for wallet in range(14):
            used(till, "activity", wallet=f"w{wallet}")
    assert total(till) == Decimal("4.00")
    assert till.wrongs() == []
    till.at_ms = FEBRUARY
    assert used(till, "activity", wallet="w1") == "0"
