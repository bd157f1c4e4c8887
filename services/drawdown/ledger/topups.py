"""Auto top-ups: terms, requests, and what becomes of them.

A request is an entry of the very decision that leaves the balance low, so that it exists once
whatever is killed; what is outstanding, what a cap's period took and how long to wait is in the row
of the asset. Whether it is low is looked at behind every decision about a customer with such terms
(`looked_after`), and when a wait is over, by a timer.

Money that was paid becomes the grant once and always: also when the request had failed or was never
answered, and in a wallet that was closed meanwhile. It was taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drawdown.events.base import at_text, moment
from drawdown.events.calendar import period_of
from drawdown.events.codec import RecordError, encode
from drawdown.events.commands import SetAutoTopup, SettleTopup
from drawdown.events.entries import GrantFacts
from drawdown.events.numbers import AMOUNT_MAX, amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced, struct_of
from drawdown.events.topups import Below, TopUp, TopUpCaps, TopUpFacts, TopUpTerms
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.answers import answer_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.drawdown import PRIORITY_DEFAULT, spendable
from drawdown.ledger.evolve import Rows
from drawdown.ledger.grants import checked_amount, given, paid_for
from drawdown.ledger.journal import Entry, Origin, Rare, seal
from drawdown.ledger.outcome import Decided, Moment, blank
from drawdown.ledger.topped_up import is_few_days
from drawdown.ledger.topup_values import (
    DAY_MS,
    Topup,
    TopupRequest,
    Window,
    request_key,
    topup_key,
    window_record,
)
from drawdown.ledger.values import Wallet

KIND: Final = "topup"
TIMER: Final = "topup"
"""The timer that ends a wait, and a request that nobody answers."""
TOPUPS_MAX: Final = 8
"""Assets of one customer: each is looked at behind every decision."""
ANSWER_MS: Final = DAY_MS
"""How long a payment may take before its request counts as failed."""
COOL_DOWN_MS: Final = 300_000
"""After the first failure; each one in a row doubles it."""
COOL_DOWN_MS_MAX: Final = DAY_MS

_Facts: Callable[..., TopUpFacts] = struct_of(TopUpFacts)
_Below: Callable[..., Below] = struct_of(Below)
_TopUp: Callable[..., TopUp] = struct_of(TopUp)
_TopUpCaps: Callable[..., TopUpCaps] = struct_of(TopUpCaps)
_Terms: Callable[..., TopUpTerms] = struct_of(TopUpTerms)
_GrantFacts: Callable[..., GrantFacts] = struct_of(GrantFacts)


# --- commands ----------------------------------------------------------------------------------


def set_auto_topup(
    rows: Rows,
    command: SetAutoTopup,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Decided:
    """Set or remove the terms of an asset's auto top-up. Raises RecordError, naming the field."""
    wallet: Wallet = rows.row(command.customer) or Wallet(command.customer)
    row: Topup | None = rows.row(topup_key(command.customer, command.asset))
    if command.remove:
        if row is None or row.terms is None:
            raise RecordError(
                Reason.TOPUP_UNKNOWN, f"there is no auto top-up of {command.asset!r}", "asset"
            )
        facts = _Facts(asset=command.asset, change="remove")
    else:
        terms = _terms(command, books, now)
        if command.asset not in wallet.topups and len(wallet.topups) >= TOPUPS_MAX:
            raise RecordError(
                Reason.INVALID, f"{TOPUPS_MAX} assets is the most: remove one", "asset"
            )
        window = _window_of_terms(row, terms.caps, now)
        facts = _Facts(asset=command.asset, change="set", terms=terms, window=window_record(window))
    entry = replaced(
        blank(wallet, KIND, origin, now), reason=command.reason, rare=Rare(topup=facts)
    )
    return _answered(wallet, entry, command, fingerprint)


def settle_topup(
    rows: Rows,
    command: SettleTopup,
    fingerprint: bytes,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Decided:
    """Settle a request: a grant, or a failure and a wait. Raises RecordError, naming the field."""
    wallet: Wallet = rows.row(command.customer) or Wallet(command.customer)
    asked: TopupRequest | None = rows.row(request_key(command.customer, command.request_id))
    if asked is None:
        raise RecordError(
            Reason.TOPUP_UNKNOWN, f"no top-up {command.request_id!r} was requested", "request_id"
        )
    if asked.state == "paid" or (command.outcome == "failed" and asked.state != "outstanding"):
        raise RecordError(
            Reason.TOPUP_SETTLED,
            f"top-up {asked.id!r} is {asked.state} since entry {asked.sequence}",
            "request_id",
        )
    if command.outcome == "paid":
        entry = _paid(wallet, asked, command, origin, books, now)
    elif command.amount is not None:
        raise RecordError(Reason.INVALID, "nothing was paid: leave it out", "amount")
    else:
        row: Topup = rows.row(topup_key(wallet.customer, asked.asset))
        facts = _failure(row, asked, "failed", now)
        facts = replaced(facts, reference=command.reference, detail=command.detail)
        entry = replaced(blank(wallet, KIND, origin, now), rare=Rare(topup=facts))
    return _answered(wallet, entry, command, fingerprint)


def _answered(
    wallet: Wallet, entry: Entry, command: SetAutoTopup | SettleTopup, fingerprint: bytes
) -> Decided:
    sealed = seal(replaced(entry, id=command.id, fingerprint=fingerprint.hex()))
    answer = answer_of(sealed)
    return Decided((sealed,), answer, fingerprint + encode(answer), wallet=wallet)


def _paid(
    wallet: Wallet,
    asked: TopupRequest,
    command: SettleTopup,
    origin: Origin,
    books: Books,
    now: Moment,
) -> Entry:
    """The grant. Neither the number of live grants nor their length stops it: money was taken, and
    one request at a time bounds both."""
    book = books.at(now.at_ms)
    amount = asked.amount
    if command.amount is not None:
        amount = checked_amount(command.amount, asked.asset, "amount", book)
        if not amount:
            raise RecordError(Reason.INVALID, "is zero: say that it failed", "amount")
    paid = paid_for("paid", asked.cost_basis, asked.asset, amount, book)
    expires_ms = None
    if asked.expires_in_days is not None:
        expires_ms = now.at_ms + asked.expires_in_days * DAY_MS
    taken = {grant.terms.id for grant in wallet.grants}
    grant = _GrantFacts(
        # A caller may have given a grant the very id meanwhile.
        id=asked.id if asked.id not in taken else f"{asked.id}+{wallet.sequence + 1}",
        category="paid",
        priority=PRIORITY_DEFAULT,
        effective_at=moment(now.at_ms),
        at_once=True,
        expires_at=None if expires_ms is None else moment(expires_ms),
        paid=amount_text(paid),
    )
    facts = _Facts(
        asset=asked.asset,
        change="paid",
        request=asked.id,
        amount=amount_text(amount),
        late=asked.state != "outstanding",
        reference=command.reference,
        detail=command.detail,
    )
    entry = given(wallet, "grant", asked.asset, amount, grant, origin, book, now)
    return replaced(entry, rare=Rare(topup=facts))


def _failure(row: Topup, asked: TopupRequest, change: str, now: Moment) -> TopUpFacts:
    """What is said of a request that failed or was not answered; removed terms wait for nothing."""
    failures = row.failures + 1
    wait_ms = min(COOL_DOWN_MS << min(failures - 1, 16), COOL_DOWN_MS_MAX)
    return _Facts(
        asset=asked.asset,
        change=change,
        request=asked.id,
        amount=amount_text(asked.amount),
        failures=failures,
        waits_until=None if row.terms is None else moment(now.at_ms + wait_ms),
    )


# --- terms -------------------------------------------------------------------------------------


def _terms(command: SetAutoTopup, books: Books, now: Moment) -> TopUpTerms:
    """The terms a command sets, with what it leaves to the defaults."""
    book = books.at(now.at_ms)
    below, top_up, caps = command.below, command.top_up, command.caps
    if below is None or (below.amount is None and below.days_left is None):
        raise RecordError(
            Reason.INVALID,
            "say what is low: an amount, days_left, or both; or remove: true",
            "below",
        )
    low = checked_amount(below.amount or "0", command.asset, "below.amount", book)
    below = _Below(
        amount=None if below.amount is None else amount_text(low), days_left=below.days_left
    )
    if top_up is None:
        if below.days_left is None or below.amount is not None:
            raise RecordError(
                Reason.INVALID,
                "without a top_up it is told that few days are left, and only that: thresholds in"
                " amount are those of set_terms",
                "below.amount",
            )
        if caps is not None:
            raise RecordError(Reason.INVALID, "there is no top_up: leave it out", "caps")
        return _Terms(below=below)
    amount = checked_amount(top_up.amount, command.asset, "top_up.amount", book)
    if not amount:
        raise RecordError(Reason.INVALID, "is zero; buy more than that", "top_up.amount")
    top_up = _TopUp(
        amount=amount_text(amount),
        cost_basis=_basis(command, amount, book),
        expires_in_days=top_up.expires_in_days,
    )
    if caps is None:
        raise RecordError(
            Reason.INVALID, "say how often it may be bought: {per: month, requests: 4}", "caps"
        )
    return _Terms(
        below=below, top_up=top_up, caps=_checked_caps(caps, amount, command.asset, books, book)
    )


def _basis(command: SetAutoTopup, amount: int, book: Book | None) -> str:
    """What one unit is sold for, so that a grant needs no default when it is paid."""
    assert command.top_up is not None
    basis = command.top_up.cost_basis
    try:
        paid_for("paid", basis, command.asset, amount, book)
    except RecordError as error:
        raise RecordError(error.reason, error.detail, "top_up.cost_basis") from None
    return "1" if basis is None else basis


def _checked_caps(
    caps: TopUpCaps, amount: int, asset: str, books: Books, book: Book | None
) -> TopUpCaps:
    if books.zone(caps.zone) is None:
        raise RecordError(
            Reason.INVALID,
            f"no time zone {caps.zone!r}: give an IANA name, such as Europe/Berlin",
            "caps.zone",
        )
    most = caps.requests * amount
    if caps.amount is not None:
        most = checked_amount(caps.amount, asset, "caps.amount", book)
        if most < amount:
            raise RecordError(
                Reason.INVALID,
                f"is less than one top-up of {amount_text(amount)}: it could never be bought",
                "caps.amount",
            )
    elif most > AMOUNT_MAX:
        raise RecordError(
            Reason.INVALID, "so many top-ups make more than 38 digits: buy less", "caps.requests"
        )
    return _TopUpCaps(
        per=caps.per, zone=caps.zone, requests=caps.requests, amount=amount_text(most)
    )


def _window_of_terms(row: Topup | None, caps: TopUpCaps | None, now: Moment) -> Window | None:
    """What was asked for before counts on in the period of new caps, until that it was asked for in
    is over: changing the terms opens no second cap."""
    before = None if row is None else row.window
    if before is not None and now.at_ms >= before.ends_ms:
        before = None
    if caps is None or before is None or now.at_ms < before.starts_ms:
        return before
    starts_ms, ends_ms = period_of(now.at_ms, caps.per, caps.zone)
    return Window(starts_ms, ends_ms, before.requests, before.amount)


# --- behind every decision -----------------------------------------------------------------------


def looked_after(rows: Rows, decided: Decided, now: Moment) -> Decided:
    """A decision with what a balance that it leaves low brings about: requests, or what is told."""
    wallet = decided.wallet
    if wallet is None or not decided.entries:
        return decided
    last = decided.entries[-1].entry
    if not wallet.topups and last.rare.topup is None:
        return decided
    ahead = Ahead(rows, wallet.customer)
    for sealed in decided.entries:
        ahead.follow(sealed)
    origin = replaced(last.origin, accepted_late_by=None)
    after = ahead.wallet
    if after.state != "active" or _cycle_begins(after, now.at_ms):
        return decided
    for asset in after.topups:
        row: Topup = ahead.row(topup_key(after.customer, asset))
        facts = _found(row, ahead.wallet, now)
        if facts is not None:
            entry = blank(ahead.wallet, KIND, origin, now)
            ahead.add(replaced(entry, rare=Rare(topup=facts)))
    return replaced(decided, entries=tuple(ahead.entries))


def _cycle_begins(wallet: Wallet, at_ms: int) -> bool:
    """Whether a cycle has begun that is still to be seen to, which may fill the wallet: its timer
    comes next, and is looked after as well."""
    return any(each.next_ms <= at_ms for each in wallet.subscriptions) or any(
        grant.terms.next_ms <= at_ms and not grant.terms.succeeded for grant in wallet.grants
    )


def _found(row: Topup, wallet: Wallet, now: Moment) -> TopUpFacts | None:
    """What is to be said of an asset: a request, that a cap stops it, that few days are left."""
    at_ms, terms = now.at_ms, row.terms
    assert terms is not None, "the wallet names assets with terms"
    if row.outstanding is not None or (row.waits_until_ms or 0) > at_ms:
        return None
    available = spendable(wallet, wallet.account(row.asset), at_ms)
    few_days = is_few_days(row, wallet, at_ms)
    if not few_days and (row.below is None or available >= row.below):
        return None
    burn = None if row.burn is None else row.burn.a_day(at_ms)
    found = _Facts(
        asset=row.asset,
        change="low",
        available=amount_text(available),
        burn_a_day=None if burn is None else amount_text(burn),
        days_left=max(available, 0) // burn if burn else None,
    )
    if terms.top_up is None:
        return None if row.low else found
    assert terms.caps is not None
    return _asked(row, wallet, found, terms.top_up, terms.caps, now)


def _asked(
    row: Topup, wallet: Wallet, found: TopUpFacts, top_up: TopUp, caps: TopUpCaps, now: Moment
) -> TopUpFacts:
    """A request, or that a cap stops it until its period is over."""
    window = row.window
    if window is None or now.at_ms >= window.ends_ms:
        window = Window(*period_of(now.at_ms, caps.per, caps.zone))
    amount = amount_of(top_up.amount)
    assert caps.amount is not None
    if window.requests >= caps.requests or window.amount + amount > amount_of(caps.amount):
        return replaced(
            found, change="capped", amount=top_up.amount, waits_until=moment(window.ends_ms)
        )
    window = replaced(window, requests=window.requests + 1, amount=window.amount + amount)
    return replaced(
        found,
        change="request",
        request=f"topup-{row.asset}-{wallet.sequence + 1}",
        amount=top_up.amount,
        cost_basis=top_up.cost_basis,
        expires_in_days=top_up.expires_in_days,
        deadline_at=moment(now.at_ms + ANSWER_MS),
        window=window_record(window),
    )


# --- timers --------------------------------------------------------------------------------------


def topup_due(rows: Rows, row: Topup | TopupRequest, now: Moment) -> Decided:
    """What a top-up's timer brings about: a wait is over, or nobody answered a request."""
    wallet: Wallet = rows.row(row.customer)
    assert row.due_ms is not None, "it is due"
    if isinstance(row, Topup):
        facts = _Facts(asset=row.asset, change="rearm")
    else:
        detail = f"no answer until {at_text(row.deadline_ms)}"
        terms: Topup = rows.row(topup_key(row.customer, row.asset))
        facts = replaced(_failure(terms, row, "unanswered", now), detail=detail)
    origin = Origin(timer=TIMER, due_ms=row.due_ms)
    entry = replaced(blank(wallet, KIND, origin, now), rare=Rare(topup=facts))
    return Decided((seal(entry),), wallet=wallet)
