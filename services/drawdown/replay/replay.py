"""Replay of a partition: its rows from the journal alone, compared with all who have a copy.

1. Settlement's stores are opened as they stand: each says up to where in the journal it goes.
2. The journal is folded; where a store's position is passed, every row of it is compared, every
   timer, and every event id (`beside_rows`).
3. The journal's end, then the end of `balances` are fixed, in this order, so that `balances` is
   never behind. Where it is ahead, because settlement goes on, those customers are folded on.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES
from drawdown.ledger.values import Wallet
from drawdown.replay import compare
from drawdown.replay.beside_rows import Remembered, Wrong, ids_wrong, timers_wrong
from drawdown.replay.differences import Difference, Differences
from drawdown.replay.job import TELL_EVERY, Job, Progress, rss_mb
from drawdown.replay.live_store import LiveStore, paths_of
from drawdown.replay.rebuild import Rebuilt, customer_of, text_of
from drawdown.stream.partition_log import Ends, PartitionLog
from drawdown.stream.ports import Cluster
from drawdown.stream.store import Owner, Store, StoreUnusableError


class StoreCompared(msgspec.Struct, frozen=True):
    """What became of a store that was to be compared."""

    path: str
    rows: int = 0
    position: int = 0
    identities: int = 0
    """Event ids it has, all of which were compared with those of the journal."""
    timers: int = 0
    not_compared: str | None = None
    """Why it was not."""


class Replayed(msgspec.Struct, frozen=True):
    """What the replay of a partition found."""

    partition: int
    entries: int
    customers: int
    rows: int
    rows_compared: int
    """With `balances`."""
    broken_customers: int
    """Whose entries do not follow: their rows were not compared."""
    stores: list[StoreCompared]
    differences: int
    first: list[Difference]
    seconds: float
    fold_seconds: float
    rss_mb: int
    """Most that its process took, in MB of 10^6 bytes."""


def replay_partition(job: Job, cluster: Cluster, progress: Progress) -> Replayed:
    """Rebuild one partition and compare. Blocks until done. Raises LogError, TooManyError."""
    return _Replay(job, cluster, progress).run()


class _Replay:
    def __init__(self, job: Job, cluster: Cluster, progress: Progress) -> None:
        self._job = job
        self._cluster = cluster
        self._progress = progress
        self._journal = job.topics.topic(BALANCE_CHANGES)
        self._rows_topic = job.topics.topic(BALANCES)
        self._differences = Differences()
        self._compared: list[StoreCompared] = []
        self._rows_compared = 0

    def run(self) -> Replayed:
        started = time.monotonic()
        job, partition = self._job, self._job.partition
        lives = self._lives()
        ends = Ends(self._cluster)
        try:
            low, end = ends.bounds(self._journal, partition)
            rows_low, rows_end = ends.bounds(self._rows_topic, partition)
            _, later = ends.bounds(self._journal, partition)
        finally:
            ends.close()
        # Only settlement's stores have event ids to compare them with.
        identities = Remembered(job.store("remembered")) if lives else None
        rebuilt = Rebuilt(
            partition, self._journal, job.store("rebuilt"), self._differences, identities
        )
        if low > 0:
            rebuilt.head_gone = True
            self._differences.add(head_gone(self._journal, partition, low))
        position = low
        for live in sorted(lives, key=lambda live: live.positions.journal):
            if not low <= live.positions.journal <= end:
                self._not_compared(
                    live,
                    f"it goes to entry {live.positions.journal}, the journal is {low} to {end}",
                )
                continue
            self._fold(rebuilt, position, live.positions.journal, end)
            position = live.positions.journal
            self._compare_store(rebuilt, identities, live)
        if identities is not None:
            identities.close()
            rebuilt.identities = None  # nobody is left to compare them with
        self._fold(rebuilt, position, end, end)
        folded = time.monotonic()
        customers, rows = rebuilt.audit()
        published = job.store("published")
        compare.gather(
            PartitionLog(self._cluster, self._rows_topic, partition, rows_low, rows_end), published
        )
        self._fold_on(rebuilt, end, later, compare.younger(rebuilt.store, published))
        self._compare_published(rebuilt, published)
        published.close()
        rebuilt.store.close()
        return Replayed(
            partition=partition,
            entries=rebuilt.entries,
            customers=customers,
            rows=rows,
            rows_compared=self._rows_compared,
            broken_customers=len(rebuilt.broken),
            stores=self._compared,
            differences=self._differences.count,
            first=self._differences.first,
            seconds=round(time.monotonic() - started, 3),
            fold_seconds=round(folded - started, 3),
            rss_mb=rss_mb(),
        )

    def _fold(self, rebuilt: Rebuilt, start: int, end: int, whole: int) -> None:
        told = rebuilt.entries
        for batch in PartitionLog(
            self._cluster, self._journal, self._job.partition, start, end
        ).batches():
            rebuilt.fold(batch)
            if rebuilt.entries - told >= TELL_EVERY:
                told = rebuilt.entries
                self._progress(rebuilt.entries, max(whole, rebuilt.entries))
        rebuilt.commit()
        self._progress(rebuilt.entries, rebuilt.entries)

    # stores

    def _lives(self) -> list[LiveStore]:
        """The stores there are of the partition, opened as they stand."""
        job = self._job
        owner = Owner(job.cluster_id, self._journal, job.partition, job.partitions)
        found = []
        for directory in job.stores:
            for path in paths_of(Path(directory), self._journal, job.partition):
                try:
                    found.append(LiveStore(path, owner))
                except StoreUnusableError as error:
                    self._compared.append(StoreCompared(str(path), not_compared=str(error)))
        return found

    def _not_compared(self, live: LiveStore, why: str) -> None:
        self._compared.append(
            StoreCompared(str(live.path), position=live.positions.journal, not_compared=why)
        )
        live.close()

    def _compare_store(
        self, rebuilt: Rebuilt, identities: Remembered | None, live: LiveStore
    ) -> None:
        count = 0
        for key, mine, theirs in compare.pairs(rebuilt.store.all_rows(), live.all_rows()):
            count += 1
            if mine != theirs and customer_of(key) not in rebuilt.broken:
                where = f"the store {live.path} at entry {live.positions.journal}"
                self._differences.add(
                    compare.row_difference(self._job.partition, where, key, mine, theirs)
                )
        assert identities is not None
        number = len(self._compared)
        found_ids, found_timers = (
            self._job.store(f"{name}-{number}") for name in ("identities", "timers")
        )
        wrongs = list(timers_wrong(rebuilt.store.all_rows(), live, found_timers))
        if not rebuilt.head_gone:  # else the store remembers what nobody can tell any more
            wrongs += ids_wrong(identities, live, found_ids)
        for wrong in wrongs:
            self._beside_rows(rebuilt, live, wrong)
        self._compared.append(
            StoreCompared(
                str(live.path),
                rows=count,
                position=live.positions.journal,
                identities=sum(1 for _ in found_ids.all_rows()),
                timers=sum(1 for _ in found_timers.all_rows()),
            )
        )
        found_ids.close()
        found_timers.close()
        live.close()

    def _beside_rows(self, rebuilt: Rebuilt, live: LiveStore, wrong: Wrong) -> None:
        customer = customer_of(wrong.key)
        if customer in rebuilt.broken:
            return
        named = wrong.key.replace(KEY_SEPARATOR, "/")
        where = f"the store {live.path} at entry {live.positions.journal}"
        self._differences.add(
            Difference(
                what=wrong.what,
                partition=self._job.partition,
                customer=customer,
                detail=f"{where}: {named} {wrong.detail}",
            )
        )

    # balances

    def _fold_on(self, rebuilt: Rebuilt, start: int, end: int, ahead: dict[str, int]) -> None:
        """Fold those customers on to the entry at which their rows were published."""
        if not ahead:
            return
        for batch in PartitionLog(
            self._cluster, self._journal, self._job.partition, start, end
        ).batches():
            for message in batch:
                customer = text_of(message.key())
                wanted = ahead.get(customer)
                if wanted is None:
                    continue
                wallet: Wallet | None = rebuilt.view.row(customer)
                if (wallet.sequence if wallet is not None else 0) < wanted:
                    rebuilt.fold([message])
        rebuilt.commit()

    def _compare_published(self, rebuilt: Rebuilt, published: Store) -> None:
        where = f"{self._rows_topic}[{self._job.partition}]"
        for key, mine, theirs in compare.pairs(rebuilt.store.all_rows(), published.all_rows()):
            if customer_of(key) in rebuilt.broken:
                continue
            self._rows_compared += 1
            if mine != theirs:
                self._differences.add(
                    compare.row_difference(self._job.partition, where, key, mine, theirs)
                )


def head_gone(journal: str, partition: int, low: int) -> Difference:
    """What to tell of a journal that does not begin at its beginning."""
    return Difference(
        what="head-gone",
        partition=partition,
        topic=journal,
        offset=low,
        detail=(
            f"{journal}[{partition}] begins at {low}: what was before is gone, so the rows of those"
            " customers cannot be rebuilt. The journal is kept for ever: set retention.ms and"
            " retention.bytes to -1 (`drawdown topics create --mend`)"
        ),
    )
