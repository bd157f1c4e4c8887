"""The formulas of the models of price, written down a second time: with fractions, from the text of
a published rate, for showing how a charge came about and for checking what was booked.
"""

# ruff: noqa: ARG001 - one signature for all formulas
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from drawdown.events.codec import kind_of
from drawdown.events.numbers import rational_text
from drawdown.events.pricebook import Rate

EVENTS: Final = "events"
"""The quantity every event has one of."""
Used = Mapping[str, Fraction]


@dataclass(frozen=True)
class Line:
    """One part of a charge: a quantity, a tier, a fee."""

    quantity: str
    used: str
    price: str | None
    """None where the rate has no price for it."""
    per: int | str
    product: Fraction


@dataclass(frozen=True)
class Given:
    """What a use was priced by, besides its quantities."""

    dimensions: Mapping[str, str] = field(default_factory=dict)
    cost: Fraction | None = None
    before: Fraction | None = None
    """Of the running quantity; None where the period begins with this use."""
    after: Fraction | None = None
    """None where the use changed no running quantity."""


def counted(rate: Rate) -> bool:
    """Whether a rate prices by a running quantity."""
    return kind_of(rate.price) in TOTALS and getattr(rate.price, "period", None) is not None


Lines = tuple[list[Line], list[Fraction]]
"""The lines, and the parts that are rounded each by itself: one, or two of a running total."""


def lines_of(price: Any, used: Used, given: Given) -> Lines:
    """The lines of a charge by `price`."""
    kind = kind_of(price)
    if kind in SINGLE and getattr(price, "period", None) is None:
        lines = SINGLE[kind](price, used, given)
        return lines, [sum((line.product for line in lines), Fraction(0))]
    if given.after is None:
        return [Line("nothing new in the period", "", "0", "", Fraction(0))], [Fraction(0)]
    parts = TOTALS[kind]
    after = parts(price, given.after)
    before = [] if given.before is None else parts(price, given.before)
    lines = _difference(after, before)
    totals = [sum((line.product for line in found), Fraction(0)) for found in (after, before)]
    return lines, [totals[0], -totals[1]]


def _difference(after: Sequence[Line], before: Sequence[Line]) -> list[Line]:
    """Tier by tier what is new; where a tier is another one, the whole of both."""
    was = {line.quantity: line for line in before}
    lines = []
    for line in after:
        old = was.pop(line.quantity, None)
        if old is None:
            lines.append(line)
        elif line.product != old.product or line.used != old.used:
            said = f"{line.used} - {old.used}"
            lines.append(
                Line(line.quantity, said, line.price, line.per, line.product - old.product)
            )
    gone = [
        Line(f"less {line.quantity}", line.used, line.price, line.per, -line.product)
        for line in was.values()
    ]
    return [*lines, *gone]


def _line(name: str, count: Fraction, price: str, per: int | str = 1) -> Line:
    product = count * Fraction(price) / Fraction(per)
    return Line(name, rational_text(count), price, per, product)


def _fee(name: str, fee: str) -> list[Line]:
    return [] if Fraction(fee) == 0 else [Line(name, "1", fee, 1, Fraction(fee))]


# Of one event


def _linear(
    prices: Mapping[str, str], per: int | str, used: Used, factor: Fraction = Fraction(1)
) -> list[Line]:
    counted = dict(used)
    if EVENTS in prices:
        counted[EVENTS] = Fraction(1)
    lines = []
    for name, count in counted.items():
        price = prices.get(name)
        if price is None:
            lines.append(Line(name, rational_text(count), None, 1, Fraction(0)))
        else:
            product = count * Fraction(price) / Fraction(per) * factor
            lines.append(Line(name, rational_text(count), price, per, product))
    return lines


def _per_unit(price: Any, used: Used, given: Given) -> list[Line]:
    return _linear({price.quantity: price.price}, price.per, used)


def _credits(price: Any, used: Used, given: Given) -> list[Line]:
    return _linear(price.prices, rational_text(price.per * Fraction(price.unit)), used)


def _tokens(price: Any, used: Used, given: Given) -> list[Line]:
    factor, replaced = Fraction(1), {}
    for variant in price.variants:
        if all(given.dimensions.get(name) == value for name, value in variant.match.items()):
            factor, replaced = Fraction(variant.factor), variant.prices
            break
    prices = dict(price.prices)
    for above in sorted(price.above, key=lambda above: Fraction(above.over), reverse=True):
        if sum(used.get(name, Fraction(0)) for name in above.of) > Fraction(above.over):
            prices.update(above.prices)
            replaced = {}
            break
    scaled = {name: _times(text, factor) for name, text in prices.items()}
    return _linear({**scaled, **replaced}, price.per, used)


def _times(price: str, factor: Fraction) -> str:
    return price if factor == 1 else rational_text(Fraction(price) * factor)


def _matrix(price: Any, used: Used, given: Given) -> list[Line]:
    for cell in price.cells:
        if all(given.dimensions.get(name) == value for name, value in cell.match.items()):
            return _linear({price.quantity: cell.price}, price.per, used)
    default = {} if price.default is None else {price.quantity: price.default}
    return _linear(default, price.per, used)


def _flat(price: Any, used: Used, given: Given) -> list[Line]:
    return _fee("event", price.price)


def _blocks(price: Any, used: Used, given: Given) -> list[Line]:
    return _packages(price, used.get(price.quantity, Fraction(0)))


def _packages(price: Any, count: Fraction) -> list[Line]:
    blocks = -(-count // Fraction(price.size))
    return [_line(f"packages of {price.size} {price.quantity}", Fraction(blocks), price.price)]


def _duration(price: Any, used: Used, given: Given) -> list[Line]:
    count = used.get(price.quantity, Fraction(0))
    if count:
        increment = Fraction(price.increment)
        count = max(Fraction(price.minimum), -(-count // increment) * increment)
    return [_line(f"{price.quantity}, as charged", count, price.price, price.per)]


def _percentage(price: Any, used: Used, given: Given) -> list[Line]:
    of = used.get(price.quantity, Fraction(0))
    text, per = (price.percent, 100) if price.percent is not None else (price.basis_points, 10_000)
    return _bounded(price, [_line(price.quantity, of, text, per), *_fee("fixed", price.fixed)])


def _cost_plus(price: Any, used: Used, given: Given) -> list[Line]:
    cost = given.cost or Fraction(0)
    share = rational_text(100 + Fraction(price.percent))
    per = rational_text(100 * Fraction(price.unit))
    return _bounded(price, [_line("cost", cost, share, per), *_fee("fixed", price.fixed)])


def _bounded(price: Any, lines: list[Line]) -> list[Line]:
    total = sum((line.product for line in lines), Fraction(0))
    if price.min is not None and total < Fraction(price.min):
        lines.append(Line("up to min", "1", price.min, 1, Fraction(price.min) - total))
        total = Fraction(price.min)
    if price.max is not None and total > Fraction(price.max):
        lines.append(Line("down to max", "1", price.max, 1, Fraction(price.max) - total))
    return lines


SINGLE: Final[Mapping[str, Callable[[Any, Used, Given], list[Line]]]] = {
    "flat": _flat,
    "per_unit": _per_unit,
    "package": _blocks,
    "percentage": _percentage,
    "cost_plus": _cost_plus,
    "matrix": _matrix,
    "token_map": _tokens,
    "credits": _credits,
    "duration": _duration,
}


# Of a period: the whole of it, tier by tier


def _graduated(price: Any, count: Fraction) -> list[Line]:
    lines: list[Line] = []
    start = Fraction(0)
    for tier in price.tiers:
        end = None if tier.up_to is None else Fraction(tier.up_to)
        at_zero = not start and not count and price.at_zero == "fee"
        reached = count > start or (price.at_bound == "upper" and count == start and count > 0)
        if not reached and not at_zero:
            break
        part = (count if end is None else min(count, end)) - start
        name = f"{price.quantity} above {rational_text(start)}"
        lines += [_line(name, part, tier.price, tier.per), *_fee(f"fee of {name}", tier.fee)]
        if end is None:
            break
        start = end
    return lines


def _volume(price: Any, count: Fraction) -> list[Line]:
    if not count and price.at_zero == "free":
        return []
    start = Fraction(0)
    for tier in price.tiers:
        end = None if tier.up_to is None else Fraction(tier.up_to)
        if end is None or count < end or (count == end and price.at_bound == "lower"):
            break
        start = end
    name = f"{price.quantity} in the tier above {rational_text(start)}"
    return [_line(name, count, tier.price, tier.per), *_fee(f"fee of {name}", tier.fee)]


def _allowance(price: Any, count: Fraction) -> list[Line]:
    included = Fraction(price.included)
    free = _line(f"{price.quantity} included", min(count, included), "0")
    above = max(count - included, Fraction(0))
    return [free, _line(f"{price.quantity} above {price.included}", above, price.price, price.per)]


def _seats(price: Any, count: Fraction) -> list[Line]:
    return [_line(price.quantity, count, price.price)]


def _once(price: Any, count: Fraction) -> list[Line]:
    return _fee("period", price.price) if count else []


def _outcomes(price: Any, count: Fraction) -> list[Line]:
    above = max(count - Fraction(price.included), Fraction(0))
    return [_line(f"{price.key} above {price.included}", above, price.price)]


def _committed(price: Any, value: Fraction) -> list[Line]:
    amount = Fraction(price.amount)
    above = max(value - amount, Fraction(0))
    return [
        _line("value within the commitment", min(value, amount), "1"),
        _line("value above it", above, price.factor),
    ]


TOTALS: Final[Mapping[str, Callable[[Any, Fraction], list[Line]]]] = {
    "flat": _once,
    "package": _packages,
    "graduated": _graduated,
    "volume": _volume,
    "allowance": _allowance,
    "seat": _seats,
    "outcome": _outcomes,
    "commitment": _committed,
}
