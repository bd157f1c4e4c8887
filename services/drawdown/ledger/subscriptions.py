"""Commands about subscriptions: subscribe, change, cancel, resume.

Each makes the entry that states the subscription as it is from then on, with the command's id, and
behind it what comes of that: fees given back and charged, grants, terms. A fee on the wallet that a
command asks for is covered, or the command is refused; what a cycle brings about is a fact, and
overdraws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import RecordError, encode, kind_of
from drawdown.events.commands import (
    SUBSCRIPTION_ID_MAX,
    CancelSubscription,
    ChangeSubscription,
    ResumeSubscription,
    Subscribe,
)
from drawdown.events.entries import NextTerms, SubscriptionFacts
from drawdown.events.plans import Prorated
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.answers import answer_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.evolve import Rows
from drawdown.ledger.fees import Charge, charges, credits, since_of, stretch_of
from drawdown.ledger.grants import check_room_of
from drawdown.ledger.journal import Entry, Origin
from drawdown.ledger.outcome import Decided, Moment
from drawdown.ledger.plans import CompiledPlan, PlanPhase, entitled, fees_in
from drawdown.ledger.renewal import Place, Turn, in_cycle_of, placed
from drawdown.ledger.values import Subscription, Wallet, subscription_key

SUBSCRIPTIONS_MAX: Final = 16
"""Of one customer at a time: the wallet names them."""
NAMES_TOLD_MAX: Final = 8

_SubscriptionFacts: Callable[..., SubscriptionFacts] = struct_of(SubscriptionFacts)
_NextTerms: Callable[..., NextTerms] = struct_of(NextTerms)
AnySubscriptionCommand = Subscribe | ChangeSubscription | CancelSubscription | ResumeSubscription


def decide_subscription(
    rows: Rows,
    command: AnySubscriptionCommand,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Decided:
    """Decide one of them: the answer is that of the entry with the command's id. Raises
    RecordError, naming the field."""

    def said(entry: Entry) -> Entry:
        named: Any = {"id": command.id, "fingerprint": fingerprint.hex()}
        return replaced(entry, **named, reason=command.reason)

    ahead = Ahead(rows, command.customer)
    wallet = ahead.wallet
    SUBSCRIPTIONS[kind_of(command)](Turn(ahead, books, origin, now, said), command)
    answer = answer_of(next(each for each in ahead.entries if each.entry.id is not None))
    return ahead.before(Decided(answer=answer, identity=fingerprint + encode(answer)), wallet)


def _subscribe(turn: Turn, command: Subscribe) -> None:
    """Begin a subscription, now or later."""
    now_ms = turn.now.at_ms
    subscription_id = _new_id(turn.ahead, command)
    if len(turn.ahead.wallet.subscriptions) >= SUBSCRIPTIONS_MAX:
        raise RecordError(
            Reason.INVALID, f"{SUBSCRIPTIONS_MAX} subscriptions at a time is the most: end one"
        )
    plan = _plan(command.plan, turn.books, turn.now)
    seats = _seats(plan.plan.seats_min if command.seats is None else command.seats, plan)
    starts_ms = now_ms
    if command.start_at is not None:
        asked_ms = milliseconds(command.start_at)
        if asked_ms < milliseconds(command.time):
            raise RecordError(
                Reason.INVALID,
                f"{at_text(asked_ms)} is over: leave it out to begin at once, and give anchor to"
                " count cycles from then",
                "start_at",
            )
        starts_ms = max(asked_ms, starts_ms)
    phase = plan.phases[0]
    facts = _SubscriptionFacts(
        id=subscription_id,
        plan=plan.id,
        phase=phase.id,
        book=plan.book,
        book_offset=plan.book_offset,
        status="active",
        seats=seats,
        change="subscribe",
        begun_at=moment(starts_ms),
        starts_at=moment(starts_ms),
        ends_at=moment(starts_ms),
        anchor=None if command.anchor is None else moment(milliseconds(command.anchor)),
    )
    if starts_ms > now_ms:
        span = turn.span(facts, plan, phase, starts_ms)
        begins = in_cycle_of(facts, plan, phase, span)
        turn.state(replaced(begins, status="scheduled", counted_from=None))
    else:
        turn.begin(facts, plan, phase, starts_ms, None, covered=True)
        check_room_of(turn.ahead.wallet)


def _change(turn: Turn, command: ChangeSubscription) -> None:
    """Change plan or seats, now or when the cycle ends."""
    old = _known(turn, command)
    facts = old.facts
    if facts.status == "scheduled":
        raise RecordError(
            Reason.INVALID,
            f"begins only at {at_text(milliseconds(facts.starts_at))}: cancel it and subscribe"
            " anew, under another id",
            "subscription_id",
        )
    if facts.canceled:
        raise RecordError(
            Reason.INVALID, "is canceled: resume it first, then change it", "subscription_id"
        )
    plan: CompiledPlan = old.plan
    if command.plan is not None and command.plan != facts.plan:
        plan = _plan(command.plan, turn.books, turn.now)
    seats = _seats(facts.seats if command.seats is None else command.seats, plan)
    field = "seats" if command.plan is None else "plan"
    wanted = (plan.id, seats)
    if wanted == (facts.plan, facts.seats):
        raise RecordError(
            Reason.INVALID,
            f"is plan {plan.id!r} with {seats} seats already: change one of them"
            + ("; resume it to undo what was to change" if facts.next is not None else ""),
            field,
        )
    if command.when == "cycle_end":
        if facts.next is not None and wanted == (facts.next.plan, facts.next.seats):
            raise RecordError(Reason.INVALID, "changes to that already when its cycle ends", field)
        turn.state(replaced(facts, change="change", next=_NextTerms(*wanted)))
    else:
        _change_now(turn, old, plan, seats)


def _change_now(turn: Turn, old: Place, plan: CompiledPlan, seats: int) -> None:
    """Other terms from now on: the cycle goes on by them, or one of another length begins."""
    facts, at_ms = old.facts, turn.now.at_ms
    phase = plan.phase(facts.phase)
    fees, more, fewer = _policies(old, plan, phase, seats)
    ends_ms = milliseconds(facts.ends_at)
    due = _left(old, fees, at_ms)
    if not old.plan.same_cycle(old.phase, plan, phase):
        begins = replaced(facts, change="change", seats=seats, cycle=1, counted_from=None)
        book = turn.books.version(plan.book)
        assert book is not None
        # The credit first, so that it can pay; then all of the new cycle.
        turn.granting(facts, old.book).end(old.phase, restarts=True)
        turn.charge(facts, due, old.book)
        turn.begin(begins, plan, phase, at_ms, old, covered=True, enters=False)
        check_room_of(turn.ahead.wallet)
        return
    since_ms = at_ms
    if fees == "none":
        since_ms = ends_ms
    elif fees == "full":
        since_ms = min([since_of(facts), *(paid.since_ms for paid in old.fees)])
    starts = facts.starts_at
    changed = replaced(
        facts,
        plan=plan.id,
        phase=phase.id,
        book=plan.book,
        book_offset=plan.book_offset,
        seats=seats,
        change="change",
        since_at=None if since_ms == milliseconds(starts) else moment(since_ms),
        cycle=facts.cycle if phase.id == facts.phase else 1,
        next=None,
        entitlements=entitled(phase, seats),
    )
    turn.state(changed)
    turn.set_budgets(changed, old.phase, phase)
    turn.charge(changed, due, old.book, of=(facts.plan, facts.book))
    book = turn.books.version(plan.book)
    assert book is not None
    stretch = stretch_of(changed, since_ms, ends_ms)
    turn.charge(changed, charges(phase, "advance", seats, stretch, book), book, covered=True)
    starts_ms = milliseconds(starts)
    span = replaced(
        turn.span(changed, plan, phase, starts_ms),
        ends_ms=ends_ms,
        basis_ms=stretch.basis_ms,
    )
    turn.granting(changed, book).change(phase, span, more, fewer)
    turn.set_terms(old.phase.terms, phase.terms, book)
    check_room_of(turn.ahead.wallet)


def _policies(
    old: Place, plan: CompiledPlan, phase: PlanPhase, seats: int
) -> tuple[Prorated, Prorated, Prorated]:
    """Of fees, of grants that become more, of grants that become fewer; as the plan says that is
    changed from."""
    fees, grants = old.plan.plan.proration, old.plan.plan.grant_proration
    if plan.id == old.facts.plan:
        return fees.seats, grants.seats_more, grants.seats_fewer
    reporting = old.book.reporting
    before = fees_in(old.phase, reporting, old.facts.seats)
    if fees_in(phase, reporting, seats) >= before:
        return fees.upgrade, grants.upgrade, grants.upgrade
    return fees.downgrade, grants.downgrade, grants.downgrade


def _left(old: Place, how: Prorated, at_ms: int) -> list[Charge]:
    """What is given back of a cycle that is left at `at_ms`, and what of it is due in arrears: for
    the time that was used, for all of it (`none`), or for nothing (`full`)."""
    facts = old.facts
    ends_ms = milliseconds(facts.ends_at)
    found = credits(old.phase, old.fees, how, at_ms, ends_ms, old.book)
    if how != "full":
        until_ms = at_ms if how == "time" else ends_ms
        stretch = stretch_of(facts, since_of(facts), until_ms)
        found += charges(old.phase, "arrears", facts.seats, stretch, old.book)
    return found


def _cancel(turn: Turn, command: CancelSubscription) -> None:
    """End a subscription, now or when the cycle ends."""
    old = _known(turn, command)
    facts = old.facts
    if facts.status == "scheduled":
        turn.state(replaced(facts, change="cancel", status="ended"))
    elif command.when == "cycle_end":
        if facts.canceled:
            raise RecordError(
                Reason.INVALID,
                f"was canceled before, and ends at {at_text(milliseconds(facts.ends_at))}: resume"
                " it, or cancel it now",
                "subscription_id",
            )
        turn.state(replaced(facts, change="cancel", canceled=True, next=None))
    else:
        now_ms = turn.now.at_ms
        due = _left(old, old.plan.plan.proration.cancel, now_ms)
        ended = replaced(facts, change="cancel", status="ended", ends_at=moment(now_ms), next=None)
        turn.end(old, ended, due)


def _resume(turn: Turn, command: ResumeSubscription) -> None:
    """Undo a cancellation, or a change, that the cycle's end was to bring."""
    facts = _known(turn, command).facts
    if not facts.canceled and facts.next is None:
        raise RecordError(
            Reason.INVALID,
            "goes on anyway: there is neither a cancellation nor a change to undo",
            "subscription_id",
        )
    turn.state(replaced(facts, change="resume", canceled=False, next=None))


SUBSCRIPTIONS: Final[Mapping[str, Callable[..., None]]] = {
    "subscribe": _subscribe,
    "change_subscription": _change,
    "cancel_subscription": _cancel,
    "resume_subscription": _resume,
}
"""What makes the entries of each of these commands."""


def all_ended(rows: Rows, wallet: Wallet, origin: Origin, now: Moment) -> Ahead:
    """Subscriptions end with a wallet that is closed: nothing is charged or given back."""
    ahead = Ahead(rows, wallet.customer)
    turn = Turn(ahead, Books(), origin, now)
    for due in wallet.subscriptions:
        row: Subscription = rows.row(subscription_key(wallet.customer, due.id))
        turn.state(replaced(row.facts, change="end", status="ended", next=None))
    return ahead


# what they have in common


def _new_id(rows: Rows, command: Subscribe) -> str:
    subscription_id = command.subscription_id
    if subscription_id is None:
        subscription_id = command.id
        if len(subscription_id) > SUBSCRIPTION_ID_MAX:
            raise RecordError(
                Reason.INVALID,
                f"give one: the command's id has more than {SUBSCRIPTION_ID_MAX} characters",
                "subscription_id",
            )
    known: Subscription | None = rows.row(subscription_key(command.customer, subscription_id))
    if known is not None:
        raise RecordError(
            Reason.SUBSCRIPTION_EXISTS,
            f"{command.customer} {'had' if known.facts.status == 'ended' else 'has'} a subscription"
            f" {subscription_id!r}, of plan {known.facts.plan!r}: use another id, or change it",
            "subscription_id",
        )
    return subscription_id


def _known(
    turn: Turn, command: ChangeSubscription | CancelSubscription | ResumeSubscription
) -> Place:
    """The subscription that is not over. Raises RecordError."""
    customer, subscription_id = command.customer, command.subscription_id
    row: Subscription | None = turn.ahead.row(subscription_key(customer, subscription_id))
    if row is None:
        raise RecordError(
            Reason.SUBSCRIPTION_UNKNOWN,
            f"{customer} has no subscription {subscription_id!r}",
            "subscription_id",
        )
    if row.facts.status == "ended":
        raise RecordError(
            Reason.SUBSCRIPTION_ENDED,
            f"ended at {at_text(milliseconds(row.facts.ends_at))}: subscribe anew, under another"
            " id",
            "subscription_id",
        )
    return placed(row, turn.books)


def _plan(plan_id: str, books: Books, now: Moment) -> CompiledPlan:
    book: Book | None = books.at(now.at_ms)
    if book is None:
        raise RecordError(
            Reason.NO_PRICE_BOOK, f"none is in effect at {at_text(now.at_ms)}", "plan"
        )
    plan = book.plans.get(plan_id)
    if plan is None:
        names = sorted(book.plans)
        told = ", ".join(names[:NAMES_TOLD_MAX]) or "none"
        more = ", ..." if len(names) > NAMES_TOLD_MAX else ""
        raise RecordError(
            Reason.PLAN_UNKNOWN,
            f"price book {book.version!r} has no plan {plan_id!r}; its plans are {told}{more}",
            "plan",
        )
    return plan


def _seats(seats: int, plan: CompiledPlan) -> int:
    least, most = plan.plan.seats_min, plan.plan.seats_max
    if seats < least:
        raise RecordError(
            Reason.INVALID, f"{seats} is too few: plan {plan.id!r} has {least} at least", "seats"
        )
    if most is not None and seats > most:
        raise RecordError(
            Reason.INVALID, f"{seats} is too many: plan {plan.id!r} has {most} at most", "seats"
        )
    return seats
