"""Terms of a budget, checked against the book they are for: those of commands and of plans."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from drawdown.events.calendar import ZoneError, zone_named
from drawdown.events.limits import EACH, BudgetTerms, Window
from drawdown.events.numbers import PLACES, UNIT, amount_of
from drawdown.events.reasons import Reason
from drawdown.ledger.budgets import LIFE, ROLLING
from drawdown.ledger.margin_floor import MARGIN

PERCENT_MAX = 100 * UNIT


class TermsError(ValueError):
    """Terms that say too much or too little: the field below the budget, the rule and the fix."""

    def __init__(self, field: str, detail: str, reason: Reason = Reason.INVALID) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail
        self.reason = reason


def check_terms(
    terms: BudgetTerms,
    version: str,
    scales: Mapping[str, int],
    reporting: str,
    meters: Collection[str] | None = None,
    dimensions: Collection[str] = (),
) -> None:
    """Check terms by a version of the price book: its assets (code -> places), its meters, and the
    dimensions they declare, where they do. Raises TermsError."""
    measure = terms.measure
    if (terms.asset is not None) != (measure == "amount"):
        fix = "say of which asset" if measure == "amount" else "is for measure: amount"
        if measure == MARGIN:
            fix = "a margin is in the reporting currency: leave it out"
        raise TermsError("asset", fix)
    if (terms.quantity is not None) != (measure == "quantity"):
        fix = "say which quantity" if measure == "quantity" else "is for measure: quantity"
        raise TermsError("quantity", fix)
    if measure == MARGIN:
        _check_floor(terms, reporting, scales)
    else:
        _check_cap(terms, scales)
    if terms.velocity is not None and measure in (MARGIN, "open_holds"):
        raise TermsError("velocity", "is for what is used: an amount, a quantity or requests")
    _check_window(terms.window, measure)
    if any(EACH in value and value != EACH for value in terms.scope.values()):
        raise TermsError("scope", f"give a value, or {EACH} alone for each value")
    for name in terms.scope:
        if dimensions and name not in dimensions:
            raise TermsError(
                f"scope.{name}",
                f"no meter of price book {version!r} has the dimension {name!r}; there are "
                + ", ".join(sorted(dimensions)),
            )
    for meter in terms.meters:
        if meters is not None and meter not in meters:
            raise TermsError(
                "meters", f"price book {version!r} has no meter {meter!r}", Reason.UNKNOWN_METER
            )


def _check_cap(terms: BudgetTerms, scales: Mapping[str, int]) -> None:
    if terms.floor is not None:
        raise TermsError("floor", "is for measure: margin; give a cap")
    if terms.cost_min is not None:
        raise TermsError("cost_min", "is for measure: margin")
    if terms.cap is None and terms.velocity is None:
        raise TermsError("cap", "say how much; or give velocity, to watch only")
    if terms.asset is not None:
        _check_amount("cap", terms.cap or "0", terms.asset, scales)
    elif terms.cap is not None and not amount_of(terms.cap):
        raise TermsError("cap", "a cap of nothing lets nothing run: block the scope")


def _check_floor(terms: BudgetTerms, reporting: str, scales: Mapping[str, int]) -> None:
    if terms.cap is not None:
        raise TermsError("cap", "a margin has no cap: give a floor, in percent of the revenue")
    if terms.floor is not None and amount_of(terms.floor) > PERCENT_MAX:
        raise TermsError("floor", f"{terms.floor} % is more than all of the revenue: 100 at most")
    if terms.cost_min is not None:
        if terms.floor is None:
            raise TermsError("cost_min", "says from when on a floor counts: give one")
        _check_amount("cost_min", terms.cost_min, reporting, scales)


def _check_amount(field: str, text: str, asset: str, scales: Mapping[str, int]) -> None:
    scale = scales.get(asset)
    if scale is None:
        raise TermsError(
            "asset", f"no asset {asset!r}; the price book has " + ", ".join(sorted(scales))
        )
    if amount_of(text) % 10 ** (PLACES - scale):
        raise TermsError(field, f"{text} is finer than {asset}, which has {scale} places")


def _check_window(window: Window, measure: str) -> None:
    every = window.every
    if measure == "open_holds" and every != "total":
        raise TermsError("window.every", "open holds are counted at a time: say total")
    if (window.length_s is not None) != (every == ROLLING):
        fix = "say how long" if every == ROLLING else "is for rolling windows"
        raise TermsError("window.length_s", fix)
    if window.idle_s is not None and every != LIFE:
        raise TermsError("window.idle_s", "is for windows of a life")
    try:
        zone_named(window.zone)
    except ZoneError as error:
        raise TermsError("window.zone", str(error)) from None
