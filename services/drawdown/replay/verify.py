"""Verify a partition: every cause is decided again, in the journal's order, by the very code of
settlement, and what comes of it is compared with what is written, byte for byte.

1. The group's offsets are read, then the journal's end is fixed, then those of `decisions` and
   `dead-letters`: what is below the first is decided, and what came of it is below the others.
2. Entry by entry: its cause is looked up on its input and decided by the rows as they are then; the
   entry that comes of it must be the one that is written, and so must the decision.
3. Every input record below the group's offsets must be accounted for: an entry, a decision, a dead
   letter, a duplicate, or moved to another partition.

Nothing can tell again how far a process was behind usage, when it took a command up, or what its
clock said when a timer fired: those are taken as they are written.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import msgspec
from confluent_kafka import Message, TopicPartition

from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    DEAD_LETTERS,
    DECISIONS,
    USAGE_EVENTS,
)
from drawdown.events.catalogue import (
    COMMANDS as COMMANDS_TOPIC,
)
from drawdown.events.codec import RecordError
from drawdown.ledger.counters import timer_of
from drawdown.ledger.flows import RESET
from drawdown.ledger.journal import Sealed, unseal
from drawdown.replay.again import Again, Counts, Deciding, lag_of
from drawdown.replay.books import read_known
from drawdown.replay.commands_again import CommandsAgain
from drawdown.replay.differences import Difference, Differences
from drawdown.replay.inputs import Incoming, Input
from drawdown.replay.job import TELL_EVERY, Job, Progress, rss_mb
from drawdown.replay.rebuild import CACHE_BYTES, COMMIT_EVERY, Causes, text_of, unreadable
from drawdown.replay.recorded import (
    Ahead,
    Told,
    decision_of_command,
    decision_of_usage,
    letter_of,
)
from drawdown.replay.replay import head_gone
from drawdown.replay.usage_again import NO_LAG, UsageAgain
from drawdown.settlement.application import INPUTS, Settlement
from drawdown.settlement.service import GROUP
from drawdown.stream import kafka
from drawdown.stream.application import COMMANDS, USAGE, Lag
from drawdown.stream.identities import of_another_cluster
from drawdown.stream.partition_log import ANSWER_S, Ends, PartitionLog
from drawdown.stream.ports import Cluster
from drawdown.stream.store import Positions
from drawdown.stream.view import PartitionView, RowCache

IDENTITIES_MS: Final = 35 * 86_400_000 + 300_000
"""How long settlement remembers ids; see `stream.loop.Config`."""
CAUSE: Final = re.compile(rb'"cause":\{"topic":"([^"\\]+)","partition":(\d+),"offset":(\d+)\}')


class Verified(msgspec.Struct, frozen=True):
    """What the verification of a partition found."""

    partition: int
    counts: Counts
    differences: int
    first: list[Difference]
    forwarded_out: list[str]
    """`topic:partition:offset` of records moved to other partitions, and of those moved here."""
    forwarded_in: list[str]
    whole: bool
    """Nothing stands undecided on the inputs."""
    seconds: float
    rss_mb: int
    """Most that its process took, in MB of 10^6 bytes."""


def verify_partition(job: Job, cluster: Cluster, progress: Progress) -> Verified:
    """Decide one partition again. Blocks until done. Raises LogError, TooManyError."""
    return _Verification(job, cluster, progress).run()


class _Verification:
    def __init__(self, job: Job, cluster: Cluster, progress: Progress) -> None:
        self._job = job
        self._cluster = cluster
        self._progress = progress
        self._partition = job.partition
        self._differences = Differences()
        self._causes = Causes()
        self._since_commit = 0
        self._at_ms = 0
        environment = job.topics
        known = read_known(cluster, environment)
        self._store = job.store("verified")
        application = Settlement(environment, known)
        view = PartitionView(self._store, application, RowCache(CACHE_BYTES))
        self._deciding = Deciding(self._partition, view, application, known, self._differences)
        self._open_topics(view, application)

    def _open_topics(self, view: PartitionView, application: Settlement) -> None:
        """Fix the ends, in the order that makes them belong together."""
        job, cluster, environment = self._job, self._cluster, self._job.topics
        ends = Ends(cluster)
        try:
            self._committed = self._group_offsets()

            def log(topic: Any) -> PartitionLog:
                name = environment.topic(topic)
                bounds = ends.bounds(name, self._partition)
                return PartitionLog(cluster, name, self._partition, *bounds)

            self._journal = log(BALANCE_CHANGES)
            decisions, letters = log(DECISIONS), log(DEAD_LETTERS)
            usage, commands = log(USAGE_EVENTS), log(COMMANDS_TOPIC)
        finally:
            ends.close()

        def again(found: PartitionLog) -> PartitionLog:
            """The same once more: two look at it, each at its own pace."""
            return PartitionLog(cluster, found.topic, found.partition, found.start, found.end)

        parts = job.partitions
        self._usage = UsageAgain(
            self._deciding,
            Input(USAGE, usage, parts, application, view),
            Ahead(again(decisions), decision_of_usage),
            Ahead(again(letters), letter_of(USAGE)),
            parts,
        )
        self._commands = CommandsAgain(
            self._deciding,
            Input(COMMANDS, commands, parts, application, view),
            Ahead(decisions, decision_of_command),
            Ahead(letters, letter_of(COMMANDS)),
            parts,
            self._committed[COMMANDS],
        )

    def _group_offsets(self) -> dict[str, int]:
        """How far settlement is with each input; 0 where its group has no offset."""
        environment = self._job.topics
        topics = {USAGE: USAGE_EVENTS, COMMANDS: COMMANDS_TOPIC}
        consumer = self._cluster.consumer(kafka.reader(f"{environment.name}.{GROUP}"))
        try:
            found = consumer.committed(
                [
                    TopicPartition(environment.topic(topic), self._partition)
                    for topic in topics.values()
                ],
                ANSWER_S,
            )
        finally:
            consumer.close()
        return {name: max(where.offset, 0) for name, where in zip(topics, found, strict=True)}

    def run(self) -> Verified:
        started = time.monotonic()
        low, end = self._journal.start, self._journal.end
        if low > 0:
            self._deciding.head_gone = True
            self._differences.add(head_gone(self._journal.topic, self._partition, low))
        counts = self._deciding.counts
        self._commands.open()
        while (message := self._journal.take()) is not None:
            self._entry(message)
            if counts.entries % TELL_EVERY == 0:
                self._progress(counts.entries, max(end - low, counts.entries))
            if self._since_commit >= COMMIT_EVERY:
                self._commit()
        self._finish()
        self._progress(counts.entries, counts.entries)
        deciding = self._deciding
        whole = self._usage.source.peek() is None and self._commands.source.peek() is None
        return Verified(
            partition=self._partition,
            counts=counts,
            differences=self._differences.count,
            first=self._differences.first,
            forwarded_out=deciding.forwarded_out,
            forwarded_in=deciding.forwarded_in,
            whole=whole,
            seconds=round(time.monotonic() - started, 3),
            rss_mb=rss_mb(),
        )

    def _decided(self, name: str) -> int:
        """Up to where an input is decided for sure."""
        topic = {USAGE: USAGE_EVENTS, COMMANDS: COMMANDS_TOPIC}[name].name
        return max(self._committed[name], self._causes.next_offset(topic))

    def _finish(self) -> None:
        """Account for what stands behind the last entry."""
        usage_end, commands_end = self._decided(USAGE), self._decided(COMMANDS)
        self._usage.before(usage_end)
        self._commands.before(commands_end)
        self._usage.rest(usage_end)
        self._commands.rest(commands_end)
        self._store.close()

    def _commit(self) -> None:
        """Write the rows to the store; only so many are kept in memory."""
        view = self._deciding.view
        self._since_commit = 0
        view.commit(view.seal(), Positions(), self._at_ms)
        self._store.forget(self._at_ms - IDENTITIES_MS)

    # an entry

    def _entry(self, message: Message) -> None:
        deciding = self._deciding
        deciding.counts.entries += 1
        self._since_commit += 1
        value = message.value() or b""
        customer = text_of(message.key())
        if of_another_cluster(message):
            deciding.counts.causes_gone += 1
            self._fold(message, value, customer, None)
            return
        found = CAUSE.search(value)
        if found is None:
            self._of_timer(message, value, customer)
            return
        topic, partition, offset = found[1].decode(), int(found[2]), int(found[3])
        name = INPUTS.get(topic)
        if name is None or partition != self._partition:
            wrong: str | None = f"its cause is {topic}[{partition}]@{offset}: not of here"
        else:
            wrong = self._causes.wrong(topic, offset)
        if name is None or wrong is not None:
            self._fold(message, value, customer, wrong)
            return
        if name == USAGE:
            self._usage.before(offset)
            incoming, told = self._usage.take(offset), None
            source = self._usage.source
        else:
            self._commands.before(offset)
            incoming, told = self._commands.take(offset)
            source = self._commands.source
        if incoming is None or incoming.item is None:
            if offset < source.start:
                deciding.counts.causes_gone += 1
            else:
                wrong = f"its cause {source.topic}[{partition}]@{offset} " + (
                    "makes no entry" if incoming else "is not there, or makes no entry"
                )
            self._fold(message, value, customer, wrong)
        else:
            self._at_ms = incoming.record.at_ms
            self._of_record(message, value, customer, incoming, told)
        if name == COMMANDS:
            self._commands.open()
        self._commands.changed(customer)

    def _of_record(
        self,
        message: Message,
        value: bytes,
        customer: str,
        incoming: Incoming,
        told: Told[Any] | None,
    ) -> None:
        deciding = self._deciding
        if customer in deciding.broken:
            deciding.counts.not_followed += 1
            return
        key = message.key()
        lag = NO_LAG
        if incoming.record.input == COMMANDS:
            lag = _lag_of_entry(value) if told is None else lag_of(told.content)

        def agrees(again: Again) -> bool:
            if not again.entries or again.entries[0] != (key, value):
                return False
            return told is None or again.answers == [told.value]

        again, agreed = deciding.record(incoming, lag, agrees)
        if agreed or (again.entries and again.entries[0] == (key, value)):
            deciding.counts.decided_again += 1
            deciding.kept(again)
            if len(again.entries) > 1:
                self._others(again)
            if incoming.record.input == USAGE:
                self._usage.answered(incoming, again)
            else:
                self._commands.answered(incoming, told, again)
            return
        self._otherwise(message, value, customer, again)

    def _of_timer(self, message: Message, value: bytes, customer: str) -> None:
        deciding = self._deciding
        if customer in deciding.broken:
            deciding.counts.not_followed += 1
            return
        sealed = self._unsealed(message, value, customer)
        if sealed is None:
            return
        entry = sealed.entry
        self._at_ms = max(self._at_ms, entry.at_ms)
        timer = timer_of(entry)
        key = message.key()

        def agrees(again: Again) -> bool:
            return bool(again.entries) and again.entries[0] == (key, value)

        again, agreed = deciding.timer(timer, entry.at_ms, agrees)
        if agreed:
            deciding.counts.decided_again += 1
            deciding.counts.timers += 1
            if _begins_cycle(value):
                self._cycles(again)
            else:
                deciding.kept(again)
                self._others(again)
        else:
            self._otherwise(message, value, customer, again)
        self._commands.changed(customer)

    def _others(self, again: Again) -> None:
        """Where one decision makes several entries, the others stand right behind the first."""
        for key, value in again.entries[1:]:
            if not self._follows(key, value):
                self._lacking(key, value)
                return

    def _cycles(self, again: Again) -> None:
        """Cycles that begin: by the timer, which sees to what is over as well; or by a record that
        was decided before it, and stands behind them. The timer sees to the rest later then."""
        for place, (key, value) in enumerate(again.entries):
            if place and not self._follows(key, value):
                if not all(_begins_cycle(begun) for _, begun in again.entries[:place]):
                    self._lacking(key, value)
                return
            self._deciding.application.fold(value, self._deciding.view)
            self._commands.changed(text_of(key))

    def _follows(self, key: bytes, value: bytes) -> bool:
        """Take the next entry, if it is this one."""
        message = self._journal.peek()
        if message is None or (message.key(), message.value()) != (key, value):
            return False
        self._journal.take()
        self._deciding.counts.entries += 1
        self._deciding.counts.decided_again += 1
        return True

    def _lacking(self, key: bytes, value: bytes) -> None:
        message = self._journal.peek()
        self._deciding.differ(
            "entry",
            f"{self._journal.topic}[{self._partition}]@"
            f"{self._journal.end if message is None else message.offset()}: another entry"
            " of the decision before must stand here",
            customer=key.decode(),
            topic=self._journal.topic,
            offset=None if message is None else message.offset(),
            written=None if message is None else message.value(),
            again=value,
        )

    def _otherwise(self, message: Message, value: bytes, customer: str, again: Again) -> None:
        """An entry is not what comes of its cause."""
        deciding = self._deciding
        if self._headless(value, customer):
            deciding.counts.not_followed += 1
            return
        expected = again.entries[0][1] if again.entries else None
        if expected is None:
            refused = again.letter
            detail = "no entry comes of its cause"
            if refused is not None:
                detail += f": it is refused ({refused.reason}: {refused.detail})"
            elif again.answers:
                detail += f"; decided again it is {again.answers[0].decode()}"
            elif again.failed:
                detail += f": {again.failed}"
            self._differ(message, detail, customer)
        else:
            deciding.differ(
                "entry",
                self._where(message) + _sequence_said(value),
                customer=customer,
                topic=message.topic(),
                offset=message.offset(),
                written=value,
                again=expected,
            )
        try:
            deciding.application.fold(value, deciding.view)
        except Exception:  # noqa: BLE001 - it is no entry that could follow
            if expected is not None:
                again.keep()  # those behind it follow from what it must be
            else:
                deciding.breaks(customer)

    # entries that are folded, not decided

    def _fold(self, message: Message, value: bytes, customer: str, wrong: str | None) -> None:
        """Take an entry as it is written, if it follows. `wrong` is what is to be told of it."""
        deciding = self._deciding
        if customer in deciding.broken:
            deciding.counts.not_followed += 1
            return
        if self._unsealed(message, value, customer) is None:
            return
        if wrong is not None:
            self._differ(message, wrong, customer)
        try:
            deciding.application.fold(value, deciding.view)
        except Exception as error:  # noqa: BLE001 - whatever it is, the entry does not follow
            if wrong is None:
                self._differ(message, f"it does not follow: {error}", customer)
                deciding.breaks(customer)

    def _unsealed(self, message: Message, value: bytes, customer: str) -> Sealed | None:
        """The entry, where it can be read and its customer's chain can go on."""
        deciding = self._deciding
        if self._headless(value, customer):
            deciding.counts.not_followed += 1
            return None
        try:
            sealed = unseal(value)
        except RecordError as error:
            self._differ(message, unreadable(value, error), customer)
            deciding.breaks(customer)
            return None
        if sealed.entry.customer != customer:
            self._differ(message, f"it is of {sealed.entry.customer!r}: a wrong key", customer)
            deciding.breaks(customer)
            return None
        return sealed

    def _headless(self, value: bytes, customer: str) -> bool:
        """Whether the customer's first entries are gone with the journal's head."""
        deciding = self._deciding
        if not deciding.head_gone or deciding.view.row(customer) is not None:
            return False
        try:
            headless = unseal(value).entry.sequence > 1
        except RecordError:
            return False
        if headless:
            deciding.breaks(customer)
        return headless

    def _where(self, message: Message) -> str:
        return f"{message.topic()}[{self._partition}]@{message.offset()}"

    def _differ(self, message: Message, detail: str, customer: str | None = None) -> None:
        self._deciding.differ(
            "entry",
            f"{self._where(message)}: {detail}",
            customer=customer or text_of(message.key()),
            topic=message.topic(),
            offset=message.offset(),
        )


def _lag_of_entry(value: bytes) -> Lag:
    """The lag an entry says was read, where its decision is gone."""
    try:
        read = unseal(value).entry.read
    except RecordError:
        return NO_LAG
    return NO_LAG if read is None else Lag(read.usage_lag_records, read.usage_lag_ms)


def _begins_cycle(value: bytes) -> bool:
    return unseal(value).entry.origin.timer == RESET


def _sequence_said(value: bytes) -> str:
    try:
        entry = unseal(value).entry
    except RecordError as error:
        return f": {unreadable(value, error)}"
    return f", entry {entry.sequence} of {entry.customer}"
