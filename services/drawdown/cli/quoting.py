"""`drawdown price-book quote`: what an event would be charged, line by line, before there is one.

The price is the ledger's own; the lines are worked out again from the text of the rate, as
`explain` does, and the two are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from drawdown.cli.explain import show_sum
from drawdown.cli.outcome import CommandError
from drawdown.cli.price_formulas import Given, counted
from drawdown.cli.price_lines import Sum, worked_out
from drawdown.cli.render import pairs, show
from drawdown.events.codec import RecordError, kind_of
from drawdown.events.numbers import amount_text, rational_of
from drawdown.events.pricebook import Asset, Rate
from drawdown.ledger.book import Book
from drawdown.ledger.captures import cost_of
from drawdown.ledger.prices import UnpricedError
from drawdown.ledger.pricing import Charge, Use, charge_of
from drawdown.ledger.values import NEVER, Running

CUSTOMER = "customer"


@dataclass(frozen=True)
class Quoted:
    """An event, priced."""

    meter: str
    quantities: dict[str, str]
    dimensions: dict[str, str]
    match: str | None
    own: str | None
    """Whose rate it is, where it is not for all."""
    price: Sum | None
    cost: Sum | None
    missing: str | None
    """Why it has no price."""
    running: tuple[str, str] | None
    """The running quantity before and after it."""

    def as_json(self) -> dict[str, Any]:
        return {
            "meter": self.meter,
            "quantities": self.quantities,
            "dimensions": self.dimensions,
            "match": self.match,
            "own": self.own,
            "unpriced": self.missing,
            "running": None
            if self.running is None
            else {"before": self.running[0], "after": self.running[1]},
            "price": None if self.price is None else self.price.as_json(),
            "cost": None if self.cost is None else self.cost.as_json(),
        }


class _Before:
    """A customer who used `quantity` of whatever counts."""

    def __init__(self, quantity: str | None, asset: str) -> None:
        self._quantity = quantity
        self._asset = asset

    def row(self, key: str) -> Any:
        if self._quantity is None or "\x1frunning\x1f" not in key:
            return None
        # More was charged than can be given back: the quote is of the price alone.
        return Running(
            CUSTOMER,
            "",
            "",
            self._asset,
            rational_of(self._quantity),
            10**30,
            0,
            NEVER,
            NEVER,
            0,
            None,
            (),
            keyed=False,
            sequence=0,
        )

    def identity(self, key: bytes) -> bytes | None:  # noqa: ARG002
        return None


def quoted(
    book: Book,
    assets: Sequence[Asset],
    sides: tuple[Sequence[Rate], Sequence[Rate]],
    event_type: str,
    data: dict[str, Any],
    time_ms: int,
    used: str | None = None,
    customer: str = CUSTOMER,
    plan: str | None = None,
) -> Quoted:
    """The quote of an event's data for a customer on a plan; `used` is the running quantity before
    it. `sides` are the book's rates and costs as written. Raises CommandError."""
    meter = book.meter(event_type)
    if meter is None:
        raise CommandError(f"no meter of price book {book.version!r} counts {event_type!r}")
    try:
        quantities, dimensions, _ = meter.measure(data)
    except RecordError as error:
        raise CommandError(str(error)) from None
    quote = book.quote(meter, dimensions, customer, plan)
    cost = cost_of(quote, quantities)
    texts = {name: str(value) for name, value in quantities.items()}
    charge, missing = None, None
    use = Use(CUSTOMER, meter.id, quantities, dimensions, time_ms, cost)
    try:
        if quote.rate is None:
            raise UnpricedError(quote.missing)
        charge = charge_of(_Before(used, quote.rate.asset), quote.rate, use)
    except UnpricedError as error:
        missing = error.what
    price = None
    if charge is not None and quote.rate is not None:
        price = _worked_out(quote.rate.id, sides[0], assets, texts, dimensions, charge, cost)
    cost_sum = None
    if cost is not None and quote.cost_rate is not None:
        cost_sum = _worked_out(
            quote.cost_rate.id, sides[1], assets, texts, dimensions, Charge(cost, True), None
        )
    running = None
    if charge is not None and charge.running is not None:
        running = charge.running.before, charge.running.after
    match = None if missing else quote.exact.match
    own = None if missing else quote.exact.own
    return Quoted(meter.id, texts, dimensions, match, own, price, cost_sum, missing, running)


def _worked_out(
    rate_id: str,
    rates: Sequence[Rate],
    assets: Sequence[Asset],
    quantities: dict[str, str],
    dimensions: dict[str, str],
    charge: Charge,
    cost: int | None,
) -> Sum:
    rate = next(rate for rate in rates if rate.id == rate_id)
    asset = next(asset for asset in assets if asset.code == rate.asset)
    running = charge.running
    given = Given(
        dimensions=dimensions,
        cost=None if cost is None else Fraction(cost, 10**12),
        before=None if running is None or running.first else Fraction(running.before),
        after=None if running is None else Fraction(running.after),
    )
    found = worked_out(rate, asset, quantities, given)
    # What is committed to and not charged yet is no part of a quote.
    if found.charge != charge.amount and kind_of(rate.price) != "commitment":
        raise CommandError(
            f"the ledger charges {amount_text(charge.amount)}, the arithmetic gives"
            f" {amount_text(found.charge)}: please report this"
        )
    assert counted(rate) or running is None
    return found


def show_quote(found: Quoted, reporting: str) -> None:
    """In words."""
    show(f"meter       {found.meter}: {pairs(found.quantities) or '-'}")
    show(f"dimensions  {pairs(found.dimensions) or '-'}")
    if found.running is not None:
        show(f"period      {found.running[0]} before, {found.running[1]} after")
    if found.price is not None:
        show()
        whose = "" if found.own is None else f", the rate of {found.own}"
        show(f"price       matched: {found.match}{whose}")
        show_sum(found.price, found.price.rate.asset)
    if found.cost is not None:
        show()
        show(f"cost        to us, in {reporting}")
        show_sum(found.cost, reporting)
