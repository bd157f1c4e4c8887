"""Statements read from the journal's topic: of one customer, and of all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from tests.replay.lives import lived
from tests.replay.proof import rewrite
from tests.support.desk import ENVIRONMENT, START_MS, Desk

from drawdown.cli.statement import totals
from drawdown.events.catalogue import BALANCE_CHANGES
from drawdown.events.codec import encode
from drawdown.events.numbers import amount_of
from drawdown.events.statements import Statement
from drawdown.ledger.statements import BY_DEFAULT, Period, sums_of
from drawdown.replay.statements import all_statements, customer_statement
from drawdown.stream.partition_log import LogError


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield lived()


def nobody(partition: int, done: int, whole: int) -> None:
    """Nobody wants to know how far it is."""


def of(desk: Desk, customer: str, start_ms: int, end_ms: int) -> Statement | None:
    period = Period(start_ms, end_ms, "UTC", UTC)
    return customer_statement(desk.cluster, ENVIRONMENT, customer, period, BY_DEFAULT, nobody)


def of_all(desk: Desk, start_ms: int, end_ms: int, scratch: Path) -> list[Statement]:
    period = Period(start_ms, end_ms, "UTC", UTC)
    return list(all_statements(desk.cluster, ENVIRONMENT, period, nobody, scratch))


def balances(desk: Desk, customer: str) -> dict[str, str]:
    return {each["asset"]: each["balance"] for each in desk.wallet(customer)["accounts"]}


def test_a_statement_of_all_time_closes_with_what_the_wallet_has(desk: Desk) -> None:
    made = of(desk, "ada", 0, desk.clock.ms + 1)
    assert made is not None
    assert {each.asset: each.closing.balance for each in made.assets} == balances(desk, "ada")
    assert made.closing_digest == desk.wallet("ada")["digest"]
    assert made.revenue.recognized == desk.wallet("ada")["revenue"]
    assert of(desk, "nobody", 0, desk.clock.ms + 1) is None


def test_those_of_all_customers_are_theirs_and_sum_up(desk: Desk, tmp_path: Path) -> None:
    middle = START_MS + 20_000
    for start, end in ((0, middle), (middle, desk.clock.ms + 1)):
        found = of_all(desk, start, end, tmp_path)
        assert {each.customer for each in found} >= {"ada", "bob", "cleo", "dan"}
        for made in found:
            alone = of(desk, made.customer, start, end)
            assert alone is not None
            assert sums_of(alone) == sums_of(made)
        revenue = totals(found)["revenue"]
        assert amount_of(revenue["recognized"]) == sum(
            amount_of(made.revenue.recognized) for made in found
        )
    journal = sum(amount_of(entry["data"].get("revenue", "0")) for entry in desk.entries())
    whole = totals(of_all(desk, 0, desk.clock.ms + 1, tmp_path))
    assert amount_of(whole["revenue"]["recognized"]) == journal
    assert list(tmp_path.iterdir()) == []


def test_an_issued_statement_is_decided_by_settlement_and_stays(desk: Desk) -> None:
    end_ms = desk.clock.ms + 1
    made = of(desk, "ada", 0, end_ms)
    assert made is not None
    desk.pass_time(10)
    sums: dict[str, Any] = json.loads(encode(sums_of(made)))
    issued = desk.command("issue_statement", "ada", statement=sums)
    desk.settle()
    assert desk.decision(issued)["statement"] == 1
    desk.use("ada", input=5)
    desk.settle()
    again = of(desk, "ada", 0, end_ms)
    assert again is not None
    assert (again.number, again.as_issued) == (1, True)
    assert again.assets == made.assets
    assert desk.wrongs() == []


def test_a_journal_that_was_changed_makes_no_statement(desk: Desk, tmp_path: Path) -> None:
    rewrite(
        desk,
        BALANCE_CHANGES,
        lambda entry: entry["subject"] == "cleo" and entry["data"]["sequence"] == 4,
        lambda value: value.replace(b'"meter":"', b'"meter":"x'),
    )
    with pytest.raises(LogError, match="digest is not that"):
        of(desk, "cleo", 0, desk.clock.ms + 1)
    with pytest.raises(LogError, match="digest is not that"):
        of_all(desk, 0, desk.clock.ms + 1, tmp_path)
