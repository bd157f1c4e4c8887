"""Recovery of a partition: from what the store has to what the journal says, then to serving.

It runs outside the rebalance callback and in slices, so that one partition's restore does not
starve the others. The order is what makes it right:

1. The producer's transactional id was initialised before, so that no transaction of this process's
   past is open. The group's committed offsets are read; the broker lets them be read only when no
   other process's open transaction could still change them.
2. The journal's high watermark is captured: of everything appended, not only of what is stable.
   (Up to the last stable offset alone, an open transaction's entries would be missed.)
3. Wait until everything below it is stable, there and in the other outputs, which a dead owner's
   open transaction delays by its timeout. One of our own that a broker forgot is ended (`hanging`).
4. A store with a position folds the journal from there. An empty one is taken from a snapshot
   where there is a good one; else it first reads `balances` to its end: rows that contain every
   entry below the journal's end that was captured. Their identities come later, beside the serving
   (`identities`), unless the group's offsets are unknown: then all their causes are needed first.
5. The folded rows were checked as they came (sequence, digests, before and after); every cause
   must lie below the committed offsets. Where one does not, they are asked for again for a while.
6. Serve, from the committed offsets on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING

from drawdown.stream.application import COMMANDS, USAGE, Application
from drawdown.stream.clock import Clock
from drawdown.stream.identities import (
    UNKNOWN_MS,
    CauseError,
    IdentityRestore,
    of_another_cluster,
)
from drawdown.stream.layout import Layout
from drawdown.stream.lease import Lease
from drawdown.stream.ports import Cluster
from drawdown.stream.reading import Reader, Task
from drawdown.stream.store import Owner, Positions, Store, Stores, StoreUnusableError
from drawdown.stream.view import PartitionView, RowCache

log = logging.getLogger("drawdown.recovery")

LOADING_S: Final = 20.0
"""How long a group's offsets may be answered from the part of them that is loaded."""
HANGING_S: Final = 2.0
"""After it, what is waited for may be a transaction of ours that nobody will end."""
TELL_S: Final = 10.0
"""A recovery that takes longer says what it waits for, so often."""
NONE: Final = -1001
"""OFFSET_INVALID: the group has no offset here."""


class RecoveryError(Exception):
    """A partition cannot be recovered: it stops, and says why. `rule` names the runbook's entry."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Recoveries:
    """The partitions of this process that are being recovered, those whose identities are restored
    while they are served, and the consumers that read for them."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        application: Application,
        stores: Stores,
        cache: RowCache,
        clock: Clock,
        cluster_id: str,
        reader_config: Mapping[str, object],
        identities_ms: int,
        crash: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.layout = layout
        self.application = application
        self.stores = stores
        self._cache = cache
        self.clock = clock
        self._cluster_id = cluster_id
        self._identities_ms = identities_ms
        self._crash = crash
        self.reader = Reader(cluster, reader_config)
        self._running: dict[int, _Recovery] = {}
        self._restoring: dict[int, IdentityRestore] = {}

    def start(self, partition: int, lease: Lease, view: PartitionView | None) -> None:
        """Recover a partition; with `view` from the store that is open already."""
        self.cancel(partition)
        self._running[partition] = _Recovery(self, partition, lease, view)

    def restore_identities(self, partition: int, store: Store, starts: Mapping[str, int]) -> None:
        """Restore what a store that serves has no identities of yet, from now on in `step`."""
        if store.positions.identities_from_ms:
            self._restoring[partition] = self.restore_of(partition, store, starts)

    def restore_of(
        self, partition: int, store: Store, starts: Mapping[str, int]
    ) -> IdentityRestore:
        return IdentityRestore(
            self.reader,
            partition,
            self.layout.journal,
            {USAGE: self.layout.usage, COMMANDS: self.layout.commands},
            self.application,
            store,
            self.clock,
            self._identities_ms,
            starts,
            self._crash,
        )

    def cancel(self, partition: int) -> None:
        """The partition is not ours any more, or is not served."""
        running = self._running.pop(partition, None)
        restoring = self._restoring.pop(partition, None)
        if running is not None or restoring is not None:
            self.reader.rest(partition)
        if running is not None and running.view is not None:
            running.view.store.close()

    def __contains__(self, partition: int) -> bool:
        return partition in self._running

    def __len__(self) -> int:
        return len(self._running)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do for `step`."""
        return bool(self._running or self._restoring)

    def step(
        self,
        slice_s: float,
        done: Callable[[int, PartitionView, dict[str, int]], None],
        failed: Callable[[int, Exception], None],
    ) -> None:
        """Work for about `slice_s` seconds. May block that long on the broker and the disk."""
        until = self.clock.monotonic() + slice_s
        while self.busy:
            for partition, running in list(self._running.items()):
                try:
                    running.step()
                except Exception as error:  # noqa: BLE001 - whatever it is, only this partition stops
                    self.cancel(partition)
                    failed(partition, error)
                    continue
                if running.finished:
                    del self._running[partition]
                    assert running.view is not None
                    done(partition, running.view, running.starts)
                    until = self.clock.monotonic()  # it is to be served, at once
            for partition, restoring in list(self._restoring.items()):
                try:
                    finished = restoring.step()
                except Exception as error:  # noqa: BLE001 - whatever it is, only this partition stops
                    self.cancel(partition)
                    failed(partition, _as_recovery_error(partition, error))
                    continue
                if finished:
                    del self._restoring[partition]
                    log.info(
                        "partition %d: all identities are there, %d restored",
                        partition,
                        restoring.count,
                    )
            self.reader.hand_out(self._task, min(max(until - self.clock.monotonic(), 0.0), 0.02))
            if self.clock.monotonic() >= until:
                return

    def _task(self, partition: int) -> Task | None:
        running = self._running.get(partition)
        if running is not None and running.restore is None:
            return running
        return self._restoring.get(partition) if running is None else running.restore

    def doing(self) -> dict[int, str]:
        """What each of those not served yet does or waits for, in words."""
        return {partition: running.doing for partition, running in self._running.items()}

    def remaining(self) -> dict[int, int]:
        """Per partition that is not served yet: offsets still to be read, as far as known."""
        return {partition: running.remaining for partition, running in self._running.items()}

    def identities_remaining(self) -> dict[int, int]:
        """Per partition that is served without all identities: offsets of the journal still to be
        read for them."""
        return {partition: task.remaining for partition, task in self._restoring.items()}

    def high_watermark(self, topic: str, partition: int, timeout_s: float = 2.0) -> int:
        """The end of everything appended, open transactions included. Blocks."""
        return self.reader.high_watermark(topic, partition, timeout_s)

    def stable_end(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset there is, and the end below which no transaction is open. Blocks."""
        return self.reader.stable_end(topic, partition)

    def owner(self, partition: int) -> Owner:
        return Owner(self._cluster_id, self.layout.journal, partition, self.layout.partitions)

    def open_view(self, partition: int) -> PartitionView:
        owner = self.owner(partition)
        try:
            store: Store = self.stores.open(owner)
        except StoreUnusableError as error:
            self.set_aside(partition, str(error))
            store = self.stores.open(owner)
        return PartitionView(store, self.application, self._cache)

    def set_aside(self, partition: int, why: str) -> None:
        where = self.stores.set_aside(self.owner(partition))
        log.error(
            "partition %d: the store cannot be used and is rebuilt (%s); the old one is at %s",
            partition,
            why,
            where,
        )

    def close(self) -> None:
        for partition in [*self._running, *self._restoring]:
            self.cancel(partition)
        self.reader.close()


class _Recovery(Task):
    """The recovery of one partition."""

    def __init__(
        self, all_: Recoveries, partition: int, lease: Lease, view: PartitionView | None
    ) -> None:
        super().__init__(all_.reader, partition)
        self._all = all_
        self._lease = lease
        self.view = view
        self.starts: dict[str, int] = {}
        self.finished = False
        self.restore: IdentityRestore | None = None
        """What reads in its place, where all identities have to come first."""
        self._hung_at: int | None = None
        """Where a transaction began in the journal that was open for so long that it was ended."""
        self._told_at = all_.clock.monotonic()
        self._work = self._run()

    def step(self) -> None:
        if self.error is not None:
            raise self.error
        self.finished = next(self._work, True)
        now = self._all.clock.monotonic()
        if not self.finished and now - self._told_at > TELL_S:
            self._told_at = now
            log.warning("partition %d: still recovering: %s", self.partition, self.doing)

    def _patience(self, held: str) -> Iterator[None]:
        """Looked at each time there is still no answer: after a while it may be that a transaction
        hangs, and again so long after that."""
        clock = self._all.clock
        since = clock.monotonic()
        while True:
            now = clock.monotonic()
            if now - since > HANGING_S:
                since = now
                self._all.reader.hanging.add((held, self.partition))
            yield

    def _run(self) -> Iterator[bool]:
        all_, layout, partition = self._all, self._all.layout, self.partition
        committed = yield from self.asked(
            "asking for the committed offsets",
            lambda: self._lease.committed(partition, 0.5),
            patience=self._patience(layout.usage),
        )  # 1
        high = yield from self._stable(layout.journal)  # 2, 3
        for topic in layout.outputs[1:]:
            yield from self._stable(topic)
        if self.view is None:
            self.view = all_.open_view(partition)
        fresh = self.view.store.positions == Positions()
        if fresh and next(iter(self.view.store.all_rows()), None) is not None:
            # A restore that was cut short: what it had read may be gone from the topic by now.
            self._set_aside("its restore was not finished")
        if not fresh:
            low, end = yield from self.asked(
                "asking for the journal's end", lambda: all_.stable_end(layout.journal, partition)
            )
            position = self.view.store.positions.journal
            if not low <= position <= end:
                self._set_aside(f"it goes to entry {position}, the journal is {low} to {end}")
                fresh = True
            elif self._hung_at is not None and position > self._hung_at:
                # It may have been answered as committed, and was aborted.
                self._set_aside(
                    f"it goes to entry {position}, and a transaction hung from {self._hung_at} on"
                )
                fresh = True
        if fresh and high > 0:  # 4
            yield from self._fetch(high)
            fresh = self.view.store.positions == Positions()
        if fresh and high > 0:
            yield from self._read_rows(high, committed)
        try:
            yield from self._fold(self.view.store.positions.journal)
        except RecoveryError as error:
            if fresh:
                raise
            self._set_aside(str(error))
            yield from self._read_rows(high, committed)
            yield from self._fold(self.view.store.positions.journal)
        if NONE in committed.values() and self.view.store.positions.identities_from_ms:
            yield from self._read_identities()
        yield from self._start_from(committed)  # 5
        self.doing = "waiting for the client to begin with the partition"
        while not self._lease.place(partition, self.starts):  # 6
            yield False

    def _fetch(self, journal_end: int) -> Iterator[bool]:
        """Put a snapshot in the place of an empty store, where there is a good one."""
        all_, owner = self._all, self._all.owner(self.partition)
        low, _ = yield from self.asked(
            "asking for the journal's beginning",
            lambda: all_.stable_end(all_.layout.journal, self.partition),
        )
        fetching = all_.stores.fetch(owner, range(low, journal_end + 1))
        if fetching is None:
            return
        self.doing = "fetching a snapshot"
        while not fetching.done():
            yield False
        try:
            fetched = fetching.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is another way
            log.error("partition %d: no snapshot is to be had: %s", self.partition, error)
            return
        if fetched is not None:
            assert self.view is not None
            self.view.store.close()
            self.view = None
            all_.stores.install(owner, fetched)
            self.view = all_.open_view(self.partition)

    def _set_aside(self, why: str) -> None:
        assert self.view is not None
        self.view.store.close()
        self._all.set_aside(self.partition, why)
        self.view = self._all.open_view(self.partition)

    def _stable(self, topic: str) -> Generator[bool, None, int]:
        """The end of a topic's partition, when no transaction is open any more below it."""
        all_, partition = self._all, self.partition
        what = f"asking for the end of {topic}"
        high = yield from self.asked(what, lambda: all_.high_watermark(topic, partition))
        patience = self._patience(topic)
        while True:
            _, end = yield from self.asked(what, lambda: all_.stable_end(topic, partition))
            if end >= high:
                return high
            self.doing = f"an open transaction at {topic}[{partition}]@{end}, of {high}"
            next(patience)
            if topic == all_.layout.journal and (topic, partition) in all_.reader.hanging:
                self._hung_at = end
            yield False

    def _read_rows(self, journal_end: int, committed: Mapping[str, int]) -> Iterator[bool]:
        """Fill an empty store from `balances`. It has no identities yet."""
        layout = self._all.layout
        assert self.view is not None
        view = self.view
        high = yield from self._stable(layout.rows)
        for messages in self.messages(layout.rows, OFFSET_BEGINNING, high):
            if not messages:
                yield False
                continue
            view.restore({message.key().decode(): message.value() for message in messages})
            yield False
        # Only now: without a position, rows that are not whole would be set aside.
        view.commit(
            {},
            Positions(
                journal=journal_end,
                inputs={name: at for name, at in committed.items() if at != NONE},
                identities_from=journal_end,
                identities_from_ms=UNKNOWN_MS,
            ),
            0,
        )

    def _read_identities(self) -> Iterator[bool]:
        """All of them, before serving: only the causes of the entries tell where to go on."""
        assert self.view is not None
        store = self.view.store
        self.restore = self._all.restore_of(self.partition, store, {})
        while not self.restore.step():
            self.doing, self.remaining = self.restore.doing, self.restore.remaining
            yield False
        self.restore = None

    def _fold(self, start: int) -> Iterator[bool]:
        """Fold the journal from a position to its end, in batches of a store write each."""
        all_, layout, partition = self._all, self._all.layout, self.partition
        assert self.view is not None
        view = self.view
        high = yield from self.asked(
            "asking for the journal's end", lambda: all_.high_watermark(layout.journal, partition)
        )
        inputs = {USAGE: 0, COMMANDS: 0, **view.store.positions.inputs}
        for messages in self.messages(layout.journal, start, high):
            if not messages:
                yield False
                continue
            at_ms = 0
            for message in messages:
                try:
                    folded = all_.application.fold(message.value(), view)
                except Exception as error:
                    view.drop()
                    raise RecoveryError(
                        "journal-follows",
                        f"{layout.journal}[{partition}]@{message.offset()}: {error}",
                    ) from error
                at_ms = max(at_ms, folded.at_ms)
                if folded.input is not None and not of_another_cluster(message):
                    inputs[folded.input] = max(inputs[folded.input], folded.offset + 1)
            view.commit(
                view.seal(),
                msgspec.structs.replace(
                    view.store.positions, journal=messages[-1].offset() + 1, inputs=dict(inputs)
                ),
                at_ms,
            )
            yield False

    def _start_from(self, committed: Mapping[str, int]) -> Iterator[bool]:
        assert self.view is not None
        positions = self.view.store.positions
        committed = yield from self._not_behind(committed, positions.inputs)
        for name, offset in committed.items():
            if offset == NONE:
                # The group's offsets are gone (it had no member for 7 days) or never were: the
                # journal knows how far it came.
                topic = {USAGE: self._all.layout.usage, COMMANDS: self._all.layout.commands}[name]
                low, _ = yield from self.asked(
                    f"asking for the beginning of {topic}",
                    partial(self._all.stable_end, topic, self.partition),
                )
                self.starts[name] = max(positions.inputs.get(name, 0), low)
            else:
                self.starts[name] = offset

    def _not_behind(
        self, committed: Mapping[str, int], journaled: Mapping[str, int]
    ) -> Generator[bool, None, Mapping[str, int]]:
        """The group's offsets, none of them behind what the journal has entries of. A coordinator
        that is still loading them may answer from what it has so far: it is asked for a while."""
        until = self._all.clock.monotonic() + LOADING_S
        while True:
            behind = [
                f"the journal has an entry caused by {name} record {journaled[name] - 1}, the group"
                f" is at {offset}"
                for name, offset in committed.items()
                if offset != NONE and journaled.get(name, 0) > offset
            ]
            if not behind:
                return committed
            said = f"partition {self.partition}: {'; '.join(behind)}"
            if self._all.clock.monotonic() > until:
                raise RecoveryError("cause-below-committed", said)
            self.doing = said
            yield False
            committed = yield from self.asked(
                f"asking again for the committed offsets: {said}",
                lambda: self._lease.committed(self.partition, 0.5),
                patience=self._patience(self._all.layout.usage),
            )


def _as_recovery_error(partition: int, error: Exception) -> Exception:
    if isinstance(error, CauseError):
        return RecoveryError("cause-below-committed", f"partition {partition}: {error}")
    return error
