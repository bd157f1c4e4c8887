"""What is refused in a price book, each with its line, field, rule and fix."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.cli.commands import Drawdown
from tests.support.desk import ENVIRONMENT, Desk, book

from drawdown.cli.outcome import FAILED
from drawdown.events.pricebook import Rate
from drawdown.settlement.publish import PublishError, publish

BEFORE = """\
version: "1"
assets: [{code: USD, scale: 12}]
meters:
  - {id: work, event_types: [work], fields: [n]}
rates:
  - {id: first, meter: work, match: {model: a}, asset: USD, price: {model: flat, price: 1}}
"""


def graduated(tiers: str) -> str:
    return (
        "  - {id: bad, meter: work, asset: USD,"
        f" price: {{model: graduated, quantity: n, tiers: {tiers}}}}}"
    )


def unit(price: str = "1", **fields: str) -> str:
    said = {"id": "bad", "meter": "work", "asset": "USD", **fields}
    parts = ", ".join(f"{name}: {value}" for name, value in said.items())
    return f"  - {{{parts}, price: {{model: per_unit, quantity: n, price: {price}}}}}"


TOO_MANY = " or has too many digits"
REFUSED = {
    "overlapping tiers": (
        graduated("[{up_to: 10, price: 2}, {up_to: 5, price: 1}, {price: 0}]"),
        "rates.bad.price.tiers.1.up_to",
        "5 overlaps the tier before it, which ends at 10: give the tiers in rising order",
    ),
    "tiers that meet in no point": (
        graduated("[{up_to: 10, price: 2}, {up_to: 10, price: 1}, {price: 0}]"),
        "rates.bad.price.tiers.1.up_to",
        "10 overlaps the tier before it, which ends at 10: give the tiers in rising order",
    ),
    "a gap above the last tier": (
        graduated("[{up_to: 10, price: 2}, {up_to: 20, price: 1}]"),
        "rates.bad.price.tiers.1.up_to",
        "leaves a gap above 20: leave it out of the last tier",
    ),
    "a gap between tiers": (
        graduated("[{price: 2}, {up_to: 20, price: 1}, {price: 0}]"),
        "rates.bad.price.tiers.0.up_to",
        "is missing: only the last tier goes on without end",
    ),
    "an unknown asset": (unit(asset="EUR"), "rates.bad.asset", "no asset 'EUR'"),
    "an unknown meter": (unit(meter="play"), "rates.bad.meter", "no meter 'play'"),
    "two rates that match equally": (
        unit(match="{model: a}"),
        "rates.bad.match",
        "matches exactly what rate 'first' matches; make one of them say more",
    ),
    "two patterns that match equally": (
        unit(match="{model: a*}") + "\n" + unit(match="{model: a*}", id="worse"),
        "rates.worse.match",
        "matches exactly what rate 'bad' matches; make one of them say more",
    ),
    "a price of more than 38 digits": (
        unit("'1234567890.12345678901234567890123456789'"),
        "rates.bad.price.price",
        "1234567890.12345678901234567890123456789 has 39 digits; at most 38: round it",
    ),
    "a price finer than 30 places": (
        unit("'0.1234567890123456789012345678901'"),
        "rates.bad.price.price",
        "'0.1234567890123456789012345678901' is no decimal number such as 0.0025," + TOO_MANY,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused_for(what: str, nothing: Drawdown, tmp_path: Path) -> None:
    lines, field, says = REFUSED[what]
    path = tmp_path / "prices.yaml"
    path.write_text(BEFORE + lines + "\n")

    ended = nothing("price-book", "validate", path)

    line = BEFORE.count("\n") + 1 + lines.count("\n")
    assert (ended.code, ended.error) == (FAILED, f"{path}: line {line}: {field}: {says}")


def test_38_digits_are_a_price(nothing: Drawdown, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(BEFORE + unit("'123456789.12345678901234567890123456789'") + "\n")
    nothing.ok("price-book", "validate", path)


def test_an_effective_time_in_the_past_is_refused() -> None:
    desk = Desk()
    with pytest.raises(PublishError) as refused:
        publish(
            *(desk.cluster, ENVIRONMENT, book("v2")),
            now=desk.now,
            effective_at=desk.now - timedelta(hours=1),
        )
    assert str(refused.value) == (
        "effective_at is in the past, where usage was priced already: give a time at least 60 s"
        " from now; `drawdown rerate` prices the past anew"
    )


def test_a_version_published_twice_with_other_content_is_refused() -> None:
    desk = Desk()
    first = publish(desk.cluster, ENVIRONMENT, book("v2"), now=desk.now)
    assert publish(desk.cluster, ENVIRONMENT, book("v2"), now=desk.now) == first
    dearer: list[Rate] = [book().rates[0].model_copy(update={"id": "other"}), *book().rates[1:]]
    with pytest.raises(PublishError) as refused:
        publish(desk.cluster, ENVIRONMENT, book("v2", rates=dearer), now=desk.now)
    assert str(refused.value) == (
        "version 'v2' was published before, with other content, and never changes: give it another"
        " name"
    )
