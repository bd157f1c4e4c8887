"""Journal entries: the ledger's own form of them, their bytes, and the digest chain.

`seal` turns an entry into the bytes that stand on `balance-changes` and their digest; `unseal`
reads them back and checks the digest. What is between is exact both ways, so that a fold of the
journal gives the very rows the engine had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from drawdown.events import entries as wire
from drawdown.events.base import Value, at_text, milliseconds, moment
from drawdown.events.codec import RecordError, decode_entry, encode, quoted
from drawdown.events.commands import WalletState
from drawdown.events.entries import (
    TYPE_PREFIX,
    ConversionFacts,
    CountedFacts,
    FeeFacts,
    GrantFacts,
    HoldFacts,
    PriceFacts,
    ReadFacts,
    ReratesFacts,
    ReversesFacts,
    RunningFacts,
    SubscriptionFacts,
    TermsFacts,
    UsageFacts,
    VoidFacts,
    kind_of_type,
)
from drawdown.events.limits import BlockFacts, BudgetFacts, LimitFacts, MarginFacts, PaceFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.statements import StatementFacts
from drawdown.events.structs import replaced, struct_of
from drawdown.events.topups import TopUpFacts
from drawdown.ledger.drawdown import Slice


class Origin(Value, frozen=True):
    """Why an entry exists: the record that was decided, or a timer; and who sent it."""

    topic: str | None = None
    partition: int = 0
    offset: int = 0
    timer: str | None = None
    due_ms: int = 0
    actor: str | None = None
    accepted_late_by: str | None = None
    """The operator who wants usage booked however old it is."""


class Rare(Value, frozen=True):
    """What few entries say: kept apart, so that a debit does not carry it."""

    breakage: int = 0
    """Paid for and never to be used, of what ended by this entry; the reporting currency."""
    void: VoidFacts | None = None
    reverses: ReversesFacts | None = None
    conversion: ConversionFacts | None = None
    state: WalletState | None = None
    statement: StatementFacts | None = None
    subscription: SubscriptionFacts | None = None
    fee: FeeFacts | None = None
    counted: tuple[CountedFacts, ...] = ()
    """What the use counts of entitlements."""
    rerates: ReratesFacts | None = None
    budget: BudgetFacts | None = None
    block: BlockFacts | None = None
    scopes: Mapping[str, int] | None = None
    """Of the wallet after it, where it changes them."""
    limits: tuple[LimitFacts, ...] = ()
    """What it counts in budgets."""
    topup: TopUpFacts | None = None
    margins: tuple[MarginFacts, ...] = ()
    """Margins that it changes."""
    paces: tuple[PaceFacts, ...] = ()
    """What it counts of what its scopes usually use."""


NOTHING_RARE: Final = Rare()


class Entry(Value, frozen=True):
    """One change of one wallet; the fields are those of `events.entries.EntryData`."""

    customer: str
    sequence: int
    kind: str
    at_ms: int
    previous: str
    """Digest of the customer's entry before this one."""
    origin: Origin
    source: str | None = None
    id: str | None = None
    fingerprint: str | None = None
    usage: UsageFacts | None = None
    price: PriceFacts | None = None
    asset: str | None = None
    amount: int = 0
    before: int = 0
    after: int = 0
    slices: tuple[Slice, ...] = ()
    credit: int = 0
    overdrawn: int = 0
    revenue: int = 0
    cost: int = 0
    grant: GrantFacts | None = None
    terms: TermsFacts | None = None
    reason: str | None = None
    hold: HoldFacts | None = None
    read: ReadFacts | None = None
    rare: Rare = NOTHING_RARE
    running: RunningFacts | None = None


class Sealed(Value, frozen=True):
    """An entry with its bytes and digest."""

    entry: Entry
    value: bytes
    digest: str
    after_text: str
    """Of `entry.after`: the next entry's `before` and the row's balance are the same text."""


# Made by position, in the order of their fields: a third of the time of naming them.
_EntryData: Callable[..., wire.EntryData] = struct_of(wire.EntryData)
_Allocation: Callable[..., wire.Allocation] = struct_of(wire.Allocation)
_Cause: Callable[..., wire.Cause] = struct_of(wire.Cause)

DIGEST_MARK: Final = b',"digest":"'
"""What the digest covers ends here; behind it stand 64 hexadecimal digits, a quote and a brace."""
DIGEST_BYTES: Final = len(DIGEST_MARK) + 64 + 2


def seal(entry: Entry, before_text: str | None = None) -> Sealed:
    """The entry's bytes on the journal, ending in the digest of all before it.

    `before_text` is the text of `entry.before` where it is known: every debit is sealed, and text
    is what it costs most. For the same reason the envelope is text around the encoded data.
    """
    origin = entry.origin
    if origin.topic is not None:
        cause = _Cause(
            origin.topic, origin.partition, origin.offset, None, None, origin.accepted_late_by
        )
    else:
        cause = _Cause(timer=origin.timer, due_at=moment(origin.due_ms))
    allocations = []
    if entry.asset is None:
        amount = before = after = None
    else:
        amount = amount_text(entry.amount)
        before = before_text or amount_text(entry.before)
        after = amount_text(entry.after)
        for part in entry.slices:
            allocations.append(  # noqa: PERF401 - a comprehension is a call of its own
                _Allocation(
                    part.grant,
                    amount if part.amount == entry.amount else amount_text(part.amount),
                    amount if part.revenue == entry.amount else amount_text(part.revenue),
                )
            )
    record = _EntryData(
        entry.sequence,
        entry.previous,
        cause,
        origin.actor,
        entry.source,
        entry.id,
        entry.fingerprint,
        entry.usage,
        entry.price,
        entry.asset,
        amount,
        before,
        after,
        allocations,
        amount_text(entry.credit) if entry.credit else "0",
        amount_text(entry.overdrawn) if entry.overdrawn else "0",
        amount if entry.revenue == entry.amount and amount else amount_text(entry.revenue),
        amount_text(entry.cost) if entry.cost else "0",
        entry.grant,
        entry.terms,
        entry.reason,
        entry.hold,
        entry.read,
    )
    if entry.rare is not NOTHING_RARE:
        rare = entry.rare
        record = replaced(
            record,
            breakage=amount_text(rare.breakage),
            void=rare.void,
            reverses=rare.reverses,
            conversion=rare.conversion,
            state=rare.state,
            statement=rare.statement,
            subscription=rare.subscription,
            fee=rare.fee,
            counted=list(rare.counted),
            rerates=rare.rerates,
            budget=rare.budget,
            block=rare.block,
            scopes=None if rare.scopes is None else dict(rare.scopes),
            limits=list(rare.limits),
            topup=rare.topup,
            margins=list(rare.margins),
            paces=list(rare.paces),
        )
    if entry.running is not None:
        record = replaced(record, running=entry.running)
    data = encode(record)
    customer = quoted(entry.customer)
    head = (
        f'{{"specversion":"1.0","id":{customer[:-1]}/{entry.sequence}","source":"drawdown"'
        f',"type":"{TYPE_PREFIX}{entry.kind}","subject":{customer},"time":"{at_text(entry.at_ms)}"'
        ',"datacontenttype":"application/json","data":'
    )
    body = head.encode() + data
    digest = sha256(body).hexdigest()
    return Sealed(entry, body + DIGEST_MARK + digest.encode() + b'"}', digest, after or "0")


def checked_record(value: bytes) -> wire.Entry:
    """An entry as the record it is. Raises RecordError where it or its digest is wrong."""
    record = decode_entry(value)
    body, mark = value[:-DIGEST_BYTES], value[-DIGEST_BYTES:-66]
    if mark != DIGEST_MARK or sha256(body).hexdigest() != record.digest:
        raise RecordError(Reason.MALFORMED, "the digest is not that of the entry", "digest")
    return record


def unseal(value: bytes) -> Sealed:
    """The entry whose bytes these are. Raises RecordError where they or their digest are wrong."""
    record = checked_record(value)
    return Sealed(entry_of(record), value, record.digest, record.data.after or "0")


def entry_of(record: wire.Entry) -> Entry:
    """The entry that a record of the journal states."""
    data = record.data
    cause = data.cause
    # Most amounts of an entry are its own, or zero: each text is read once.
    text = data.amount or "0"
    amount = amount_of(text)
    known = {text: amount, "0": 0}
    slices = []
    for part in data.allocations:
        taken, revenue = part.amount, part.revenue
        slices.append(
            Slice(
                part.grant,
                known[taken] if taken in known else amount_of(taken),
                known[revenue] if revenue in known else amount_of(revenue),
            )
        )
    revenue = data.revenue
    breakage = 0 if data.breakage == "0" else amount_of(data.breakage)
    rare = Rare(
        breakage,
        data.void,
        data.reverses,
        data.conversion,
        data.state,
        data.statement,
        data.subscription,
        data.fee,
        tuple(data.counted),
        data.rerates,
        data.budget,
        data.block,
        data.scopes,
        tuple(data.limits),
        data.topup,
        tuple(data.margins),
        tuple(data.paces),
    )
    return Entry(
        customer=record.subject,
        sequence=data.sequence,
        kind=kind_of_type(record.type),
        at_ms=milliseconds(record.time),
        previous=data.previous,
        origin=Origin(
            cause.topic,
            cause.partition or 0,
            cause.offset or 0,
            cause.timer,
            0 if cause.due_at is None else milliseconds(cause.due_at),
            data.actor,
            cause.accepted_late_by,
        ),
        source=data.source,
        id=data.id,
        fingerprint=data.fingerprint,
        usage=data.usage,
        price=data.price,
        asset=data.asset,
        amount=amount,
        before=amount_of(data.before or "0"),
        after=amount_of(data.after or "0"),
        slices=tuple(slices),
        credit=0 if data.credit == "0" else amount_of(data.credit),
        overdrawn=0 if data.overdrawn == "0" else amount_of(data.overdrawn),
        revenue=known[revenue] if revenue in known else amount_of(revenue),
        cost=0 if data.cost == "0" else amount_of(data.cost),
        grant=data.grant,
        terms=data.terms,
        reason=data.reason,
        hold=data.hold,
        read=data.read,
        rare=NOTHING_RARE if rare == NOTHING_RARE else rare,
        running=data.running,
    )
