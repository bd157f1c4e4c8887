"""Limits in a decision: which budgets a use counts in, whether there is room, and what it counts.

Budgets nest (rule 8 of domain.md): every one that a use is in must have room, or nothing is taken
of any, because all is one decision. An entry that counts states each budget as it is after it, so
that the rows follow from the entry alone. What was used is a fact: usage counts also where there is
no room, and a budget may then be passed. Windows go by when something is decided, not by when it
was used: what comes late cannot spend yesterday's budget.

Fees, manual bookings, reversals and re-ratings are no use: they count in no cap. In a margin they
do, with the revenue they recognize or take back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

from drawdown.events.base import Value, at_text, milliseconds, moment
from drawdown.events.entries import UsageFacts
from drawdown.events.limits import EACH, BlockState, BudgetTerms, LimitFacts, LimitState
from drawdown.events.numbers import PLACES, UNIT
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.budgets import (
    BUDGET,
    ONE,
    Budget,
    Scoped,
    Spent,
    Standing,
    budget_key,
    number_of,
    number_text,
    scope_key,
    scope_text,
    scopes_of,
    shape_of,
    spent_key,
    standing,
    standing_alone,
)
from drawdown.ledger.evolve import Rows
from drawdown.ledger.journal import Entry, Origin, Rare, Sealed, seal
from drawdown.ledger.margin_floor import (
    MARGIN,
    MarginStanding,
    MarginSum,
    margin_closed,
    margin_counted,
    margin_key,
    margin_standing,
)
from drawdown.ledger.outcome import Moment, blank
from drawdown.ledger.prices import Quantities
from drawdown.ledger.spent import RowReader
from drawdown.ledger.values import NEVER, Hold, Wallet, hold_key
from drawdown.ledger.velocity import (
    Pace,
    PaceStanding,
    pace_closed,
    pace_counted,
    pace_key,
    pace_standing,
)

LEAST: Final = 1
"""What a use of an unknown quantity needs: anything that is left."""
NESTED_MAX: Final = 8
"""Budgets within budgets."""
Counting = Spent | MarginSum | Pace
"""Rows of what counts."""
_LimitFacts: Callable[..., LimitFacts] = struct_of(LimitFacts)
_LimitState: Callable[..., LimitState] = struct_of(LimitState)


class Found(Value, frozen=True):
    """The limits a use meets."""

    blocked: tuple[str, BlockState] | None = None
    """A scope it is in that is blocked, and by whom."""
    standings: tuple[Standing, ...] = ()
    """Of budgets with a cap."""
    margins: tuple[MarginStanding, ...] = ()
    paces: tuple[PaceStanding, ...] = ()


NOTHING_FOUND: Final = Found()


def found(
    rows: RowReader, wallet: Wallet, meter: str, dimensions: Mapping[str, str], at_ms: int
) -> Found:
    """The limits that a use of a meter meets, in the order of the wallet's shapes."""
    if not wallet.scopes:
        return NOTHING_FOUND
    customer = wallet.customer
    blocked: tuple[str, BlockState] | None = None
    ids: dict[str, str] = {}
    for text in wallet.scopes:
        scopes = scopes_of(shape_of(text), dimensions)
        if scopes is None:
            continue
        pattern, own = scopes
        scoped: Scoped | None = rows.row(scope_key(customer, pattern))
        if scoped is None:
            continue
        if scoped.block is not None and blocked is None and is_blocked(scoped.block, at_ms):
            blocked = own, scoped.block
        for budget_id in scoped.budgets:
            ids[budget_id] = own
    standings = []
    margins: list[MarginStanding] = []
    paces: list[PaceStanding] = []
    waiting = list(ids)
    while waiting:
        budget_id = waiting.pop(0)
        budget: Budget | None = rows.row(budget_key(customer, budget_id))
        if budget is None or (budget.terms.meters and meter not in budget.terms.meters):
            continue
        own = ids[budget_id]
        terms = budget.terms
        if terms.measure == MARGIN:
            earned: MarginSum | None = rows.row(margin_key(customer, budget_id, own))
            margins.append(margin_standing(budget, own, earned, at_ms))
        elif terms.cap is not None:
            row: Spent | None = rows.row(spent_key(customer, budget_id, own))
            standings.append(standing(budget, own, row, at_ms))
        if terms.velocity is not None:
            pace: Pace | None = rows.row(pace_key(customer, budget_id, own))
            paces.append(pace_standing(budget, own, pace, at_ms))
        outer = terms.within
        if outer is not None and outer not in ids:
            parent: Budget | None = rows.row(budget_key(customer, outer))
            if parent is not None and EACH not in parent.terms.scope.values():
                ids[outer] = scope_text(parent.terms.scope)
                waiting.append(outer)
    return Found(blocked, tuple(standings), tuple(margins), tuple(paces))


def is_blocked(block: BlockState, at_ms: int) -> bool:
    """Whether a block counts still."""
    return block.until_at is None or at_ms < milliseconds(block.until_at)


def blocked_words(scope: str, block: BlockState) -> str:
    """Why a use is denied, in words."""
    what = f"{scope} is blocked" if scope else "the customer is blocked"
    by = "" if block.by is None else f" by {block.by}"
    until = "" if block.until_at is None else f" until {at_text(milliseconds(block.until_at))}"
    return f"{what}{until} since {at_text(milliseconds(block.since_at))}{by}: {block.reason}"


class Asked(Value, frozen=True):
    """How much a use is, or is estimated to be."""

    asset: str
    amount: int
    quantities: Quantities | None
    """None where nothing is known of them."""
    holds: bool = False
    """It is to be held."""


def wanted(each: Standing, asked: Asked) -> int:
    """How much of a budget a use needs."""
    assert each.terms is not None
    match each.terms.measure:
        case "amount":
            return asked.amount if each.terms.asset == asked.asset else 0
        case "quantity":
            if asked.quantities is None:
                return LEAST
            return counted_quantity(asked.quantities, each.terms.quantity)
        case "requests":
            return ONE
    return ONE if asked.holds else 0


def counted_quantity(quantities: Mapping[str, int | Decimal | str], name: str | None) -> int:
    """A quantity as a budget counts it: what is finer than 12 places is rounded up."""
    value = quantities.get(name or "", 0)
    if type(value) is int:
        return value * UNIT
    exact = Decimal(value).scaleb(PLACES)
    return int(exact.to_integral_value(ROUND_CEILING))


def without_room(standings: Iterable[Standing], asked: Asked) -> list[tuple[Standing, int]]:
    """The budgets that deny a use, and how much it wants of each."""
    denying = []
    for each in standings:
        assert each.terms is not None
        if each.terms.at_cap == "deny":
            want = wanted(each, asked)
            if want > each.left:
                denying.append((each, want))
    return denying


def denied_words(each: Standing, want: int) -> str:
    """Why a budget denies a use, in words."""
    assert each.terms is not None
    unit = each.terms.asset or each.terms.quantity or each.terms.measure.replace("_", " ")
    of = f" of {each.scope}" if each.scope else ""
    until = "" if each.ends_ms == NEVER else f" until {at_text(each.ends_ms)}"
    held = f", {number_text(each.held)} held" if each.held else ""
    return (
        f"budget {each.budget!r}{of} has {number_text(each.left)} {unit} left of"
        f" {number_text(each.cap)}{until} ({number_text(each.used)} used{held});"
        f" {number_text(want)} wanted"
    )


def states(found: Found, denying: Iterable[tuple[Standing, int]] = ()) -> list[LimitState]:
    """The budgets that were looked at, as a decision says them; those that deny first."""
    wants = {(each.budget, each.scope): want for each, want in denying}
    said = [state_of(each, wants.get((each.budget, each.scope))) for each in found.standings]
    return sorted(said, key=lambda state: state.wanted is None)


def state_of(each: Standing, want: int | None = None) -> LimitState:
    """A budget as it stands, and how much more than is left is wanted of it."""
    return _LimitState(
        budget=each.budget,
        scope=each.scope,
        cap=number_text(each.cap),
        used=number_text(each.used),
        held=number_text(each.held),
        left=number_text(each.left),
        resets_at=None if each.ends_ms == NEVER else moment(each.ends_ms),
        wanted=None if want is None else number_text(want),
    )


def states_after(facts: Iterable[LimitFacts]) -> list[LimitState]:
    """The same of an entry: as they are after it."""
    return [
        _LimitState(
            budget=each.budget,
            scope=each.scope,
            cap=each.cap,
            used=each.after,
            held=each.held,
            left=number_text(
                max(number_of(each.cap) - number_of(each.after) - number_of(each.held), 0)
            ),
            resets_at=each.ends_at,
        )
        for each in facts
    ]


def limited(rows: Rows, wallet: Wallet, entry: Entry, known: Found | None = None) -> Entry:
    """An entry with what it counts in budgets; the same one where it counts in none.

    `rows` and `wallet` as they are before it; `known` are the limits of its use, where they were
    looked up already. Entries about a hold give back what the hold counted. What is no use counts
    in margins only, with what it earns and costs.
    """
    hold: Hold | None = None
    if entry.hold is not None and entry.kind != "hold":
        hold = _hold(rows, entry)
    if not wallet.scopes and (hold is None or not hold.limits):
        return entry
    use = entry.usage if entry.kind != "hold" or entry.hold is None else entry.hold.use
    facts: dict[tuple[str, str], LimitFacts] = {}
    earns = bool(entry.revenue or entry.cost)
    if known is None and use is not None:
        known = found(rows, wallet, use.meter, use.dimensions, entry.at_ms)
    elif known is None:
        known = found(rows, wallet, "", {}, entry.at_ms) if earns else NOTHING_FOUND
    margins = tuple([margin_counted(each, entry) for each in known.margins]) if earns else ()
    if use is None or entry.rare.reverses is not None or entry.rare.rerates is not None:
        known = NOTHING_FOUND
    held = {} if hold is None else {(part.budget, part.scope): part.held for part in hold.limits}
    paces = []
    for pace in known.paces:
        before = held.get((pace.budget, pace.scope))
        used, _ = _change(pace.terms, entry, use, before)
        if used:
            paces.append(pace_counted(pace, used))
    for each in known.standings:
        before = held.pop((each.budget, each.scope), None)
        facts[each.budget, each.scope] = _counted(each, entry, use, before)
    for (budget, scope), before in held.items():
        row: Spent | None = rows.row(spent_key(wallet.customer, budget, scope))
        if row is not None:  # else the budget is gone, and all that was counted in it
            definition: Budget | None = rows.row(budget_key(wallet.customer, budget))
            each = (
                standing_alone(row, entry.at_ms)
                if definition is None or definition.terms.cap is None
                else standing(definition, scope, row, entry.at_ms)
            )
            facts[budget, scope] = _counted(each, entry, use, before)
    moving = tuple([each for each in facts.values() if _moves(each)])
    if not moving and not margins and not paces:
        return entry
    rare = replaced(entry.rare, limits=moving, margins=margins, paces=tuple(paces))
    return replaced(entry, rare=rare)


def _hold(rows: Rows, entry: Entry) -> Hold | None:
    assert entry.hold is not None
    row: Hold | None = rows.row(hold_key(entry.customer, entry.hold.id))
    return row


def _moves(facts: LimitFacts) -> bool:
    return facts.before != facts.after or facts.held_before != facts.held


def _counted(
    each: Standing, entry: Entry, use: UsageFacts | None, held_by_it: int | None
) -> LimitFacts:
    """What an entry counts in a budget; `held_by_it` is what its hold counted there so far, None
    where it has none, or none that counted."""
    used, held = _change(each.terms, entry, use, held_by_it)
    after = max(each.used + used, 0)
    held_after = max(each.held + held, 0)
    reached: list[int] = []
    told = each.told
    if each.terms is not None and after > each.used:
        reached = sorted(
            {
                percent
                for percent in each.terms.alerts
                if percent > told and after * 100 >= each.cap * percent
            }
        )
    first = each.row is None or each.row.window != each.window
    endless = each.ends_ms == NEVER
    return _LimitFacts(
        budget=each.budget,
        scope=each.scope,
        starts_at=None if endless else moment(each.starts_ms),
        ends_at=None if endless else moment(each.ends_ms),
        window=each.window if first else None,
        each=each.each,
        cap=number_text(each.cap),
        before=number_text(each.used),
        after=number_text(after),
        held_before=number_text(each.held),
        held=number_text(held_after),
        told=max([told, *reached]),
        tells=reached,
    )


def _change(
    terms: BudgetTerms | None, entry: Entry, use: UsageFacts | None, held_by_it: int | None
) -> tuple[int, int]:
    """By how much what is used and what is held change."""
    facts = entry.hold
    closes = facts is not None and facts.closed
    before = held_by_it or 0
    if terms is None:
        # The budget is gone: only what its hold set aside is given back.
        return 0, -before if closes else 0
    opens = entry.kind == "hold"
    uses = not opens and use is not None
    match terms.measure:
        case "requests":
            # A hold was the request; what is captured from it is no other one.
            return (ONE, 0) if opens or (uses and facts is None) else (0, 0)
        case "open_holds":
            if opens:
                return 0, ONE
            return 0, -before if closes else 0
        case "quantity":
            said = 0 if use is None else counted_quantity(use.quantities, terms.quantity)
            if opens:
                return 0, said
            if not uses:
                return 0, -before
            if use is not None and not use.quantities:
                # A capture that says no quantities used what was estimated, once it is the last.
                said = before if closes else 0
            return said, -before if closes else -min(before, said)
    if entry.asset != terms.asset:
        return 0, 0
    if opens:
        return 0, entry.amount
    if facts is None:
        return (entry.amount, 0) if uses else (0, 0)
    out = number_of(facts.before) - number_of(facts.after)
    return entry.amount if uses else 0, -before if closes else -min(before, out)


def closed(rows: Rows, row: Counting, now: Moment) -> Sealed:
    """The entry of a row whose time is over: a session is idle, or a window of one of many values
    has ended. Nothing of it counts any more."""
    wallet: Wallet = rows.row(row.customer)
    due_ms = row.due_ms
    assert due_ms is not None
    if isinstance(row, MarginSum):
        rare = Rare(margins=(margin_closed(row, now.at_ms),))
    elif isinstance(row, Pace):
        rare = Rare(paces=(pace_closed(row, now.at_ms),))
    else:
        facts = _LimitFacts(
            budget=row.budget,
            scope=row.scope,
            each=row.each,
            cap=number_text(row.cap),
            before=number_text(standing_alone(row, now.at_ms).used),
            closed=True,
        )
        rare = Rare(limits=(facts,))
    entry = blank(wallet, "close", Origin(timer=BUDGET, due_ms=due_ms), now)
    return seal(replaced(entry, rare=rare))
