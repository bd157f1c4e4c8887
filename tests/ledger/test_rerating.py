"""Re-rating: usage priced anew by another version, as a reversal and a new debit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.test_price_models import NOW, TIERS, VOLUME, book, charged, check, till_of
from tests.ledger.test_uncounted import running
from tests.support.till import DAY, HOUR, Till, decision

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.ledger.outcome import Decided

PER_UNIT = {"model": "per_unit", "quantity": "units", "price": "1"}
CHEAPER = {**PER_UNIT, "price": "0.5"}
GRADUATED = {"model": "graduated", "quantity": "units", "tiers": TIERS}
HALF_OFF = {
    **GRADUATED,
    "tiers": [{"up_to": "10", "price": "0.5"}, {"up_to": "20", "price": "0.25"}, {"price": "0.1"}],
}


def rerate(till: Till, sequence: int = -1, run: str = "run-1", **more: Any) -> Decided:
    """Price the last entry anew, or the one of this number."""
    entry = till.entry("ada", sequence)
    return till.command(
        "rerate", "ada", entry=entry, run=run, reason="wrong price", **{"book": "v2", **more}
    )


def both(before: dict[str, Any], after: dict[str, Any], grant: str = "1000", **more: Any) -> Till:
    """A till with a price, and a version v2 with another one that is in effect tomorrow."""
    till = till_of(before, grant, **more)
    till.publish(book(after, "v2", **more), NOW + DAY)
    return till


def test_the_former_charge_comes_back_and_the_new_one_is_debited() -> None:
    till = both(PER_UNIT, CHEAPER)
    charged(till, units=10)
    decided = rerate(till, id="re-1")
    assert till.statement("ada")[2:] == [
        ("reversal", "10", "1000", {"g": "-10"}),
        ("debit", "5", "995", {"g": "5"}),
    ]
    back, new = (till.entry("ada", number)["data"] for number in (3, 4))
    assert new["rerates"] == {
        "run": "run-1",
        "sequence": 2,
        "entry_digest": till.entry("ada", 2)["digest"],
        "book": "v1",
        "amount": "10",
    }
    assert back["rerates"] == new["rerates"]
    assert (new["price"]["book"], new["usage"]) == ("v2", till.entry("ada", 2)["data"]["usage"])
    assert (new["id"], new["reason"], "id" in back) == ("re-1", "wrong price", False)
    answer = decision(decided.answer)
    assert (answer["command"], answer["amount"], answer["sequence"]) == ("rerate", "5", 4)
    check(till)


def test_usage_without_a_price_gets_one() -> None:
    till = both(PER_UNIT, CHEAPER, rate={"match": {"model": "a"}})
    till.publish(book(PER_UNIT, "v3"), NOW + 2 * DAY)
    till.use("ada", units=3, model="new", costs={"v": "0.7"})
    assert till.entry("ada")["type"].endswith(".unpriced")
    with pytest.raises(RecordError, match="no price there either") as refused:
        rerate(till)
    assert refused.value.reason == Reason.UNCHANGED
    rerate(till, book="v3")
    assert [line[:3] for line in till.statement("ada")[2:]] == [
        ("reversal", "", ""),
        ("debit", "3", "997"),
    ]
    wallet = till.wallet("ada")
    assert (wallet["cost"], wallet["revenue"]) == ("0.7", "3")
    check(till)


def test_by_default_by_the_version_in_effect_now() -> None:
    till = both(PER_UNIT, CHEAPER)
    charged(till, units=10)
    with pytest.raises(RecordError, match="10 USD, as it was"):
        rerate(till, book=None)
    till.at_ms = NOW + DAY
    rerate(till, book=None)
    assert till.balance("ada") == "995"
    check(till)


def test_it_is_done_once() -> None:
    till = both(PER_UNIT, CHEAPER)
    charged(till, units=10)
    entry = till.entry("ada")
    content = {"entry": entry, "run": "run-1", "book": "v2", "reason": "r", "id": "re-1"}
    first = till.command("rerate", "ada", **content)
    again = till.command("rerate", "ada", **content)
    assert first.answer is not None
    assert again.answer is not None
    assert (again.entries, again.answer.duplicate) == ((), True)
    assert again.answer.sequence == first.answer.sequence
    with pytest.raises(RecordError, match="priced anew, by entry 4"):
        till.command("rerate", "ada", **{**content, "id": "re-2"})
    with pytest.raises(RecordError, match="was reversed or ended by entry 4"):
        till.reverse("ada", 2)
    check(till)


def test_a_run_is_taken_back_by_pricing_as_before() -> None:
    till = both(PER_UNIT, CHEAPER)
    charged(till, units=10)
    rerate(till)
    former = till.entry("ada")["data"]["rerates"]["book"]
    rerate(till, run="undo run-1", book=former)
    assert till.balance("ada") == "990"
    assert till.entry("ada")["data"]["rerates"]["amount"] == "5"
    check(till)


def test_or_what_had_no_price_has_none_again() -> None:
    till = both(PER_UNIT, CHEAPER, rate={"match": {"model": "a"}})
    till.publish(book(PER_UNIT, "v3"), NOW + 2 * DAY)
    till.use("ada", units=3, model="new", costs={"v": "0.7"})
    rerate(till, book="v3")
    rerate(till, book="v1", run="undo")
    assert till.entry("ada")["type"].endswith(".unpriced")
    assert (till.balance("ada"), till.wallet("ada")["cost"]) == ("1000", "0.7")
    rerate(till, book="v3", run="again")
    assert (till.balance("ada"), till.wallet("ada")["cost"]) == ("997", "0.7")
    check(till)


def test_the_new_debit_is_reversed_alone_and_the_pairs_reversal_is_not() -> None:
    till = both(PER_UNIT, CHEAPER)
    charged(till, units=10)
    rerate(till)
    with pytest.raises(RecordError, match="reverse or rerate entry 4, which came with it"):
        till.reverse("ada", 3)
    till.reverse("ada", 4)
    assert till.balance("ada") == "1000"
    check(till)


def test_the_cost_is_that_of_the_new_version_unless_it_was_reported() -> None:
    cost = [{"id": "c", "meter": "work", "asset": "USD", "price": {**PER_UNIT, "price": "0.1"}}]
    dearer = [{**cost[0], "price": {**PER_UNIT, "price": "0.2"}}]
    till = till_of(PER_UNIT, costs=cost)
    till.publish(book(CHEAPER, "v2", costs=dearer), NOW + DAY)
    charged(till, units=10)
    charged(till, units=10, costs={"vendor": "0.3"})
    rerate(till, 2)
    rerate(till, 3)
    assert [till.entry("ada", n)["data"]["cost"] for n in (5, 7)] == ["2", "0.3"]
    assert till.wallet("ada")["cost"] == "2.3"
    check(till)


def test_another_asset_pays() -> None:
    till = both(PER_UNIT, PER_UNIT)
    till.publish(book(PER_UNIT, "v3", rate={"asset": "credit"}), NOW + 2 * DAY)
    till.grant("ada", "100", "credits", asset="credit", category="promotional")
    charged(till, units=10)
    rerate(till, book="v3")
    assert (till.balance("ada"), till.balance("ada", "credit")) == ("1000", "90")
    check(till)


def test_a_higher_price_may_overdraw_and_a_lower_one_pays_what_is_owed() -> None:
    till = both(PER_UNIT, CHEAPER, grant="8")
    charged(till, units=10)
    assert till.account("ada")["overdrawn"] == "2"
    rerate(till)
    assert "overdrawn" not in till.account("ada")
    assert till.balance("ada") == "3"
    rerate(till, book="v1", run="back")
    assert (till.balance("ada"), till.account("ada")["overdrawn"]) == ("-2", "2")
    check(till)


def test_what_was_capped_by_its_hold_stays_so() -> None:
    till = both(CHEAPER, PER_UNIT)
    till.command("set_terms", "ada", capture_policy="cap")
    till.authorize("ada", 10, require="hold", hold={"hold_id": "h"})
    charged(till, units=20, hold="h", final=True)
    assert till.entry("ada")["data"]["amount"] == "5"
    with pytest.raises(RecordError, match="5 USD, as it was"):
        rerate(till)
    check(till)


# --- in a period ---------------------------------------------------------------------------------


def test_a_period_priced_anew_costs_what_its_whole_costs() -> None:
    till = both(GRADUATED, HALF_OFF)
    assert [charged(till, units=units) for units in (8, 8, 8)] == ["8", "5", "3"]
    for sequence in (2, 3, 4):
        rerate(till, sequence)
    assert [till.entry("ada", n)["data"]["amount"] for n in (6, 8, 10)] == ["4", "2.5", "1.4"]
    assert running(till) == ("24", "7.9")
    assert charged(till, units=1) == "0.25"
    check(till)


def test_a_part_of_it_keeps_its_place() -> None:
    till = both(GRADUATED, HALF_OFF)
    for units in (8, 8, 8):
        charged(till, units=units)
    rerate(till, 3)
    data = till.entry("ada")["data"]
    assert (data["amount"], data["running"]["place"]) == ("2.5", ["8", "16"])
    till.reverse("ada")
    assert running(till) == ("16", "11")
    check(till)


def test_the_period_may_be_closed() -> None:
    till = both(GRADUATED, HALF_OFF)
    for units in (8, 8):
        charged(till, units=units)
    till.tick(NOW + 60 * DAY)
    for sequence in (2, 3):
        rerate(till, sequence)
    assert till.balance("ada") == "993.5"
    rerate(till, run="undo", book="v1")
    assert till.balance("ada") == "991"
    check(till)


def test_from_prices_that_count_nothing_to_tiers_and_back() -> None:
    till = both(PER_UNIT, GRADUATED)
    for units in (8, 8, 8):
        charged(till, units=units)
    for sequence in (2, 3, 4):
        rerate(till, sequence)
    assert running(till) == ("24", "16")
    for sequence in (6, 8, 10):
        rerate(till, sequence, run="undo", book="v1")
    assert running(till) == ("0", "0")
    assert till.balance("ada") == "976"
    check(till)


def test_a_closed_period_that_counted_nothing_is_not_opened() -> None:
    till = both(PER_UNIT, GRADUATED)
    charged(till, units=8)
    till.at_ms = NOW + 60 * DAY
    with pytest.raises(RecordError, match="did not count it: adjust instead"):
        rerate(till)
    check(till)


def test_outcomes_priced_anew_are_undone_by_what_they_were_charged_last() -> None:
    outcome = {
        "model": "outcome",
        "key": "case",
        "price": "1",
        "included": "1",
        "undo": {"dimension": "state", "value": "reopened"},
    }
    till = both(outcome, {**outcome, "price": "0.5"})
    for case in "abc":
        charged(till, units=1, case=case)
    with pytest.raises(RecordError, match="0 USD, as it was"):
        rerate(till, 2)
    rerate(till, 3)
    assert till.entry("ada")["data"]["amount"] == "0.5"
    till.use("ada", units=1, case="b", state="reopened")
    assert till.entry("ada")["data"]["amount"] == "-0.5"
    with pytest.raises(RecordError, match="re-rate that one"):
        rerate(till)
    till.use("ada", units=1, case="c", state="reopened")
    assert till.balance("ada") == "1000"
    check(till)


def test_seats_of_a_period() -> None:
    seat = {"model": "seat", "quantity": "seats", "price": "4"}
    till = both(seat, {**seat, "price": "5"}, meter={"aggregate": {"seats": "latest"}})
    for number, seats in enumerate((5, 8, 6)):
        till.at_ms = NOW + number * HOUR
        charged(till, seats=seats)
    for sequence in (2, 3, 4):
        rerate(till, sequence)
    assert running(till) == ("6", "30")
    check(till)


@settings(max_examples=40, deadline=None)
@given(
    prices=st.permutations([PER_UNIT, GRADUATED, HALF_OFF, VOLUME, CHEAPER]),
    uses=st.lists(st.integers(1, 15), min_size=1, max_size=5),
)
def test_a_whole_period_priced_anew_costs_as_if_it_had_always_been(
    prices: list[dict[str, Any]], uses: list[int]
) -> None:
    before, after = prices[:2]
    till, other = both(before, after), till_of(after)
    for units in uses:
        charged(till, units=units)
        charged(other, units=units)
    unchanged = 0
    for place in range(len(uses)):
        try:
            rerate(till, place + 2)
        except RecordError as error:
            assert error.reason == Reason.UNCHANGED
            unchanged += 1
        check(till)
    assert Decimal(till.balance("ada")) == Decimal(other.balance("ada"))
    assert till.account("ada")["debited"] != "0" or unchanged


# --- what is refused -----------------------------------------------------------------------------


def test_what_is_no_usage_with_a_price() -> None:
    till = both(PER_UNIT, CHEAPER)
    with pytest.raises(RecordError, match="a grant without a price of usage"):
        rerate(till)
    till.authorize("ada", estimate={"amount": "3"}, capture=True)
    with pytest.raises(RecordError, match="its amount was given"):
        rerate(till)
    charged(till, units=1)
    with pytest.raises(RecordError, match="no version 'v9'") as refused:
        rerate(till, book="v9")
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID, "book")
    till.publish(
        book({**PER_UNIT}, "v4").model_copy(
            update={
                "meters": [book(PER_UNIT).meters[0].model_copy(update={"id": "w"})],
                "rates": [book(PER_UNIT).rates[0].model_copy(update={"meter": "w"})],
            }
        ),
        NOW + 9 * DAY,
    )
    entry = till.entry("ada")
    entry["data"]["amount"] = "2"
    with pytest.raises(RecordError, match="its digest is not that"):
        till.command("rerate", "ada", entry=entry, run="r", book="v2", reason="r")
    check(till)
