"""What the wallet page shows, worked out from the bytes of rows and entries as they stand on their
topics.

Pure: no store, no clock. Amounts are pico-units until `words` writes them. What is available is
worked out for the moment of the answer by the ledger's own rule: the row says it for the moment of
its last entry, and a grant may have begun or ended since. Cost and revenue are left out, because
the customer reads this page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from drawdown.events.base import moment
from drawdown.events.codec import RecordError, decode_entry
from drawdown.events.entries import Entry, EntryData, kind_of_type
from drawdown.events.limit_words import scope_words, terms_words
from drawdown.events.numbers import amount_of
from drawdown.ledger.drawdown import spendable
from drawdown.ledger.rows import decoded_wallet
from drawdown.ledger.values import NEVER, Account, Grant, GrantTerms, Scope, Wallet
from drawdown.portal.words import grouped, second, shown

SOON_MS: Final = 7 * 86_400_000
"""An expiry nearer than this stands out."""
LATE_MS: Final = 60_000
"""Usage this much older than its entry has its own time shown."""
TAGS: Final = ("model", "feature", "agent", "team", "key", "session", "task")
"""Dimensions that say what used something, the most telling first."""
TAGS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class GrantShown:
    """A live grant. Of its bar, `left` and `set_aside` are thousandths."""

    place: int
    """In drawdown order, among those of its asset, from 1."""
    id: str
    category: str
    amount: int
    remaining: int
    held: int
    left: int
    set_aside: int
    starts_at: datetime | None
    """Where it is not in effect yet."""
    expires_at: datetime | None
    expired: bool
    """Its time is over, and settlement has not let it lapse yet."""
    soon: bool
    expires_next: bool
    """No other grant of the asset ends sooner."""
    scope: tuple[str, ...]
    """What it may pay for; empty means anything."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a wallet has of one asset."""

    asset: str
    available: int
    held: int
    balance: int
    overdrawn: int
    credit_used: int
    credit_limit: int
    debited: int
    grants: tuple[GrantShown, ...]
    next_expiry: GrantShown | None
    low: int | None
    """The wallet's own threshold that what is available has fallen below; the lowest of them."""


@dataclass(frozen=True, slots=True)
class WalletShown:
    """A wallet at a moment."""

    customer: str
    sequence: int
    at: datetime
    holdings: tuple[Holding, ...]
    changes_in_ms: int | None
    """When the next grant begins or ends, with no entry needed for it."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as a line of the history."""

    sequence: int
    kind: str
    at: datetime
    title: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    quantities: tuple[tuple[str, str], ...] = ()
    used_at: datetime | None = None
    """Where the usage is older than the entry."""
    asset: str = ""
    sign: str = ""
    """`+` where the balance grew, `-` where it shrank, else empty."""
    amount: int | None = None
    after: int | None = None
    overdrawn: int = 0
    """Of the amount, what nothing was left for; of a grant, what it paid back."""
    facts: tuple[tuple[str, str], ...] = ()
    """How it came about: (name, text)."""


def wallet_of(value: bytes, now_ms: int) -> WalletShown:
    """The wallet of a row of `balances`, at `now_ms`. Raises RecordError where it is none."""
    wallet = decoded_wallet(value)
    at_ms = max(now_ms, wallet.at_ms)
    return WalletShown(
        wallet.customer,
        wallet.sequence,
        moment(wallet.at_ms),
        tuple(_holding(wallet, account, at_ms) for account in wallet.accounts.values()),
        _changes_in_ms(wallet, at_ms),
    )


def _holding(wallet: Wallet, account: Account, at_ms: int) -> Holding:
    mine = [grant for grant in wallet.grants if grant.terms.asset == account.asset]
    ends = [grant.terms.expires_ms for grant in mine if at_ms < grant.terms.expires_ms < NEVER]
    next_ms = min(ends, default=None)
    grants = tuple(_grant(place, grant, at_ms, next_ms) for place, grant in enumerate(mine, 1))
    available = spendable(wallet, account, at_ms)
    crossed = [amount for amount in wallet.thresholds.get(account.asset, ()) if available < amount]
    return Holding(
        account.asset,
        available,
        account.held,
        account.balance,
        account.overdrawn,
        account.credit_used,
        account.credit_limit,
        account.debited,
        grants,
        next((grant for grant in grants if grant.expires_next), None),
        min(crossed, default=None),
    )


def _grant(place: int, grant: Grant, at_ms: int, next_ms: int | None) -> GrantShown:
    terms = grant.terms
    ends = terms.expires_ms < NEVER
    return GrantShown(
        place,
        terms.id,
        terms.category,
        terms.amount,
        grant.remaining,
        grant.held,
        _thousandths(grant.remaining, terms),
        _thousandths(grant.held, terms),
        moment(terms.start_ms) if at_ms < terms.start_ms else None,
        moment(terms.expires_ms) if ends else None,
        terms.expires_ms <= at_ms,
        ends and 0 < terms.expires_ms - at_ms <= SOON_MS,
        ends and terms.expires_ms == next_ms,
        _scope(terms.scope),
    )


def _thousandths(part: int, terms: GrantTerms) -> int:
    """Rounded up: a bar is empty only where nothing is left."""
    return -(-part * 1000 // terms.amount) if terms.amount else 0


def _scope(scope: Scope | None) -> tuple[str, ...]:
    if scope is None:
        return ()
    dimensions = (f"{name} {' or '.join(values)}" for name, values in scope.dimensions)
    return (*scope.meters, *dimensions)


def _changes_in_ms(wallet: Wallet, at_ms: int) -> int | None:
    terms = [grant.terms for grant in wallet.grants]
    edges = [edge for each in terms for edge in (each.start_ms, each.expires_ms)]
    return min((edge - at_ms for edge in edges if at_ms < edge < NEVER), default=None)


class _Envelope(msgspec.Struct):
    """What every entry has, whatever a later version adds to it."""

    class Data(msgspec.Struct):
        sequence: int

    type: str
    time: datetime
    data: Data


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def line_of(value: bytes) -> Line:
    """The line of an entry. One of a kind that this version does not know yet, because settlement
    was upgraded first, is a line that says only that."""
    try:
        entry = decode_entry(value)
    except RecordError:
        known = _decode_envelope(value)
        return Line(known.data.sequence, kind_of_type(known.type), known.time)
    data = entry.data
    amount = None if data.amount is None else amount_of(data.amount)
    after = None if data.after is None else amount_of(data.after)
    before = None if data.before is None else amount_of(data.before)
    sign = ""
    if before is not None and after is not None and before != after:
        sign = "+" if after > before else "-"
    if data.hold is not None and before is not None and after is not None:
        amount = after - before  # what a hold had was not in the balance any more
    dimensions = {} if data.usage is None else data.usage.dimensions
    tags = _tags(dimensions)
    return Line(
        data.sequence,
        kind_of_type(entry.type),
        entry.time,
        _title(data),
        tags,
        _quantities(data),
        _used_at(entry),
        data.asset or "",
        sign,
        None if amount is None else abs(amount),
        after,
        abs(amount_of(data.overdrawn)),
        tuple(_facts(data, dimensions, dict(tags))),
    )


def _title(data: EntryData) -> str:
    if data.usage is not None:
        return data.usage.meter
    if data.hold is not None:
        return data.hold.id if data.hold.use is None else data.hold.use.meter
    if data.running is not None:
        return data.running.counter
    if data.grant is not None:
        return data.grant.category
    if data.terms is not None:
        return "credit limits and thresholds"
    if data.budget is not None:
        return data.budget.id
    if data.block is not None:
        return scope_words(data.block.scope)
    if data.limits:
        return data.limits[0].budget
    return data.allocations[0].grant if data.allocations else ""


def _tags(dimensions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    telling = [name for name in TAGS if dimensions.get(name)]
    others = sorted(name for name in dimensions if name not in TAGS and dimensions[name])
    return tuple((name, dimensions[name]) for name in (telling + others)[:TAGS_MAX])


def _quantities(data: EntryData) -> tuple[tuple[str, str], ...]:
    if data.usage is None:
        return ()
    return tuple((name, grouped(str(value))) for name, value in data.usage.quantities.items())


def _used_at(entry: Entry) -> datetime | None:
    usage = entry.data.usage
    if usage is None or abs((entry.time - usage.time).total_seconds() * 1000) < LATE_MS:
        return None
    return usage.time


def _facts(
    data: EntryData, dimensions: Mapping[str, str], said: Mapping[str, str]
) -> Iterable[tuple[str, str]]:
    for name, value in dimensions.items():
        if name not in said:
            yield name, value
    price = data.price
    if price is not None:
        if price.rate is not None:
            yield "rate", price.rate
        if price.unpriced is not None:
            yield "no price", price.unpriced
        yield "price book", price.book
        if price.rounding is not None:
            yield "rounding", price.rounding
    asset = data.asset or ""
    if data.hold is not None:
        yield "hold", data.hold.id
        if data.usage is not None:
            yield "captured", f"{shown(amount_of(data.amount or '0'), asset)} {asset}"
    for allocation in data.allocations:
        yield f"grant {allocation.grant}", f"{shown(amount_of(allocation.amount), asset)} {asset}"
    if amount_of(data.credit):
        yield "on credit", f"{shown(amount_of(data.credit), asset)} {asset}"
    yield from _limits(data)
    if data.reason:
        yield "reason", data.reason
    if data.id is not None:
        yield "id", data.id
    if data.source is not None:
        yield "source", data.source
    if data.cause.timer is not None:
        yield "timer", data.cause.timer
    yield "entry", grouped(str(data.sequence))


def _limits(data: EntryData) -> Iterable[tuple[str, str]]:
    """What an entry says of limits, and what it counts in budgets."""
    if data.budget is not None:
        terms = data.budget.terms
        yield "budget", "removed" if terms is None else terms_words(msgspec.to_builtins(terms))
        if terms is not None:
            yield "counts", scope_words(terms.scope)
    if data.block is not None:
        yield "scope", "blocked" if data.block.blocked else "unblocked"
        if data.block.until_at is not None:
            yield "until", second(data.block.until_at)
    for each in data.limits:
        of = f" of {each.scope}" if each.scope else ""
        used = f"{grouped(each.after)} of {grouped(each.cap)} used"
        held = f", {grouped(each.held)} held" if amount_of(each.held) else ""
        over = f"over, {grouped(each.before)} used" if each.closed else used + held
        yield f"budget {each.budget}{of}", over
