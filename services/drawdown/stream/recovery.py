"""Recovery of a partition: from what the store has to what the journal says, then to serving.

It runs outside the rebalance callback and in slices, so that one partition's restore does not
starve the others. The order is what makes it right:

1. The producer's transactional id was initialised before, so that no transaction of this process's
   past is open. The group's committed offsets are read; the broker lets them be read only when no
   other process's open transaction could still change them.
2. The journal's high watermark is captured: of everything appended, not only of what is stable.
   (Up to the last stable offset alone, an open transaction's entries would be missed.)
3. Wait until everything below it is stable, which a dead owner's open transaction delays by its
   timeout.
4. A store with a position folds the journal from there. An empty one first reads `balances` to its
   end: rows that contain every entry below the journal's end that was captured.
5. The folded rows were checked as they came (sequence, digests, before and after); every cause
   must lie below the committed offsets.
6. Serve, from the committed offsets on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from drawdown.stream.application import COMMANDS, USAGE, Application
from drawdown.stream.clock import Clock
from drawdown.stream.layout import Layout
from drawdown.stream.lease import Lease
from drawdown.stream.ports import Cluster
from drawdown.stream.store import Owner, Positions, Store, Stores, StoreUnusableError
from drawdown.stream.view import PartitionView, RowCache

log = logging.getLogger("drawdown.recovery")

BATCH: Final = 2000
"""Entries folded between two writes of the store."""
TELL_S: Final = 10.0
"""A recovery that takes longer says what it waits for, so often."""
NONE: Final = -1001
"""OFFSET_INVALID: the group has no offset here."""

T = TypeVar("T")


class RecoveryError(Exception):
    """A partition cannot be recovered: it stops, and says why. `rule` names the runbook's entry."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Recoveries:
    """The partitions of this process that are being recovered, and the consumers that read for
    them."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        application: Application,
        stores: Stores,
        cache: RowCache,
        clock: Clock,
        cluster_id: str,
        reader_config: Mapping[str, Any],
        identities_ms: int,
    ) -> None:
        self.layout = layout
        self.application = application
        self._stores = stores
        self._cache = cache
        self.clock = clock
        self._cluster_id = cluster_id
        self.identities_ms = identities_ms
        self.reader = cluster.consumer(reader_config)
        # Only a read_uncommitted client is told the high watermark; others get the stable end.
        self._watermarks = cluster.consumer(
            {**reader_config, "isolation.level": "read_uncommitted"}
        )
        self._running: dict[int, _Recovery] = {}
        self.remaining: dict[int, int] = {}
        """Per partition: records still to be read, as far as known."""

    def start(self, partition: int, lease: Lease, view: PartitionView | None) -> None:
        """Recover a partition; with `view` from the store that is open already."""
        self.cancel(partition)
        self._running[partition] = _Recovery(self, partition, lease, view)

    def cancel(self, partition: int) -> None:
        """The partition is not ours any more."""
        running = self._running.pop(partition, None)
        self.remaining.pop(partition, None)
        if running is not None:
            self.unassign(partition)
            if running.view is not None:
                running.view.store.close()

    def __contains__(self, partition: int) -> bool:
        return partition in self._running

    def __len__(self) -> int:
        return len(self._running)

    def step(
        self,
        slice_s: float,
        done: Callable[[int, PartitionView, dict[str, int]], None],
        failed: Callable[[int, Exception], None],
    ) -> None:
        """Work for about `slice_s` seconds. May block that long on the broker and the disk."""
        until = self.clock.monotonic() + slice_s
        while self._running:
            for partition, running in list(self._running.items()):
                try:
                    running.step()
                except Exception as error:  # noqa: BLE001 - whatever it is, only this partition stops
                    del self._running[partition]
                    self.remaining.pop(partition, None)
                    self.unassign(partition)
                    if running.view is not None:
                        running.view.store.close()
                    failed(partition, error)
                    continue
                if running.finished:
                    del self._running[partition]
                    self.remaining.pop(partition, None)
                    assert running.view is not None
                    done(partition, running.view, running.starts)
            self._read(max(until - self.clock.monotonic(), 0.0))
            if self.clock.monotonic() >= until:
                return

    def _read(self, wait_s: float) -> None:
        """Hand what was read to whom it concerns."""
        first = self.reader.poll(min(wait_s, 0.02))
        if first is None:
            return
        for message in [first, *self.reader.consume(BATCH, 0)]:
            partition: Any = message.partition()
            running = self._running.get(partition)
            if running is None:
                continue
            error = message.error()
            if error is None:
                running.inbox.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                if message.topic() == running.reading:
                    running.at_end = True
            else:
                running.error = KafkaException(error)

    def doing(self) -> dict[int, str]:
        """What each of them does or waits for, in words."""
        return {partition: running.doing for partition, running in self._running.items()}

    def unassign(self, partition: int) -> None:
        mine = [p for p in self.reader.assignment() if p.partition == partition]
        if mine:
            self.reader.incremental_unassign(mine)

    def high_watermark(self, topic: str, partition: int, timeout_s: float = 2.0) -> int:
        """The end of everything appended, open transactions included. Blocks."""
        _, high = self._watermarks.get_watermark_offsets(
            TopicPartition(topic, partition), timeout_s, cached=False
        )
        return high

    def stable_end(self, topic: str, partition: int) -> tuple[int, int]:
        return self.reader.get_watermark_offsets(
            TopicPartition(topic, partition), 2.0, cached=False
        )

    def owner(self, partition: int) -> Owner:
        return Owner(self._cluster_id, self.layout.journal, partition, self.layout.partitions)

    def open_view(self, partition: int) -> PartitionView:
        owner = self.owner(partition)
        try:
            store: Store = self._stores.open(owner)
        except StoreUnusableError as error:
            self.set_aside(partition, str(error))
            store = self._stores.open(owner)
        return PartitionView(store, self.application, self._cache)

    def set_aside(self, partition: int, why: str) -> None:
        where = self._stores.set_aside(self.owner(partition))
        log.error(
            "partition %d: the store cannot be used and is rebuilt (%s); the old one is at %s",
            partition,
            why,
            where,
        )

    def close(self) -> None:
        for partition in list(self._running):
            self.cancel(partition)
        self.reader.close()
        self._watermarks.close()


class _Recovery:
    """The recovery of one partition: a generator that yields whenever it has to wait."""

    def __init__(
        self, all_: Recoveries, partition: int, lease: Lease, view: PartitionView | None
    ) -> None:
        self._all = all_
        self._partition = partition
        self._lease = lease
        self.view = view
        self.starts: dict[str, int] = {}
        self.finished = False
        self.inbox: list[Any] = []
        self.at_end = False
        self.reading: str | None = None
        self.error: Exception | None = None
        self.doing = ""
        """What it does or waits for, in words, with what the broker last said to it."""
        self._told_at = all_.clock.monotonic()
        self._work = self._run()

    def step(self) -> None:
        if self.error is not None:
            raise self.error
        self.finished = next(self._work, True)
        now = self._all.clock.monotonic()
        if not self.finished and now - self._told_at > TELL_S:
            self._told_at = now
            log.warning("partition %d: still recovering: %s", self._partition, self.doing)

    def _asked(self, what: str, question: Callable[[], T]) -> Generator[bool, None, T]:
        """The broker's answer, as soon as there is one: it may be away for a while."""
        self.doing = what
        while True:
            try:
                return question()
            except KafkaException as error:
                if not _passing(error):
                    raise
                self.doing = f"{what}: {error.args[0].str()}"
            yield False

    def _run(self) -> Iterator[bool]:
        all_, layout, partition = self._all, self._all.layout, self._partition
        committed = yield from self._asked(
            "asking for the committed offsets", lambda: self._lease.committed(partition, 0.5)
        )  # 1
        high = yield from self._stable(layout.journal)  # 2, 3
        if self.view is None:
            self.view = all_.open_view(partition)
        fresh = self.view.store.positions == Positions()
        if fresh and next(iter(self.view.store.all_rows()), None) is not None:
            # A restore that was cut short: what it had read may be gone from the topic by now.
            self.view.store.close()
            all_.set_aside(partition, "its restore was not finished")
            self.view = all_.open_view(partition)
        if not fresh:
            low, end = yield from self._asked(
                "asking for the journal's end", lambda: all_.stable_end(layout.journal, partition)
            )
            position = self.view.store.positions.journal
            if not low <= position <= end:
                self.view.store.close()
                all_.set_aside(
                    partition, f"it goes to entry {position}, the journal is {low} to {end}"
                )
                self.view = all_.open_view(partition)
                fresh = True
        if fresh and high > 0:  # 4
            yield from self._read_rows(high)
        try:
            yield from self._fold(self.view.store.positions.journal)
        except RecoveryError as error:
            if fresh:
                raise
            self.view.store.close()
            all_.set_aside(partition, str(error))
            self.view = all_.open_view(partition)
            yield from self._read_rows(high)
            yield from self._fold(self.view.store.positions.journal)
        yield from self._start_from(committed)  # 5
        self.doing = "waiting for the client to begin with the partition"
        while not self._lease.place(partition, self.starts):  # 6
            yield False

    def _stable(self, topic: str) -> Generator[bool, None, int]:
        """The end of a topic's partition, when no transaction is open any more below it."""
        all_, partition = self._all, self._partition
        what = f"asking for the end of {topic}"
        high = yield from self._asked(what, lambda: all_.high_watermark(topic, partition))
        while True:
            _, end = yield from self._asked(what, lambda: all_.stable_end(topic, partition))
            if end >= high:
                return high
            self.doing = f"an open transaction at {topic}[{partition}]@{end}, of {high}"
            yield False

    def _read_rows(self, journal_end: int) -> Iterator[bool]:
        """Fill an empty store from `balances`, then its identities from the journal's tail."""
        all_, layout = self._all, self._all.layout
        assert self.view is not None
        view = self.view
        high = yield from self._stable(layout.rows)
        positions = Positions(journal=journal_end)
        newest_ms = all_.clock.now_ms()
        for messages in self._messages(layout.rows, OFFSET_BEGINNING, high):
            if not messages:
                yield False
                continue
            newest_ms = messages[-1].timestamp()[1]
            for message in messages:
                key, value = message.key().decode(), message.value()
                view.put(key, None if value is None else all_.application.row_of(value))
            # Not yet whole: without a position it would be read from the start again.
            view.commit(view.seal(), Positions(), 0)
            yield False
        yield from self._read_identities(journal_end, positions, newest_ms)

    def _read_identities(
        self, journal_end: int, positions: Positions, newest_ms: int
    ) -> Iterator[bool]:
        """The identities of the lateness window, from the entries below the rows' position.

        The window ends at the append time of the newest row, or now by this process's clock where
        that is earlier: one clock that is ahead would miss what may come again.
        """
        all_, layout, partition = self._all, self._all.layout, self._partition
        assert self.view is not None
        view = self.view
        since_ms = max(min(all_.clock.now_ms(), newest_ms) - all_.identities_ms, 0)
        since = TopicPartition(layout.journal, partition, since_ms)
        (found,) = yield from self._asked(
            "asking where the lateness window begins",
            lambda: all_.reader.offsets_for_times([since], 2.0),
        )
        if found.error is not None:
            raise KafkaException(found.error)
        start = found.offset
        inputs: dict[str, int] = dict.fromkeys((USAGE, COMMANDS), 0)
        if 0 <= start < journal_end:
            for messages in self._messages(layout.journal, start, journal_end):
                if not messages:
                    yield False
                    continue
                at_ms = 0
                for message in messages:
                    if message.offset() >= journal_end:
                        break
                    folded = all_.application.identify(message.value(), view)
                    at_ms = folded.at_ms
                    if folded.input is not None:
                        inputs[folded.input] = max(inputs[folded.input], folded.offset + 1)
                view.commit(view.seal(), Positions(), at_ms)
                yield False
        view.commit({}, Positions(journal=positions.journal, inputs=inputs), all_.clock.now_ms())

    def _fold(self, start: int) -> Iterator[bool]:
        """Fold the journal from a position to its end, in batches of a store write each."""
        all_, layout, partition = self._all, self._all.layout, self._partition
        assert self.view is not None
        view = self.view
        high = yield from self._asked(
            "asking for the journal's end", lambda: all_.high_watermark(layout.journal, partition)
        )
        inputs = {USAGE: 0, COMMANDS: 0, **view.store.positions.inputs}
        for messages in self._messages(layout.journal, start, high):
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
                at_ms = folded.at_ms
                if folded.input is not None:
                    inputs[folded.input] = max(inputs[folded.input], folded.offset + 1)
            view.commit(
                view.seal(),
                Positions(journal=messages[-1].offset() + 1, inputs=dict(inputs)),
                at_ms,
            )
            yield False

    def _messages(self, topic: str, start: int, high: int) -> Iterator[list[Any]]:
        """Read a topic's partition from an offset to its end; an empty list means: wait."""
        all_ = self._all
        self.reading = topic
        self.doing = f"reading {topic}[{self._partition}] from {start} to {high}"
        self.inbox = []
        self.at_end = False
        if start != OFFSET_BEGINNING and start >= high:
            return
        where = TopicPartition(topic, self._partition, start)
        all_.unassign(self._partition)
        all_.reader.incremental_assign([where])
        while True:
            # The end is looked at first: what came before it is in the inbox by then.
            at_end = self.at_end
            messages, self.inbox = self.inbox, []
            if messages:
                all_.remaining[self._partition] = max(high - messages[-1].offset() - 1, 0)
                yield messages
            elif at_end:
                break
            else:
                yield []
        all_.unassign(self._partition)
        self.reading = None

    def _start_from(self, committed: dict[str, int]) -> Iterator[bool]:
        assert self.view is not None
        positions = self.view.store.positions
        for name, offset in committed.items():
            highest = positions.inputs.get(name, 0)
            if offset == NONE:
                # The group's offsets are gone (it had no member for 7 days) or never were: the
                # journal knows how far it came.
                topic = {USAGE: self._all.layout.usage, COMMANDS: self._all.layout.commands}[name]
                low, _ = yield from self._asked(
                    f"asking for the beginning of {topic}",
                    partial(self._all.stable_end, topic, self._partition),
                )
                self.starts[name] = max(highest, low)
            elif highest > offset:
                raise RecoveryError(
                    "cause-below-committed",
                    f"partition {self._partition}: the journal has an entry caused by {name}"
                    f" record {highest - 1}, the group is at {offset}",
                )
            else:
                self.starts[name] = offset


def _passing(error: KafkaException) -> bool:
    """An error that goes away by itself: a pending transaction, a coordinator on its way."""
    cause: KafkaError = error.args[0]
    return not cause.fatal() and cause.code() not in (
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
