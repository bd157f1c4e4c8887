"""How a charge came about: its lines, summed, and rounded once.

The arithmetic is done again here, with fractions and from the published text of the rate, not with
the ledger's compiled one: what is shown is a check of what was booked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from drawdown.cli.price_formulas import Given, Line, lines_of
from drawdown.events.numbers import PLACES, amount_text
from drawdown.events.pricebook import Asset, Rate

SHOWN_PLACES: Final = 24
"""Of a number without end."""


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
            "lines": [_line_json(line) for line in self.lines],
            "sum": exact_text(self.total),
            "rounding": {"mode": self.rate.rounding.mode, "places": self.places},
            "exact": self.exact,
            "charge": amount_text(self.charge),
        }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "quantity": line.quantity,
        "used": line.used,
        "price": line.price,
        "per": line.per,
        "product": None if line.price is None else exact_text(line.product),
    }


def worked_out(
    rate: Rate, asset: Asset, quantities: Mapping[str, int | str], given: Given | None = None
) -> Sum:
    """The charge of a rate for quantities as an entry states them, and what else it was priced
    by."""
    wanted = rate.rounding.places
    places = asset.scale if wanted is None else min(wanted, asset.scale)
    used = {name: Fraction(str(count)) for name, count in quantities.items()}
    lines, parts = lines_of(rate.price, used, given or Given())
    steps = sum(_rounded(part * 10**places, rate.rounding.mode) for part in parts)
    total = sum((line.product for line in lines), Fraction(0))
    return Sum(rate, tuple(lines), total, places, steps * 10 ** (PLACES - places))


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
