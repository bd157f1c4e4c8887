"""Rates of a running quantity: an event is priced by what it adds to its period.

charge = R(F(X after)) - R(F(X before)), R being the rate's rounding: the charges of a period sum to
the rounded price of its whole, in whatever parts and order it came. What the quantity was stands in
the customer's row of the counter, and in the entry.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, Protocol

from drawdown.events.base import Value
from drawdown.events.numbers import UNIT
from drawdown.ledger.rates.linear import CompiledRate
from drawdown.ledger.rates.terms import Number, Quantities, Termed

How = Literal["sum", "max", "latest", "time_weighted", "unique"]


class Curve(Protocol):
    """The price of a period's whole quantity."""

    def at(self, quantity: Number) -> Number:
        """F(X) in steps, exactly."""


class Counter(Value, frozen=True):
    """Where a quantity runs, and how uses add up to it."""

    name: str
    every: str
    zone: str
    quantity: str
    how: How
    dimension: str | None = None
    """Whose different values `unique` counts."""


class Curved(Termed, frozen=True):
    """A rate that is a curve over its counter."""

    counter: Counter
    curve: Curve

    def charge(self, before: Number | None, after: Number) -> tuple[int, bool]:
        """What `after` costs above `before`; None before the first use of the period."""
        old: Number = 0 if before is None else self.curve.at(before)
        new = self.curve.at(after)
        was, _ = self.terms.settle(old)
        total, _ = self.terms.settle(new)
        amount = total - was
        return amount, amount == (new - old) * self.terms.step


class RunningRate(Curved, frozen=True):
    """Tiers, allowances, seats, packages and fees of a period."""

    covers_all: bool
    """Other quantities of the use are priced with it, rather than unpriced."""
    gives_back: bool
    """F can fall."""


class OutcomeRate(Curved, frozen=True):
    """Once per value of a dimension; undone by an event that says so."""

    key: str
    undo: tuple[str, str] | None


class CommitmentRate(Termed, frozen=True):
    """F(V) of the running value V of uses at a base's prices, in units of the asset."""

    counter: Counter
    base: CompiledRate
    amount: Fraction
    """Committed to."""
    factor: Fraction

    def value(self, quantities: Quantities) -> Number:
        """V of one use. Raises UnpricedError."""
        value = Fraction(self.base.steps(quantities) * self.terms.step, UNIT)
        return value.numerator if value.denominator == 1 else value

    def total(self, value: Number) -> tuple[int, bool]:
        """F(V), rounded, and whether it is exact."""
        above = max(value - self.amount, Fraction(0))
        units = value + above * (self.factor - 1)
        return self.terms.settle(Fraction(units * UNIT, self.terms.step))
