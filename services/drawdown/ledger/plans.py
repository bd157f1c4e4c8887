"""Plans compiled: phases resolved, checked against the book they are in, and how their cycles lie.

Nothing here knows a customer. A plan that contradicts itself or its book is refused with where, the
rule and the fix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from drawdown.events.base import Value, milliseconds, moment
from drawdown.events.calendar import ZoneError, zone_named
from drawdown.events.entries import EntitledTo, RecurrenceFacts
from drawdown.events.limits import EACH, BudgetTerms
from drawdown.events.numbers import amount_of, plain_text, step_of
from drawdown.events.plans import (
    Cycle,
    Entitlement,
    Fee,
    Phase,
    Plan,
    PlanBudget,
    PlanGrant,
    PlanTerms,
)
from drawdown.events.pricebook import Asset, Meter
from drawdown.events.structs import as_read, replaced, struct_of
from drawdown.ledger.budget_terms import TermsError, check_terms
from drawdown.ledger.calendar import PERIOD_MS, cycle_of, next_after
from drawdown.ledger.rates.terms import EVENTS

_RecurrenceFacts: Callable[..., RecurrenceFacts] = struct_of(RecurrenceFacts)
_EntitledTo: Callable[..., EntitledTo] = struct_of(EntitledTo)

PLAN_BUDGET: Final = "plan:"
"""Ids of customers' budgets that begin so are those of plans."""
ONLY_PHASE: Final = "plan"
"""Name of the phase of a plan that states none."""


class PlanError(ValueError):
    """A plan that cannot be: says where below the plan, the rule and the fix."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


class PlanPhase(Value, frozen=True):
    """A phase with all that counts in it."""

    id: str
    days: int | None
    cycles: int | None
    fees: Sequence[Fee]
    grants: Sequence[PlanGrant]
    entitlements: Sequence[Entitlement]
    terms: PlanTerms
    budgets: Mapping[str, BudgetTerms]
    """By the ids that customers have them under."""


class CompiledPlan(Value, frozen=True):
    """A plan of a book."""

    plan: Plan
    phases: tuple[PlanPhase, ...]
    book: str
    """Version, and offset of its commit record."""
    book_offset: int

    @property
    def id(self) -> str:
        return self.plan.id

    def phase(self, phase_id: str) -> PlanPhase:
        """The phase of this id; the last one where there is none."""
        return next((each for each in self.phases if each.id == phase_id), self.phases[-1])

    def after(self, phase: PlanPhase, cycle: int) -> tuple[PlanPhase, int]:
        """The phase, and the number of its cycle, that follow a cycle of a phase."""
        over = phase.days is not None or (phase.cycles is not None and cycle >= phase.cycles)
        if not over:
            return phase, cycle + 1
        return self.phases[self.phases.index(phase) + 1], 1

    def same_cycle(self, phase: PlanPhase, other: CompiledPlan, other_phase: PlanPhase) -> bool:
        """Whether a cycle of a phase can go on as one of another plan's phase."""
        if phase.days is not None or other_phase.days is not None:
            return phase.days == other_phase.days
        one, two = self.plan.cycle, other.plan.cycle
        return (one.every, one.count, one.zone) == (two.every, two.count, two.zone)


class Span(Value, frozen=True):
    """A cycle: from its beginning, included, to its end; and where a whole one would begin."""

    starts_ms: int
    ends_ms: int
    basis_ms: int
    recurrence: RecurrenceFacts
    """The cycle as grants recur by it."""
    zone: tzinfo


def span_of(
    plan: CompiledPlan, phase: PlanPhase, starts_ms: int, anchor_ms: int | None, zone: tzinfo
) -> Span:
    """The cycle of a phase that begins at `starts_ms`, cycles being counted from `anchor_ms`, or
    from then on."""
    cycle = plan.plan.cycle
    if phase.days is not None:
        days = recurrence_of("day", phase.days, starts_ms, cycle.zone)
        return Span(starts_ms, next_after(days, zone, starts_ms), starts_ms, days, zone)
    since_ms = starts_ms if anchor_ms is None else anchor_ms
    recurrence = recurrence_of(cycle.every, cycle.count, since_ms, cycle.zone)
    basis_ms, ends_ms = cycle_of(recurrence, zone, starts_ms)
    return Span(starts_ms, ends_ms, basis_ms, recurrence, zone)


def recurrence_of(every: Any, count: int, anchor_ms: int, zone: str) -> RecurrenceFacts:
    """A recurrence of nothing: instants alone."""
    return _RecurrenceFacts(
        id="", every=every, count=count, anchor=moment(anchor_ms), zone=zone, amount="0"
    )


def anchored(cycle: Cycle) -> int | None:
    """What a plan itself counts its cycles from, if it says so."""
    return None if cycle.anchor is None else milliseconds(cycle.anchor)


def entitled(phase: PlanPhase, seats: int) -> list[EntitledTo]:
    """The rights of a phase, with so many seats."""
    found = []
    for each in phase.entitlements:
        limit = None
        if each.limit is not None:
            limit = plain_text(Decimal(each.limit) * (seats if each.per == "seat" else 1))
        value = True if each.value is None and each.meter is None else each.value
        found.append(_EntitledTo(each.id, value, each.meter, each.quantity, limit))
    return found


def fee_of(fee: Fee, seats: int) -> int:
    """What a fee is for a whole cycle with so many seats."""
    return amount_of(fee.amount) * (seats if fee.per == "seat" else 1)


def fees_in(phase: PlanPhase, asset: str, seats: int) -> int:
    """All fees in an asset of a whole cycle: what tells an upgrade from a downgrade."""
    return sum(fee_of(fee, seats) for fee in phase.fees if fee.asset == asset)


# compiling


def compile_plans(
    plans: Iterable[Plan],
    assets: Mapping[str, Asset],
    meters: Mapping[str, Meter],
    reporting: str,
    version: str,
    offset: int,
    dimensions: Collection[str] = (),
) -> dict[str, CompiledPlan]:
    """The plans of a book by id. Raises PlanError for what cannot be, with its path in the book."""
    found: dict[str, CompiledPlan] = {}
    for plan in plans:
        at = f"plans.{plan.id}"
        if plan.id in found:
            raise PlanError(at, "stands there twice; plan ids are unique")
        phases = _phases(at, plan)
        if plan.seats_max is not None and plan.seats_max < plan.seats_min:
            raise PlanError(f"{at}.seats_max", f"is less than seats_min, {plan.seats_min}")
        _check_zone(f"{at}.cycle", plan.cycle)
        for phase in phases:
            within = at if not plan.phases else f"{at}.phases.{phase.id}"
            _check_ids(within, phase)
            for fee in phase.fees:
                _check_amount(f"{within}.fees.{fee.id}", fee.asset, fee.amount, assets)
            for grant in phase.grants:
                _check_grant(f"{within}.grants.{grant.id}", grant, plan, assets, reporting)
            for entitlement in phase.entitlements:
                _check_entitlement(f"{within}.entitlements.{entitlement.id}", entitlement, meters)
            _check_terms(f"{within}.terms", phase.terms, assets)
            _check_budgets(within, phase.budgets, assets, meters, dimensions, reporting, version)
        resolved = tuple([_with_quantities(phase, meters) for phase in phases])
        found[plan.id] = CompiledPlan(plan, resolved, version, offset)
    return found


def _phases(at: str, plan: Plan) -> tuple[PlanPhase, ...]:
    def resolved(phase: Phase | None) -> PlanPhase:
        def own(name: str) -> Any:
            stated = None if phase is None else getattr(phase, name)
            return getattr(plan, name) if stated is None else stated

        return PlanPhase(
            ONLY_PHASE if phase is None else phase.id,
            None if phase is None else phase.days,
            None if phase is None else phase.cycles,
            own("fees"),
            own("grants"),
            own("entitlements"),
            own("terms"),
            _budgets(plan.id, at if phase is None else f"{at}.phases.{phase.id}", own("budgets")),
        )

    if not plan.phases:
        return (resolved(None),)
    ids = [phase.id for phase in plan.phases]
    for place, phase in enumerate(plan.phases):
        where = f"{at}.phases.{phase.id}"
        if ids.index(phase.id) != place:
            raise PlanError(where, "stands there twice; give each phase an id of its own")
        if phase.days is not None and phase.cycles is not None:
            raise PlanError(where, "lasts either days or cycles: leave one of them out")
        ends = phase.days is not None or phase.cycles is not None
        if phase is plan.phases[-1]:
            if ends:
                raise PlanError(where, "is the last phase and has no end: leave days or cycles out")
        elif not ends:
            raise PlanError(
                where, "has no end, and another phase follows it: give it days or cycles"
            )
    return tuple([resolved(phase) for phase in plan.phases])


def plan_budget_id(plan_id: str, budget_id: str) -> str:
    """The id that customers have a plan's budget under."""
    return f"{PLAN_BUDGET}{plan_id}/{budget_id}"


def _budgets(plan_id: str, at: str, budgets: Iterable[PlanBudget]) -> dict[str, BudgetTerms]:
    """Budgets by the ids that customers have them under."""
    found: dict[str, BudgetTerms] = {}
    for each in budgets:
        budget_id = plan_budget_id(plan_id, each.id)
        if budget_id in found:
            raise PlanError(f"{at}.budgets.{each.id}", "stands there twice; give each its own")
        terms = as_read(BudgetTerms, each)
        if terms.within is not None:
            terms = replaced(terms, within=plan_budget_id(plan_id, terms.within))
        found[budget_id] = terms
    return found


def _check_budgets(
    at: str,
    budgets: Mapping[str, BudgetTerms],
    assets: Mapping[str, Asset],
    meters: Mapping[str, Meter],
    dimensions: Collection[str],
    reporting: str,
    version: str,
) -> None:
    scales = {code: asset.scale for code, asset in assets.items()}
    for budget_id, terms in budgets.items():
        where = f"{at}.budgets.{budget_id.rpartition('/')[2]}"
        try:
            check_terms(terms, version, scales, reporting, meters, dimensions)
        except TermsError as error:
            raise PlanError(f"{where}.{error.field}", error.detail) from None
        inner, depth = terms, 0
        while inner.within is not None:
            outer = budgets.get(inner.within)
            depth += 1
            if outer is None or depth > len(budgets):
                wrong = "is not among the plan's" if outer is None else "is within itself"
                raise PlanError(f"{where}.within", f"budget {inner.within!r} {wrong}")
            if EACH in outer.scope.values():
                raise PlanError(
                    f"{where}.within", f"{inner.within!r} is for each value: name one of one scope"
                )
            inner = outer


def _check_ids(at: str, phase: PlanPhase) -> None:
    groups: tuple[tuple[str, Sequence[Any]], ...] = (
        ("fees", phase.fees),
        ("grants", phase.grants),
        ("entitlements", phase.entitlements),
    )
    for name, items in groups:
        ids = [item.id for item in items]
        for place, item_id in enumerate(ids):
            if ids.index(item_id) != place:
                raise PlanError(f"{at}.{name}.{item_id}", "stands there twice; give each its own")


def _check_amount(at: str, asset: str, text: str, assets: Mapping[str, Asset]) -> None:
    if asset not in assets:
        raise PlanError(
            f"{at}.asset", f"no asset {asset!r}; the book has {', '.join(sorted(assets))}"
        )
    if amount_of(text) % step_of(assets[asset].scale):
        raise PlanError(
            f"{at}.amount", f"{text} is finer than {asset}, which has {assets[asset].scale} places"
        )


def _check_grant(
    at: str, grant: PlanGrant, plan: Plan, assets: Mapping[str, Asset], reporting: str
) -> None:
    _check_amount(at, grant.asset, grant.amount, assets)
    if not amount_of(grant.amount):
        raise PlanError(f"{at}.amount", "is zero; grant more than that, or leave the grant out")
    if grant.cost_basis is not None and Fraction(grant.cost_basis) < 0:
        raise PlanError(f"{at}.cost_basis", "is negative")
    if grant.category == "paid" and grant.cost_basis is None and grant.asset != reporting:
        raise PlanError(
            f"{at}.cost_basis", f"say what one {grant.asset} is sold for in {reporting}"
        )
    if grant.per == "once" and (
        grant.schedule is not None or grant.rollover is not None or grant.mode != "reset"
    ):
        raise PlanError(f"{at}.per", "granted once, it does not come again: leave schedule out")
    if grant.schedule is not None:
        _check_zone(f"{at}.schedule", grant.schedule)
        own, cycle = grant.schedule, plan.cycle
        if PERIOD_MS[own.every] * own.count > PERIOD_MS[cycle.every] * cycle.count:
            raise PlanError(f"{at}.schedule", "is longer than the plan's cycle: at most as long")
    rollover = grant.rollover
    if rollover is None:
        return
    where = f"{at}.rollover"
    if grant.mode == "accumulate":
        raise PlanError(where, "accumulate keeps all there is: leave it out")
    for text in (rollover.min, rollover.max):
        if text is not None:
            _check_amount(where, grant.asset, text, assets)
    if rollover.max is not None and amount_of(rollover.max) < amount_of(rollover.min):
        raise PlanError(f"{where}.max", "is less than min")
    if amount_of(rollover.min) and rollover.cycles != 1:
        raise PlanError(f"{where}.min", "a least amount is for one cycle: give cycles: 1 with it")


def _check_entitlement(at: str, each: Entitlement, meters: Mapping[str, Meter]) -> None:
    if each.meter is None:
        if each.limit is not None or each.quantity is not None:
            raise PlanError(f"{at}.meter", "say of which meter the limit is")
        return
    if each.value is not None:
        raise PlanError(f"{at}.value", "a metered entitlement has a limit: leave the value out")
    meter = meters.get(each.meter)
    if meter is None:
        raise PlanError(f"{at}.meter", f"no meter {each.meter!r}")
    if each.limit is None:
        raise PlanError(f"{at}.limit", "say how much may be used per cycle")
    known = sorted({EVENTS, *meter.fields.values()})
    quantity = each.quantity or _only_quantity(meter)
    if quantity not in known:
        raise PlanError(
            f"{at}.quantity",
            f"{each.quantity!r} is no quantity of meter {meter.id!r}: give one of "
            + ", ".join(known),
        )


def _only_quantity(meter: Meter) -> str | None:
    quantities = sorted(set(meter.fields.values()))
    if not quantities:
        return EVENTS
    return quantities[0] if len(quantities) == 1 else None


def _with_quantities(phase: PlanPhase, meters: Mapping[str, Meter]) -> PlanPhase:
    return replaced(
        phase,
        entitlements=[
            each
            if each.meter is None or each.quantity is not None
            else replaced(each, quantity=_only_quantity(meters[each.meter]))
            for each in phase.entitlements
        ],
    )


def _check_terms(at: str, terms: PlanTerms, assets: Mapping[str, Asset]) -> None:
    for asset, limit in terms.credit_limits.items():
        _check_amount(f"{at}.credit_limits", asset, limit, assets)
    for asset, texts in terms.thresholds.items():
        for text in texts:
            _check_amount(f"{at}.thresholds", asset, text, assets)
    outage = terms.outage
    if outage is not None and outage.mode == "open":
        if outage.amount is None:
            raise PlanError(f"{at}.outage.amount", "say up to what amount")
        if outage.asset is not None:
            _check_amount(f"{at}.outage", outage.asset, outage.amount, assets)


def _check_zone(at: str, cycle: Cycle) -> None:
    try:
        zone_named(cycle.zone)
    except ZoneError as error:
        raise PlanError(f"{at}.zone", str(error)) from None
