"""What is weighted by time: a value holds from its event until the next, in exact milliseconds.

X(t) = integral of the value from the period's beginning to t, over the length of the period: the
average over the whole period, once it is over. An event of a period that was reckoned to its end
holds from there on; one that is older than the last change within a period counts nothing. So an
event that is late never reckons twice, and never gives back.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final, Protocol

from drawdown.events.base import Value
from drawdown.events.calendar import period_of
from drawdown.ledger.rates.running import Counter
from drawdown.ledger.rates.terms import Number
from drawdown.ledger.values import Running, running_key

PERIODS_BACK_MAX: Final = 40
"""How many periods back a value is looked for whose periods' ends are still to be seen to."""


class RowReader(Protocol):
    def row(self, key: str) -> Running | None: ...


class Reckoned(Value, frozen=True):
    """What held in a period until an instant, and was not reckoned before."""

    quantity: Number
    until_ms: int


def share(level: Number, since_ms: int, until_ms: int, starts_ms: int, ends_ms: int) -> Number:
    """What a value that holds adds to the quantity of a period."""
    found = Fraction(level * (until_ms - since_ms), ends_ms - starts_ms)
    return found.numerator if found.denominator == 1 else found


def reckoned(
    rows: RowReader,
    row: Running | None,
    customer: str,
    counter: Counter,
    starts_ms: int,
    time_ms: int,
) -> Reckoned | None:
    """What held until an event at `time_ms`; `row` is that of its period. None where the event is
    older than what is known."""
    _, ends_ms = period_of(starts_ms, counter.every, counter.zone)
    if row is None:
        level = _level_before(rows, customer, counter, starts_ms)
        return Reckoned(share(level, starts_ms, time_ms, starts_ms, ends_ms), time_ms)
    if time_ms < row.latest_ms:
        return None
    level = 0 if row.level is None else row.level
    return Reckoned(share(level, row.latest_ms, time_ms, starts_ms, ends_ms), time_ms)


def _level_before(rows: RowReader, customer: str, counter: Counter, starts_ms: int) -> Number:
    """The value that holds at the beginning of a period that nothing is known of yet: that of the
    last one before it."""
    for _ in range(PERIODS_BACK_MAX):
        before_ms, ends_ms = period_of(starts_ms - 1, counter.every, counter.zone)
        row = rows.row(running_key(customer, counter.name, before_ms, ends_ms))
        if row is not None:
            return 0 if row.level is None else row.level
        starts_ms = before_ms
    return 0
