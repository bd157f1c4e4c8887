"""What used a wallet, summed exactly from its newest entries."""

from __future__ import annotations

import json
from typing import Any

from drawdown.portal.usage import Sum, UsageShown, usage_of

PICO = 10**12


def debit(amount: str | None, asset: str = "USD", meter: str = "llm", **dimensions: str) -> bytes:
    data: dict[str, Any] = {"usage": {"meter": meter, "dimensions": dimensions}}
    if amount is not None:
        data |= {"asset": asset, "amount": amount}
    return json.dumps({"time": "2026-11-03T09:30:00Z", "data": data}).encode()


def grant(amount: str) -> bytes:
    data = {"asset": "USD", "amount": amount, "grant": {"id": "g"}}
    return json.dumps({"time": "2026-11-03T09:30:00Z", "data": data}).encode()


def told(shown: UsageShown) -> list[tuple[str, str, list[tuple[str | None, int, int, int]]]]:
    return [(each.asset, each.by, parts(each)) for each in shown.sums]


def parts(sum_: Sum) -> list[tuple[str | None, int, int, int]]:
    return [(part.name, part.amount, part.share, part.times) for part in sum_.parts]


def test_it_is_by_model_and_by_feature_the_largest_first() -> None:
    shown = usage_of(
        [
            debit("0.000000000001", model="small", feature="chat"),
            debit("2", model="large", feature="chat"),
            debit("1", model="large", feature="agent"),
            grant("100"),
        ],
        complete=True,
    )
    assert told(shown) == [
        (
            "USD",
            "model",
            [("large", 3 * PICO, 1000, 2), ("small", 1, 1, 1)],
        ),
        (
            "USD",
            "feature",
            [("chat", 2 * PICO + 1, 667, 2), ("agent", PICO, 334, 1)],
        ),
    ]
    assert (shown.entries, shown.complete) == (4, True)


def test_without_dimensions_it_is_by_meter_and_each_asset_for_itself() -> None:
    shown = usage_of(
        [debit("12", "credit", "responses"), debit("1", "gpu-hour", "gpu")], complete=True
    )
    assert told(shown) == [
        ("credit", "meter", [("responses", 12 * PICO, 1000, 1)]),
        ("gpu-hour", "meter", [("gpu", PICO, 1000, 1)]),
    ]


def test_what_is_beyond_the_first_few_is_one_part_and_the_sum_is_whole() -> None:
    charges = [debit(f"0.0{n}", model=f"m{n}") for n in range(1, 9)] + [debit("0.5")]
    by_model = usage_of(charges, complete=True).sums[0]
    assert [part.name for part in by_model.parts] == ["m8", "m7", "m6", "m5", None]
    assert sum(part.amount for part in by_model.parts) == 860_000_000_000
    assert by_model.parts[-1].times == 5


def test_what_has_no_price_yet_and_what_is_free_used_nothing() -> None:
    shown = usage_of([debit(None, model="new"), debit("0", model="free")], complete=False)
    assert told(shown) == [("USD", "model", [("free", 0, 0, 1)])]
    assert shown.complete is False


def test_nothing_is_nothing() -> None:
    assert usage_of([], complete=True) == UsageShown(0, None, True, ())
