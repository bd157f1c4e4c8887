"""Mutants: the engine with one thing wrong, to see that the simulator would notice.

Each is planted into the real classes for as long as its context lasts. What is taken out is what
the design says must be there; see `services/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from confluent_kafka import KafkaException

from drawdown.settlement.application import Settlement
from drawdown.stream.application import USAGE
from drawdown.stream.loop import Worker
from drawdown.stream.memory.group import Group
from drawdown.stream.recovery import Recoveries, _Recovery
from drawdown.stream.store import Changes
from drawdown.stream.view import PartitionView

Planted = Iterator[None]


@contextmanager
def store_before_commit() -> Planted:
    """What was decided is written to the store when it was produced, not when it was committed."""
    timed, settle = Worker._timed, Worker._settle

    def timed_and_stored(self: Any, turn: Any, stage: str, call: Callable[[], None]) -> None:
        if stage == "commit":
            self._producer.poll(0)
            settle(self, turn)
        timed(self, turn, stage, call)

    with (
        patch.object(Worker, "_timed", timed_and_stored),
        patch.object(Worker, "_settle", lambda self, turn: None),
    ):
        yield


@contextmanager
def recovery_to_the_last_stable_offset() -> Planted:
    """Recovery takes the journal's last stable offset for its end."""

    def stable(self: Any, topic: str, partition: int, timeout_s: float = 2.0) -> int:
        return int(self.stable_end(topic, partition)[1])

    with patch.object(Recoveries, "high_watermark", stable):
        yield


@contextmanager
def no_fencing() -> Planted:
    """The group takes offsets of whoever sends them."""
    with patch.object(Group, "refusal", lambda self, *member: None):
        yield


@contextmanager
def dedupe_recorded_without_the_debit() -> Planted:
    """An identity is remembered when it is decided, whatever becomes of the transaction."""

    def remember(self: Any, key: bytes, value: bytes) -> None:
        self._identities[key] = value
        at_ms = 1_800_000_000_000
        self.store.write(Changes({}, {key: value}, at_ms, [], [], self.store.positions))

    with patch.object(PartitionView, "remember", remember):
        yield


@contextmanager
def lost_answer_guard_removed() -> Planted:
    """A transactional call without an answer is made again, as librdkafka proposes, and its answer
    believed."""

    def timed(self: Any, turn: Any, stage: str, call: Callable[[], None]) -> None:
        for _ in range(5):
            try:
                call()
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise self._failed(error) from error
            else:
                return

    with patch.object(Worker, "_timed", timed):
        yield


@contextmanager
def unknown_taken_for_aborted() -> Planted:
    """A commit without an answer is taken for one that was not: the turn is decided again."""

    def timed(self: Any, turn: Any, stage: str, call: Callable[[], None]) -> None:
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise self._failed(error) from error
            self._producer.purge()
            self._producer = self._new_producer()
            turn.begun = False
            self._drop(turn, "taken for aborted")
            raise dropped("taken for aborted") from error

    from drawdown.stream.loop import _DroppedError as dropped

    with patch.object(Worker, "_timed", timed):
        yield


@contextmanager
def timers_ignoring_the_backlog() -> Planted:
    """Timers fire by the clock, whatever stands undecided."""
    with patch.object(Worker, "_watermark_of", lambda self, turn, p: self._clock.now_ms()):
        yield


@contextmanager
def timers_on_any_clock() -> Planted:
    """Nobody compares what timers fired on with the broker's clock."""
    with patch.object(Worker, "_check_timers", lambda self, turn: None):
        yield


@contextmanager
def coalesced_rows_missing_after_an_abort() -> Planted:
    """Rows that an aborted transaction published are taken for published."""
    seal, commit = PartitionView.seal, PartitionView.commit

    def unsent(self: Any) -> dict[str, bytes | None]:
        before = self.__dict__.setdefault("mutant", {})
        sealed = seal(self)
        fresh = {key: value for key, value in sealed.items() if before.get(key, b"") != value}
        before.update(sealed)
        return fresh

    def committed(self: Any, sealed: Any, positions: Any, at_ms: int) -> bool:
        self.__dict__["mutant"] = {}
        return commit(self, sealed, positions, at_ms)

    with (
        patch.object(PartitionView, "seal", unsent),
        patch.object(PartitionView, "commit", committed),
    ):
        yield


@contextmanager
def overlay_kept_after_an_abort() -> Planted:
    """What an aborted transaction read and changed is still seen by the next."""

    def drop(self: Any) -> None:
        self._before = {}

    with patch.object(PartitionView, "drop", drop):
        yield


@contextmanager
def offsets_outside_the_transaction() -> Planted:
    """The offsets of usage are left out of the transaction."""
    from drawdown.stream.lease import Lease

    offsets = Lease.offsets

    def without_usage(self: Any, partitions: set[int], following: Any) -> Any:
        topic = self._topics[USAGE]
        return [where for where in offsets(self, partitions, following) if where.topic != topic]

    with patch.object(Lease, "offsets", without_usage):
        yield


@contextmanager
def identities_not_read_back() -> Planted:
    """A store that is rebuilt knows the rows and not which events they contain."""
    from drawdown.stream.store import Positions

    def nothing(self: Any, journal_end: int, positions: Any, newest_ms: int) -> Any:
        self.view.commit({}, Positions(journal=journal_end), newest_ms)
        yield False

    with patch.object(_Recovery, "_read_identities", nothing):
        yield


@contextmanager
def forgetting_by_the_process_clock() -> Planted:
    """Identities are forgotten by a clock that may be wrong."""
    settle = Worker._settle

    def settled(self: Any, turn: Any) -> None:
        settle(self, turn)
        for view in self._views.values():
            view.store.forget(self._clock.now_ms() - self._config.identities_ms)

    with patch.object(Worker, "_settle", settled):
        yield


@contextmanager
def denied_and_held() -> Planted:
    """A hold is made for more than there is."""
    from drawdown.ledger import authorize, drawdown

    available = drawdown.available
    with patch.object(authorize, "available", lambda *asked: available(*asked) * 2):
        yield


@contextmanager
def budget_passed() -> Planted:
    """A budget without room denies nothing."""
    from drawdown.ledger import authorize

    with patch.object(authorize, "without_room", lambda *asked: []):
        yield


@contextmanager
def budget_counted_by_the_store() -> Planted:
    """What counts in a budget is read as the last turn left it, not as this one does."""
    row = PartitionView.row

    def committed(self: Any, key: str) -> Any:
        if "\x1fspent\x1f" in key and key in self._before:
            return self._before[key]
        return row(self, key)

    with patch.object(PartitionView, "row", committed):
        yield


@contextmanager
def answered_before_it_counts() -> Planted:
    """Answers leave outside the transaction, as they are decided."""
    decide = Settlement.decide

    def told(self: Any, item: Any, view: Any, effects: Any, lag: Any) -> None:
        decide(self, item, view, effects, lag)
        for topic, key, value, partition, headers in effects._headed:
            if topic == effects._layout.answers:
                TELLER[0].produce(topic, value, key, partition, headers=headers)
        effects._headed = [m for m in effects._headed if m[0] != effects._layout.answers]

    started = Worker.__init__

    def start(self: Any, cluster: Any, *rest: Any, **named: Any) -> None:
        TELLER[:] = [cluster.producer({})]
        started(self, cluster, *rest, **named)

    with patch.object(Settlement, "decide", told), patch.object(Worker, "__init__", start):
        yield


TELLER: list[Any] = []

MUTANTS: Final = (
    store_before_commit,
    recovery_to_the_last_stable_offset,
    no_fencing,
    dedupe_recorded_without_the_debit,
    lost_answer_guard_removed,
    unknown_taken_for_aborted,
    timers_ignoring_the_backlog,
    timers_on_any_clock,
    coalesced_rows_missing_after_an_abort,
    overlay_kept_after_an_abort,
    offsets_outside_the_transaction,
    identities_not_read_back,
    forgetting_by_the_process_clock,
    denied_and_held,
    budget_passed,
    budget_counted_by_the_store,
    answered_before_it_counts,
)
