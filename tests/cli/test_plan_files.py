"""Plans in a price book's file: read as written, and what is wrong named with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from drawdown.cli.book_file import BookFileError, located, read_book

from drawdown.ledger.book import Book, BookError
from drawdown.settlement.books import read_books
from drawdown.settlement.publish import records_of

NOW = datetime(2027, 1, 1, tzinfo=UTC)
PLANS = """\
version: v1
assets:
  - {code: USD, scale: 2}
  - {code: credit, scale: 0}
meters:
  - {id: llm, event_types: [llm], fields: [tokens]}
plans:
  - id: team
    cycle: {every: month, anchor: 2027-01-01T00:00:00Z, zone: Europe/Berlin}
    seats_max: 50
    phases:
      - {id: trial, days: 14, fees: []}
      - {id: paid}
    fees:
      - {id: seats, asset: USD, amount: 19, per: seat}
    grants:
      - {id: pool, asset: credit, amount: 1900, per: seat, rollover: {max: 500, cycles: 1}}
      - {id: daily, asset: credit, amount: 5, schedule: {every: day}, cost_basis: 0.01}
    entitlements:
      - {id: sso}
      - {id: members, value: 25}
      - {id: calls, meter: llm, quantity: events, limit: 10000}
    terms: {credit_limits: {USD: 50}, thresholds: {USD: [5]}}
    proration: {upgrade: time, downgrade: none, seats: time, cancel: none}
"""


def compiled(path: Path) -> Book:
    """The book in a file, as processes compile it from its records."""
    book, lines = read_book(path)
    try:
        values, made = records_of(book, NOW, NOW)
    except BookError as error:
        raise located(path, lines, book, error) from None
    reader = read_books(enumerate(values))
    assert reader.problems == []
    assert reader.books.at(10**14) is not None
    return made


def test_a_plan_travels_in_the_book_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(PLANS)
    plan = compiled(path).plans["team"]
    trial, paid = plan.phases
    assert (trial.id, trial.days, trial.fees) == ("trial", 14, [])
    assert [fee.amount for fee in paid.fees] == ["19"]
    assert [grant.amount for grant in paid.grants] == ["1900", "5"]
    assert [each.limit for each in paid.entitlements] == [None, None, "10000"]
    assert paid.terms.credit_limits == {"USD": "50"}


def test_a_book_without_plans_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text(PLANS.partition("plans:")[0])
    book, _ = read_book(path)
    values, made = records_of(book, NOW, NOW)
    assert made.plans == {}
    assert not any(b'"plan' in value for value in values)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("asset: USD, amount: 19", "asset: EUR, amount: 19", "no asset 'EUR'"),
        ("amount: 19,", "amount: 19.001,", "19.001 is finer than USD, which has 2 places"),
        ("amount: 19,", "amount: -19,", "plans.team.fees.seats.amount"),
        ("days: 14, ", "", "has no end, and another phase follows it"),
        ("{id: paid}", "{id: paid, cycles: 3}", "is the last phase and has no end"),
        ("meter: llm,", "meter: gpu,", "no meter 'gpu'"),
        ("Europe/Berlin", "Europe/Bonn", "'Europe/Bonn' is no zone"),
        ("every: month", "every: fortnight", "plans.team.cycle.every"),
        ("seats_max: 50", "seats: 50", "plans.team.seats: is no field here"),
        ("upgrade: time", "upgrade: half", "plans.team.proration.upgrade"),
    ],
)
def test_what_is_wrong_with_a_plan_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "book.yaml"
    assert PLANS.count(old) == 1
    path.write_text(PLANS.replace(old, new))
    with pytest.raises(BookFileError) as refused:
        compiled(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}: line ")
