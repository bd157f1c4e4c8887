"""Calendar periods in a zone: where an hour, day, week, month or year begins and ends.

The zones' rules are data that comes with the package (tzdata). What a decision made of them stands
in its entry, so that a replay never asks again.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drawdown.events.base import EPOCH, LAST_MS, MILLISECOND

MINUTE_MS: Final = 60_000
MONTH: Final = re.compile(r"[1-9][0-9]{3}-(0[1-9]|1[0-2])")
LIFE: Final = (0, LAST_MS)
"""The period that has no end."""


class ZoneError(ValueError):
    """No such zone."""


class PeriodError(ValueError):
    """No period: `said` is what is wrong with `field`, which is month, end or zone."""

    def __init__(self, field: str, said: object) -> None:
        super().__init__(f"{field}: {said}")
        self.field = field
        self.said = str(said)


def zone_named(name: str) -> ZoneInfo:
    """A zone of the tz database. Raises ZoneError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ZoneError(f"{name!r} is no zone such as Europe/Berlin or UTC") from None


def period_of(time_ms: int, every: str, zone: str) -> tuple[int, int]:
    """First millisecond of the period a time lies in, and of the next one.

    `every` is hour, day, week (from Monday), month, year or life. Raises ZoneError.
    """
    if every == "life":
        return LIFE
    return _period_of(time_ms // MINUTE_MS, every, zone)


def month_bounds(text: str, zone: str) -> tuple[int, int]:
    """First millisecond of a calendar month such as `2026-10`, and of the next one, by the clock of
    a zone. Raises ValueError, ZoneError."""
    if not MONTH.fullmatch(text):
        raise ValueError(f"{text!r} is no month such as 2026-10")
    first = datetime(int(text[:4]), int(text[5:]), 1, tzinfo=zone_named(zone))
    return period_of(_ms(first), "month", zone)


def bounds_asked(
    month: str | None,
    starts_ms: int | None,
    ends_ms: int | None,
    zone: str,
    now_ms: int | None = None,
) -> tuple[int, int]:
    """The first millisecond of what is asked for, and of what comes behind it: a calendar month by
    the clock of a zone, or what lies between two instants; of neither, the month under way at
    `now_ms`, if that is given. Raises PeriodError."""
    try:
        zone_named(zone)
        if month is None and starts_ms is None and ends_ms is None and now_ms is not None:
            return period_of(now_ms, "month", zone)
        if month is not None and starts_ms is None and ends_ms is None:
            return month_bounds(month, zone)
    except ZoneError as error:
        raise PeriodError("zone", error) from None
    except ValueError as error:
        raise PeriodError("month", error) from None
    if month is not None or starts_ms is None or ends_ms is None:
        raise PeriodError("month", "give a month, or start and end")
    if ends_ms <= starts_ms:
        raise PeriodError("end", "is not after the start")
    return starts_ms, ends_ms


@lru_cache(maxsize=8192)
def _period_of(minute: int, every: str, zone: str) -> tuple[int, int]:
    """Offsets are whole minutes: no period begins within one."""
    tz = UTC if zone == "UTC" else zone_named(zone)
    instant = EPOCH + timedelta(minutes=minute)
    if every == "hour":
        # An hour is one of elapsed time: the one that a change of the clock repeats is two.
        here = instant.astimezone(tz)
        start = instant - timedelta(minutes=here.minute)
        return _ms(start), _ms(start + timedelta(hours=1))
    day = instant.astimezone(tz).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if every == "week":
        day = _days(day, -day.weekday())
    elif every == "month":
        day = day.replace(day=1)
    elif every == "year":
        day = day.replace(month=1, day=1)
    if every == "day":
        after = _days(day, 1)
    elif every == "week":
        after = _days(day, 7)
    elif every == "month":
        months = day.year * 12 + day.month  # of the next one
        after = day.replace(year=months // 12, month=months % 12 + 1)
    else:
        after = day.replace(year=day.year + 1)
    return _ms(day), _ms(after)


def _days(day: datetime, count: int) -> datetime:
    """So many calendar days on: the same hour of the clock, whatever the offset."""
    return day + timedelta(days=count)  # of one zone: the wall clock's arithmetic


def _ms(value: datetime) -> int:
    return (value.astimezone(UTC) - EPOCH) // MILLISECOND
