"""Price books compiled: which meter counts an event, which rate prices it, which version applies.

A book is immutable. `Books` holds the versions a process knows, in order of effect; an event is
priced by the version in effect at the event's own time (rule 7), and of two versions with the same
instant by the one published later.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, Final

from drawdown.events.base import Value, milliseconds
from drawdown.events.codec import RecordError, kind_of
from drawdown.events.commands import NO_PLAN
from drawdown.events.entries import PriceFacts
from drawdown.events.numbers import EXACT, NumberError, amount_of, plain_text, quantity
from drawdown.events.pricebook import Asset, CommitRecord, Conversion, Meter, Plan, Rate
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.drawdown import book_order
from drawdown.ledger.plans import CompiledPlan, PlanError, compile_plans
from drawdown.ledger.prices import (
    EVENTS,
    AnyRate,
    Chosen,
    CompiledRate,
    CountedRate,
    EventRate,
    RateError,
    compile_rate,
    quantities_priced,
)
from drawdown.ledger.rates.running import Counter

DIMENSIONS_MAX: Final = 32
DIMENSION_LENGTH_MAX: Final = 256
DIMENSION_NAME_MAX: Final = 128
QUOTES_MAX: Final = 10_000
EXACT_MATCH: Final = "exact"
DEFAULT_MATCH: Final = "default"
MATCH_LENGTH_MAX: Final = 256
COSTS: Final = "costs"
HOLD: Final = "hold"
FINAL: Final = "final"
RESERVED: Final = frozenset({COSTS, HOLD, FINAL})
"""Fields of `data` that have a meaning of their own and are no quantity. `final` has one only
beside `hold`; without it, it is a dimension as any."""


_PriceFacts = struct_of(PriceFacts)


class BookError(ValueError):
    """A book that cannot be: says where (`rates.<id>.match`, ...), the rule and the fix."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


class Quote(Value, frozen=True):
    """The rates for a use of a meter, and what an entry says of them."""

    rate: AnyRate | None
    cost_rate: CompiledRate | EventRate | None
    exact: PriceFacts
    rounded: PriceFacts
    missing: str = "no rate matches"
    """Why there is no rate."""


class CompiledMeter:
    """A meter ready to count, and to find its rates."""

    def __init__(self, meter: Meter, matched: tuple[str, ...] = ()) -> None:
        self.id = meter.id
        self.fields = dict(meter.fields)
        self.counts = bool(meter.unique)
        """It counts values of dimensions: an event needs no quantity."""
        self.matched = matched
        """The dimensions that any of its rates looks at."""
        self.quotes: dict[object, Quote] = {}
        """Remembered by the values of those dimensions, and by who has rates of their own."""
        self.own: frozenset[str] = frozenset()
        """Customers and plans with rates of their own, as `own_name` has them."""

    def measure(
        self, data: Mapping[str, Any]
    ) -> tuple[dict[str, int | Decimal], dict[str, str], bool]:
        """The quantities and the dimensions of an event's data; and whether all quantities are
        whole.

        Of what is neither - null, lists and objects - nothing is kept. Raises RecordError, naming
        the field.
        """
        quantities: dict[str, int | Decimal] = {}
        dimensions: dict[str, str] = {}
        fields = self.fields
        plain = True
        for name, value in data.items():
            if name in fields:
                if type(value) is not int or not 0 <= value < 9007199254740992:
                    value = checked_quantity(name, value)
                    plain = plain and type(value) is int
                target = fields[name]
                if target in quantities:
                    value = _sum(quantities[target], value)
                quantities[target] = value
            elif type(value) is str:
                if len(value) > DIMENSION_LENGTH_MAX or len(name) > DIMENSION_NAME_MAX:
                    raise _too_long(name, value)
                dimensions[name] = value
            elif isinstance(value, int | Decimal):
                text = plain_text(value) if type(value) is not bool else str(value).lower()
                if len(text) > DIMENSION_LENGTH_MAX or len(name) > DIMENSION_NAME_MAX:
                    raise _too_long(name, text)
                dimensions[name] = text
        if fields and not quantities and not self.counts:
            raise RecordError(
                Reason.BAD_QUANTITY,
                f"none of the quantities of meter {self.id}: give " + " or ".join(sorted(fields)),
                "data",
            )
        if len(dimensions) > DIMENSIONS_MAX:
            raise RecordError(
                Reason.BAD_DIMENSION,
                f"{len(dimensions)} dimensions; at most {DIMENSIONS_MAX}",
                "data",
            )
        return quantities, dimensions, plain


def _sum(one: int | Decimal, other: int | Decimal) -> int | Decimal:
    """Two quantities together, to the last digit: 38 of them are more than `+` keeps."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return EXACT.add(Decimal(one), Decimal(other))


def checked_quantity(name: str, value: object, within: str = "data") -> Any:
    """The value of a quantity field `within` a record, exactly. Raises RecordError."""
    try:
        return quantity(value)
    except NumberError as error:
        raise RecordError(Reason.BAD_QUANTITY, str(error), f"{within}.{name}") from None


def _too_long(name: str, value: str) -> RecordError:
    if len(name) > DIMENSION_NAME_MAX:
        return RecordError(
            Reason.BAD_DIMENSION,
            f"a field's name of {len(name)} characters; at most {DIMENSION_NAME_MAX}",
            f"data.{name[:DIMENSION_NAME_MAX]}",
        )
    return RecordError(
        Reason.BAD_DIMENSION,
        f"{len(value)} characters; a dimension has at most {DIMENSION_LENGTH_MAX}",
        f"data.{name}",
    )


class Match(Value, frozen=True):
    """A rate that was found, and how: `exact`, `default`, or the pattern."""

    rate: Any
    """Compiled: an AnyRate, or a Chosen of several."""
    how: str
    own: str | None = None
    """Whose rate it is, where it is not for all."""


def own_name(rate: Rate) -> str | None:
    """Whose rate it is, as entries say it; None for a rate for all."""
    if rate.customer is not None:
        return f"customer {rate.customer}"
    return None if rate.plan is None else f"plan {rate.plan}"


class Rates:
    """The rates of one side (price or cost) of a book, matched in constant time.

    Per meter, the rates with exact matches only are found by one dictionary lookup per set of
    dimensions they name, the larger sets first; rates with patterns are tried in order behind the
    exact ones of the same size. Those of a customer or a plan are groups of their own.
    """

    def __init__(self, rates: Iterable[tuple[Rate, Any]]) -> None:
        self._groups: dict[tuple[str, str | None], list[_Group]] = {}
        by_meter: dict[tuple[str, str | None], dict[tuple[str, ...], _Group]] = {}
        for rate, compiled in rates:
            names = tuple(sorted(rate.match))
            groups = by_meter.setdefault((rate.meter, own_name(rate)), {})
            group = groups.setdefault(names, _Group(names))
            group.add(rate, compiled)
        for key, groups in by_meter.items():
            self._groups[key] = sorted(groups.values(), key=lambda g: (-len(g.names), g.names))
            for group in self._groups[key]:
                group.order()

    def named(self, meter: str) -> set[str]:
        """The dimensions that the rates of a meter look at."""
        return {
            name
            for (priced, _), groups in self._groups.items()
            if priced == meter
            for group in groups
            for name in group.dimensions
        }

    def own(self, meter: str) -> frozenset[str]:
        """Whose own rates there are for a meter."""
        return frozenset(own for priced, own in self._groups if priced == meter and own is not None)

    def match(
        self, meter: str, dimensions: Mapping[str, str], own: Iterable[str] = ()
    ) -> Match | None:
        """The rate that prices a use of `meter` with these dimensions: the first that matches of
        those of each `own`, in their order, then of those for all."""
        for whose in (*own, None):
            for group in self._groups.get((meter, whose), ()):
                if found := group.match(dimensions):
                    return found
        return None


@dataclass(slots=True)
class _Group:
    """Rates that name the same dimensions."""

    names: tuple[str, ...]
    exact: dict[tuple[str, ...], Match] = field(default_factory=dict)
    patterns: dict[tuple[str, ...], Match] = field(default_factory=dict)
    dimensions: set[str] = field(default_factory=set)
    """Those and what its rates choose by."""

    def add(self, rate: Rate, compiled: Any) -> None:
        values = tuple(rate.match[name] for name in self.names)
        self.dimensions.update(self.names)
        if isinstance(compiled, Chosen):
            self.dimensions.update(compiled.dimensions)
        twin = self.exact.get(values) or self.patterns.get(values)
        if twin is not None:
            raise BookError(
                f"rates.{rate.id}.match",
                f"matches exactly what rate {twin.rate.id!r} matches; make one of them say more",
            )
        if any("*" in value for value in values):
            said = " ".join(
                f"{name}={value}" for name, value in zip(self.names, values, strict=True)
            )
            self.patterns[values] = Match(compiled, said[:MATCH_LENGTH_MAX], own_name(rate))
        else:
            how = EXACT_MATCH if self.names else DEFAULT_MATCH
            self.exact[values] = Match(compiled, how, own_name(rate))

    def order(self) -> None:
        """More literal text is more specific; the order is total down to the text itself."""
        self.patterns = dict(
            sorted(
                self.patterns.items(),
                key=lambda item: (
                    sum("*" in text for text in item[0]),
                    -sum(len(text) for text in item[0]),
                    item[0],
                ),
            )
        )

    def match(self, dimensions: Mapping[str, str]) -> Match | None:
        try:
            values = tuple([dimensions[name] for name in self.names])
        except KeyError:
            return None
        found = self.exact.get(values)
        if found is None and self.patterns:
            for texts, match in self.patterns.items():
                if all(map(_matches, values, texts)):
                    return match
        return found


def _matches(value: str, pattern: str) -> bool:
    return fnmatchcase(value, pattern.replace("[", "[[]").replace("?", "[?]"))


class Book:
    """One version, compiled. Raises BookError where it contradicts itself."""

    def __init__(
        self,
        commit: CommitRecord,
        offset: int,
        assets: Sequence[Asset],
        meters: Sequence[Meter],
        prices: Sequence[Rate],
        costs: Sequence[Rate],
        plans: Sequence[Plan] = (),
    ) -> None:
        self.version = commit.version
        self.offset = offset
        self.effective_ms = milliseconds(commit.effective_at)
        self.supersedes = tuple(commit.supersedes)
        self.reporting = commit.reporting
        self.lateness_ms = commit.lateness_seconds * 1000
        self.thresholds = {
            asset: tuple(sorted({amount_of(text) for text in texts}, reverse=True))
            for asset, texts in commit.thresholds.items()
            if texts
        }
        self.threshold_max = max((max(amounts) for amounts in self.thresholds.values()), default=0)
        self.assets = {asset.code: asset for asset in assets}
        self.order = book_order(commit.drawdown)
        """Of the grants that pay; None for the default."""
        self.counting: dict[str, CountedRate] = {}
        """Rates priced by a running quantity, by their ids."""
        self.conversions = checked_conversions(commit.conversions, self.assets)
        self._meters = self._compile_meters(meters)
        self.meters = {meter.id: meter for meter in meters}
        if self.reporting not in self.assets:
            raise BookError("reporting", f"asset {self.reporting!r} is not among the assets")
        for asset in commit.thresholds:
            if asset not in self.assets:
                raise BookError(f"thresholds.{asset}", "is not among the assets")
        self.prices = self._compile_rates("rates", prices)
        for rate in costs:
            if rate.asset != self.reporting:
                raise BookError(
                    f"costs.{rate.id}.asset",
                    f"is {rate.asset}; a cost is in the reporting currency, {self.reporting}",
                )
            if (whose := own_name(rate)) is not None:
                raise BookError(
                    f"costs.{rate.id}.{whose.partition(' ')[0]}",
                    "what a use costs us is the same whoever it is for: leave it out",
                )
        self.costs = self._compile_rates("costs", costs)
        declared = {name for meter in meters for name in meter.dimensions}
        self.dimensions = declared and declared.union(
            *(meter.unique.values() for meter in meters),
            *(rates.named(meter.id) for rates in (self.prices, self.costs) for meter in meters),
        )
        """Those there are; empty where no meter declares its own: then there may be any."""
        try:
            self.plans = compile_plans(
                plans,
                self.assets,
                self.meters,
                self.reporting,
                self.version,
                offset,
                self.dimensions,
            )
        except PlanError as error:
            raise BookError(error.where, error.detail) from None
        for meter in set(self._meters.values()):
            meter.matched = tuple(sorted(self.prices.named(meter.id) | self.costs.named(meter.id)))
            meter.own = self.prices.own(meter.id)

    def quote(
        self,
        meter: CompiledMeter,
        dimensions: Mapping[str, str],
        customer: str = "",
        plan: str | None = None,
    ) -> Quote:
        """The rates for a use of a meter by a customer on a plan, remembered by the dimensions they
        look at. The customer's own rates come first, then those of the plan."""
        own: tuple[str, ...] = ()
        if meter.own:
            own = tuple(
                [name for name in (f"customer {customer}", f"plan {plan}") if name in meter.own]
            )
        matched = meter.matched
        key: object
        if len(matched) == 1:
            key = dimensions.get(matched[0])  # the model, for most
        else:
            key = tuple([dimensions.get(name) for name in matched])
        if own:
            key = own, key
        quote = meter.quotes.get(key)
        if quote is None:
            if len(meter.quotes) >= QUOTES_MAX:
                meter.quotes.clear()  # dimensions are whatever producers send
            quote = meter.quotes[key] = self._quote(meter, dimensions, own)
        return quote

    def _quote(
        self, meter: CompiledMeter, dimensions: Mapping[str, str], own: tuple[str, ...]
    ) -> Quote:
        match = self.prices.match(meter.id, dimensions, own)
        found = None if match is None else match.rate
        rate: AnyRate | None = found
        missing = "no rate matches"
        if isinstance(found, Chosen):
            rate = found.choose(dimensions)
            if rate is None:
                names = " ".join(f"{n}={dimensions.get(n, '')}" for n in found.dimensions)
                missing = f"rate {found.id!r} has no price for {names}"
        cost_match = self.costs.match(meter.id, dimensions)
        cost_rate = None if cost_match is None else cost_match.rate
        if isinstance(cost_rate, Chosen):
            cost_rate = cost_rate.choose(dimensions)
        exact, rounded = (
            _PriceFacts(
                book=self.version,
                book_offset=self.offset,
                rate=None if rate is None else rate.id,
                rounding=None if rate is None else rounding,
                cost_rate=None if cost_rate is None else cost_rate.id,
                match=None if match is None or rate is None else match.how,
                own=None if match is None or rate is None else match.own,
            )
            for rounding in ("exact", None if rate is None else rate.rounding)
        )
        return Quote(rate, cost_rate, exact, rounded, missing)

    def meter(self, event_type: str) -> CompiledMeter | None:
        """The meter that counts events of this type; also found by the meter's own id."""
        return self._meters.get(event_type)

    def _compile_meters(self, meters: Sequence[Meter]) -> dict[str, CompiledMeter]:
        found: dict[str, CompiledMeter] = {}
        for meter in meters:
            where = f"meters.{meter.id}"
            compiled = CompiledMeter(meter)
            if reserved := RESERVED & set(meter.fields):
                raise BookError(
                    f"{where}.fields", f"{sorted(reserved)} have a meaning of their own"
                )
            _check_aggregation(where, meter)
            if EVENTS in meter.fields.values():
                raise BookError(f"{where}.fields", f"{EVENTS!r} counts events and is no field")
            for name in {meter.id, *meter.event_types}:
                if found.setdefault(name, compiled) is not compiled:
                    raise BookError(
                        f"{where}.event_types",
                        f"{name!r} is counted by meter {found[name].id!r} already",
                    )
        return found

    def _compile_rates(self, where: str, rates: Sequence[Rate]) -> Rates:
        ids: set[str] = set()
        compiled: list[tuple[Rate, Any]] = []
        counters: dict[str, tuple[Counter, Rate]] = {}
        for rate in rates:
            at = f"{where}.{rate.id}"
            if rate.id in ids:
                raise BookError(at, "stands there twice; rate ids are unique")
            ids.add(rate.id)
            if rate.customer is not None and rate.plan is not None:
                raise BookError(f"{at}.plan", "is of a customer or of a plan: leave one out")
            if rate.plan == NO_PLAN:
                raise BookError(f"{at}.plan", f"{NO_PLAN!r} is no plan: leave it out")
            meter = self.meters.get(rate.meter)
            if meter is None:
                raise BookError(f"{at}.meter", f"no meter {rate.meter!r}")
            asset = self.assets.get(rate.asset)
            if asset is None:
                raise BookError(f"{at}.asset", f"no asset {rate.asset!r}")
            known = {EVENTS, *meter.fields.values(), *meter.unique}
            if unknown := sorted(quantities_priced(rate.price) - known):
                raise BookError(
                    f"{at}.price",
                    f"{unknown[0]!r} is no quantity of meter {meter.id!r}, which has "
                    + ", ".join(sorted(known)),
                )
            try:
                prices = compile_rate(rate, asset.scale, meter)
            except RateError as error:
                raise BookError(f"{at}.price.{error.field}", error.detail) from None
            counter: Counter | None = getattr(prices, "counter", None)
            if where == "costs" and (counter is not None or kind_of(rate.price) == "cost_plus"):
                raise BookError(
                    f"{at}.price",
                    f"a cost is of the use alone: it cannot be {kind_of(rate.price)}",
                )
            if counter is not None:
                self.counting[rate.id] = prices
                _check_shared(f"{at}.price.counter", counter, rate, counters)
            compiled.append((rate, prices))
        try:
            return Rates(compiled)
        except BookError as error:
            raise BookError(error.where.replace("rates.", f"{where}.", 1), error.detail) from None


def _check_aggregation(where: str, meter: Meter) -> None:
    quantities = set(meter.fields.values())
    if unknown := sorted(set(meter.aggregate) - quantities):
        raise BookError(
            f"{where}.aggregate", f"{unknown[0]!r} is no quantity of the meter's fields"
        )
    for name, dimension in meter.unique.items():
        if name in quantities or name == EVENTS:
            raise BookError(f"{where}.unique", f"{name!r} is a quantity of the fields already")
        if dimension in meter.fields:
            raise BookError(f"{where}.unique", f"{dimension!r} is a quantity and no dimension")


def _check_shared(
    where: str, counter: Counter, rate: Rate, counters: dict[str, tuple[Counter, Rate]]
) -> None:
    """Rates that share a counter agree on how it counts."""
    other, first = counters.setdefault(counter.name, (counter, rate))
    alike = (counter.every, counter.zone, counter.how, counter.dimension, rate.asset) == (
        other.every,
        other.zone,
        other.how,
        other.dimension,
        first.asset,
    )
    if not alike or (rate is not first and {kind_of(rate.price), kind_of(first.price)} & ALONE):
        raise BookError(
            where,
            f"{counter.name!r} is that of rate {first.id!r}, with another period, zone, asset or"
            " kind of sum: give it a name of its own",
        )


ALONE: Final = frozenset({"outcome", "commitment"})
"""Models whose counters are of one rate: what they count is no plain quantity."""


def checked_conversions(
    conversions: Sequence[Conversion], assets: Mapping[str, Asset]
) -> dict[tuple[str, str], Conversion]:
    """Conversions by (asset, to). Raises BookError for an unknown asset, a price of nothing, a
    pair that stands there twice, and for a way back to where one came from: going round it could
    make money."""
    found: dict[tuple[str, str], Conversion] = {}
    ways: dict[str, list[str]] = {}
    for each in conversions:
        at = f"conversions.{each.asset}"
        for asset in (each.asset, each.to):
            if asset not in assets:
                raise BookError(at, f"no asset {asset!r}")
        if Decimal(each.price) <= 0:
            raise BookError(f"{at}.price", "must be above zero")
        if found.setdefault((each.asset, each.to), each) is not each:
            raise BookError(at, f"to {each.to!r} stands there twice")
        ways.setdefault(each.asset, []).append(each.to)
    for start in ways:
        seen: set[str] = set()
        ahead = list(ways[start])
        while ahead:
            asset = ahead.pop()
            if asset == start:
                raise BookError(
                    f"conversions.{start}",
                    f"lead back to {start!r}: conversions go one way; leave one of the circle out",
                )
            if asset not in seen:
                seen.add(asset)
                ahead.extend(ways.get(asset, ()))
    return found


Zones = Callable[[str], tzinfo | None]


def only_utc(name: str) -> tzinfo | None:
    """The zone of this name as far as the ledger itself knows any."""
    return UTC if name == "UTC" else None


class Books:
    """The versions that are known, in order of effect; and the time zones: tables of the world,
    as prices are, which the ledger is given and does not read itself."""

    def __init__(self, books: Iterable[Book] = (), zone: Zones = only_utc) -> None:
        self.zone = zone
        self._books = sorted(books, key=lambda book: (book.effective_ms, book.offset))
        self.superseded = self._superseded()
        """Versions that never take effect, and the one that says so of each."""
        self._in_turn = [book for book in self._books if book.version not in self.superseded]
        self._starts = [book.effective_ms for book in self._in_turn]
        self.offset = max((book.offset for book in self._books), default=-1)
        """Of the last commit record that is known."""
        self.lateness_ms = min((book.lateness_ms for book in self._books), default=-1)
        """What is no later than this is not too late in any of them."""

    def at(self, time_ms: int) -> Book | None:
        """The version in effect at a time; its first instant is included."""
        place = bisect_right(self._starts, time_ms)
        return self._in_turn[place - 1] if place else None

    def before(self, time_ms: int) -> Iterator[Book]:
        """The versions that were in effect before a time, the last one first."""
        yield from reversed(self._in_turn[: bisect_left(self._starts, time_ms)])

    def named(self, version: str) -> Book | None:
        """The version of this name, whether it is in effect at any time or not."""
        return next((book for book in self._books if book.version == version), None)

    def _superseded(self) -> dict[str, str]:
        return {
            former.version: book.version
            for book in self._books
            for former in self._books
            if former.version in book.supersedes
            and former.offset < book.offset
            and former.effective_ms >= book.effective_ms
        }

    def version(self, name: str) -> Book | None:
        """The version of this name, in effect or not."""
        return next((book for book in self._books if book.version == name), None)

    def plan(self, plan_id: str, time_ms: int) -> CompiledPlan | None:
        """A plan as the version in effect at a time has it; or, where that has none of this id, the
        last one before it that has."""
        for book in reversed(self._books[: bisect_right(self._starts, time_ms)]):
            if plan_id in book.plans:
                return book.plans[plan_id]
        return None

    def with_book(self, book: Book) -> Books:
        return Books([*self._books, book], self.zone)

    def __iter__(self) -> Any:
        return iter(self._books)

    def __len__(self) -> int:
        return len(self._books)
