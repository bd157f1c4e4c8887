"""Which entries a re-rating is about, and what it would come to: read from the journal.

An entry is one that prices a use now: a debit, a capture, or usage without a price, that was not
reversed or priced anew since. What a run would come to is decided by the ledger itself, over rows
that are folded from the journal; nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from drawdown.events.base import at_text, milliseconds
from drawdown.events.catalogue import BALANCE_CHANGES, Environment
from drawdown.events.codec import RecordError, decode_any, decode_command, decode_entry, encode
from drawdown.events.decisions import Decision
from drawdown.events.entries import Entry, kind_of_type
from drawdown.ledger.book import Books
from drawdown.ledger.decide import decide_command, refused
from drawdown.ledger.folded import FoldedRows
from drawdown.ledger.identity import command_key
from drawdown.ledger.journal import Origin, unseal
from drawdown.ledger.outcome import Moment
from drawdown.ledger.rerating import PRICED
from drawdown.replay.job import TELL_EVERY
from drawdown.stream.partition_log import PartitionLog, bounds_of
from drawdown.stream.ports import Cluster

Told = Callable[[int, int, int], None]
"""Of a partition: entries done, and how many there are."""


class Wanted(msgspec.Struct, frozen=True):
    """What is to be priced anew."""

    run: str
    from_ms: int = 0
    to_ms: int = 1 << 62
    """Of the use's own time, excluded."""
    meter: str | None = None
    customer: str | None = None
    book: str | None = None
    """Version to price by; None for the one in effect when it is decided."""
    undo: str | None = None
    """A run: what it priced is priced by the version it was priced by before."""


class Candidate(msgspec.Struct, frozen=True):
    """An entry that prices a use now."""

    partition: int
    customer: str
    sequence: int
    value: bytes
    asset: str | None
    """None where it has no price."""
    amount: str
    book: str | None
    """Version to price it by."""

    def command(self, run: str, reason: str) -> dict[str, Any]:
        """The body of its re-rating: the same again is done once."""
        content: dict[str, Any] = {
            "id": f"{run}/{self.sequence}",
            "entry": decode_any(self.value),
            "run": run,
            "reason": reason,
        }
        if self.book is not None:
            content["book"] = self.book
        return content


def candidates(
    cluster: Cluster, environment: Environment, partition: int, wanted: Wanted, told: Told
) -> list[Candidate]:
    """The entries of a partition, in the journal's order. Blocks until its end. Raises LogError."""
    found: dict[tuple[str, int], Candidate] = {}
    for value in _journal(cluster, environment, partition, told):
        record = decode_entry(value)
        customer, data = record.subject, record.data
        if data.reverses is not None:
            found.pop((customer, data.reverses.sequence), None)
        elif (wanted.customer in (None, customer)) and _is_wanted(record, wanted):
            book = wanted.book
            if wanted.undo is not None:
                assert data.rerates is not None
                book = data.rerates.book
            found[customer, data.sequence] = Candidate(
                partition, customer, data.sequence, value, data.asset, data.amount or "0", book
            )
    return list(found.values())


def _is_wanted(record: Entry, wanted: Wanted) -> bool:
    data = record.data
    usage, price, rerates = data.usage, data.price, data.rerates
    if usage is None or price is None or kind_of_type(record.type) not in PRICED:
        return False
    if price.rounding is None and price.unpriced is None:
        return False  # its amount was given
    if data.running is not None and data.running.undone:
        return False
    run = None if rerates is None else rerates.run
    if run == wanted.run or (wanted.undo is not None and run != wanted.undo):
        return False
    return wanted.meter in (None, usage.meter) and (
        wanted.from_ms <= milliseconds(usage.time) < wanted.to_ms
    )


def decided(
    cluster: Cluster,
    environment: Environment,
    books: Books,
    wanted: Wanted,
    reason: str,
    entries: Sequence[Candidate],
    at_ms: int,
    told: Told,
) -> Iterator[tuple[Candidate, Decision]]:
    """What re-rating these entries of one partition would come to at a time, one after the other.
    Blocks until the journal's end. Raises LogError."""
    if not entries:
        return
    customers = {each.customer for each in entries}
    rows = FoldedRows()
    for value in _journal(cluster, environment, entries[0].partition, told):
        sealed = unseal(value)
        if sealed.entry.customer in customers:
            rows.fold(sealed)
    now = Moment(at_ms)
    for number, each in enumerate(entries):
        content = each.command(wanted.run, reason)
        content |= {"type": "rerate", "customer": each.customer, "time": at_text(at_ms)}
        command = decode_command(encode(content))
        key = command_key(each.customer, command.id)
        try:
            done = decide_command(rows, command, key, Origin("commands", 0, number), books, now)
        except RecordError as error:
            yield each, refused(command, error, now)
            continue
        for sealed in done.entries:
            rows.fold(sealed)
        assert done.answer is not None
        yield each, done.answer


def _journal(
    cluster: Cluster, environment: Environment, partition: int, told: Told
) -> Iterable[bytes]:
    topic = environment.topic(BALANCE_CHANGES)
    low, end = bounds_of(cluster, topic, partition)
    for count, message in enumerate(PartitionLog(cluster, topic, partition, low, end), 1):
        if count % TELL_EVERY == 0:
            told(partition, count, max(end - low, count))
        yield message.value() or b""
    told(partition, end - low, end - low)
