"""What a plan grants: at the beginning of its cycles, and when a subscription changes or ends.

Such a grant is a recurring one like any other: it resets, adds up or rolls over as it says. One of
the plan's own cycle gets its next from the subscription, because only that knows plan, phase and
seats of the cycle that begins; one with a schedule of its own comes again by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.commands import Rollover
from drawdown.events.entries import GrantFacts, RecurrenceFacts, SubscriptionFacts
from drawdown.events.numbers import amount_of, amount_text, step_of
from drawdown.events.plans import PlanGrant, Prorated
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.book import Book, Books
from drawdown.ledger.calendar import next_after
from drawdown.ledger.corrections import void_entry
from drawdown.ledger.drawdown import priority_of
from drawdown.ledger.fees import share
from drawdown.ledger.grants import given, in_cycle, paid_for
from drawdown.ledger.journal import Origin
from drawdown.ledger.outcome import Moment
from drawdown.ledger.plans import PlanPhase, Span, recurrence_of
from drawdown.ledger.rows import scope_of, scope_record
from drawdown.ledger.values import NEVER, Grant

SEPARATOR: Final = "/"
_Rollover: Callable[..., Rollover] = struct_of(Rollover)
_GrantFacts: Callable[..., GrantFacts] = struct_of(GrantFacts)


class Granting:
    """The grants of one subscription, while a decision is made about it."""

    def __init__(
        self,
        ahead: Ahead,
        facts: SubscriptionFacts,
        book: Book,
        books: Books,
        origin: Origin,
        now: Moment,
    ) -> None:
        self._ahead = ahead
        self._facts = facts
        self._book = book
        self._books = books
        self._origin = origin
        self._now = now

    def begin(self, phase: PlanPhase, span: Span, how: Prorated, *, enters: bool) -> None:
        """The grants of a cycle that begins. `how` says what a cycle is granted that is cut short;
        `enters` that its phase, or the subscription, begins with it."""
        self._leave({grant.id for grant in phase.grants if grant.per != "once"}, "none")
        for grant in phase.grants:
            amount = self._amount(grant)
            if grant.per == "once":
                if enters:
                    self._give(grant, amount, self._plain(grant, amount, span.starts_ms))
            elif grant.schedule is not None:
                self._own_schedule(grant, amount, span)
            else:
                whole_ms = span.ends_ms - span.basis_ms
                if how != "full" and whole_ms != span.ends_ms - span.starts_ms:
                    step = self._step(grant)
                    amount = (
                        share(amount, span.ends_ms - span.starts_ms, whole_ms, step)
                        if how == "time"
                        else 0
                    )
                self._of_cycle(grant, amount, span)

    def change(self, phase: PlanPhase, span: Span, more: Prorated, fewer: Prorated) -> None:
        """The grants of a cycle that goes on by other terms: `more` says what becomes of a
        difference upwards, and `fewer` of one downwards."""
        self._leave({grant.id for grant in phase.grants}, fewer)
        for grant in phase.grants:
            if grant.per == "once":
                continue
            live = self._live(grant)
            amount = self._amount(grant)
            own = grant.schedule is not None
            if live is not None and live.terms.recurrence is not None:
                recurrence = live.terms.recurrence
                difference = amount - amount_of(recurrence.amount)
                how = more if difference > 0 else fewer
                if difference and how != "none":
                    part = difference
                    if how == "time" and not own:
                        part = self._rest(grant, difference, span)
                    self._differ(grant, live, amount, part)
            elif more != "none":
                if own:
                    self._own_schedule(grant, amount, span)
                else:
                    part = self._rest(grant, amount, span) if more == "time" else amount
                    self._of_cycle(grant, part, span)

    def end(self, phase: PlanPhase, *, restarts: bool = False) -> None:
        """Nothing of the subscription comes again, and what is left of it ends, but for what the
        plan lets be kept. One that restarts with another cycle only ends what comes again."""
        kept = {
            grant.id for grant in phase.grants if grant.kept or (restarts and grant.per == "once")
        }
        for grant in self._grants():
            terms = grant.terms
            comes = terms.next_ms != NEVER and not terms.succeeded
            # Of a cycle that is over what is left lapses by itself, if it does not roll over.
            over = terms.expires_ms <= self._now.at_ms and not (terms.succeeded and _rolls(grant))
            if over or self._plan_id(grant) in kept:
                if comes:
                    self._void(grant, 0, kept=True)
            elif not restarts or terms.current:
                self._void(grant, grant.remaining)

    # one grant

    def _of_cycle(self, grant: PlanGrant, amount: int, span: Span) -> None:
        """A grant of the plan's cycle, which follows the one before it, if there is one."""
        if not amount:
            return
        recurrence = self._recurrence(grant, amount, span.recurrence)
        name = self._name(grant, span.starts_ms)
        facts = self._facts_of(grant, name, amount, span.starts_ms)
        self._give(grant, amount, in_cycle(facts, recurrence, span.ends_ms))

    def _own_schedule(self, grant: PlanGrant, amount: int, span: Span) -> None:
        """A grant with a schedule of its own: left to itself while its terms are the same."""
        schedule = grant.schedule
        assert schedule is not None
        anchor_ms = (
            milliseconds(self._facts.begun_at)
            if schedule.anchor is None
            else milliseconds(schedule.anchor)
        )
        instants = recurrence_of(schedule.every, schedule.count, anchor_ms, schedule.zone)
        recurrence = self._recurrence(grant, amount, instants)
        live = self._live(grant)
        if live is not None:
            terms = live.terms
            same = (
                terms.recurrence == recurrence
                and terms.priority == priority_of(grant.priority, grant.category)
                and terms.category == grant.category
                and terms.scope == scope_of(grant.scope)
            )
            if same:
                return
            self._void(live, live.remaining)
        zone = self._books.zone(schedule.zone) or span.zone
        facts = self._facts_of(grant, self._name(grant, span.starts_ms), amount, span.starts_ms)
        next_ms = next_after(instants, zone, span.starts_ms)
        self._give(grant, amount, in_cycle(facts, recurrence, next_ms))

    def _differ(self, grant: PlanGrant, live: Grant, amount: int, part: int) -> None:
        """A grant that lives becomes more or less, by `part`; a whole cycle of it is `amount`."""
        recurrence = live.terms.recurrence
        assert recurrence is not None
        paid = self._paid(grant, amount)
        changed = replaced(recurrence, amount=amount_text(amount), paid=amount_text(paid))
        if part > 0:
            terms = live.terms
            facts = _GrantFacts(
                id=terms.id,
                category=terms.category,
                priority=terms.priority,
                effective_at=moment(terms.effective_ms),
                at_once=not terms.start_ms,
                expires_at=None if terms.expires_ms == NEVER else moment(terms.expires_ms),
                scope=scope_record(terms.scope),
                paid=amount_text(self._paid(grant, part)),
                metadata=dict(terms.metadata),
                recurrence=changed,
                next_at=None if terms.next_ms == NEVER else moment(terms.next_ms),
                subscription=self._facts.id,
            )
            self._give(grant, part, facts)
        else:
            gone = min(-part, live.remaining)
            self._void(live, gone, part=True, whole=amount_text(amount))

    def _give(self, grant: PlanGrant, amount: int, facts: GrantFacts) -> None:
        wallet = self._ahead.wallet
        self._ahead.add(
            given(wallet, "grant", grant.asset, amount, facts, self._origin, self._book, self._now)
        )

    def _void(self, grant: Grant, amount: int, **facts: Any) -> None:
        wallet = self._ahead.wallet
        self._ahead.add(void_entry(wallet, grant, amount, self._origin, self._now, **facts))

    def _leave(self, stay: set[str], how: Prorated) -> None:
        """What comes again and is not of the plan any more: ended, or left to its own end."""
        for grant in self._grants():
            if grant.terms.current and self._plan_id(grant) not in stay:
                if how == "none" or grant.terms.expires_ms <= self._now.at_ms:
                    if grant.terms.next_ms != NEVER:
                        self._void(grant, 0, kept=True)
                else:
                    self._void(grant, grant.remaining)

    # what there is

    def _grants(self) -> list[Grant]:
        grants = self._ahead.wallet.grants
        return [grant for grant in grants if grant.terms.subscription == self._facts.id]

    def _live(self, grant: PlanGrant) -> Grant | None:
        """The cycle now of a grant of the plan."""
        for each in self._grants():
            terms = each.terms
            if terms.current and self._plan_id(each) == grant.id and terms.asset == grant.asset:
                return each
        return None

    def _plan_id(self, grant: Grant) -> str:
        """Which of the plan's grants it is."""
        terms = grant.terms
        root = terms.id if terms.recurrence is None else terms.recurrence.id
        return (terms.rolled or root).removeprefix(self._facts.id + SEPARATOR)

    def _root(self, grant: PlanGrant) -> str:
        return f"{self._facts.id}{SEPARATOR}{grant.id}"

    def _name(self, grant: PlanGrant, starts_ms: int) -> str:
        """What adds up is one grant; else there is one for each cycle."""
        root = self._root(grant)
        return root if grant.mode == "accumulate" else f"{root}@{at_text(starts_ms)}"

    def _amount(self, grant: PlanGrant) -> int:
        seats = self._facts.seats if grant.per == "seat" else 1
        return amount_of(grant.amount) * seats

    def _rest(self, grant: PlanGrant, amount: int, span: Span) -> int:
        """The part of an amount for the rest of the cycle."""
        whole_ms = span.ends_ms - span.basis_ms
        rest_ms = max(span.ends_ms - self._now.at_ms, 0)
        return share(amount, rest_ms, whole_ms, self._step(grant))

    def _step(self, grant: PlanGrant) -> int:
        return step_of(self._book.assets[grant.asset].scale)

    def _paid(self, grant: PlanGrant, amount: int) -> int:
        return paid_for(grant.category, grant.cost_basis, grant.asset, amount, self._book)

    def _recurrence(
        self, grant: PlanGrant, amount: int, instants: RecurrenceFacts
    ) -> RecurrenceFacts:
        return replaced(
            instants,
            id=self._root(grant),
            mode=grant.mode,
            amount=amount_text(amount),
            paid=amount_text(self._paid(grant, amount)),
            rollover=_rollover(grant),
        )

    def _facts_of(self, grant: PlanGrant, name: str, amount: int, starts_ms: int) -> GrantFacts:
        return _GrantFacts(
            id=name,
            category=grant.category,
            priority=priority_of(grant.priority, grant.category),
            effective_at=moment(starts_ms),
            at_once=self._origin.topic is not None,
            scope=scope_record(scope_of(grant.scope)),
            paid=amount_text(self._paid(grant, amount)),
            metadata=dict(grant.metadata),
            subscription=self._facts.id,
        )

    def _plain(self, grant: PlanGrant, amount: int, starts_ms: int) -> GrantFacts:
        return self._facts_of(grant, self._root(grant), amount, starts_ms)


def _rolls(grant: Grant) -> bool:
    recurrence = grant.terms.recurrence
    return recurrence is not None and recurrence.rollover is not None


def _rollover(grant: PlanGrant) -> Rollover | None:
    rollover = grant.rollover
    if rollover is None:
        return None
    return _Rollover(
        min=amount_text(amount_of(rollover.min)),
        max=None if rollover.max is None else amount_text(amount_of(rollover.max)),
        cycles=rollover.cycles,
    )
