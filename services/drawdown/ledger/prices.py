"""Rates compiled for use: from a price as a book says it to what charges by it.

`ledger.rates` has a file per family; here is which model is of which family, and what a price may
not be. What depends on dimensions (a matrix, variants) is chosen when the book quotes a use, so
that a charge knows quantities only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, Final, cast

from drawdown.events.base import Value
from drawdown.events.calendar import ZoneError, zone_named
from drawdown.events.codec import kind_of
from drawdown.events.numbers import UNIT
from drawdown.events.pricebook import Meter, Rate
from drawdown.events.pricemodels import (
    Allowance,
    Commitment,
    CostPlus,
    Credits,
    Duration,
    Flat,
    Graduated,
    Matrix,
    Outcome,
    Package,
    Percentage,
    PerUnit,
    Seat,
    Tier,
    TokenMap,
    Volume,
)
from drawdown.events.structs import struct_of
from drawdown.ledger.rates.linear import BySize, CompiledRate, Threshold, linear
from drawdown.ledger.rates.running import (
    CommitmentRate,
    Counter,
    Curve,
    How,
    OutcomeRate,
    RunningRate,
)
from drawdown.ledger.rates.single import BlockRate, Blocks, FlatRate, Level, ShareRate
from drawdown.ledger.rates.terms import (
    EVENTS,
    Quantities,
    RateError,
    Terms,
    UnpricedError,
    bound,
    rounded,
    terms_of,
)
from drawdown.ledger.rates.tiers import tiers_of

__all__ = [
    "EVENTS",
    "AnyRate",
    "CompiledRate",
    "Quantities",
    "RateError",
    "UnpricedError",
    "compile_rate",
    "rounded",
]

EventRate = BySize | FlatRate | BlockRate | ShareRate
"""What prices an event by itself, besides the linear ones."""
CountedRate = RunningRate | OutcomeRate | CommitmentRate
"""What prices it by a running quantity."""
AnyRate = CompiledRate | EventRate | CountedRate


class Chosen(Value, frozen=True):
    """Rates told apart by dimensions: which of them, a quote says."""

    id: str
    asset: str
    dimensions: tuple[str, ...]
    choices: tuple[tuple[tuple[tuple[str, str], ...], CompiledRate | BySize], ...]
    """In their order, where several can match."""
    exact: Mapping[tuple[str | None, ...], CompiledRate]
    default: CompiledRate | BySize | None

    def choose(self, dimensions: Mapping[str, str]) -> CompiledRate | BySize | None:
        """The rate of these dimensions; None where there is none."""
        if self.exact:
            return self.exact.get(
                tuple([dimensions.get(name) for name in self.dimensions]),
                cast(CompiledRate | None, self.default),
            )
        for match, rate in self.choices:
            if all(dimensions.get(name) == value for name, value in match):
                return rate
        return self.default


_Tier = struct_of(Tier)
_Meter = struct_of(Meter)


def compile_rate(rate: Rate, scale: int, meter: Meter | None = None) -> Any:
    """Compile a rate whose asset has `scale` decimal places: an AnyRate or a Chosen.

    `meter` says how quantities add up over a period; without one they are sums. Raises RateError.
    """
    meter = meter or _Meter(id=rate.meter, event_types=[rate.meter])
    terms = terms_of(rate, scale)
    return COMPILERS[kind_of(rate.price)](terms, rate.price, meter)


def quantities_priced(price: Any) -> set[str]:
    """The quantities a price names."""
    kind = kind_of(price)
    if kind in ("token_map", "credits"):
        names = set(price.prices)
        if kind == "token_map":
            for variant in price.variants:
                names |= set(variant.prices)
            for above in price.above:
                names |= {*above.prices, *above.of}
        return names
    if kind == "commitment":
        return quantities_priced(price.base)
    quantity = getattr(price, "quantity", None)
    return set() if quantity is None else {quantity}


# Linear


def _per_unit(terms: Terms, price: PerUnit, meter: Meter) -> CompiledRate:
    _summed(meter, {price.quantity}, "quantity")
    return linear(terms, {price.quantity: price.price}, price.per)


def _credits(terms: Terms, price: Credits, meter: Meter) -> CompiledRate:
    _summed(meter, price.prices, "prices")
    unit = _above_zero(price.unit, "unit")
    return linear(terms, price.prices, price.per * unit)


def _token_map(terms: Terms, price: TokenMap, meter: Meter) -> CompiledRate | BySize | Chosen:
    _summed(meter, quantities_priced(price), "prices")
    base = _sized(terms, price, price.prices, Fraction(1))
    if not price.variants:
        return base
    choices = []
    for variant in price.variants:
        factor = Fraction(variant.factor)
        if unknown := sorted(set(variant.prices) - set(price.prices)):
            raise RateError("variants", f"{unknown[0]!r} has no plain price")
        choices.append(
            (
                tuple(sorted(variant.match.items())),
                _sized(terms, price, price.prices, factor, variant.prices),
            )
        )
    names = tuple(sorted({name for match, _ in choices for name, _ in match}))
    return Chosen(terms.id, terms.asset, names, tuple(choices), {}, base)


def _sized(
    terms: Terms,
    price: TokenMap,
    prices: Mapping[str, str],
    factor: Fraction,
    replaced: Mapping[str, str] | None = None,
) -> CompiledRate | BySize:
    def rate(found: Mapping[str, str], asis: Mapping[str, str]) -> CompiledRate:
        scaled = {name: str(Fraction(text) * factor) for name, text in found.items()}
        return linear(terms, {**scaled, **asis}, price.per)

    base = rate(prices, replaced or {})
    if not price.above:
        return base
    thresholds: list[Threshold] = []
    for above in sorted(price.above, key=lambda above: Fraction(above.over), reverse=True):
        over = bound(above.over)
        if any(over == known.over and known.of == tuple(above.of) for known in thresholds):
            raise RateError("above", f"two thresholds over {above.over}")
        higher = rate({**prices, **above.prices}, {})
        thresholds.append(Threshold(over, tuple(above.of), higher))
    return BySize(terms, base, tuple(thresholds))


def _matrix(terms: Terms, price: Matrix, meter: Meter) -> Chosen:
    _summed(meter, {price.quantity}, "quantity")
    names = tuple(sorted(price.cells[0].match))
    exact: dict[tuple[str | None, ...], CompiledRate] = {}
    for place, cell in enumerate(price.cells):
        if tuple(sorted(cell.match)) != names:
            raise RateError(
                f"cells.{place}.match", f"names other dimensions than the first: {', '.join(names)}"
            )
        values = tuple([cell.match[name] for name in names])
        if values in exact:
            raise RateError(f"cells.{place}.match", "matches exactly what another cell matches")
        exact[values] = linear(terms, {price.quantity: cell.price}, price.per)
    default = None
    if price.default is not None:
        default = linear(terms, {price.quantity: price.default}, price.per)
    return Chosen(terms.id, terms.asset, names, (), exact, default)


# Of one event


def _flat(terms: Terms, price: Flat, meter: Meter) -> FlatRate | RunningRate:
    steps = terms.steps(price.price)
    if price.period is None:
        _no_period(price)
        return FlatRate(terms, *terms.settle(steps))
    counter = _counter(terms, price, EVENTS, meter, price.period)
    return RunningRate(terms, counter, Level(steps), covers_all=True, gives_back=False)


def _package(terms: Terms, price: Package, meter: Meter) -> BlockRate | RunningRate:
    size = _above_zero(price.size, "size")
    blocks = Blocks(terms.steps(price.price, size), 0, bound(price.size))
    if price.period is None:
        _no_period(price)
        _summed(meter, {price.quantity}, "quantity")
        return BlockRate(terms, price.quantity, blocks)
    counter = _counter(terms, price, price.quantity, meter, price.period)
    return _running(terms, counter, blocks)


def _duration(terms: Terms, price: Duration, meter: Meter) -> BlockRate:
    _summed(meter, {price.quantity}, "quantity")
    _above_zero(price.increment, "increment")
    blocks = Blocks(
        terms.steps(price.price, price.per), bound(price.minimum), bound(price.increment)
    )
    return BlockRate(terms, price.quantity, blocks)


def _percentage(terms: Terms, price: Percentage, meter: Meter) -> ShareRate:
    _summed(meter, {price.quantity}, "quantity")
    if (price.percent is None) == (price.basis_points is None):
        raise RateError("percent", "give either percent or basis_points")
    share = (
        Fraction(Fraction(price.percent), 100)
        if price.percent is not None
        else Fraction(Fraction(cast(str, price.basis_points)), 10_000)
    )
    return _share(terms, price, price.quantity, Fraction(share * UNIT, terms.step))


def _cost_plus(terms: Terms, price: CostPlus, meter: Meter) -> ShareRate:  # noqa: ARG001
    unit = _above_zero(price.unit, "unit")
    share = Fraction(100 + Fraction(price.percent), 100 * unit * terms.step)
    return _share(terms, price, None, share)


def _share(
    terms: Terms, price: Percentage | CostPlus, quantity: str | None, share: Fraction
) -> ShareRate:
    least = None if price.min is None else terms.steps(price.min)
    most = None if price.max is None else terms.steps(price.max)
    if least is not None and most is not None and least > most:
        raise RateError("min", f"{price.min} is above max, {price.max}")
    return ShareRate(terms, quantity, share, terms.steps(price.fixed), least, most)


# Of a running quantity


def _graduated(terms: Terms, price: Graduated | Volume, meter: Meter) -> RunningRate:
    whole = kind_of(price) == "volume"
    curve = tiers_of(
        terms,
        price.tiers,
        whole=whole,
        upper=price.at_bound == "upper",
        fee_at_zero=price.at_zero == "fee",
    )
    counter = _counter(terms, price, price.quantity, meter, price.period)
    falls = whole or any(weight < 0 for weight in curve.weights)
    return _running(terms, counter, curve, falls=falls)


def _allowance(terms: Terms, price: Allowance, meter: Meter) -> RunningRate:
    paid = _Tier(price=price.price, per=price.per)
    free = [_Tier(up_to=price.included)] if bound(price.included) else []
    curve = tiers_of(terms, [*free, paid], whole=False, upper=False, fee_at_zero=False)
    counter = _counter(terms, price, price.quantity, meter, price.period)
    return _running(terms, counter, curve, falls=price.price.startswith("-"))


def _seat(terms: Terms, price: Seat, meter: Meter) -> RunningRate:
    if price.quantity not in meter.aggregate:
        raise RateError(
            "quantity",
            f"{price.quantity!r} would add up with every event: the meter's `aggregate` says"
            " `max` or `latest` of it",
        )
    curve = tiers_of(terms, [_Tier(price=price.price)], whole=False, upper=False, fee_at_zero=False)
    counter = _counter(terms, price, price.quantity, meter, price.period)
    return _running(terms, counter, curve)


def _running(terms: Terms, counter: Counter, curve: Curve, *, falls: bool = False) -> RunningRate:
    if falls and counter.how == "time_weighted":
        raise RateError(
            "tiers",
            "can cost less for more: what is weighted by time is never given back; use graduated"
            " tiers with prices above zero",
        )
    return RunningRate(
        terms, counter, curve, covers_all=False, gives_back=falls or counter.how == "latest"
    )


def _outcome(terms: Terms, price: Outcome, meter: Meter) -> OutcomeRate:
    free = [_Tier(up_to=price.included)] if bound(price.included) else []
    paid = _Tier(price=price.price)
    curve = tiers_of(terms, [*free, paid], whole=False, upper=False, fee_at_zero=False)
    undo = None if price.undo is None else (price.undo.dimension, price.undo.value)
    counter = _counter(terms, price, EVENTS, meter, price.period)
    return OutcomeRate(terms, counter, curve, price.key, undo)


def _commitment(terms: Terms, price: Commitment, meter: Meter) -> CommitmentRate:
    # The base's value is kept exactly: it is no charge, and nothing of it is rounded.
    compiled = COMPILERS[kind_of(price.base)](terms, price.base, meter)
    if isinstance(compiled, Chosen | BySize):
        raise RateError("base", "has variants or thresholds: a commitment needs plain prices")
    amount = Fraction(price.amount)
    if amount < 0 or Fraction(price.factor) < 0:
        raise RateError("amount", "is below zero")
    counter = _counter(terms, price, EVENTS, meter, price.period)
    return CommitmentRate(terms, counter, compiled, amount, Fraction(price.factor))


COMPILERS: Final[Mapping[str, Callable[[Terms, Any, Meter], Any]]] = {
    "flat": _flat,
    "per_unit": _per_unit,
    "package": _package,
    "graduated": _graduated,
    "volume": _graduated,
    "allowance": _allowance,
    "seat": _seat,
    "percentage": _percentage,
    "cost_plus": _cost_plus,
    "matrix": _matrix,
    "token_map": _token_map,
    "credits": _credits,
    "duration": _duration,
    "outcome": _outcome,
    "commitment": _commitment,
}


def _counter(terms: Terms, price: Any, quantity: str, meter: Meter, every: str) -> Counter:
    try:
        zone_named(price.zone)
    except ZoneError as error:
        raise RateError("zone", str(error)) from None
    dimension = meter.unique.get(quantity)
    how: How = "unique" if dimension is not None else meter.aggregate.get(quantity, "sum")
    if how == "time_weighted" and every == "life":
        raise RateError("period", f"{quantity!r} is an average over a period: give one with an end")
    return Counter(price.counter or terms.id, every, price.zone, quantity, how, dimension)


def _no_period(price: Flat | Package) -> None:
    if price.counter is not None:
        raise RateError("counter", "is for a price with a period")


def _summed(meter: Meter, names: Iterable[str], field: str) -> None:
    """What does not simply add up needs a period to add up in."""
    for name in sorted(names):
        if name in meter.unique or meter.aggregate.get(name, "sum") != "sum":
            how = "a count of different values" if name in meter.unique else meter.aggregate[name]
            raise RateError(
                field,
                f"{name!r} is {how} over a period: price it with a model that has one, such as"
                " graduated, allowance or seat",
            )


def _above_zero(text: str, field: str) -> Fraction:
    number = Fraction(text)
    if number <= 0:
        raise RateError(field, "must be above zero")
    return number
