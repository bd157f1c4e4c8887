"""The models of price: what a rate of a price book can say.

Each is data: a few exact numbers as text and the names of quantities and dimensions. The formula in
each docstring is the whole of it; x is the quantity of one event, F(X) the price of a period's
quantity X. A model with a period prices each event as F(X after) - F(X before), both rounded, so
that the charges of a period sum to the price of its whole, to the last digit.

Where vendors differ, ours is the default and theirs has a name: `at_bound`, `at_zero`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from drawdown.events.base import DimensionValue, Name, Price, StrictRecord

PriceText = Annotated[Price, Field(description="Decimal text, as fine as 30 places")]
QuantityBound = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$")]
"""A quantity as decimal text."""
Per = Annotated[int, Field(ge=1, le=10**15)]
Every = Literal["hour", "day", "week", "month", "year", "life"]
Zone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")]
Prices = Annotated[dict[Name, PriceText], Field(min_length=1, max_length=64)]
Matched = Annotated[dict[Name, DimensionValue], Field(min_length=1, max_length=8)]


class Running(StrictRecord):
    """What models with a running quantity have in common.

    The quantity runs per customer from the first instant of the calendar period, in `zone`, to its
    end; an event counts in the period of its own time. Rates that name the same `counter` share it.
    """

    period: Every = "month"
    zone: Zone = "UTC"
    counter: Name | None = Field(default=None, description="Default: the rate's id")


class Flat(StrictRecord):
    """charge = price, for every event, whatever it used. With a `period`: once in each, at its
    first event."""

    model: Literal["flat"] = "flat"
    price: PriceText
    period: Every | None = None
    zone: Zone = "UTC"
    counter: Name | None = None


class PerUnit(StrictRecord):
    """charge = quantity x price / per. The quantity `events` is 1 for every event."""

    model: Literal["per_unit"] = "per_unit"
    quantity: Name
    price: PriceText
    per: Per = 1


class Package(StrictRecord):
    """charge = ceil(x / size) x price: every package begun is paid whole. Without a `period` an
    event begins its own packages; with one they are those of the period: F(X) of the same form."""

    model: Literal["package"] = "package"
    quantity: Name
    price: PriceText
    size: QuantityBound
    period: Every | None = None
    zone: Zone = "UTC"
    counter: Name | None = None


class Tier(StrictRecord):
    """`fee` is paid once by whoever reaches the tier; `up_to` is left out in the last."""

    up_to: QuantityBound | None = None
    price: PriceText = "0"
    per: Per = 1
    fee: PriceText = "0"


class Graduated(Running):
    """F(X) = sum over the tiers reached of (part of X in the tier) x price / per + fee.

    The unit at `up_to` still belongs to its tier (as at Stripe, Lago and Orb); `at_bound: upper`
    has the next tier begin at it. Nothing used is free; `at_zero: fee` takes the first tier's fee
    for an event of quantity zero too (Stripe).
    """

    model: Literal["graduated"] = "graduated"
    quantity: Name
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=64)]
    at_bound: Literal["lower", "upper"] = "lower"
    at_zero: Literal["free", "fee"] = "free"


class Volume(Running):
    """F(X) = X x price / per + fee of the one tier X lies in. Crossing into a cheaper one can make
    F smaller: the difference is given back. Bounds and zero as for graduated."""

    model: Literal["volume"] = "volume"
    quantity: Name
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=64)]
    at_bound: Literal["lower", "upper"] = "lower"
    at_zero: Literal["free", "fee"] = "free"


class Allowance(Running):
    """F(X) = max(0, X - included) x price / per."""

    model: Literal["allowance"] = "allowance"
    quantity: Name
    included: QuantityBound
    price: PriceText
    per: Per = 1


class Seat(Running):
    """F(X) = X x price, X being how many seats there were at most in the period; where the meter
    says `latest`, how many there are, so that a seat given up is given back."""

    model: Literal["seat"] = "seat"
    quantity: Name
    price: PriceText


class Percentage(StrictRecord):
    """charge = min(max, max(min, x x percent / 100 + fixed)). 1 % is 100 `basis_points`; give one
    of the two."""

    model: Literal["percentage"] = "percentage"
    quantity: Name
    percent: PriceText | None = None
    basis_points: PriceText | None = None
    fixed: PriceText = "0"
    min: PriceText | None = None
    max: PriceText | None = None


class CostPlus(StrictRecord):
    """charge = min(max, max(min, cost x (1 + percent / 100) / unit + fixed)), of what the use cost
    us, as reported or by the book's cost rate. `unit` is what one of the rate's asset stands for,
    in the reporting currency: 0.01 for a credit of a cent."""

    model: Literal["cost_plus"] = "cost_plus"
    percent: PriceText = "0"
    unit: PriceText = "1"
    fixed: PriceText = "0"
    min: PriceText | None = None
    max: PriceText | None = None


class Cell(StrictRecord):
    """A price for one combination of values."""

    match: Matched
    price: PriceText


class Matrix(StrictRecord):
    """charge = x x price / per, the price being that of the cell whose values the use has. Without
    `default` a use that has none of them is unpriced. All cells name the same dimensions."""

    model: Literal["matrix"] = "matrix"
    quantity: Name
    cells: Annotated[list[Cell], Field(min_length=1, max_length=1000)]
    default: PriceText | None = None
    per: Per = 1


class Variant(StrictRecord):
    """Other prices for uses with these values: all times `factor`, or those that `prices` names
    replaced; with both, `prices` are as written."""

    match: Matched
    factor: PriceText = "1"
    prices: dict[Name, PriceText] = Field(default_factory=dict)


class Above(StrictRecord):
    """Other prices for the whole of a request that has more than `over` of the quantities `of`,
    summed."""

    over: QuantityBound
    of: Annotated[list[Name], Field(max_length=16)] = Field(default_factory=lambda: ["input"])
    prices: Prices


class TokenMap(StrictRecord):
    """charge = sum over quantities of quantity x its price / per.

    `variants` are tried in their order, the first that matches counts (batch, priority, a region);
    `above` is a threshold on the whole request, the highest that is exceeded counts, and what it
    does not name keeps its price. A variant's factor applies to the prices above a threshold too,
    its replaced prices to those below only.
    """

    model: Literal["token_map"] = "token_map"
    prices: Prices
    per: Per = 1
    variants: Annotated[list[Variant], Field(max_length=16)] = Field(default_factory=list)
    above: Annotated[list[Above], Field(max_length=8)] = Field(default_factory=list)


class Credits(StrictRecord):
    """charge = sum over quantities of quantity x price / per / unit: a rate card in money for an
    asset of which one stands for `unit`."""

    model: Literal["credits"] = "credits"
    prices: Prices
    unit: PriceText
    per: Per = 1


class Duration(StrictRecord):
    """charge = max(minimum, ceil(x / increment) x increment) x price / per, and nothing for x = 0:
    what did not run is free."""

    model: Literal["duration"] = "duration"
    quantity: Name
    price: PriceText
    per: Per = 1
    minimum: QuantityBound = "0"
    increment: QuantityBound = "1"


class Undo(StrictRecord):
    """The value of a dimension that says an outcome did not hold."""

    dimension: Name
    value: DimensionValue


class Outcome(Running):
    """charge = F(N + 1) - F(N), once per value of the dimension `key`, N being the outcomes of the
    period and F(N) = max(0, N - included) x price; a key that was charged before is free. An event
    that `undo` describes gives back exactly what its key was charged, in the period it happens in,
    and the key may be charged again. A use without the key is unpriced."""

    model: Literal["outcome"] = "outcome"
    key: Name
    price: PriceText
    included: QuantityBound = "0"
    undo: Undo | None = None


class Commitment(Running):
    """F(V) = V up to `amount`, and `factor` times what is above it, V being the period's use at the
    prices of `base`. At the end of a period with any use, what `amount` has over F is debited
    (true-up); use of it that is reported later is paid by that first."""

    model: Literal["commitment"] = "commitment"
    amount: PriceText
    factor: PriceText = "1"
    base: Annotated[PerUnit | TokenMap, Field(discriminator="model")]


AnyPrice = (
    Flat
    | PerUnit
    | Package
    | Graduated
    | Volume
    | Allowance
    | Seat
    | Percentage
    | CostPlus
    | Matrix
    | TokenMap
    | Credits
    | Duration
    | Outcome
    | Commitment
)
PriceModel = Annotated[AnyPrice, Field(discriminator="model")]
MODELS: tuple[str, ...] = tuple(model.model_fields["model"].default for model in get_args(AnyPrice))
"""The names a file gives them."""
DECIMAL_FIELDS: frozenset[str] = frozenset(
    {
        *("price", "prices", "thresholds", "fee", "fixed", "min", "max", "percent"),
        *("basis_points", "unit", "factor", "amount", "default", "up_to", "over", "size"),
        *("minimum", "increment", "included", "limit", "cost_basis", "credit_limits"),
        *("cap", "floor", "cost_min"),
    }
)
"""Fields of a price book at which, or right below which, a number is exact decimal text."""
