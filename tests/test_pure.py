"""The ledger without Kafka: its examples run as they stand, and its edges."""

from __future__ import annotations

import doctest
from decimal import Decimal
from typing import Any

import pytest

from drawdown import pure
from drawdown.events.codec import decode_any, encode
from drawdown.pure import BookError, Ledger, RecordError, load, price

AT = "2027-01-15T08:00:00Z"


def book(**price: Any) -> dict[str, Any]:
    return {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "work", "event_types": ["work"], "fields": {"n": "n"}}],
        "rates": [{"id": "work", "meter": "work", "asset": "USD", "price": price}],
    }


UNIT = {"model": "per_unit", "quantity": "n", "price": "2"}


def test_the_examples_are_right() -> None:
    failed, tried = doctest.testmod(pure, extraglobs={"price": price})
    assert (failed, tried > 10) == (0, True)


@pytest.mark.parametrize("number", ["0.125", Decimal("0.125"), Decimal("1.25E-1")])
def test_a_price_is_text_or_a_decimal(number: object) -> None:
    priced = price(load(book(**{**UNIT, "price": number})), "work", {"n": 3}, at=AT)
    assert (priced.amount, priced.match, priced.rounding) == ("0.375", "default", "exact")


@pytest.mark.parametrize("data", [{"n": 0.1}, {"n": 1, "costs": {"v": 0.5}}])
def test_a_float_is_refused_in_data(data: dict[str, Any]) -> None:
    with pytest.raises(BookError, match="is a float"):
        price(load(book(**UNIT)), "work", data, at=AT)


def test_a_float_is_refused_in_a_book() -> None:
    with pytest.raises(BookError, match=r"rates\.0\.price\.price: 0\.1 is a float"):
        load(book(**{**UNIT, "price": 0.1}))


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(BookError, match=r"rates\.work\.price: 'x' is no quantity"):
        load(book(**{**UNIT, "quantity": "x"}))
    with pytest.raises(BookError, match=r"rates\.0\.price"):
        load(book(model="free"))


def test_the_same_event_again_is_its_first_entry_and_other_content_is_refused() -> None:
    ledger = Ledger(book(**UNIT), at=AT)
    first = ledger.use("ada", "work", {"n": 1}, id="e")
    assert ledger.use("ada", "work", {"n": 1}, id="e") == first
    with pytest.raises(RecordError, match="other content"):
        ledger.use("ada", "work", {"n": 2}, id="e")
    assert ledger.balance("ada") == "-2"


def test_prices_change_at_an_instant_and_time_never_goes_back() -> None:
    ledger = Ledger(book(**UNIT), at=AT)
    ledger.publish({**book(**{**UNIT, "price": "3"}), "version": "v2"},
                   effective_at="2027-01-16T00:00:00Z")  # fmt: skip
    ledger.grant("ada", 100)
    assert ledger.use("ada", "work", {"n": 1}, at="2027-01-16T00:00:00Z")["data"]["amount"] == "3"
    late = ledger.use("ada", "work", {"n": 1}, time="2027-01-15T23:59:59.999Z")
    assert late["data"]["amount"] == "2"
    with pytest.raises(ValueError, match="is before"):
        ledger.use("ada", "work", {"n": 1}, at=AT)


def test_timers_fire_in_their_order() -> None:
    ledger = Ledger(book(**UNIT), at=AT)
    ledger.grant("ada", 10, grant_id="g", expires_at="2027-01-20T00:00:00Z")
    ledger.authorize("ada", "work", quantities={"n": 2}, hold="h")
    made = ledger.advance("2027-02-01T00:00:00Z")
    assert [(e["type"].rpartition(".")[2], e["time"]) for e in made] == [
        ("expire", "2027-01-15T08:15:00Z"),
        ("lapse", "2027-01-20T00:00:00Z"),
    ]


def test_a_refusal_is_an_answer() -> None:
    ledger = Ledger(book(**UNIT), at=AT)
    ledger.grant("ada", 10)
    answer = ledger.command("capture", "ada", hold_id="none")
    assert (answer["allowed"], answer["reason"]) == (False, "hold_unknown")


def test_a_book_says_what_pays_first_and_what_can_be_converted_and_zones_are_known() -> None:
    content = {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}, {"code": "credit", "scale": 2}],
        "meters": [{"id": "work", "event_types": ["work"], "fields": {"units": "units"}}],
        "rates": [
            {
                "id": "work",
                "meter": "work",
                "asset": "USD",
                "price": {"model": "per_unit", "quantity": "units", "price": "1"},
            }
        ],
        "drawdown": "orb",
        "conversions": [{"asset": "USD", "to": "credit", "price": 100}],
    }
    ledger = Ledger(content, at="2027-01-01T00:00:00Z")
    ledger.grant("ada", "10", grant_id="first", priority=1)
    daily = {"every": "day", "zone": "Europe/Berlin", "cycles": 2}
    ledger.grant("ada", "10", grant_id="soon", recurrence=daily)
    entry = ledger.use("ada", "work", {"units": 3})
    assert [part["grant"] for part in entry["data"]["allocations"]] == ["soon"]
    assert ledger.wallet("ada")["grants"][1]["expires_at"] == "2027-01-02T00:00:00Z"
    converted = ledger.command("convert", "ada", asset="USD", amount="2", to="credit", reason="x")
    assert converted["allowed"]
    assert ledger.balance("ada", "credit") == "200"


def test_records_are_taken_as_they_stand_on_their_topics() -> None:
    ledger = Ledger(book(**UNIT), at=AT)
    grant = {
        "type": "grant",
        "id": "g",
        "customer": "ada",
        "time": AT,
        "asset": "USD",
        "amount": "9",
    }
    assert ledger.take_command(encode(grant), position=(3, 7))["allowed"]
    event = {"specversion": "1.0", "id": "e", "source": "s", "type": "work", "subject": "ada",
             "time": AT, "data": {"n": 2}}  # fmt: skip
    value = ledger.take_usage(encode(event), position=(3, 11))
    assert ledger.journal(1) == [value]
    assert ledger.take_usage(encode(event)) == value
    causes = [entry["data"]["cause"] for entry in ledger.entries("ada")]
    assert [(cause["topic"], cause["partition"], cause["offset"]) for cause in causes] == [
        ("commands", 3, 7),
        ("usage-events", 3, 11),
    ]
    assert decode_any(ledger.rows()["ada"]) == ledger.wallet("ada")
