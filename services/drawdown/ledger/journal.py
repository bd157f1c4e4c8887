"""Journal entries: the ledger's own form of them, their bytes, and the digest chain.

`seal` turns an entry into the bytes that stand on `balance-changes` and their digest; `unseal`
reads them back and checks the digest. What is between is exact both ways, so that a fold of the
journal gives the very rows the engine had.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, cast

from drawdown.events import entries as wire
from drawdown.events.base import SPECVERSION, Value, milliseconds, moment
from drawdown.events.codec import RecordError, decode_entry, encode
from drawdown.events.entries import (
    TYPE_PREFIX,
    Cause,
    GrantFacts,
    PriceFacts,
    TermsFacts,
    UsageFacts,
)
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.drawdown import Slice
from drawdown.ledger.values import GENESIS


class Entry(Value, frozen=True):
    """One change of one wallet; the fields are those of `events.entries.EntryData`."""

    customer: str
    sequence: int
    kind: str
    at_ms: int
    cause: Cause
    actor: str | None = None
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
    previous: str = GENESIS


class Sealed(Value, frozen=True):
    """An entry with its bytes and digest."""

    entry: Entry
    value: bytes
    digest: str


_Entry = struct_of(wire.Entry)
_EntryData = struct_of(wire.EntryData)
_Allocation = struct_of(wire.Allocation)

DIGEST_MARK: Final = b',"digest":"'
"""What the digest covers ends here; behind it stand 64 hexadecimal digits, a quote and a brace."""
DIGEST_BYTES: Final = len(DIGEST_MARK) + 64 + 2
_NO_DIGEST: Final = ""


def seal(entry: Entry) -> Sealed:
    """The entry's bytes on the journal, ending in the digest of all before it."""
    asset = entry.asset
    amount = amount_text(entry.amount)
    record = _Entry(
        specversion=SPECVERSION,
        id=f"{entry.customer}/{entry.sequence}",
        source="drawdown",
        type=cast(wire.EntryType, TYPE_PREFIX + entry.kind),
        subject=entry.customer,
        time=moment(entry.at_ms),
        datacontenttype="application/json",
        data=_EntryData(
            sequence=entry.sequence,
            cause=entry.cause,
            actor=entry.actor,
            source=entry.source,
            id=entry.id,
            fingerprint=entry.fingerprint,
            usage=entry.usage,
            price=entry.price,
            asset=asset,
            amount=amount if asset is not None else None,
            before=amount_text(entry.before) if asset is not None else None,
            after=amount_text(entry.after) if asset is not None else None,
            allocations=[
                _Allocation(
                    grant=part.grant,
                    amount=amount if part.amount == entry.amount else amount_text(part.amount),
                    revenue=amount if part.revenue == entry.amount else amount_text(part.revenue),
                )
                for part in entry.slices
            ],
            credit=amount_text(entry.credit) if entry.credit else "0",
            overdrawn=amount_text(entry.overdrawn) if entry.overdrawn else "0",
            revenue=amount if entry.revenue == entry.amount else amount_text(entry.revenue),
            cost=amount_text(entry.cost),
            grant=entry.grant,
            terms=entry.terms,
            reason=entry.reason,
            previous=entry.previous,
        ),
        digest=_NO_DIGEST,
    )
    body = encode(record)[: -len(DIGEST_MARK) - 2]
    digest = sha256(body).hexdigest()
    return Sealed(entry, b'%b,"digest":"%b"}' % (body, digest.encode()), digest)


def unseal(value: bytes) -> Sealed:
    """The entry whose bytes these are. Raises RecordError where they or their digest are wrong."""
    record = decode_entry(value)
    body, mark = value[:-DIGEST_BYTES], value[-DIGEST_BYTES:-66]
    if mark != DIGEST_MARK or sha256(body).hexdigest() != record.digest:
        raise RecordError(Reason.MALFORMED, "the digest is not that of the entry", "digest")
    data = record.data
    return Sealed(
        Entry(
            customer=record.subject,
            sequence=data.sequence,
            kind=record.type.removeprefix(TYPE_PREFIX),
            at_ms=milliseconds(record.time),
            cause=data.cause,
            actor=data.actor,
            source=data.source,
            id=data.id,
            fingerprint=data.fingerprint,
            usage=data.usage,
            price=data.price,
            asset=data.asset,
            amount=amount_of(data.amount or "0"),
            before=amount_of(data.before or "0"),
            after=amount_of(data.after or "0"),
            slices=tuple(
                Slice(part.grant, amount_of(part.amount), amount_of(part.revenue))
                for part in data.allocations
            ),
            credit=amount_of(data.credit),
            overdrawn=amount_of(data.overdrawn),
            revenue=amount_of(data.revenue),
            cost=amount_of(data.cost),
            grant=data.grant,
            terms=data.terms,
            reason=data.reason,
            previous=data.previous,
        ),
        value,
        record.digest,
    )
