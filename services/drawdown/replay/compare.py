"""Compare: rows that were rebuilt with rows as they stand elsewhere, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from drawdown.ledger.rows import row_of
from drawdown.ledger.values import Wallet
from drawdown.replay.differences import Difference, first_gap
from drawdown.replay.rebuild import customer_of, text_of
from drawdown.stream.partition_log import PartitionLog
from drawdown.stream.store import Changes, Positions, Store

BATCH: Final = 5_000

A = TypeVar("A")
B = TypeVar("B")


def pairs(
    one: Iterable[tuple[str, A]], other: Iterable[tuple[str, B]]
) -> Iterator[tuple[str, A | None, B | None]]:
    """Rows of two sources by key; both are sorted by it. None where one has no such row."""
    left, right = iter(one), iter(other)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None
            yield a[0], a[1], None
            a = next(left, None)
        elif a is None or b[0] < a[0]:
            yield b[0], None, b[1]
            b = next(right, None)
        else:
            yield a[0], a[1], b[1]
            a, b = next(left, None), next(right, None)


def row_difference(
    partition: int, where: str, key: str, rebuilt: bytes | None, found: bytes | None
) -> Difference:
    """What to tell of a row that is not as it was rebuilt."""
    gap = first_gap(rebuilt, found)
    named = key.replace("\x1f", "/")
    if rebuilt is None:
        said = f"{named} stands there; the journal makes no such row"
    elif found is None:
        said = f"{named} is not there; the journal makes it"
    else:
        said = f"{named}: {gap.field} is {gap.found}; rebuilt from the journal it is {gap.expected}"
    return Difference(
        what="row",
        partition=partition,
        customer=customer_of(key),
        field=gap.field or None,
        expected=gap.expected,
        found=gap.found,
        detail=f"{where}: {said}",
    )


def gather(log: PartitionLog, store: Store) -> int:
    """Put the last value of every key of a compacted topic into a store; returns how many records
    were read."""
    count = 0
    rows: dict[str, bytes | None] = {}
    for batch in log.batches():
        for message in batch:
            value: Any = message.value()
            rows[text_of(message.key())] = value
        count += len(batch)
        if len(rows) >= BATCH:
            _write(store, rows)
            rows = {}
    _write(store, rows)
    return count


def _write(store: Store, rows: dict[str, bytes | None]) -> None:
    store.write(Changes(rows, {}, 0, (), (), Positions()))


def younger(rebuilt: Store, published: Store) -> dict[str, int]:
    """Customers whose published wallet is ahead of the rebuilt one, and at which entry it is."""
    found: dict[str, int] = {}
    for key, mine, theirs in pairs(rebuilt.all_rows(), published.all_rows()):
        if theirs is None or mine == theirs or customer_of(key) != key:
            continue
        sequence = _sequence(theirs)
        if sequence > _sequence(mine):
            found[key] = sequence
    return found


def _sequence(value: bytes | None) -> int:
    """The entry a wallet stands at; -1 where there is none that can be read."""
    if value is None:
        return 0
    try:
        row = row_of(value)
    except ValueError:
        return -1
    return row.sequence if isinstance(row, Wallet) else -1
