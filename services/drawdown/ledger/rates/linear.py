"""Linear rates: per unit, token map, credits, and what chooses among them by the size of a request.

charge = sum over quantities of quantity x price / per. All prices of a rate share one denominator,
so that a charge is integer multiplication, addition and one division with its rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import lcm

from drawdown.events.base import Value
from drawdown.ledger.rates.terms import (
    EVENTS,
    Number,
    Quantities,
    Termed,
    Terms,
    UnpricedError,
    exactly,
    rounded,
)


class CompiledRate(Value, frozen=True):
    """A rate ready to price: `weights[quantity] / denominator` steps per unit."""

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

    def steps(self, quantities: Quantities) -> Fraction:
        """The charge before it is rounded, in steps."""
        total = Fraction(self.per_event)
        for name, quantity in quantities.items():
            weight = self.weights.get(name)
            if weight is not None:
                total += Fraction(quantity) * weight
            elif quantity:
                raise UnpricedError(name)
        return Fraction(total, self.denominator)

    def _charge_fractions(self, quantities: Quantities) -> tuple[int, bool]:
        """The same with quantities that have decimal places."""
        total = self.steps(quantities)
        return self._rounded(total.numerator, total.denominator)

    def _rounded(self, total: int, denominator: int) -> tuple[int, bool]:
        steps, rest = divmod(total, denominator)
        if not rest:
            return steps * self.step, True
        return rounded(steps, rest, denominator, self.mode) * self.step, False


def linear(terms: Terms, prices: Mapping[str, str], per: Number) -> CompiledRate:
    """The rate of these prices, each for `per` of its quantity."""
    fractions = {name: terms.steps(price, per) for name, price in prices.items()}
    denominator = lcm(*(fraction.denominator for fraction in fractions.values()))
    weights = {
        name: fraction.numerator * (denominator // fraction.denominator)
        for name, fraction in fractions.items()
    }
    return CompiledRate(
        id=terms.id,
        asset=terms.asset,
        per_event=weights.pop(EVENTS, 0),
        weights=weights,
        denominator=denominator,
        step=terms.step,
        rounding=terms.rounding,
        mode=terms.mode,
    )


class Threshold(Value, frozen=True):
    """What holds for the whole of a request that has more than `over` of `of`, summed."""

    over: Number
    of: tuple[str, ...]
    rate: CompiledRate


class BySize(Termed, frozen=True):
    """A rate with thresholds on the whole request; the highest that is exceeded counts."""

    base: CompiledRate
    above: tuple[Threshold, ...]
    """The highest first."""

    def charge(self, quantities: Quantities) -> tuple[int, bool]:
        """As a linear rate's. Raises UnpricedError."""
        for threshold in self.above:
            size = sum(exactly(quantities[name]) for name in threshold.of if name in quantities)
            if size > threshold.over:
                return threshold.rate.charge(quantities)
        return self.base.charge(quantities)
