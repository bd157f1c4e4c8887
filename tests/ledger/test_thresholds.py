"""Terms: credit limits, and thresholds that are told once per crossing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import DAY, START_MS, Till, price_book

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.ledger.outcome import Decided

NOW = START_MS
UNIT = 10**12


def crossed(decided: Decided) -> list[tuple[int, int, int]]:
    """Threshold, available before and after, in whole units."""
    return [(c.threshold // UNIT, c.before // UNIT, c.after // UNIT) for c in decided.crossed]


def opened(*thresholds: str, amount: str = "100") -> Till:
    till = Till(price_book(thresholds={"USD": list(thresholds)}))
    till.grant("ada", amount, "g")
    return till


def test_a_threshold_is_crossed_once_and_armed_again_by_a_grant() -> None:
    till = opened("50", "10", "0")
    told = [
        crossed(till.use("ada", units))
        for units in (50, 1, 39, 1, 9, 5)  # 100 -> 50 -> 49 -> 10 -> 9 -> 0 -> -5
    ]
    assert told == [[], [(50, 50, 49)], [], [(10, 10, 9)], [], []]
    till.grant("ada", "60", "h")  # 5 of it pays what is overdrawn: 55
    assert crossed(till.use("ada", 6)) == [(50, 55, 49)]


def test_at_the_threshold_it_is_not_crossed() -> None:
    assert crossed(opened("50").use("ada", 50)) == []
    assert crossed(opened("50").use("ada", "50.000000000001")) != []


def test_one_debit_may_cross_several_in_falling_order() -> None:
    till = opened("10", "50", "75")
    assert [threshold for threshold, *_ in crossed(till.use("ada", 95))] == [75, 50, 10]


def test_zero_itself_is_crossed_by_no_debit_but_one_above_it_is() -> None:
    till = opened("0", "1")
    assert crossed(till.use("ada", 100)) == [(1, 100, 0)]
    assert crossed(till.use("ada", 5)) == []


def test_available_counts_the_credit_limit_and_not_what_cannot_be_spent_yet() -> None:
    till = opened("50", amount="60")
    till.grant("ada", "1000", "later", effective_at=NOW + DAY)
    till.command("set_terms", "ada", credit_limits={"USD": "10"})
    assert crossed(till.use("ada", 20)) == []  # 70 -> 50
    assert crossed(till.use("ada", 1)) == [(50, 50, 49)]


def test_a_lapse_crosses_as_a_debit_does() -> None:
    till = opened("50", amount="20")
    till.grant("ada", "40", "h", expires_at=NOW + DAY)
    (fired,) = till.tick(NOW + DAY)
    assert crossed(fired) == [(50, 60, 20)]
    assert fired.crossed[0].sequence == 3


def test_a_wallets_own_thresholds_replace_the_books() -> None:
    till = opened("50")
    till.command("set_terms", "ada", thresholds={"USD": ["90", "80", "90"]})
    assert till.wallet("ada")["thresholds"] == {"USD": ["90", "80"]}
    assert crossed(till.use("ada", 11)) == [(90, 100, 89)]
    assert crossed(till.use("ada", 49)) == [(80, 89, 40)]
    till.command("set_terms", "ada", thresholds={"USD": []})
    till.grant("ada", "60", "h")
    assert crossed(till.use("ada", 99)) == []


def test_thresholds_of_one_asset_say_nothing_of_another() -> None:
    till = Till(price_book(thresholds={"credit": ["5"]}))
    till.grant("ada", "10", "usd")
    till.grant("ada", "10", "cr", asset="credit", category="promotional")
    assert crossed(till.use("ada", 9)) == []
    assert crossed(till.use("ada", 9, **{"in": "credit"})) == [(5, 10, 1)]


def test_terms_are_told_as_they_stand_after_the_entry() -> None:
    till = opened()
    till.command("set_terms", "ada", credit_limits={"USD": "5"}, reason="trusted")
    till.command(
        "set_terms", "ada", credit_limits={"credit": "2.5"}, thresholds={"USD": ["1", "3"]}
    )
    first, second = [entry["data"] for entry in till.entries("ada")[1:]]
    assert (first["terms"], first["reason"]) == ({"credit_limits": {"USD": "5"}}, "trusted")
    assert second["terms"] == {
        "credit_limits": {"USD": "5", "credit": "2.5"},
        "thresholds": {"USD": ["3", "1"]},
    }
    assert till.account("ada", "credit") == {
        "available": "2.5",
        "balance": "0",
        "credit_limit": "2.5",
    }


def test_a_limit_lowered_below_what_is_used_leaves_nothing_to_use() -> None:
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "5"})
    till.use("ada", 4)
    till.command("set_terms", "ada", credit_limits={"USD": "1"})
    assert till.account("ada") == {
        "available": "0",
        "balance": "-4",
        "credit_limit": "1",
        "credit_used": "4",
        "debited": "4",
    }
    till.use("ada", 1)
    assert till.statement("ada")[-1] == ("debit", "1", "-5", {"overdrawn": "1"})
    assert till.wrongs() == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "credit_limits"),
    ({"credit_limits": {"EUR": "1"}}, "credit_limits.EUR"),
    ({"credit_limits": {"credit": "0.001"}}, "credit_limits.credit"),
    ({"thresholds": {"EUR": ["1"]}}, "thresholds.EUR"),
    ({"thresholds": {"token": ["0.5"]}}, "thresholds.token"),
]


@pytest.mark.parametrize(("terms", "field"), WRONG)
def test_impossible_terms_name_the_field_and_change_nothing(
    terms: dict[str, Any], field: str
) -> None:
    till = opened()
    with pytest.raises(RecordError) as found:
        till.command("set_terms", "ada", **terms)
    assert (found.value.reason, found.value.field) == (Reason.INVALID, field)
    assert len(till.journal) == 1
