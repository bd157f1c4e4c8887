"""Times: one grammar, exact milliseconds, and nothing that overflows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from drawdown.events.base import (
    Timestamp,
    at_text,
    milliseconds,
    moment,
    timestamp_text,
)

TIMESTAMP: TypeAdapter[datetime] = TypeAdapter(Timestamp)

READ = [
    ("2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z"),
    ("2027-01-15t08:00:00z", "2027-01-15T08:00:00Z"),
    ("2027-01-15 08:00:00Z", "2027-01-15T08:00:00Z"),
    ("2027-01-15T13:30:00+05:30", "2027-01-15T08:00:00Z"),
    ("2027-01-14T23:00:00.250-09:00", "2027-01-15T08:00:00.250000Z"),
    ("2024-02-29T23:59:59.999999Z", "2024-02-29T23:59:59.999999Z"),
    ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999000Z"),
    ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("text", "in_utc"), READ)
def test_times_are_read_with_their_offset_and_told_in_utc(text: str, in_utc: str) -> None:
    value = TIMESTAMP.validate_json(f'"{text}"', strict=True)
    assert timestamp_text(value) == in_utc
    assert TIMESTAMP.dump_json(value) == f'"{in_utc}"'.encode()


@pytest.mark.parametrize(
    "text",
    [
        '"2027-01-15T08:00:00"',
        '"2027-01-15"',
        '"2027-02-30T00:00:00Z"',
        '"2027-01-15T24:00:00Z"',
        '"2027-01-15T23:59:60Z"',
        '"2027-01-15T08:00Z"',
        '"now"',
        '""',
        "1800000000",
        "1.8e9",
        "null",
        "true",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValidationError):
        TIMESTAMP.validate_json(text, strict=True)


def test_milliseconds_are_rounded_down_so_that_before_midnight_stays_before() -> None:
    midnight = datetime(2027, 1, 15, tzinfo=UTC)
    assert milliseconds(midnight - timedelta(microseconds=1)) == milliseconds(midnight) - 1
    assert milliseconds(datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)) == -1


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_moment_and_its_milliseconds_are_the_same(at_ms: int) -> None:
    assert milliseconds(moment(at_ms)) == at_ms
    assert milliseconds(TIMESTAMP.validate_strings(at_text(at_ms))) == at_ms


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-24 * 60 + 1, 24 * 60 - 1))
@example(datetime.max.replace(tzinfo=UTC), -24 * 60 + 1)
@example(datetime.min.replace(tzinfo=UTC), 24 * 60 - 1)
def test_every_time_there_is_has_a_text(value: datetime, offset_minutes: int) -> None:
    local = value.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert timestamp_text(local).endswith("Z")
    assert at_text(milliseconds(local))
