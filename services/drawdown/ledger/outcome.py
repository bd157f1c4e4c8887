"""What a decision is made of and what comes of it: the moment, the origin, the outcome."""

from __future__ import annotations

from drawdown.events.base import Value
from drawdown.events.decisions import Decision
from drawdown.events.entries import GrantFacts
from drawdown.events.structs import replaced
from drawdown.ledger.book import Book
from drawdown.ledger.drawdown import Taken, spendable
from drawdown.ledger.journal import Entry, Origin, Sealed
from drawdown.ledger.values import Account, Wallet


class Moment(Value, frozen=True):
    """When a record is decided, and how far usage is behind."""

    at_ms: int
    """Append time of the record: the engine's only clock."""
    usage_lag_records: int = 0
    usage_lag_ms: int = 0
    taken_up_ms: int = 0
    """When a command is taken up, which an outage puts long after its append time. It decides only
    whether somebody still waits for the answer: what is booked depends on `at_ms`."""


class Crossing(Value, frozen=True):
    """An available balance that fell below a threshold."""

    asset: str
    threshold: int
    before: int
    after: int
    sequence: int


class Decided(Value, frozen=True):
    """What came of one record."""

    entries: tuple[Sealed, ...] = ()
    answer: Decision | None = None
    identity: bytes | None = None
    """What to remember under the record's identity."""
    crossed: tuple[Crossing, ...] = ()
    unpriced: str | None = None
    """What had no price."""
    overdrawn: int = 0
    repeated: bytes | None = None
    """The first result of a usage event that was decided before."""
    wallet: Wallet | None = None
    """The wallet as it was read: what the first entry changes."""

    @property
    def of_usage(self) -> Sealed:
        """The entry of the usage event itself, among what came with it."""
        return next(each for each in reversed(self.entries) if each.entry.source is not None)


def blank(wallet: Wallet, kind: str, origin: Origin, now: Moment) -> Entry:
    """An entry of this kind that moves nothing yet."""
    return Entry(
        customer=wallet.customer,
        sequence=wallet.sequence + 1,
        kind=kind,
        at_ms=now.at_ms,
        previous=wallet.digest,
        origin=origin,
    )


def booked(
    entry: Entry, account: Account, amount: int, taken: Taken, grant: GrantFacts | None = None
) -> Entry:
    """The entry with `amount` taken from the account, paid as `taken` says; of one below zero,
    `grant` is what is given back in."""
    return replaced(
        entry,
        asset=account.asset,
        amount=amount,
        before=account.balance,
        after=account.balance - amount,
        slices=taken.slices,
        credit=taken.credit,
        overdrawn=taken.overdrawn,
        revenue=taken.revenue,
        grant=grant,
    )


def crossings(
    wallet: Wallet, book: Book | None, asset: str, spent: int, at_ms: int
) -> tuple[Crossing, ...]:
    """The thresholds that spending `spent` of what is available crosses, from above.

    A threshold is crossed when it was met before and is not after, so that it is told once per
    crossing and arms itself again, with no state to keep. The wallet's own thresholds replace the
    book's.
    """
    thresholds = wallet.thresholds.get(asset)
    if thresholds is None:
        thresholds = book.thresholds.get(asset, ()) if book is not None else ()
    if not thresholds or not spent:
        return ()
    before = spendable(wallet, wallet.account(asset), at_ms)
    after = before - spent
    return tuple(
        Crossing(asset, threshold, before, after, wallet.sequence + 1)
        for threshold in thresholds
        if after < threshold <= before
    )
