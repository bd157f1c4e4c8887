"""What every compiled rate has in common: its id, its asset, and how it rounds.

All families reckon in steps, the smallest piece of a charge (of the asset's scale, or fewer
places where the rate says so): exactly, with integers or fractions, and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from drawdown.events.base import Value
from drawdown.events.numbers import UNIT, step_of
from drawdown.events.pricebook import Rate

EVENTS: Final = "events"
"""The quantity every event has one of."""

Quantities = Mapping[str, int | Decimal]
Number = int | Fraction


class UnpricedError(Exception):
    """Something that was used has no price. `what` says what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class RateError(ValueError):
    """A price that cannot be: says which field below `price`, the rule and the fix."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class Terms(Value, frozen=True):
    """What a rate is, besides its formula."""

    id: str
    asset: str
    step: int
    """What a charge is a multiple of, in pico-units."""
    rounding: str
    """How it is rounded, as entries say it."""
    mode: str

    def steps(self, price: str, per: Number = 1) -> Fraction:
        """A price per `per` of something, in steps for one of it."""
        return Fraction(Fraction(price) * UNIT, self.step * per)

    def settle(self, steps: Number) -> tuple[int, bool]:
        """The amount of so many steps, rounded, and whether it is exact."""
        if type(steps) is int:
            return steps * self.step, True
        whole, rest = divmod(steps.numerator, steps.denominator)
        if not rest:
            return whole * self.step, True
        return rounded(whole, rest, steps.denominator, self.mode) * self.step, False


class Termed(Value, frozen=True):
    """A compiled rate with its terms."""

    terms: Terms

    @property
    def id(self) -> str:
        return self.terms.id

    @property
    def asset(self) -> str:
        return self.terms.asset

    @property
    def rounding(self) -> str:
        return self.terms.rounding


def terms_of(rate: Rate, scale: int) -> Terms:
    """The terms of a rate whose asset has `scale` decimal places."""
    places = min(scale if rate.rounding.places is None else rate.rounding.places, scale)
    mode = rate.rounding.mode
    return Terms(rate.id, rate.asset, step_of(places), f"{mode}:{places}", mode)


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


def exactly(quantity: int | Decimal) -> Number:
    """A quantity to reckon with."""
    if type(quantity) is int:
        return quantity
    exact = Fraction(quantity)
    return exact.numerator if exact.denominator == 1 else exact


def only(quantities: Quantities, name: str) -> Number:
    """The quantity `name` of a use; zero where it has none. Raises UnpricedError where it has any
    other."""
    found: int | Decimal = 1 if name == EVENTS else 0
    for other, quantity in quantities.items():
        if other == name:
            found = quantity
        elif quantity:
            raise UnpricedError(other)
    return exactly(found)


def bound(text: str) -> Number:
    """A quantity of a rate, from its text."""
    number = Fraction(text)
    return number.numerator if number.denominator == 1 else number
