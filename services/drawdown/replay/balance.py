"""A customer's wallet as it was: its entries folded up to a moment, from the journal alone."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Message

from drawdown.events.base import Value
from drawdown.events.catalogue import BALANCE_CHANGES, Environment
from drawdown.events.codec import RecordError
from drawdown.ledger.evolve import BrokenInvariantError
from drawdown.ledger.folded import CustomerRows
from drawdown.ledger.journal import unseal
from drawdown.ledger.values import Hold, Wallet
from drawdown.replay.rebuild import unreadable
from drawdown.settlement.service import partitions_of
from drawdown.stream.partition import partition_of
from drawdown.stream.partition_log import LogError, PartitionLog, bounds_of
from drawdown.stream.ports import Cluster


class Then(Value, frozen=True):
    """What a customer had after an entry."""

    wallet: Wallet
    holds: tuple[Hold, ...]
    """Open then, oldest first."""
    offset: int
    """Of the entry, on the journal."""
    partition: int


def wallet_at(
    cluster: Cluster,
    environment: Environment,
    customer: str,
    *,
    sequence: int | None = None,
    at_ms: int | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Then | None:
    """What a customer had after its entry `sequence`, or after the last one at or before `at_ms`;
    with neither, now. None where it had nothing yet.

    Reads the customer's partition from its beginning. Raises LogError, PartitionsError.
    """
    partitions, _ = partitions_of(cluster, environment)
    partition = partition_of(customer.encode(), partitions)
    topic = environment.topic(BALANCE_CHANGES)
    low, end = bounds_of(cluster, topic, partition)
    rows, key, last = CustomerRows(customer), customer.encode(), -1
    log = PartitionLog(cluster, topic, partition, low, end)
    try:
        for batch in log.batches():
            for message in batch:
                if message.key() != key:
                    continue
                if not _fold(rows, message, low, sequence, at_ms):
                    return _then(rows, last, partition)
                last = message.offset() or 0
            if told is not None:
                told((batch[-1].offset() or 0) - low, end - low)
    finally:
        log.close()
    return _then(rows, last, partition)


def _fold(
    rows: CustomerRows, message: Message, low: int, sequence: int | None, at_ms: int | None
) -> bool:
    """Apply one entry; False where it is behind the moment."""
    where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
    value = message.value() or b""
    try:
        sealed = unseal(value)
        entry = sealed.entry
        if (sequence is not None and entry.sequence > sequence) or (
            at_ms is not None and entry.at_ms > at_ms
        ):
            return False
        rows.apply(sealed)
    except RecordError as error:
        raise LogError(f"{where}: {unreadable(value, error)}") from None
    except BrokenInvariantError as error:
        head = f"; the journal begins at {low}: its head is gone" if low else ""
        raise LogError(f"{where}: it does not follow: {error}{head}") from None
    return True


def _then(rows: CustomerRows, offset: int, partition: int) -> Then | None:
    wallet = rows.wallet
    if wallet is None:
        return None
    holds = [row for row in rows.rows.values() if isinstance(row, Hold)]
    return Then(wallet, tuple(sorted(holds, key=lambda hold: hold.created_ms)), offset, partition)
