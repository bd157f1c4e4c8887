"""Reversal: the exact inverse of an entry, as a new one.

The entry comes with the command, whole; its digest says that it is what the journal has. What was
taken goes back to the grants it came from where they live and are in effect; where they are not,
to a new grant, or it stays with them. Of what was given, its own grant gives back first. An entry
is reversed once, its reversal once more, and no further.
"""

from __future__ import annotations

from typing import Final

from drawdown.events.base import milliseconds
from drawdown.events.codec import RecordError, decode_entry, encode
from drawdown.events.commands import Reverse
from drawdown.events.entries import ReversesFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.book import Books
from drawdown.ledger.corrections import plain_grant, taken_by
from drawdown.ledger.counters import uncounted
from drawdown.ledger.drawdown import Slice, earned
from drawdown.ledger.evolve import Rows, evolve_wallet
from drawdown.ledger.grants import REPORTING_DEFAULT, check_new, check_room
from drawdown.ledger.journal import Entry, Origin, Rare, Sealed, entry_of, seal
from drawdown.ledger.outcome import Decided, Moment, blank
from drawdown.ledger.prices import CountedRate
from drawdown.ledger.slices import has_spent, unearned
from drawdown.ledger.values import Grant, Reversed, Wallet, live_grant, recognized, reversed_key

INSTEAD: Final = {
    "hold": "release the hold",
    "release": "authorize anew",
    "expire": "authorize anew",
    "extend": "extend or release the hold",
    "terms": "set the terms as they were",
    "state": "set the state as it was",
    "rollover": "adjust",
    "settle": "adjust",
    "convert": "adjust",
    "statement": "it stands: what is set right later is in the next one",
    "topup": "set the terms as they were; a top-up that was paid is a grant of its own",
    "close": "what its period counted is closed for good",
}
"""What to do about entries that have no inverse."""

_ReversesFacts = struct_of(ReversesFacts)


def reverse(
    rows: Rows, wallet: Wallet, command: Reverse, origin: Origin, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Reverse an entry. Raises RecordError, naming the field."""
    original = checked_entry(command.entry, wallet)
    before = original.entry
    known: Reversed | None = rows.row(reversed_key(wallet.customer, before.sequence))
    if known is not None:
        raise RecordError(
            Reason.ALREADY_REVERSED,
            f"entry {before.sequence} was reversed or ended by entry {known.by}: reverse that"
            " one, or adjust",
            "entry",
        )
    instead = INSTEAD.get(before.kind)
    running = before.running
    if running is not None and running.commitment is not None and before.origin.timer is not None:
        instead = "adjust: the commitment would be trued up again"
    reverses = before.rare.reverses
    if reverses is not None and before.rare.rerates is not None:
        instead = f"reverse or rerate entry {before.sequence + 1}, which came with it"
    if reverses is not None and reverses.again:
        instead = "adjust: this one reversed a reversal, and that is the end of it"
    if instead is not None:
        raise RecordError(
            Reason.NOT_REVERSIBLE, f"a {before.kind} has no inverse; {instead}", "entry"
        )
    entry = reversal_of(wallet, original, origin, now, keep_cost=command.keep_cost)
    entry = replaced(entry, running=uncounted(rows, before, counting_rate(books, before)))
    if before.asset is None:
        return Decided(wallet=wallet), entry
    if back_to_customer(before):
        back = given_back_by(wallet, command.id, command.gone, before, entry, books, now)
        return Decided(wallet=wallet), back
    return taken_back_by(wallet, before, entry, books, now)


def back_to_customer(before: Entry) -> bool:
    """Whether reversing an entry gives value back: it took some."""
    reverses = before.rare.reverses
    return not (
        before.amount < 0 or before.grant is not None or (reverses is not None and reverses.back)
    )


def counting_rate(books: Books, before: Entry) -> CountedRate | None:
    """The rate of a running quantity that an entry was priced by, where its book is known."""
    price = before.price
    book = None if price is None else books.named(price.book)
    return None if book is None or price is None else book.counting.get(price.rate or "")


def reversal_of(
    wallet: Wallet, original: Sealed, origin: Origin, now: Moment, *, keep_cost: bool
) -> Entry:
    """The reversal of an entry, before its money."""
    before = original.entry
    facts = _ReversesFacts(
        sequence=before.sequence,
        entry_digest=original.digest,
        kind=before.kind,
        back=back_to_customer(before),
        again=before.rare.reverses is not None,
    )
    return replaced(
        blank(wallet, "reversal", origin, now),
        usage=before.usage,
        price=before.price,
        cost=0 if keep_cost else -before.cost,
        rare=Rare(reverses=facts),
    )


def settled(wallet: Wallet, asset: str, reporting: str, now: Moment) -> Entry | None:
    """The entry that pays what the wallet owes from what it has that pays for anything; None where
    there is not both. What is overdrawn is paid first; credit in the reporting currency was revenue
    when it was used, see `drawdown.take`."""
    account = wallet.account(asset)
    left = account.owed
    earning = account.overdrawn if asset == reporting else left
    slices: list[Slice] = []
    for grant in wallet.grants:
        terms = grant.terms
        if (
            left
            and grant.remaining
            and terms.asset == asset
            and terms.scope is None
            and terms.subscription is None
            and grant.in_effect(now.at_ms)
        ):
            part = min(left, grant.remaining)
            slices.append(Slice(terms.id, part, earned(terms, grant, min(part, earning))))
            earning -= min(part, earning)
            left -= part
    paid = account.owed - left
    if not paid:
        return None
    overdrawn = min(paid, account.overdrawn)
    return replaced(
        blank(wallet, "settle", Origin(timer="settle", due_ms=now.at_ms), now),
        asset=asset,
        amount=paid,
        before=account.balance,
        after=account.balance,
        slices=tuple(slices),
        credit=overdrawn - paid,
        overdrawn=-overdrawn,
        revenue=sum(part.revenue for part in slices),
    )


def checked_entry(stated: object, wallet: Wallet) -> Sealed:
    """The entry that a command carries, checked to be one of this wallet's journal."""
    try:
        record = decode_entry(encode(stated))
    except RecordError as error:
        field = "entry" if error.field is None else f"entry.{error.field}"
        raise RecordError(Reason.INVALID, f"is no journal entry: {error.detail}", field) from None
    if record.subject != wallet.customer:
        raise RecordError(
            Reason.INVALID, f"is an entry of {record.subject!r}, not of this customer", "entry"
        )
    sealed = seal(entry_of(record))
    if sealed.digest != record.digest:
        raise RecordError(
            Reason.INVALID,
            "its digest is not that of its content: give the entry as the journal has it",
            "entry.digest",
        )
    if sealed.entry.sequence > wallet.sequence:
        raise RecordError(
            Reason.INVALID,
            f"is entry {sealed.entry.sequence}; the wallet has {wallet.sequence}",
            "entry.data.sequence",
        )
    return sealed


def given_back_by(
    wallet: Wallet,
    grant_id: str,
    gone: str,
    before: Entry,
    entry: Entry,
    books: Books,
    now: Moment,
) -> Entry:
    """Value that was taken comes back: the reversal `entry` of `before` with its money. What came
    from grants that are gone makes a new one of this id, or lapses."""
    assert before.asset is not None
    account = wallet.account(before.asset)
    live = {grant.terms.id: grant for grant in wallet.grants}
    slices: list[Slice] = []
    rest, paid, revenue = 0, 0, 0
    ended = before.kind in ("lapse", "void")
    for part in before.slices:
        grant = live.get(part.grant)
        if grant is not None and not ended and _same(grant, before, now):
            undone = _undone(grant, part)
            slices.append(Slice(part.grant, -part.amount, -undone))
            revenue -= undone
        elif gone == "grant":
            rest += part.amount
            paid += part.revenue
            revenue -= part.revenue
    void = before.rare.void
    if rest and ended:
        paid += before.rare.breakage
        paid += amount_of(void.refunded or "0") if void is not None else 0
    overdrawn = min(before.overdrawn, account.overdrawn)
    credit = min(before.credit, account.credit_used - account.credit_held)
    book = books.at(now.at_ms)
    reporting = before.asset == (REPORTING_DEFAULT if book is None else book.reporting)
    if reporting:
        # Credit in the reporting currency was revenue when it was used.
        revenue -= before.credit
        paid += before.credit - credit
    rest += before.credit - credit + before.overdrawn - overdrawn
    amount = rest + overdrawn + credit - sum(part.amount for part in slices)
    breakage = before.rare.breakage if rest and ended else 0
    reverses = before.rare.reverses
    if reverses is not None:
        # What reversing a grant took back of revenue and of deferred revenue is there again.
        own = sum(part.revenue for part in before.slices)
        revenue -= before.revenue - own - (before.credit if reporting else 0)
        paid += amount_of(reverses.deferred) if rest else 0
    facts = None
    if rest:
        check_new(wallet, grant_id, before.asset, rest)
        facts = plain_grant(grant_id, paid, now)
        check_room(wallet, facts)
    return replaced(
        entry,
        asset=before.asset,
        amount=amount,
        before=account.balance,
        after=account.balance + amount,
        slices=tuple(slices),
        credit=-credit,
        overdrawn=-overdrawn,
        revenue=revenue,
        grant=facts,
        rare=replaced(entry.rare, breakage=-breakage),
    )


def _same(grant: Grant, before: Entry, now: Moment) -> bool:
    """Whether it is the grant that an entry took from, and it is in effect: an id may be used
    again when its grant is spent."""
    return grant.terms.sequence < before.sequence and grant.in_effect(now.at_ms)


def _undone(grant: Grant, part: Slice) -> int:
    """The revenue that giving a slice back takes back, so that all the grant's still sums up."""
    if not has_spent(grant, part.amount):
        return part.revenue
    terms = grant.terms
    spent = terms.amount - grant.held - grant.remaining
    now_recognized = recognized(terms.paid, terms.amount, spent)
    return now_recognized - recognized(terms.paid, terms.amount, spent - part.amount)


def taken_back_by(
    wallet: Wallet, before: Entry, entry: Entry, books: Books, now: Moment
) -> tuple[Decided, Entry]:
    """Value that was given is taken back: from its own grants first, then as usage is paid."""
    assert before.asset is not None
    own = _own(wallet, before)
    amount = left = abs(before.amount)
    slices: list[Slice] = []
    refund = before.rare.reverses is None and before.amount > 0
    refunded = _refunded(own, before, now) if refund else 0
    deferred = 0
    for grant, most in own:
        part = min(grant.remaining, most, left)
        if part:
            left -= part
            worth = earned(grant.terms, grant, part)
            slices.append(Slice(grant.terms.id, part, 0 if refund else worth))
            deferred += worth if refund else 0
    rest_of = replaced(wallet, grants=_less(wallet, slices))
    decided, paid = taken_by(rest_of, entry, before.asset, left, books, now)
    account = wallet.account(before.asset)
    whole = {part.grant: part for part in slices}
    for more in paid.slices:
        first = whole.get(more.grant, Slice(more.grant, 0, 0))
        whole[more.grant] = Slice(
            more.grant, first.amount + more.amount, first.revenue + more.revenue
        )
    return replaced(decided, wallet=wallet), replaced(
        paid,
        amount=amount,
        after=account.balance - amount,
        slices=tuple(whole.values()),
        revenue=paid.revenue + sum(part.revenue for part in slices) - refunded,
        rare=replaced(
            entry.rare, reverses=replaced(entry.rare.reverses, deferred=amount_text(deferred))
        ),
    )


def _own(wallet: Wallet, before: Entry) -> list[tuple[Grant, int]]:
    """The live grants that an entry gave to, and how much each."""
    gave = {part.grant: -part.amount for part in before.slices}
    if before.grant is not None and before.amount > 0:
        gave[before.grant.id] = before.amount
    return [
        (grant, gave[grant.terms.id])
        for grant in wallet.grants
        if grant.terms.id in gave
        and grant.terms.sequence <= before.sequence
        and grant.terms.asset == before.asset
    ]


def _refunded(own: list[tuple[Grant, int]], before: Entry, now: Moment) -> int:
    """The revenue that a grant recognized, and that a refund of it takes back. Raises RecordError
    where it is not known what became of the grant."""
    assert before.grant is not None
    facts = before.grant
    if not own:
        if facts.expires_at is not None and milliseconds(facts.expires_at) <= now.at_ms:
            raise RecordError(
                Reason.NOT_REVERSIBLE,
                f"grant {facts.id!r} is over, and what was left of it is gone: adjust instead",
                "entry",
            )
        return amount_of(facts.paid)
    ((grant, _),) = own
    if grant.held:
        raise RecordError(
            Reason.NOT_REVERSIBLE,
            f"{amount_text(grant.held)} of grant {facts.id!r} is held: capture or release it first",
            "entry",
        )
    return grant.terms.paid - unearned(grant)


def _less(wallet: Wallet, slices: list[Slice]) -> tuple[Grant, ...]:
    """The grants without these slices."""
    gone = {part.grant: part.amount for part in slices}
    return tuple(
        [
            live_grant(grant.terms, grant.remaining - gone.get(grant.terms.id, 0), grant.held)
            for grant in wallet.grants
        ]
    )


def with_settled(entry: Entry, wallet: Wallet, books: Books, now: Moment) -> Entry | None:
    """What the wallet can pay of its debts once a reversal gave something back, or a charge became
    less; `wallet` is as it is before `entry`."""
    reverses, rerates = entry.rare.reverses, entry.rare.rerates
    if entry.asset is None or not (rerates or (reverses is not None and reverses.back)):
        return None
    book = books.at(now.at_ms)
    reporting = REPORTING_DEFAULT if book is None else book.reporting
    return settled(evolve_wallet(wallet, seal(entry)), entry.asset, reporting, now)
