"""Statements from the journal on Kafka: of one customer, or of all, partition after partition."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from drawdown.events.catalogue import BALANCE_CHANGES, Environment
from drawdown.events.codec import RecordError, decode_entry
from drawdown.events.statements import Statement, StatementFacts
from drawdown.ledger.evolve import BrokenInvariantError
from drawdown.ledger.grants import REPORTING_DEFAULT
from drawdown.ledger.journal import Sealed
from drawdown.ledger.statements import ISSUED_MARK, Period, StatementFold, statement_of
from drawdown.ledger.values import Wallet
from drawdown.replay.books import read_known
from drawdown.replay.differences import Differences
from drawdown.replay.job import TELL_EVERY, Job
from drawdown.replay.rebuild import Rebuilt, text_of
from drawdown.settlement.service import partitions_of
from drawdown.stream.partition import partition_of
from drawdown.stream.partition_log import LogError, PartitionLog, bounds_of
from drawdown.stream.ports import Cluster

Told = Callable[[int, int, int], None]
"""Partition, entries read, and how many there are."""


def reporting_at(cluster: Cluster, environment: Environment, at_ms: int) -> str:
    """The reporting currency of the price book in effect. Raises LogError."""
    book = read_known(cluster, environment).every.at(at_ms)
    return REPORTING_DEFAULT if book is None else book.reporting


def customer_statement(
    cluster: Cluster,
    environment: Environment,
    customer: str,
    period: Period,
    by: tuple[str, ...],
    told: Told,
) -> Statement | None:
    """A customer's statement of a period; None for one who has no entry at all.

    Reads the customer's partition from its beginning, twice. Raises LogError, PartitionsError.
    """
    partitions, _ = partitions_of(cluster, environment)
    partition = partition_of(customer.encode(), partitions)
    topic = environment.topic(BALANCE_CHANGES)
    low, end = bounds_of(cluster, topic, partition)
    key, seen = customer.encode(), False

    def entries() -> Iterator[bytes]:
        nonlocal seen
        log = PartitionLog(cluster, topic, partition, low, end)
        try:
            for batch in log.batches():
                for message in batch:
                    if message.key() == key:
                        seen = True
                        yield message.value() or b""
                told(partition, (batch[-1].offset() or 0) + 1 - low, end - low)
        finally:
            log.close()

    reporting = reporting_at(cluster, environment, period.ends_ms - 1)
    try:
        made = statement_of(customer, entries, period, reporting, by)
    except (RecordError, BrokenInvariantError) as error:
        head = f"; the journal begins at {low}: its head is gone" if low else ""
        raise LogError(f"{topic}[{partition}]: {customer}: {error}{head}") from None
    return made if seen else None


def all_statements(
    cluster: Cluster,
    environment: Environment,
    period: Period,
    told: Told,
    scratch: Path | None = None,
) -> Iterator[Statement]:
    """The statements of all customers who had something or whose period has entries, by partition
    and customer. Rows are rebuilt in a directory below `scratch`, one partition at a time, and so
    is checked what they are made from. Raises LogError, PartitionsError.
    """
    partitions, cluster_id = partitions_of(cluster, environment)
    reporting = reporting_at(cluster, environment, period.ends_ms - 1)
    for partition in range(partitions):
        with tempfile.TemporaryDirectory(prefix="drawdown-statements-", dir=scratch) as directory:
            job = Job(environment.name, partition, partitions, cluster_id, directory)
            yield from _of_partition(cluster, job, period, reporting, told)


def _of_partition(
    cluster: Cluster, job: Job, period: Period, reporting: str, told: Told
) -> Iterator[Statement]:
    topic, partition = job.topics.topic(BALANCE_CHANGES), job.partition
    low, end = bounds_of(cluster, topic, partition)
    issued = _issued_by_customer(PartitionLog(cluster, topic, partition, low, end))
    folds: dict[str, StatementFold] = {}

    def folded(sealed: Sealed, before: Wallet | None, after: Wallet) -> None:
        customer = sealed.entry.customer
        fold = folds.get(customer)
        if fold is None:
            known = issued.get(customer, ())
            fold = folds[customer] = StatementFold(customer, period, reporting, by=(), issued=known)
        fold.add(sealed, before, after)

    differences = Differences()
    rebuilt = Rebuilt(partition, topic, job.store("rebuilt"), differences, folded=folded)
    count = 0
    try:
        for batch in PartitionLog(cluster, topic, partition, low, end).batches():
            rebuilt.fold(batch)
            if rebuilt.entries - count >= TELL_EVERY:
                count = rebuilt.entries
                told(partition, count, max(end - low, count))
        told(partition, rebuilt.entries, rebuilt.entries)
    finally:
        rebuilt.store.close()
    if differences.count:
        raise LogError(differences.first[0].detail)
    for customer in sorted(folds):
        made = folds[customer].statement()
        if made.assets or made.last_sequence >= made.first_sequence:
            yield made


def _issued_by_customer(log: PartitionLog) -> dict[str, list[StatementFacts]]:
    """All statements that were issued on a partition."""
    found: dict[str, list[StatementFacts]] = {}
    for batch in log.batches():
        for message in batch:
            value = message.value() or b""
            if ISSUED_MARK in value:
                try:
                    facts = decode_entry(value).data.statement
                except RecordError:
                    continue  # the fold tells of it
                if facts is not None:
                    found.setdefault(text_of(message.key()), []).append(facts)
    return found
