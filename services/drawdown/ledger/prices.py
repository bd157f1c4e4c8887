"""Rates compiled for use: from quantities to an exact amount, rounded once.

A price is a fraction of pico-units per unit of quantity; all prices of a rate share one
denominator, so that a charge is integer multiplication, addition and one division with its
rounding (rule 1 of domain.md: multiply exactly, round once per charge).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import Final, cast

from drawdown.events.base import Value
from drawdown.events.codec import kind_of
from drawdown.events.numbers import PLACES, UNIT
from drawdown.events.pricebook import PerUnit, Rate, TokenMap

EVENTS: Final = "events"
"""The quantity every event has one of."""

Quantities = Mapping[str, int | Decimal]


class UnpricedError(Exception):
    """Something that was used has no price. `what` says what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class CompiledRate(Value, frozen=True):
    """A rate ready to price: `weights[quantity] / denominator` pico-units per unit."""

    id: str
    asset: str
    weights: Mapping[str, int]
    per_event: int
    """The weight of the event itself, which every event has one of."""
    denominator: int
    """Also divides by the rounding step: the quotient counts steps."""
    step: int
    """What a charge is a multiple of, in pico-units."""
    rounding: str
    """How it is rounded, as entries say it."""
    mode: str

    def charge(self, quantities: Quantities) -> tuple[int, bool]:
        """The amount, and whether it is exact (else it was rounded, once).

        Raises UnpricedError for a quantity that was used and has no price here.
        """
        total = 0
        weights = self.weights
        for name, quantity in quantities.items():
            try:
                weight = weights[name]
            except KeyError:
                if quantity:
                    raise UnpricedError(name) from None
                continue
            if type(quantity) is not int:
                return self._charge_fractions(quantities)
            total += quantity * weight
        total += self.per_event
        if self.denominator == 1:
            return total * self.step, True
        return self._rounded(total, self.denominator)

    def _charge_fractions(self, quantities: Quantities) -> tuple[int, bool]:
        """The same with quantities that have decimal places."""
        total = Fraction(self.per_event)
        for name, quantity in quantities.items():
            weight = self.weights.get(name)
            if weight is not None:
                total += Fraction(quantity) * weight
            elif quantity:
                raise UnpricedError(name)
        total /= self.denominator
        return self._rounded(total.numerator, total.denominator)

    def _rounded(self, total: int, denominator: int) -> tuple[int, bool]:
        steps, rest = divmod(total, denominator)
        if not rest:
            return steps * self.step, True
        return rounded(steps, rest, denominator, self.mode) * self.step, False


def rounded(whole: int, rest: int, denominator: int, mode: str) -> int:
    """Round `whole + rest/denominator`, 0 < rest < denominator, to an integer.

    `half_up` and `up` go away from zero, `down` towards it, as in Python's decimal module.
    """
    negative = whole < 0
    if mode == "half_even":
        up = 2 * rest > denominator or (2 * rest == denominator and bool(whole & 1))
    elif mode == "half_up":
        up = 2 * rest > denominator or (2 * rest == denominator and not negative)
    elif mode == "up":
        up = not negative
    else:
        up = negative
    return whole + up


def compile_rate(rate: Rate, scale: int) -> CompiledRate:
    """Compile a rate whose asset has `scale` decimal places."""
    prices = _prices(rate.price)
    places = min(scale if rate.rounding.places is None else rate.rounding.places, scale)
    step = 10 ** (PLACES - places)
    fractions = {name: Fraction(price) * UNIT / per / step for name, (price, per) in prices.items()}
    denominator = lcm(*(fraction.denominator for fraction in fractions.values()))
    weights = {
        name: fraction.numerator * (denominator // fraction.denominator)
        for name, fraction in fractions.items()
    }
    return CompiledRate(
        id=rate.id,
        asset=rate.asset,
        per_event=weights.pop(EVENTS, 0),
        weights=weights,
        denominator=denominator,
        step=step,
        rounding=f"{rate.rounding.mode}:{places}",
        mode=rate.rounding.mode,
    )


def _prices(model: PerUnit | TokenMap) -> dict[str, tuple[str, int]]:
    """Price text and what it is for, per quantity."""
    if kind_of(model) == "per_unit":
        unit = cast(PerUnit, model)
        return {unit.quantity: (unit.price, unit.per)}
    tokens = cast(TokenMap, model)
    return {name: (price, tokens.per) for name, price in tokens.prices.items()}
