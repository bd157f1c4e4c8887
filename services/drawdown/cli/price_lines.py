"""How a charge came about: quantity x price / per, summed, rounded once.

The arithmetic is done again here, with fractions and from the published text of the rate, not with
the ledger's compiled one: what is shown is a check of what was booked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

from drawdown.events.codec import kind_of
from drawdown.events.numbers import PLACES, amount_text
from drawdown.events.pricebook import Asset, PerUnit, Rate, TokenMap

EVENTS: Final = "events"
"""The quantity every event has one of."""
SHOWN_PLACES: Final = 24
"""Of a number without end."""


@dataclass(frozen=True)
class Line:
    """One quantity's part of a charge."""

    quantity: str
    used: str
    price: str | None
    """None where the rate has no price for it."""
    per: int
    product: Fraction

    def as_json(self) -> dict[str, Any]:
        return {
            "quantity": self.quantity,
            "used": self.used,
            "price": self.price,
            "per": self.per,
            "product": None if self.price is None else exact_text(self.product),
        }


@dataclass(frozen=True)
class Sum:
    """A charge, worked out."""

    rate: Rate
    lines: tuple[Line, ...]
    total: Fraction
    """Before it is rounded."""
    places: int
    charge: int
    """In pico-units."""

    @property
    def exact(self) -> bool:
        """Whether nothing was rounded away."""
        return self.total * 10**PLACES == self.charge

    @property
    def rounding(self) -> str:
        """The rule and what it did, in words."""
        mode = self.rate.rounding.mode.replace("_", " ")
        rule = f"{mode} to {self.places} places"
        return f"none needed ({rule})" if self.exact else rule

    def as_json(self) -> dict[str, Any]:
        return {
            "rate": self.rate.id,
            "match": dict(self.rate.match),
            "asset": self.rate.asset,
            "lines": [line.as_json() for line in self.lines],
            "sum": exact_text(self.total),
            "rounding": {"mode": self.rate.rounding.mode, "places": self.places},
            "exact": self.exact,
            "charge": amount_text(self.charge),
        }


def worked_out(rate: Rate, asset: Asset, quantities: Mapping[str, int | str]) -> Sum:
    """The charge of a rate for quantities as an entry states them."""
    prices = _prices(rate)
    used: dict[str, int | str] = dict(quantities)
    if EVENTS in prices:
        used[EVENTS] = 1
    lines = []
    for name, count in used.items():
        price, per = prices.get(name, (None, 1))
        product = Fraction(0) if price is None else Fraction(str(count)) * Fraction(price) / per
        lines.append(Line(name, str(count), price, per, product))
    total = sum((line.product for line in lines), Fraction(0))
    wanted = rate.rounding.places
    places = asset.scale if wanted is None else min(wanted, asset.scale)
    steps = _rounded(total * 10**places, rate.rounding.mode)
    return Sum(rate, tuple(lines), total, places, steps * 10 ** (PLACES - places))


def _prices(rate: Rate) -> dict[str, tuple[str, int]]:
    if kind_of(rate.price) == "per_unit":
        unit = cast(PerUnit, rate.price)
        return {unit.quantity: (unit.price, unit.per)}
    tokens = cast(TokenMap, rate.price)
    return {name: (price, tokens.per) for name, price in tokens.prices.items()}


def _rounded(value: Fraction, mode: str) -> int:
    if mode == "half_even":
        return round(value)  # a fraction's own rounding is half-even, and exact
    size = abs(value)
    whole, rest = divmod(size.numerator, size.denominator)
    if mode == "half_up":
        whole += 2 * rest >= size.denominator
    elif mode == "up":
        whole += rest > 0
    return -whole if value < 0 else whole


def exact_text(value: Fraction) -> str:
    """Decimal text; where it has no end, a fraction with the beginning of its decimals."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest == 1:
        places = max(twos, fives)
        return _decimal(value.numerator * 10**places // value.denominator, places)
    sign = "-" if value < 0 else ""
    size = abs(value)
    cut = size.numerator * 10**SHOWN_PLACES // size.denominator
    digits = f"{cut // 10**SHOWN_PLACES}.{cut % 10**SHOWN_PLACES:0{SHOWN_PLACES}d}"
    return f"{value.numerator}/{value.denominator} = {sign}{digits}..."


def _decimal(units: int, places: int) -> str:
    """`units` x 10^-places, without an exponent."""
    digits = str(abs(units)).rjust(places + 1, "0")
    text = digits[: len(digits) - places]
    if places:
        text += "." + digits[len(digits) - places :]
        text = text.rstrip("0").rstrip(".")
    return f"-{text}" if units < 0 else text
