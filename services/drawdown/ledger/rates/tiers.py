"""Tiers: graduated, volume and allowance, as curves F(X) of a period's running quantity.

Every tier is one line, base + (X - origin) x weight, over a denominator all of them share: finding
the tier and two integer operations are a price.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import lcm

from drawdown.events.base import Value
from drawdown.events.pricemodels import Tier
from drawdown.ledger.rates.terms import Number, RateError, Terms, bound


class Tiers(Value, frozen=True):
    """F(X) in steps."""

    starts: tuple[Number, ...]
    origins: tuple[Number, ...]
    bases: tuple[int, ...]
    weights: tuple[int, ...]
    denominator: int
    upper: bool
    """A tier begins at its bound, and not behind it."""
    zero: int
    """F(0) of an event that was there, over the denominator: the first tier's fee, or nothing."""

    def at(self, quantity: Number) -> Number:
        if not quantity:
            total: Number = self.zero
        else:
            find = bisect_right if self.upper else bisect_left
            tier = find(self.starts, quantity) - 1
            total = self.bases[tier] + (quantity - self.origins[tier]) * self.weights[tier]
        if self.denominator == 1:
            return total
        return Fraction(total, self.denominator)


def tiers_of(
    terms: Terms, tiers: Sequence[Tier], *, whole: bool, upper: bool, fee_at_zero: bool
) -> Tiers:
    """The curve of tiers; `whole` prices all of the quantity by the tier it lies in (volume).

    Raises RateError where they overlap or leave a gap.
    """
    starts: list[Number] = [0]
    for place, tier in enumerate(tiers[:-1]):
        if tier.up_to is None:
            raise RateError(
                f"tiers.{place}.up_to", "is missing: only the last tier goes on without end"
            )
        end = bound(tier.up_to)
        if end <= starts[-1]:
            raise RateError(
                f"tiers.{place}.up_to",
                f"{tier.up_to} overlaps the tier before it, which ends at {starts[-1]}: give the"
                " tiers in rising order",
            )
        starts.append(end)
    if tiers[-1].up_to is not None:
        raise RateError(
            f"tiers.{len(tiers) - 1}.up_to",
            f"leaves a gap above {tiers[-1].up_to}: leave it out of the last tier",
        )
    prices = [terms.steps(tier.price, tier.per) for tier in tiers]
    fees = [terms.steps(tier.fee) for tier in tiers]
    bases: list[Fraction] = []
    for place, fee in enumerate(fees):
        below = Fraction(0)
        if place and not whole:
            below = bases[-1] + (starts[place] - starts[place - 1]) * prices[place - 1]
        bases.append(below + fee)
    denominator = lcm(*(number.denominator for number in (*prices, *bases)))
    return Tiers(
        starts=tuple(starts),
        origins=(0,) * len(starts) if whole else tuple(starts),
        bases=tuple(int(base * denominator) for base in bases),
        weights=tuple(int(price * denominator) for price in prices),
        denominator=denominator,
        upper=upper,
        zero=int(fees[0] * denominator) if fee_at_zero else 0,
    )
