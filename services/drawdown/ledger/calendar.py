"""When cycles begin: instants of a recurrence by the wall clock of its zone.

The zone is given as a value (`Books.zone`); nothing is read here. An instant is always reckoned
from the anchor, never from the one before it, so that 31 January comes back to 31 March after 28
February. A wall clock time that a change of the clock skips is that much later; one that comes
twice is the first.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime, timedelta, tzinfo
from typing import Final

from drawdown.events.base import milliseconds
from drawdown.events.entries import RecurrenceFacts
from drawdown.ledger.values import NEVER

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
PERIOD_MS: Final = {
    "hour": HOUR_MS,
    "day": 24 * HOUR_MS,
    "week": 7 * 24 * HOUR_MS,
    "month": 28 * 24 * HOUR_MS,
    "year": 365 * 24 * HOUR_MS,
}
"""The shortest each can be, but for an hour that a change of the clock takes."""
LONGEST_MS: Final = {**PERIOD_MS, "month": 31 * 24 * HOUR_MS, "year": 366 * 24 * HOUR_MS}


def next_after(recurrence: RecurrenceFacts, zone: tzinfo, after_ms: int) -> int:
    """The first instant of the recurrence that is later than `after_ms`; NEVER where that is
    beyond the times there are."""
    anchor_ms = milliseconds(recurrence.anchor)
    step_ms = LONGEST_MS[recurrence.every] * recurrence.count
    number = (after_ms - anchor_ms) // step_ms
    # The longest periods there are under-count going forward and over-count going back.
    while _instant(recurrence, zone, number) > after_ms:
        number -= max(1, (_instant(recurrence, zone, number) - after_ms) // step_ms)
    while (found := _instant(recurrence, zone, number)) <= after_ms:
        number += max(1, (after_ms - found) // step_ms)
    return found


def cycle_of(recurrence: RecurrenceFacts, zone: tzinfo, at_ms: int) -> tuple[int, int]:
    """The instants between which a time lies: at or before it, and after it."""
    end_ms = next_after(recurrence, zone, at_ms)
    step_ms = PERIOD_MS[recurrence.every] * recurrence.count
    start_ms = next_after(recurrence, zone, end_ms - 2 * step_ms - DAY_MS)
    while (following := next_after(recurrence, zone, start_ms)) < end_ms:
        start_ms = following
    return start_ms, end_ms


def _instant(recurrence: RecurrenceFacts, zone: tzinfo, number: int) -> int:
    """The instant `number` periods after the anchor, or before it."""
    count = number * recurrence.count
    anchor = recurrence.anchor
    if recurrence.every == "hour":
        return milliseconds(anchor) + count * HOUR_MS
    try:
        local = anchor.astimezone(zone).replace(tzinfo=None)
        match recurrence.every:
            case "day":
                local += timedelta(days=count)
            case "week":
                local += timedelta(weeks=count)
            case "month":
                local = _months_later(local, count)
            case _:
                local = _months_later(local, 12 * count)
        return milliseconds(local.replace(tzinfo=zone))
    except (OverflowError, ValueError):
        return NEVER if number > 0 else -NEVER


def _months_later(local: datetime, months: int) -> datetime:
    """So many months later, on the same day or the month's last."""
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    day = min(local.day, monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day)


def cycles_until(recurrence: RecurrenceFacts, start_ms: int, end_ms: int) -> int:
    """How many cycles there may be between two times, at most."""
    return -(-(end_ms - start_ms) // (PERIOD_MS[recurrence.every] * recurrence.count))
