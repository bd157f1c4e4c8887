"""Usage that names a hold in its data: `hold`, and `final: true` on the last of it.

It is priced as any usage. Then its charge is captured from the hold, and what is above the hold
follows the customer's terms. A hold that is unknown, closed, expired or in another asset changes
nothing: what was used is a fact, and debited as it would be without. Where no rate prices the use,
there is nothing to capture: the last use releases the hold, any other leaves it as it is.
"""

from __future__ import annotations

import re
from typing import Any, Final

from drawdown.events.base import Value
from drawdown.events.codec import RecordError
from drawdown.events.entries import PriceFacts, UsageFacts
from drawdown.events.reasons import Reason
from drawdown.events.structs import replaced
from drawdown.events.usage import UsageEvent
from drawdown.ledger.book import FINAL, HOLD, Book, Books
from drawdown.ledger.captures import capture_entry, captured
from drawdown.ledger.evolve import Rows, RowsAfter, evolve
from drawdown.ledger.give_back import pay
from drawdown.ledger.holds import expired, return_entry, why_ended
from drawdown.ledger.identity import usage_result
from drawdown.ledger.journal import NOTHING_RARE, Origin, Rare, Sealed, seal
from drawdown.ledger.limits import limited
from drawdown.ledger.outcome import Decided, Moment, blank, booked, crossings
from drawdown.ledger.pricing import Charge
from drawdown.ledger.values import Hold, Wallet, hold_key

HOLD_ID: Final = re.compile(r"[^\x00-\x1f]{1,256}", re.DOTALL)


class Named(Value, frozen=True):
    """The hold an event names, and what is known of it."""

    hold: Hold | None
    reason: str
    """Why there is none."""
    final: bool


class Priced(Value, frozen=True):
    """A use, measured and priced."""

    usage: UsageFacts
    price: PriceFacts
    asset: str
    amount: int
    cost: int
    fingerprint: bytes
    charge: Charge | None = None
    """Where its rate is not linear."""
    rare: Rare = NOTHING_RARE


def named_hold(rows: Rows, event: UsageEvent) -> tuple[Named, dict[str, Any]]:
    """The hold that `data` names, and the data without it. Raises RecordError for what can be no
    hold's id: a name nobody has is another matter, and no reason to refuse what was used."""
    data = dict(event.data)
    hold_id = data.pop(HOLD)
    final = data.pop(FINAL, False)
    if type(hold_id) is not str or HOLD_ID.fullmatch(hold_id) is None:
        raise RecordError(Reason.INVALID, "expected the id of a hold, as text", f"data.{HOLD}")
    if type(final) is not bool:
        raise RecordError(Reason.INVALID, "expected true or false", f"data.{FINAL}")
    hold: Hold | None = rows.row(hold_key(event.subject, hold_id))
    reason = "" if hold is not None else why_ended(rows, event.subject, hold_id)
    return Named(hold, reason, final), data


def released_by(
    rows: Rows, wallet: Wallet, named: Named, origin: Origin, now: Moment
) -> tuple[Sealed, ...]:
    """The entry that ends the hold that usage without a price names as the last of it; or the hold
    whose time is over."""
    hold = named.hold
    if hold is None:
        return ()
    if now.at_ms >= hold.expires_ms:
        return (expired(rows, wallet, hold, now),)
    if not named.final:
        return ()
    return (seal(limited(rows, wallet, return_entry(wallet, hold, "release", origin, now))),)


def under_hold(
    rows: Rows,
    wallet: Wallet,
    event: UsageEvent,
    named: Named,
    priced: Priced,
    book: Book,
    books: Books,
    origin: Origin,
    now: Moment,
) -> Decided:
    """Usage that names a hold: captured from it, or debited as any other where it cannot be.

    A hold whose time is over ends first, if its timer has not seen to it yet: what it held is free
    for this debit, whichever comes first.
    """
    hold, reason = named.hold, named.reason
    entries: tuple[Sealed, ...] = ()
    after = wallet
    if hold is not None and now.at_ms >= hold.expires_ms:
        entries = (expired(rows, wallet, hold, now),)
        rows = RowsAfter(rows, evolve(rows, entries[0]))
        after = rows.row(wallet.customer)
        reason = str(Reason.HOLD_EXPIRED)
    elif hold is not None and hold.asset != priced.asset:
        reason = f"the hold is in {hold.asset}"
    meter, dimensions = priced.usage.meter, priced.usage.dimensions
    known: dict[str, Any] = {
        "source": event.source,
        "id": event.id,
        "fingerprint": priced.fingerprint.hex(),
        "usage": priced.usage,
        "price": priced.price,
        "cost": priced.cost,
        "running": None if priced.charge is None else priced.charge.running,
        "rare": priced.rare,
    }
    back = () if priced.charge is None else priced.charge.back
    if hold is not None and not reason:
        paid = captured(
            after,
            hold,
            priced.amount,
            meter,
            dimensions,
            book,
            now,
            final=named.final,
            back=back,
        )
        entry = capture_entry(after, hold, paid, origin, now, **known)
        spent = paid.spent
    else:
        account = after.account(priced.asset)
        taken, grant = pay(
            after,
            account,
            priced.amount,
            back,
            meter,
            dimensions,
            now.at_ms,
            book.reporting,
            book.order,
        )
        paid_for = booked(blank(after, "debit", origin, now), account, priced.amount, taken, grant)
        entry = replaced(paid_for, reason=reason, **known)
        spent = priced.amount - taken.overdrawn
    sealed = seal(limited(rows, after, entry))
    return Decided(
        (*entries, sealed),
        identity=priced.fingerprint + usage_result(entry),
        crossed=crossings(after, books.at(now.at_ms), priced.asset, spent, now.at_ms),
        overdrawn=max(entry.overdrawn, 0),
        wallet=wallet,
    )
