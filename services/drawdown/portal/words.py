"""Amounts, quantities and times as people read them: exact, grouped, and never a float.

What is shown is every digit there is; only groups, a real minus sign and the cents of currencies
are added. The plain text stays beside it in the page (`<data value>`), for whoever copies it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from drawdown.events.base import milliseconds
from drawdown.events.numbers import amount_text

THIN: Final = "\u202f"
"""Narrow no-break space: groups digits without being mistaken for a decimal sign anywhere."""
MINUS: Final = "\u2212"
CENTS: Final = frozenset(
    [
        "AUD",
        "BRL",
        "CAD",
        "CHF",
        "CNY",
        "CZK",
        "DKK",
        "EUR",
        "GBP",
        "HKD",
        "ILS",
        "INR",
        "MXN",
        "NOK",
        "NZD",
        "PLN",
        "SEK",
        "SGD",
        "USD",
        "ZAR",
    ]
)
"""Currencies whose amounts people write with two places at least: 12.5 USD is 12.50."""


def shown(amount: int, asset: str | None = None) -> str:
    """Pico-units as people read them.

    >>> shown(-1234567_500000000000, "USD"), shown(1234_000000000000, "credit")
    ('−1\u202f234\u202f567.50', '1\u202f234')
    """
    return grouped(amount_text(amount), 2 if asset in CENTS else 0)


def grouped(text: str, places_min: int = 0) -> str:
    """Decimal text with its whole part in groups of three and at least so many places.

    >>> grouped("1234567.0625"), grouped("1000", 2), grouped("-0.5")
    ('1\u202f234\u202f567.0625', '1\u202f000.00', '−0.5')
    """
    sign = MINUS if text.startswith("-") else ""
    whole, _, places = text.removeprefix("-").partition(".")
    first = len(whole) % 3 or 3
    groups = [whole[:first], *(whole[at : at + 3] for at in range(first, len(whole), 3))]
    places = places.ljust(places_min, "0")
    return sign + THIN.join(groups) + (f".{places}" if places else "")


def size_of(text: str) -> str:
    """How large a figure can be set: the longest amount has 26 digits before the point."""
    for size, length in (("xl", 10), ("l", 15), ("m", 24)):
        if len(text) <= length:
            return size
    return "s"


def day(time: datetime) -> str:
    """The UTC minute. Scripts put the reader's own time zone in its place.

    >>> from datetime import UTC
    >>> day(datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
    '1 Mar 2026, 09:05 UTC'
    """
    return f"{time.day} {time:%b %Y, %H:%M} UTC"


def second(time: datetime) -> str:
    """The UTC second.

    >>> from datetime import UTC
    >>> second(datetime(2026, 3, 1, 9, 5, 7, tzinfo=UTC))
    '1 Mar 2026, 09:05:07 UTC'
    """
    return f"{time.day} {time:%b %Y, %H:%M:%S} UTC"


def until(time: datetime, now_ms: int) -> str:
    """How long until then, rounded down: nobody should count on time that is not there.

    >>> from datetime import UTC
    >>> [until(datetime(2026, 3, 4, tzinfo=UTC), 1772323200000 + ms) for ms in (0, 200_000_000)]
    ['in 3 days', 'in 16 hours']
    """
    seconds = (milliseconds(time) - now_ms) // 1000
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"in {seconds // length} {unit}"
    return "in under two minutes" if seconds >= 0 else "now"
