"""`statement`: what it prints adds up, in every form; and issuing it once. `refund`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE
from drawdown.cli.statement import aligned
from drawdown.events.base import timestamp_text


@pytest.fixture(scope="module")
def stated(stack: Drawdown) -> Iterator[Drawdown]:
    """A customer with a grant, some usage and a refund."""
    stack.ok("grant", "stated", 25, "--id", "top-up")
    stack.ok("grant", "stated", 5, "--id", "gift", "--category", "promotional", "--priority", 1)
    for number, region in enumerate(("eu", "us", "eu")):
        stack.ok(
            *("send", "stated", "llm.request", "input=2000000", "model=gpt-5", f"region={region}"),
            *("--id", f"stated-{number}"),
        )
    stack.settled("stated", 5)
    stack.ok("refund", "stated", "top-up", "--amount", "2.5", "--reason", "asked for")
    stack.settled("stated", 6)
    yield stack


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.kafka
def test_a_statement_adds_up_line_by_line(stated: Drawdown) -> None:
    said = stated.ok("statement", "stated")
    (opening,) = [row for row in said.rows if row[:1] == ["opening"]]
    assert opening == ["opening", "0.00"]
    assert ["granted", "paid", "1", "25.00"] in said.rows
    assert ["debited", "llm", "gpt-5", "3", "-7.50"] in said.rows
    assert ["refunded", "1", "-2.50"] in said.rows
    assert ["closing", "20.00"] in said.rows
    assert "not issued" in said.out
    assert "revenue 2.5, cost 6, margin -3.5 (-140.0 %)" in said.out

    found = rows(stated.ok("statement", "stated", "--csv", "--by", "region").out)
    assert [row["amount"] for row in found if row["region"] == "eu"] == ["-5"]
    lines = [Decimal(row["amount"]) for row in found]
    assert sum(lines[:-1]) == lines[-1]

    made = stated.json("statement", "stated")
    assert made["statement"]["revenue"]["refunded"] == "2.5"
    assert made["sums"]["assets"][0]["movements"]["debited"] == "-7.5"


@pytest.mark.kafka
def test_all_customers_and_their_totals(stated: Drawdown) -> None:
    whole = stated.json("statement", "--all")
    (made,) = [each for each in whole["statements"] if each["customer"] == "stated"]
    assert made["revenue"]["recognized"] == "2.5"
    recognized = [Decimal(each["revenue"].get("recognized", "0")) for each in whole["statements"]]
    assert Decimal(whole["totals"]["revenue"]["recognized"]) == sum(recognized)
    found = rows(stated.ok("statement", "--all", "--csv").out)
    assert sum(Decimal(row["revenue_recognized"] or "0") for row in found) == sum(recognized)
    for row in found:
        moved = [Decimal(row[kind]) for kind in ("opening", "granted", "adjusted", "converted")]
        moved += [Decimal(row[kind]) for kind in ("debited", "captured", "reversed", "held")]
        moved += [Decimal(row[kind]) for kind in ("lapsed", "voided", "refunded")]
        assert sum(moved) == Decimal(row["closing"])
    assert "stated" in stated.ok("statement", "--all").out


@pytest.mark.kafka
def test_a_period_is_issued_once(stated: Drawdown) -> None:
    end = datetime.now(UTC)
    start = timestamp_text(end - timedelta(days=1))
    period = ("--from", start, "--to", timestamp_text(end))
    said = stated.ok("statement", "stated", *period, "--issue", "--id", "first")
    assert "issued as statement 1, entry 7" in said.out
    stated.settled("stated", 7)
    assert "statement 1;" in stated.ok("statement", "stated", *period).out
    again = stated("statement", "stated", *period, "--issue")
    assert (again.code, again.error.endswith("[already_issued]")) == (FAILED, True)
    later = ("--from", timestamp_text(end), "--to", timestamp_text(end + timedelta(days=1)))
    early = stated("statement", "stated", *later, "--issue")
    assert (early.code, "is not over" in early.error) == (USAGE, True)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((), "CUSTOMER"),
        (("acme", "--all"), "CUSTOMER"),
        (("--all", "--issue"), "--all"),
        (("acme", "--csv", "--json"), "--csv"),
        (("acme", "--month", "2026-13"), "--month"),
        (("acme", "--zone", "Mars"), "--zone"),
        (("acme", "--from", "2026-10-01T00:00:00Z"), "--from"),
        (("acme", "--from", "2026-10-01T00:00:00Z", "--to", "2026-10-01T00:00:00Z"), "--to"),
        (("acme", "--by", "a b"), "--by"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_read(
    nothing: Drawdown, arguments: tuple[str, ...], field: str
) -> None:
    said = nothing("statement", *arguments)
    assert (said.code, said.error.startswith(field)) == (USAGE, True)


@pytest.mark.kafka
def test_nobody_has_no_statement(stated: Drawdown) -> None:
    assert "has no entry" in stated("statement", "nobody-at-all").error


def test_points_stand_in_line() -> None:
    assert aligned(["1", "-0.125", "20.5"]) == ["1.000", "-0.125", "20.500"]
