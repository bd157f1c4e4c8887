"""Fees of subscriptions: what a stretch of a cycle is charged, and what is given back of it.

A part is by time, to the millisecond: the difference of two rounded totals from where a whole cycle
begins, so that the parts of a cycle sum to the whole fee. What is given back is what was charged,
less what its time used of it, rounded once. A fee on the wallet is a debit, paid by what no plan
granted; an invoiced one is an entry of its own kind that moves no account.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

from drawdown.events.base import Value, milliseconds, moment
from drawdown.events.entries import FeeFacts, SubscriptionFacts
from drawdown.events.numbers import PLACES, amount_text, rational_text, step_of
from drawdown.events.plans import Fee, Prorated
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Book
from drawdown.ledger.drawdown import take
from drawdown.ledger.give_back import give_back
from drawdown.ledger.journal import Entry, Origin, Rare
from drawdown.ledger.outcome import Moment, blank, booked
from drawdown.ledger.plans import PlanPhase, fee_of
from drawdown.ledger.rates.terms import rounded
from drawdown.ledger.values import FeePaid, Wallet

HALF_EVEN: Final = "half_even"
_FeeFacts: Callable[..., FeeFacts] = struct_of(FeeFacts)


class Charge(Value, frozen=True):
    """What is charged for a fee, or given back where below zero; for a stretch of time."""

    fee: str
    when: str
    pay: str
    asset: str
    amount: int
    price: str
    seats: int | None
    starts_ms: int
    ends_ms: int
    part: Fraction
    exact: bool
    step: int
    revenue: bool
    """An invoiced one is revenue itself."""
    back: FeePaid | None = None
    """What is given back."""


class Stretch(Value, frozen=True):
    """A part of a cycle, and the whole one it is part of."""

    since_ms: int
    until_ms: int
    basis_ms: int
    ends_ms: int


def stretch_of(facts: SubscriptionFacts, since_ms: int, until_ms: int) -> Stretch:
    """A part of the cycle under way."""
    basis = facts.starts_at if facts.basis_at is None else facts.basis_at
    return Stretch(since_ms, until_ms, milliseconds(basis), milliseconds(facts.ends_at))


def since_of(facts: SubscriptionFacts) -> int:
    """From when in the cycle the terms are charged."""
    return milliseconds(facts.starts_at if facts.since_at is None else facts.since_at)


def charges(phase: PlanPhase, when: str, seats: int, stretch: Stretch, book: Book) -> list[Charge]:
    """The fees of a phase that are charged at the beginning of a stretch, or at its end; those that
    come to nothing are left out."""
    found = []
    for fee in phase.fees:
        if fee.when != when:
            continue
        step = step_of(book.assets[fee.asset].scale)
        whole = fee_of(fee, seats)
        length_ms = stretch.ends_ms - stretch.basis_ms
        first, one = _rounded(whole, stretch.since_ms - stretch.basis_ms, length_ms, step)
        last, two = _rounded(whole, stretch.until_ms - stretch.basis_ms, length_ms, step)
        amount = last - first
        if amount > 0:
            found.append(
                Charge(
                    fee.id,
                    fee.when,
                    fee.pay,
                    fee.asset,
                    amount,
                    fee.amount,
                    seats if fee.per == "seat" else None,
                    stretch.since_ms,
                    stretch.until_ms,
                    Fraction(stretch.until_ms - stretch.since_ms, length_ms),
                    one and two,
                    step,
                    _is_revenue(fee, book),
                )
            )
    return found


def credits(
    phase: PlanPhase,
    fees: tuple[FeePaid, ...],
    how: Prorated,
    at_ms: int,
    ends_ms: int,
    book: Book,
) -> list[Charge]:
    """What is given back of fees that were charged to the cycle's end, where it is left at `at_ms`:
    all of it, the part of the time that is left, or nothing."""
    found: list[Charge] = []
    if how == "none":
        return found
    known = {fee.id: fee for fee in phase.fees}
    for paid in fees:
        step = step_of(book.assets[paid.asset].scale)
        length_ms = ends_ms - paid.since_ms
        since_ms = paid.since_ms if how == "full" else max(at_ms, paid.since_ms)
        used, exact = _rounded(paid.amount, since_ms - paid.since_ms, length_ms, step)
        amount = paid.amount - used
        if not amount:
            continue
        fee = known.get(paid.fee)
        found.append(
            Charge(
                paid.fee,
                "advance" if fee is None else fee.when,
                paid.pay,
                paid.asset,
                -amount,
                amount_text(paid.amount),
                None,
                since_ms,
                ends_ms,
                Fraction(ends_ms - since_ms, length_ms),
                exact,
                step,
                fee is not None and _is_revenue(fee, book),
                paid,
            )
        )
    return found


def _is_revenue(fee: Fee, book: Book) -> bool:
    return fee.revenue == "fee" and fee.asset == book.reporting


def _rounded(whole: int, part_ms: int, length_ms: int, step: int) -> tuple[int, bool]:
    """`whole` x `part_ms` / `length_ms`, half-even to `step`; and whether that is exact."""
    steps, rest = divmod(whole * part_ms, length_ms * step)
    if not rest:
        return steps * step, True
    return rounded(steps, rest, length_ms * step, HALF_EVEN) * step, False


def share(whole: int, part_ms: int, length_ms: int, step: int) -> int:
    """The part by time of an amount, half-even to `step`."""
    return _rounded(whole, part_ms, length_ms, step)[0]


def fee_entry(
    wallet: Wallet,
    facts: SubscriptionFacts,
    charge: Charge,
    book: Book,
    origin: Origin,
    now: Moment,
    *,
    of: tuple[str, str] | None = None,
) -> Entry:
    """The entry of a charge. `of` is the plan and the version of the book it is from, where that is
    not what `facts` say any more."""
    plan, version = (facts.plan, facts.book) if of is None else of
    places = PLACES - len(str(charge.step)) + 1
    said = _FeeFacts(
        subscription=facts.id,
        plan=plan,
        book=version,
        fee=charge.fee,
        when=charge.when,
        pay=charge.pay,
        asset=charge.asset,
        amount=amount_text(charge.amount),
        price=charge.price,
        seats=charge.seats,
        starts_at=moment(charge.starts_ms),
        ends_at=moment(charge.ends_ms),
        part=rational_text(charge.part),
        rounding="exact" if charge.exact else f"{HALF_EVEN}:{places}",
    )
    if charge.pay == "invoice":
        return replaced(
            blank(wallet, "fee", origin, now),
            revenue=charge.amount if charge.revenue else 0,
            rare=Rare(fee=said),
        )
    return replaced(_on_wallet(wallet, charge, book, origin, now), rare=Rare(fee=said))


def _on_wallet(wallet: Wallet, charge: Charge, book: Book, origin: Origin, now: Moment) -> Entry:
    account = wallet.account(charge.asset)
    reporting = book.reporting
    grant = None
    if charge.amount < 0:
        parts = () if charge.back is None else charge.back.parts
        taken, grant = give_back(wallet, account, -charge.amount, parts, now.at_ms, reporting)
    else:
        # What a plan includes is for use: it does not pay the plan's own fee.
        others = [each for each in wallet.grants if each.terms.subscription is None]
        payer = replaced(wallet, grants=tuple(others))
        taken = take(payer, account, charge.amount, "", {}, now.at_ms, reporting, book.order)
    return booked(blank(wallet, "debit", origin, now), account, charge.amount, taken, grant)
