"""Uses, reversals and re-ratings in any order, under prices that count in every way: what is not
refused keeps every invariant, and a fold of the journal gives the same rows."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.test_price_models import COMMITMENT, NOW, TIERS, VOLUME, book, check
from tests.ledger.test_uncounted import OUTCOME
from tests.support.till import DAY, HOUR, Till

from drawdown.events.codec import RecordError

PRICES: list[dict[str, Any]] = [
    {"model": "per_unit", "quantity": "units", "price": "1"},
    {"model": "graduated", "quantity": "units", "tiers": TIERS},
    {"model": "graduated", "quantity": "units", "tiers": [{"price": "0.7", "fee": "2"}]},
    VOLUME,
    COMMITMENT,
    OUTCOME,
    {"model": "flat", "price": "3", "period": "day"},
    {"model": "seat", "quantity": "seats", "price": "4"},
    {"model": "graduated", "quantity": "gb", "period": "day", "tiers": TIERS},
    {"model": "volume", "quantity": "cases", "tiers": [{"up_to": "1", "price": "5"},
                                                       {"price": "1"}]},
]  # fmt: skip
METER = {
    "fields": {name: name for name in ("units", "seats", "gb")},
    "aggregate": {"seats": "latest", "gb": "time_weighted"},
    "unique": {"cases": "case"},
}
QUANTITY = ["units"] * 7 + ["seats", "gb", "units"]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("use"), st.integers(0, 12), st.sampled_from("abc"), st.booleans()),
        st.tuples(st.just("reverse"), st.integers(0, 30)),
        st.tuples(st.just("rerate"), st.integers(0, 30), st.sampled_from(["v1", "v2"])),
        st.tuples(st.just("pass"), st.sampled_from([HOUR, DAY, 20 * DAY])),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=250, deadline=None)
@given(
    prices=st.tuples(st.integers(0, len(PRICES) - 1), st.integers(0, len(PRICES) - 1)),
    grant=st.sampled_from(["10", "1000"]),
    steps=steps,
)
def test_whatever_is_done(
    prices: tuple[int, int], grant: str, steps: list[tuple[Any, ...]]
) -> None:
    one, other = (PRICES[number] for number in prices)
    till = Till(book(one, meter=METER))
    till.publish(book(other, "v2", meter=METER), NOW + 10 * DAY)
    till.grant("ada", grant, "g")
    for step in steps:
        try:
            _do(till, step, QUANTITY[prices[0]])
        except RecordError:
            continue
        finally:
            till.tick()
        check(till)


def _do(till: Till, step: tuple[Any, ...], quantity: str) -> None:
    kind = step[0]
    if kind == "pass":
        till.at_ms += step[1]
    elif kind == "use":
        state = {"state": "reopened"} if step[3] and step[1] % 3 == 0 else {}
        till.use("ada", **{quantity: step[1], "case": step[2], **state})
    else:
        count = len(till.entries("ada"))
        entry = till.entry("ada", step[1] % count + 1)
        if kind == "reverse":
            till.command("reverse", "ada", entry=entry, reason="wrong")
        else:
            till.command("rerate", "ada", entry=entry, run="r", book=step[2], reason="wrong")
