"""What time alone brings about in a wallet: cycles begin, and what is over lapses or rolls over.

A cycle begins at its instant, for whatever is decided from then on: a decision that comes before
the timer begins it itself (`begun`), so that the new grant is whole and the old one out of effect
at that very instant. What is left of the old one lapses or rolls over on the watermark only, when
nothing that was appended before the instant is still to be decided.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from drawdown.events.base import Value, at_text, milliseconds, moment
from drawdown.events.commands import Rollover
from drawdown.events.entries import GrantFacts, RecurrenceFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.book import Book, Books, only_utc
from drawdown.ledger.calendar import next_after
from drawdown.ledger.drawdown import Slice, earned
from drawdown.ledger.evolve import Rows
from drawdown.ledger.flows import RESET
from drawdown.ledger.grants import given, in_cycle
from drawdown.ledger.journal import NOTHING_RARE, Entry, Origin, Rare
from drawdown.ledger.outcome import Decided, Moment, blank, crossings
from drawdown.ledger.renewal import next_cycle
from drawdown.ledger.rows import scope_record
from drawdown.ledger.values import GRANTS_MAX, NEVER, Grant, GrantTerms, Wallet

ENTRIES_MAX: Final = 128
"""Of one firing, about: what is over at once ends at once. The wallet stays due for the rest."""
EXPIRY: Final = "expiry"

_GrantFacts = struct_of(GrantFacts)


def begun(rows: Rows, wallet: Wallet, books: Books, now: Moment) -> Ahead:
    """The cycles of grants and subscriptions that have begun by `now` and were not seen to yet,
    oldest first: their entries, and the rows after them."""
    ahead = Ahead(rows, wallet.customer)
    while len(ahead.entries) < GRANTS_MAX and _begin(ahead, books, now):
        pass
    return ahead


def _begin(ahead: Ahead, books: Books, now: Moment) -> bool:
    """Begin the oldest cycle that is due; False where none is. At one instant a subscription comes
    before its grants: it says which of them come again."""
    wallet = ahead.wallet
    due = [
        grant
        for grant in wallet.grants
        if grant.terms.next_ms <= now.at_ms and not grant.terms.succeeded
    ]
    first = min(due, key=lambda grant: (grant.terms.next_ms, grant.terms.id), default=None)
    until_ms = now.at_ms if first is None else first.terms.next_ms
    renewing = [each for each in wallet.subscriptions if each.next_ms <= until_ms]
    if renewing:
        next_cycle(ahead, min(renewing, key=lambda each: (each.next_ms, each.id)), books, now)
        return True
    if first is None:
        return False
    ahead.add(_cycle(wallet, first, books, now))
    return True


def _cycle(wallet: Wallet, before: Grant, books: Books, now: Moment) -> Entry:
    """The entry of the cycle after that of a grant."""
    terms = before.terms
    recurrence, start_ms = terms.recurrence, terms.next_ms
    assert recurrence is not None
    left = None if recurrence.left is None else recurrence.left - 1
    next_ms = _next(recurrence, books, start_ms)
    resets = recurrence.mode == "reset"
    facts = in_cycle(
        replaced(
            _facts(terms, start_ms),
            id=f"{recurrence.id}@{at_text(start_ms)}" if resets else recurrence.id,
            paid=recurrence.paid,
        ),
        replaced(recurrence, left=left),
        next_ms,
    )
    origin = Origin(timer=RESET, due_ms=start_ms)
    book = books.at(now.at_ms)
    return given(
        wallet, "grant", terms.asset, amount_of(recurrence.amount), facts, origin, book, now
    )


def _next(recurrence: RecurrenceFacts, books: Books, after_ms: int) -> int:
    # A zone that was there when the grant was decided is there now; else the world lost it.
    zone = books.zone(recurrence.zone) or only_utc("UTC")
    assert zone is not None
    return next_after(recurrence, zone, after_ms)


def _facts(terms: GrantTerms, effective_ms: int) -> GrantFacts:
    """What a grant says that follows from another one."""
    return _GrantFacts(
        id=terms.id,
        category=terms.category,
        priority=terms.priority,
        effective_at=moment(effective_ms),
        scope=scope_record(terms.scope),
        paid="0",
        metadata=dict(terms.metadata),
        subscription=terms.subscription,
    )


def due(rows: Rows, wallet: Wallet, books: Books, now: Moment) -> Decided:
    """All that is due in a wallet by `now`, which is the watermark; one cycle after the other."""
    ahead = Ahead(rows, wallet.customer)
    while len(ahead.entries) < ENTRIES_MAX:
        begins = _begin(ahead, books, now)
        over = [grant for grant in ahead.wallet.grants if _is_over(grant, now)]
        if not over and not begins:
            break
        for grant in over:
            after = ahead.wallet
            plan = _plan(after, grant, books)
            asset, book = grant.terms.asset, books.at(now.at_ms)
            gone = plan.lapsing - _begins_with(after, grant.terms)
            # What lapses was there until now: the crossing is measured just before its expiry.
            at_ms = grant.terms.expires_ms - 1
            ahead.crossed.extend(crossings(after, book, asset, max(0, gone), at_ms))
            for make in (_lapse, _rollover, _least):
                entry = make(ahead.wallet, plan, book, now)
                if entry is not None:
                    ahead.add(entry)
    return ahead.before(Decided(), wallet)


def _is_over(grant: Grant, now: Moment) -> bool:
    terms = grant.terms
    if terms.next_ms <= now.at_ms:
        # The next cycle begins first; then a least amount is to be carried, also of nothing.
        return terms.succeeded
    return terms.expires_ms <= now.at_ms and grant.remaining > 0


class Plan(Value, frozen=True):
    """What becomes of what is left of a grant that is over."""

    grant: Grant
    lapsing: int
    carried: int
    least: int
    """Less than this is not carried: the rest is granted."""
    into: GrantFacts | None
    """The grant of what is carried, but for what was paid for it; None where nothing can be."""


def _plan(wallet: Wallet, grant: Grant, books: Books) -> Plan:
    terms = grant.terms
    recurrence = terms.recurrence
    if recurrence is None or recurrence.rollover is None or not terms.succeeded:
        return Plan(grant, grant.remaining, 0, 0, None)
    rollover = recurrence.rollover
    carried = _carried(wallet, grant, rollover)
    into = replaced(
        _facts(terms, terms.expires_ms),
        id=_rolled_id(recurrence, rollover, terms.expires_ms),
        expires_at=_rolled_until(recurrence, rollover, books, terms.expires_ms),
        rolled=recurrence.id,
    )
    least = 0 if terms.next_ms == NEVER else amount_of(rollover.min)
    return Plan(grant, grant.remaining - carried, carried, least, into)


def _lapse(wallet: Wallet, plan: Plan, _: Book | None, now: Moment) -> Entry | None:
    if not plan.lapsing:
        return None
    grant = plan.grant
    breakage = earned(grant.terms, grant, plan.lapsing)
    return replaced(
        _moved(wallet, plan, "lapse", plan.lapsing, now),
        after=wallet.account(grant.terms.asset).balance - plan.lapsing,
        rare=Rare(breakage=breakage) if breakage else NOTHING_RARE,
    )


def _rollover(wallet: Wallet, plan: Plan, _: Book | None, now: Moment) -> Entry | None:
    if not plan.carried:
        return None
    grant = plan.grant
    # Of what was paid for the grant, the part after what lapsed: the parts sum to the whole.
    paid = earned(grant.terms, grant, plan.lapsing + plan.carried)
    paid -= earned(grant.terms, grant, plan.lapsing)
    return replaced(
        _moved(wallet, plan, "rollover", plan.carried, now),
        grant=replaced(plan.into, paid=amount_text(paid)),
    )


def _least(wallet: Wallet, plan: Plan, book: Book | None, now: Moment) -> Entry | None:
    missing = plan.least - plan.carried
    if missing <= 0 or plan.into is None:
        return None
    terms = plan.grant.terms
    origin = Origin(timer=EXPIRY, due_ms=terms.expires_ms)
    return given(wallet, "grant", terms.asset, missing, plan.into, origin, book, now)


def _moved(wallet: Wallet, plan: Plan, kind: str, amount: int, now: Moment) -> Entry:
    terms = plan.grant.terms
    balance = wallet.account(terms.asset).balance
    return replaced(
        blank(wallet, kind, Origin(timer=EXPIRY, due_ms=terms.expires_ms), now),
        asset=terms.asset,
        amount=amount,
        before=balance,
        after=balance,
        slices=(Slice(terms.id, amount, 0),),
    )


def _begins_with(wallet: Wallet, terms: GrantTerms) -> int:
    """What becomes available at the very instant a grant is over."""
    return sum(
        grant.remaining
        for grant in wallet.grants
        if grant.terms.asset == terms.asset and grant.terms.start_ms == terms.expires_ms
    )


def _carried(wallet: Wallet, grant: Grant, rollover: Rollover) -> int:
    """How much of what is left goes over: no more than makes `max` with what was carried before."""
    if rollover.max is None:
        return grant.remaining
    recurrence = grant.terms.recurrence
    assert recurrence is not None
    before = sum(
        other.remaining
        for other in wallet.grants
        if other.terms.rolled == recurrence.id and other.terms.expires_ms > grant.terms.expires_ms
    )
    return min(grant.remaining, max(0, amount_of(rollover.max) - before))


def _rolled_id(recurrence: RecurrenceFacts, rollover: Rollover, at_ms: int) -> str:
    """What is carried for good is one grant; else one for each cycle it is from."""
    return f"{recurrence.id}+" if rollover.cycles is None else f"{recurrence.id}+{at_text(at_ms)}"


def _rolled_until(
    recurrence: RecurrenceFacts, rollover: Rollover, books: Books, at_ms: int
) -> datetime | None:
    until_ms = NEVER if recurrence.ends_at is None else milliseconds(recurrence.ends_at)
    if rollover.cycles is not None:
        cycle_ms = at_ms
        for _ in range(rollover.cycles):
            cycle_ms = _next(recurrence, books, cycle_ms)
        until_ms = min(until_ms, cycle_ms)
    return None if until_ms == NEVER else moment(until_ms)
