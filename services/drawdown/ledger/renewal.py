"""What time brings about in a subscription: it begins, its cycles follow each other, it ends.

Like the cycles of a grant, one begins at its instant, by whatever decides first from then on. What
comes of it stands behind the entry that states the subscription: the fees in arrears of the cycle
that is over, those in advance of the one that begins, its grants, and the wallet's terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo

from drawdown.events.base import milliseconds, moment
from drawdown.events.codec import RecordError
from drawdown.events.entries import SubscriptionFacts
from drawdown.events.numbers import amount_text
from drawdown.events.plans import PlanTerms, Prorated
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.book import Book, Books, only_utc
from drawdown.ledger.fees import Charge, charges, fee_entry, since_of, stretch_of
from drawdown.ledger.flows import RESET
from drawdown.ledger.journal import Entry, Origin, Rare
from drawdown.ledger.outcome import Moment, blank, crossings
from drawdown.ledger.plan_grants import Granting
from drawdown.ledger.plans import CompiledPlan, PlanPhase, Span, anchored, entitled, span_of
from drawdown.ledger.set_limits import plan_budget_entries
from drawdown.ledger.terms import plan_terms_entry
from drawdown.ledger.values import Subscription, SubscriptionDue, subscription_key

_SubscriptionFacts: Callable[..., SubscriptionFacts] = struct_of(SubscriptionFacts)
Said = Callable[[Entry], Entry]
"""What makes the entry that states a subscription that of a command."""


class Place(Subscription, frozen=True):
    """A subscription with what its facts name: the plan and the phase that count now."""

    plan: CompiledPlan
    phase: PlanPhase
    book: Book
    zone: tzinfo


def placed(row: Subscription, books: Books) -> Place:
    """A subscription in the version of the book that its entry named."""
    facts = row.facts
    book = books.version(facts.book)
    assert book is not None, "a version that an entry names is known"
    plan = book.plans[facts.plan]
    return Place(
        row.customer,
        facts,
        row.fees,
        row.used,
        row.sequence,
        plan,
        plan.phase(facts.phase),
        book,
        zone_of(plan, books),
    )


def zone_of(plan: CompiledPlan, books: Books) -> tzinfo:
    """The zone of a plan's cycles. One that was there when the book was published is there now."""
    zone = books.zone(plan.plan.cycle.zone) or only_utc("UTC")
    assert zone is not None
    return zone


class Turn:
    """One subscription, while entries about it are made."""

    def __init__(
        self, ahead: Ahead, books: Books, origin: Origin, now: Moment, said: Said = lambda e: e
    ) -> None:
        self.ahead = ahead
        self.books = books
        self.origin = origin
        self.now = now
        self._said = said

    def state(self, facts: SubscriptionFacts) -> None:
        """The entry that states the subscription."""
        entry = blank(self.ahead.wallet, "subscription", self.origin, self.now)
        self.ahead.add(self._said(replaced(entry, rare=Rare(subscription=facts))))

    def charge(
        self,
        facts: SubscriptionFacts,
        found: Iterable[Charge],
        book: Book,
        *,
        of: tuple[str, str] | None = None,
        covered: bool = False,
    ) -> None:
        """Fees, or what is given back of them. Raises RecordError for one that is to be `covered`
        and for which the wallet has not enough."""
        for charge in found:
            wallet = self.ahead.wallet
            entry = fee_entry(wallet, facts, charge, book, self.origin, self.now, of=of)
            if covered and entry.overdrawn > 0:
                raise RecordError(
                    Reason.INSUFFICIENT_BALANCE,
                    f"fee {charge.fee!r} is {amount_text(charge.amount)} {charge.asset}, of which"
                    f" {amount_text(entry.overdrawn)} more would be needed: top up first",
                    "plan",
                )
            self.ahead.add(entry)
            if entry.asset is not None and entry.amount > 0:
                spent = entry.amount - entry.overdrawn
                now_book = self.books.at(self.now.at_ms)
                self.ahead.crossed.extend(
                    crossings(wallet, now_book, charge.asset, spent, self.now.at_ms)
                )
                self.ahead.overdrawn += entry.overdrawn

    def granting(self, facts: SubscriptionFacts, book: Book) -> Granting:
        return Granting(self.ahead, facts, book, self.books, self.origin, self.now)

    def set_terms(self, old: PlanTerms | None, new: PlanTerms | None, book: Book) -> None:
        """The wallet's terms, where a plan sets others than before."""
        entry = plan_terms_entry(self.ahead.wallet, old, new, book, self.origin, self.now)
        if entry is not None:
            self.ahead.add(entry)

    def set_budgets(
        self, facts: SubscriptionFacts, old: PlanPhase | None, new: PlanPhase | None
    ) -> None:
        """The customer's budgets, where a plan sets others than before: ahead of its fees, which
        are revenue of its margins. They stay while another subscription has them."""
        before = {} if old is None else dict(old.budgets)
        for budget_id in self._of_others(facts) if before else ():
            before.pop(budget_id, None)
        budgets = {} if new is None else new.budgets
        plan_budget_entries(self.ahead, before, budgets, self.origin, self.now)

    def _of_others(self, facts: SubscriptionFacts) -> set[str]:
        """Ids of the budgets that the customer's other subscriptions bring."""
        found: set[str] = set()
        customer = self.ahead.wallet.customer
        for due in self.ahead.wallet.subscriptions:
            row: Subscription = self.ahead.row(subscription_key(customer, due.id))
            if due.id != facts.id and row.facts.status == "active":
                found.update(placed(row, self.books).phase.budgets)
        return found

    # a cycle

    def begin(
        self,
        facts: SubscriptionFacts,
        plan: CompiledPlan,
        phase: PlanPhase,
        starts_ms: int,
        old: Place | None,
        *,
        ended: bool = False,
        covered: bool = False,
        enters: bool = True,
    ) -> None:
        """Begin a cycle by a plan. `facts` are the subscription's but for what follows from the
        plan; `old` is how it was before, whose cycle has `ended`, or was left already."""
        book = self.books.version(plan.book)
        assert book is not None
        span = self.span(facts, plan, phase, starts_ms)
        begins = in_cycle_of(facts, plan, phase, span)
        self.state(begins)
        self.set_budgets(begins, None if old is None else old.phase, phase)
        if old is not None and ended:
            until_ms = milliseconds(old.facts.ends_at)
            due = charges(
                old.phase,
                "arrears",
                old.facts.seats,
                stretch_of(old.facts, since_of(old.facts), until_ms),
                old.book,
            )
            self.charge(begins, due, old.book, of=(old.facts.plan, old.facts.book))
        stretch = stretch_of(begins, since_of(begins), span.ends_ms)
        due = charges(phase, "advance", begins.seats, stretch, book)
        self.charge(begins, due, book, covered=covered)
        how: Prorated = plan.plan.grant_proration.start
        self.granting(begins, book).begin(phase, span, how, enters=enters)
        self.set_terms(None if old is None else old.phase.terms, phase.terms, book)

    def span(
        self, facts: SubscriptionFacts, plan: CompiledPlan, phase: PlanPhase, starts_ms: int
    ) -> Span:
        """The cycle of a phase that begins at `starts_ms`."""
        return span_of(plan, phase, starts_ms, counted_from(facts, plan), zone_of(plan, self.books))

    def end(self, old: Place, facts: SubscriptionFacts, due: Iterable[Charge]) -> None:
        """The end of a subscription, as `facts` state it, and what is due then."""
        self.state(facts)
        self.charge(facts, due, old.book)
        self.granting(facts, old.book).end(old.phase)
        self.set_terms(old.phase.terms, None, old.book)
        self.set_budgets(facts, old.phase, None)


def counted_from(facts: SubscriptionFacts, plan: CompiledPlan) -> int | None:
    """What cycles are counted from: as it was asked for, as the plan says, as it was before."""
    if facts.anchor is not None:
        return milliseconds(facts.anchor)
    of_plan = anchored(plan.plan.cycle)
    if of_plan is not None:
        return of_plan
    return None if facts.counted_from is None else milliseconds(facts.counted_from)


def in_cycle_of(
    facts: SubscriptionFacts, plan: CompiledPlan, phase: PlanPhase, span: Span
) -> SubscriptionFacts:
    """The facts of a subscription in a cycle that begins."""
    how = plan.plan.proration.start
    short = span.basis_ms != span.starts_ms
    counted = facts.counted_from or moment(span.starts_ms)
    return replaced(
        facts,
        plan=plan.id,
        phase=phase.id,
        book=plan.book,
        book_offset=plan.book_offset,
        status="active",
        starts_at=moment(span.starts_ms),
        ends_at=moment(span.ends_ms),
        basis_at=moment(span.basis_ms) if short and how == "time" else None,
        since_at=moment(span.ends_ms) if short and how == "none" else None,
        counted_from=counted if phase.days is None else None,
        canceled=False,
        next=None,
        entitlements=entitled(phase, facts.seats),
    )


def next_cycle(ahead: Ahead, due: SubscriptionDue, books: Books, now: Moment) -> None:
    """Begin, renew or end a subscription whose time has come."""
    row: Subscription = ahead.row(subscription_key(ahead.wallet.customer, due.id))
    facts, at_ms = row.facts, due.next_ms
    turn = Turn(ahead, books, Origin(timer=RESET, due_ms=at_ms), now)
    if facts.status == "scheduled":
        plan = books.plan(facts.plan, at_ms)
        assert plan is not None, "it was there when it was subscribed to"
        turn.begin(replaced(facts, change="begin"), plan, plan.phases[0], at_ms, None)
        return
    old = placed(row, books)
    if facts.canceled:
        stretch = stretch_of(facts, since_of(facts), at_ms)
        arrears = charges(old.phase, "arrears", facts.seats, stretch, old.book)
        turn.end(old, replaced(facts, change="end", status="ended"), arrears)
        return
    seats, plan_id = facts.seats, facts.plan
    if facts.next is not None:
        seats, plan_id = facts.next.seats, facts.next.plan
    plan = books.plan(plan_id, at_ms)
    assert plan is not None, "it was there when the cycle before began"
    phase, cycle = plan.phase(facts.phase), 1
    if phase.id == facts.phase:
        phase, cycle = plan.after(phase, facts.cycle)
    enters = cycle == 1 and plan_id == facts.plan
    same = old.plan.same_cycle(old.phase, plan, phase)
    renewed = replaced(
        facts,
        change="renew",
        seats=seats,
        cycle=cycle,
        counted_from=facts.counted_from if same else None,
    )
    turn.begin(renewed, plan, phase, at_ms, old, ended=True, enters=enters)
