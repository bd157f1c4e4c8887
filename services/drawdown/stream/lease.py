"""The lease: which partitions this process owns, and their records.

Ownership is a lease on one topic. Consumer U subscribes to usage events in the group; consumer P
follows by hand on the same partition numbers of commands. (Two subscribed topics would not be
assigned together.) The offsets of both go into one transaction with U's group metadata, so that a
process that has lost its partitions is fenced with everything it does.

A gained partition is paused until it is recovered: reading it starts where recovery says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from drawdown.stream.application import COMMANDS, USAGE, Record
from drawdown.stream.clock import Clock
from drawdown.stream.layout import Layout
from drawdown.stream.ports import Cluster, Consumer


class LogUnreadableError(Exception):
    """An input cannot be read on from where it must be: retention took what was not decided."""

    rule = "input-deleted"

    def __init__(self, partition: int, detail: str) -> None:
        super().__init__(f"{self.rule}: {detail}")
        self.partition = partition


@dataclass(slots=True)
class Input:
    """What is known about one input of one partition while it is read."""

    next_offset: int
    """Of the next record to decide."""
    decided_at_ms: int = 0
    """Append time of the last record decided."""
    end_seen: int | None = None
    """The end of the log where reading came to it; None while more is known to be there."""
    end_at_ms: int = 0
    """When that last was so of usage: nothing stood undecided then."""
    waits_for_ms: int | None = None
    """It rests before the next record: that one is decided when the identities of everything
    appended from this time on are there. None: it is read."""


@dataclass(slots=True)
class Reading:
    """Both inputs of one partition that is being served."""

    inputs: dict[str, Input] = field(default_factory=dict)


class Lease:
    """Consumers U and P of one process. Single-threaded: callbacks run inside `take`."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        client_id: str,
        clock: Clock,
        usage_config: Mapping[str, Any],
        commands_config: Mapping[str, Any],
        on_gained: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
    ) -> None:
        """`client_id` is what the group knows the member by, whatever name it shares."""
        self._layout = layout
        self._clock = clock
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._topics: Final = {USAGE: layout.usage, COMMANDS: layout.commands}
        self.client_id = client_id
        self._usage = cluster.consumer({**usage_config, "client.id": client_id})
        self._commands = cluster.consumer(commands_config)
        self._consumers: Final[dict[str, Consumer]] = {
            USAGE: self._usage,
            COMMANDS: self._commands,
        }
        self._waiting: dict[str, deque[Record]] = {USAGE: deque(), COMMANDS: deque()}
        self.owned: set[int] = set()
        self.reading: dict[int, Reading] = {}
        self.changes = 0
        """Rebalances so far: a transaction that saw it change must be dropped."""

    def join(self) -> None:
        """Ask for partitions; they come in through `take`."""
        self._usage.subscribe(
            [self._layout.usage],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def rejoin(self) -> None:
        """Give everything back with the next `take`, and ask for partitions anew."""
        self._usage.unsubscribe()
        self.join()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.changes += 1
        # Somewhere valid and at rest: where reading starts is for recovery to say.
        gained = self._starts(consumer, partitions)
        consumer.incremental_assign(gained)
        if gained:
            consumer.pause(gained)
        numbers = [p.partition for p in partitions]
        self.owned.update(numbers)
        self._on_gained(numbers)

    def _starts(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The first offsets there are, as numbers: the client looks `OFFSET_BEGINNING` up half a
        second after it was asked to. One that is not there would be asked for before the pause, and
        the partition never read again. Blocks up to 1 s."""
        found: list[TopicPartition] = []
        low = 0
        for where in partitions:
            try:
                if low != OFFSET_BEGINNING:
                    low, _ = consumer.get_watermark_offsets(where, 1.0, cached=False)
            except KafkaException:
                low = OFFSET_BEGINNING  # of the others as well: who does not answer is not asked
            found.append(TopicPartition(where.topic, where.partition, low))
        return found

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.changes += 1
        numbers = [p.partition for p in partitions]
        consumer.incremental_unassign(partitions)
        self.owned.difference_update(numbers)
        for number in numbers:
            self.rest(number)
        self._on_lost(numbers)

    def place(self, partition: int, starts: Mapping[str, int]) -> bool:
        """Where reading of a partition at rest will begin. False while the client has not taken it
        up: try again."""
        return _seek(self._usage, TopicPartition(self._layout.usage, partition, starts[USAGE]))

    def serve(self, partition: int, starts: Mapping[str, int]) -> None:
        """Begin to read a recovered partition, which is in its place, at these offsets."""
        self._usage.resume([TopicPartition(self._layout.usage, partition)])
        commands = TopicPartition(self._layout.commands, partition, starts[COMMANDS])
        self._commands.incremental_assign([commands])
        self._commands.resume([commands])  # it may have been at rest when it was given back
        self.reading[partition] = Reading({name: Input(starts[name]) for name in self._topics})

    def rest(self, partition: int) -> None:
        """Stop reading a partition, which may still be owned."""
        if self.reading.pop(partition, None) is not None:
            self._commands.incremental_unassign([TopicPartition(self._layout.commands, partition)])
            if partition in self.owned:
                self._usage.pause([TopicPartition(self._layout.usage, partition)])
        for name in self._waiting:
            self._forget_waiting(name, partition)

    def rewind(self, partition: int) -> None:
        """Read again from the next offset to decide: what was taken since is dropped."""
        reading = self.reading.get(partition)
        if reading is None:
            return
        for name, state in reading.inputs.items():
            # Where nothing was taken up yet, reading has yet to begin, and will where it must.
            _seek(
                self._consumers[name],
                TopicPartition(self._topics[name], partition, state.next_offset),
            )
            state.end_seen = None
            self._forget_waiting(name, partition)
            self._go_on(name, partition, state)

    def hold(self, record: Record, until_ms: int) -> None:
        """Rest an input of a partition before this record, until `go_on`. What is decided of the
        input up to here, and nothing behind it, is to be settled or dropped before that."""
        name, partition = record.input, record.partition
        state = self.reading[partition].inputs[name]
        state.waits_for_ms = until_ms
        state.end_seen = None
        self._forget_waiting(name, partition)
        self._consumers[name].pause([TopicPartition(self._topics[name], partition)])

    def go_on(self, partition: int, identities_from_ms: int) -> None:
        """The identities of everything appended from this time on are there: read what waited for
        no more than that."""
        for name, state in self.reading[partition].inputs.items():
            if state.waits_for_ms is not None and identities_from_ms <= state.waits_for_ms:
                self._go_on(name, partition, state)

    def _go_on(self, name: str, partition: int, state: Input) -> None:
        """Read from the next offset to decide: more was handed out than was taken. Where the client
        does not go there yet, the input stays at rest, and is tried again."""
        where = TopicPartition(self._topics[name], partition, state.next_offset)
        if state.waits_for_ms is not None and _seek(self._consumers[name], where):
            state.waits_for_ms = None
            self._consumers[name].resume([where])

    def _forget_waiting(self, name: str, partition: int) -> None:
        self._waiting[name] = deque(r for r in self._waiting[name] if r.partition != partition)

    def held(self) -> dict[tuple[str, int], int]:
        """Inputs at rest before a record that waits, and how many offsets wait there, as far as
        known."""
        found: dict[tuple[str, int], int] = {}
        for partition, reading in self.reading.items():
            for name, state in reading.inputs.items():
                if state.waits_for_ms is not None:
                    where = TopicPartition(self._topics[name], partition)
                    _, high = self._consumers[name].get_watermark_offsets(where, cached=True)
                    found[name, partition] = max(high - state.next_offset, 1)
        return found

    def take(self, name: str, limit: int, wait_s: float = 0.0) -> list[Record]:
        """Up to `limit` records of an input, of partitions that are served.

        Waits up to `wait_s` for the first. Raises LogUnreadableError, KafkaException.
        """
        consumer = self._consumers[name]
        taken: list[Record] = []
        waiting = self._waiting[name]
        while waiting and len(taken) < limit:
            taken.append(waiting.popleft())
        if len(taken) == limit:
            return taken
        if taken:
            messages = consumer.consume(limit - len(taken), 0)
        else:
            first = consumer.poll(wait_s)
            if first is None:
                if name == USAGE:
                    self._still_at_the_end()
                return taken
            messages = [first, *consumer.consume(limit - 1, 0)] if limit > 1 else [first]
        reading = self.reading
        for message in messages:
            error = message.error()
            if error is not None:
                self._event(name, message, error)
                continue
            partition: Any = message.partition()
            state = reading.get(partition)
            if state is None or state.inputs[name].waits_for_ms is not None:
                continue
            offset: Any = message.offset()
            key: Any = message.key()
            value: Any = message.value()
            headers: Any = message.headers()
            state.inputs[name].end_seen = None
            taken.append(
                Record(
                    name,
                    partition,
                    offset,
                    key,
                    value,
                    message.timestamp()[1],
                    headers,
                )
            )
        return taken

    def beat(self) -> None:
        """Let the group know we live, and let rebalances happen, where nothing can be decided."""
        self.put_back(USAGE, self.take(USAGE, 1))

    def put_back(self, name: str, records: list[Record]) -> None:
        """Records taken and not decided in this turn: they come first in the next."""
        self._waiting[name].extendleft(reversed(records))

    def _event(self, name: str, message: Message, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            partition: Any = message.partition()
            state = self.reading.get(partition)
            if state is not None and state.inputs[name].waits_for_ms is None:
                _, high = self._consumers[name].get_watermark_offsets(
                    TopicPartition(self._topics[name], partition), cached=True
                )
                state.inputs[name].end_seen = high
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._unreadable(name, message, error)
        elif error.fatal() or code == KafkaError._FATAL:
            # A fenced static member is told by this code alone, once, and then hears nothing.
            raise KafkaException(error)

    def _unreadable(self, name: str, message: Message, error: KafkaError) -> None:
        """The client says that an offset does not exist. It may mean one that we no longer want."""
        partition: Any = message.partition()
        reading = self.reading.get(partition)
        if reading is None:
            if name == USAGE and partition in self.owned:
                self.rejoin()  # the client has given up reading it
            return
        where = TopicPartition(self._topics[name], partition)
        next_offset = reading.inputs[name].next_offset
        low, high = self._consumers[name].get_watermark_offsets(where, 5.0, cached=False)
        if not low <= next_offset <= high:
            raise LogUnreadableError(
                partition,
                f"{where.topic}[{partition}]: record {next_offset} comes next, the log goes from"
                f" {low} to {high}: it was deleted before it was decided ({error.str()})",
            )
        self.rewind(partition)

    def _still_at_the_end(self) -> None:
        now_ms = self._clock.now_ms()
        for reading in self.reading.values():
            state = reading.inputs[USAGE]
            if state.end_seen is not None:
                state.end_at_ms = now_ms

    def waiting_usage(self, partition: int) -> Record | None:
        """The first record of usage that was taken and not decided yet."""
        return next((r for r in self._waiting[USAGE] if r.partition == partition), None)

    def usage_behind(self, partition: int) -> int:
        """How many offsets of usage are known to stand undecided."""
        reading = self.reading.get(partition)
        if reading is None:
            return 0
        _, high = self._usage.get_watermark_offsets(
            TopicPartition(self._layout.usage, partition), cached=True
        )
        state = reading.inputs[USAGE]
        # Since the end was seen, more may have come; markers of transactions do not count as such.
        known = state.next_offset if state.end_seen is None else state.end_seen
        return max(high - known, 0)

    def offsets(
        self, partitions: set[int], next_offsets: Mapping[tuple[str, int], int]
    ) -> list[TopicPartition]:
        """Next offsets of both inputs, for the transaction: where nothing was taken, as before, so
        that even a transaction of timers alone is fenced by the group's generation."""
        return [
            TopicPartition(
                self._topics[name],
                partition,
                next_offsets.get((name, partition), state.next_offset),
            )
            for partition in sorted(partitions)
            for name, state in self.reading[partition].inputs.items()
        ]

    def group_metadata(self) -> Any:
        """Fresh each time: the generation in it is what fences."""
        return self._usage.consumer_group_metadata()

    def committed(self, partition: int, timeout_s: float) -> dict[str, int]:
        """The group's offsets of a partition's inputs; -1001 where it has none."""
        found = self._usage.committed(
            [TopicPartition(topic, partition) for topic in self._topics.values()], timeout_s
        )
        for item in found:
            if item.error is not None:
                raise KafkaException(item.error)
        names = {topic: name for name, topic in self._topics.items()}
        return {names[item.topic]: item.offset for item in found}

    def close(self) -> None:
        """Leave. Blocks up to the broker's answer."""
        self._usage.close()  # takes the partitions back, which P follows, through the callbacks
        self._commands.close()


def _seek(consumer: Consumer, where: TopicPartition) -> bool:
    """False where the client has yet to begin with a partition that was assigned."""
    try:
        consumer.seek(where)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError._STATE, KafkaError._PREV_IN_PROGRESS):
            return False
        raise
    return True
