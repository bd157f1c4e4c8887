"""Rates of one event that are not linear: flat, blocks (package, duration), percentage, cost-plus.

`Blocks` and `Level` are curves too: with a period their price is that of the running quantity.
"""

from __future__ import annotations

from fractions import Fraction

from drawdown.events.base import Value
from drawdown.ledger.rates.terms import Number, Quantities, Termed, UnpricedError, only


class Level(Value, frozen=True):
    """F(X) = steps, once anything is there."""

    steps: Fraction

    def at(self, quantity: Number) -> Number:
        return self.steps if quantity else 0


class Blocks(Value, frozen=True):
    """F(X) = max(minimum, ceil(X / increment) x increment) x steps; nothing for nothing."""

    steps: Fraction
    """For one of the quantity."""
    minimum: Number
    increment: Number

    def at(self, quantity: Number) -> Number:
        if not quantity:
            return 0
        blocks = -(-quantity // self.increment)
        return max(self.minimum, blocks * self.increment) * self.steps


class FlatRate(Termed, frozen=True):
    """charge = price, whatever was used."""

    amount: int
    exact: bool

    def charge(self, quantities: Quantities) -> tuple[int, bool]:  # noqa: ARG002
        return self.amount, self.exact


class BlockRate(Termed, frozen=True):
    """charge = F(x) of blocks: packages begun, seconds with a minimum."""

    quantity: str
    blocks: Blocks

    def charge(self, quantities: Quantities) -> tuple[int, bool]:
        """Raises UnpricedError for any other quantity."""
        return self.terms.settle(self.blocks.at(only(quantities, self.quantity)))


class ShareRate(Termed, frozen=True):
    """charge = min(max, max(min, of x share + fixed)): of a quantity, or of the cost."""

    quantity: str | None
    """None: of what the use cost us."""
    share: Fraction
    """Steps for one of the quantity, or for one pico-unit of cost."""
    fixed: Fraction
    least: Fraction | None
    most: Fraction | None

    def charge(self, quantities: Quantities, cost: int | None = None) -> tuple[int, bool]:
        """Raises UnpricedError for a cost that is not known, or any other quantity."""
        if self.quantity is not None:
            of = only(quantities, self.quantity)
        elif cost is None:
            raise UnpricedError("its cost is not known")
        else:
            of = cost
        steps = of * self.share + self.fixed
        if self.least is not None:
            steps = max(steps, self.least)
        if self.most is not None:
            steps = min(steps, self.most)
        return self.terms.settle(steps)
