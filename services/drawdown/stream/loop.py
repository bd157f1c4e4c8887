"""The settlement loop: from records to committed decisions, one transaction at a time.

One process is one loop over the partitions it owns. A turn, which begins when the last has ended:

1. take commands first, then usage up to a time budget, then timers that are due;
2. read each record; what cannot be read goes to the dead letters in the same transaction;
3. decide each against an overlay of touched rows;
4. commit one Kafka transaction: entries, touched rows, decisions, notices, input offsets;
5. only after the commit: write rows, identities, timers and positions to the store.

An abort drops the overlay and reads again. Every rebalance aborts the transaction in flight, also
of the member that keeps its partitions. A crash between 4 and 5 is repaired by recovery.

A transactional call that failed without saying how, or took suspiciously long, is *unknown*: its
request may still be on the way and end a later transaction (librdkafka has no KIP-890 transactions
v2). Then nothing is guessed: a new producer, a new epoch, and recovery from the journal.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.stream.application import COMMANDS, USAGE, Application, Item, Lag, Record
from drawdown.stream.clock import JUMP_MS_MAX, Clock, ClockGuard
from drawdown.stream.layout import Layout
from drawdown.stream.lease import Lease, LogUnreadableError
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.outbox import FORWARDED, Outbox
from drawdown.stream.partition import partition_of
from drawdown.stream.ports import Cluster, GroupState, Producer
from drawdown.stream.recovery import Recoveries
from drawdown.stream.store import Store, Stores, StoreUnusableError
from drawdown.stream.view import PartitionView, RowCache
from drawdown.stream.watchdog import Watchdog

log = logging.getLogger("drawdown.loop")

KEYS_MAX: Final = 1 << 17
"""Keys whose partition is known without hashing them."""
UNEXPECTED: Final = "unexpected"
"""The runbook's entry for what stopped a partition and is none of the rules."""
NEVER_MS: Final = 1 << 62
INITIALISE_S: Final = 1.0
"""For the coordinator's answer, before anything else is looked after."""
TIMERS_WAIT_S: Final = 0.1
TIMERS_HELD_S: Final = 10.0
"""How long timers rest after two clocks were found to differ."""
FORGET_EVERY_S: Final = 6_000.0
"""Between two looks for generations of identities that are over."""
COMMANDS_MAX: Final = 500
"""Commands taken at once."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much one turn takes on."""

    usage_s: float = 0.025
    """Work on usage while no command waits."""
    backlog_s: float = 0.2
    """The same while usage comes faster than it is decided: a commit costs the same for more."""
    usage_with_commands_s: float = 0.004
    """Work on usage when a command is in the turn: its answer waits for the commit."""
    chunk: int = 64
    """Usage records between two looks for commands."""
    records_max: int = 20_000
    flush_records: int = 512
    """Records of the outbox after which the producer gets them, to send while we decide."""
    timers_max: int = 50
    """Of a partition, in one turn: a midnight of resets makes no decision wait for seconds."""
    recover_s: float = 0.02
    """A slice of recovery while other partitions are served."""
    idle_s: float = 0.002
    """How long an idle loop waits for a command before it looks for usage again."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is given besides its parts."""

    usage: Mapping[str, Any]
    commands: Mapping[str, Any]
    producer: Mapping[str, Any]
    reader: Mapping[str, Any]
    cluster_id: str
    budget: Budget = Budget()
    cache_bytes: int = 64 << 20
    identities_ms: int = 35 * 86_400_000 + 300_000
    """How long an identity is remembered: the lateness window and 5 minutes."""
    unknown_after_s: float = 1.0
    """A transactional call that took longer is unknown, whatever it answered; more where replicas
    have to be waited for."""
    transaction_timeout_s: float = 6.0
    """For the answer to a transactional call: no longer than the broker lets a transaction be open,
    and one second, since after that it is aborted whatever the answer would have been."""


def settle_down() -> None:
    """Call once when everything long-lived is there: what exists now is never collected, which
    takes the garbage collector's pauses out of the tail. What comes later is looked through
    seldom: a turn makes thousands of records, and hardly ever a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


PUT_OUT_MAX: Final = 3
PUT_OUT_WITHIN_S: Final = 60.0
"""Put out of the group so often in so long, a process has a name that another one has."""


class FencedError(Exception):
    """Another process has this one's name: it owns the partitions now, and this one must exit."""


class TimerStillDueError(Exception):
    """A timer fired and its row is due as before: it would fire for ever."""

    rule = "timer-still-due"

    def __init__(self, key: str) -> None:
        super().__init__(f"{self.rule}: the timer of {key!r} fired and is still due")


class CrashPoints(Protocol):
    """Called at named points of a turn; a fault test crashes the process there."""

    def __call__(self, point: str) -> None: ...


def no_crash(point: str) -> None:
    """What a process does at crash points unless a test says otherwise."""


class _DroppedError(Exception):
    """The turn's work is void: drop the overlay and read again."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class _UnknownError(Exception):
    """Whether the transaction was committed is not known."""


class Worker:
    """One process's loop. `turn` is all there is to call; nothing in it waits but for Kafka."""

    def __init__(
        self,
        cluster: Cluster,
        layout: Layout,
        application: Application,
        stores: Stores,
        clock: Clock,
        config: Config,
        metrics: StreamMetrics | None = None,
        crash: CrashPoints = no_crash,
    ) -> None:
        self._cluster = cluster
        self._layout = layout
        self._client_id = f"drawdown-{uuid4()}"
        self._put_out_at: list[float] = []
        """When another process seemed to have our place."""
        """What the group knows this process by, whatever name it shares with others. One for all
        its leases: the coordinator keeps that of the first where a static member comes back."""
        self._application = application
        self._clock = clock
        self._config = config
        self._budget = config.budget
        self._metrics = metrics or StreamMetrics()
        self._crash = crash
        self._guard = ClockGuard(clock)
        self._cache = RowCache(config.cache_bytes)
        self._views: dict[int, PartitionView] = {}
        self.stopped: dict[int, str] = {}
        """Partitions that stopped, and why."""
        self.waiting: dict[int, str] = {}
        """Partitions that are served without all identities: what of them waits, in words."""
        self._timers_next: dict[int, int] = {}
        self._timers_wait_s: dict[int, float] = {}
        self._watermark: dict[int, int] = {}
        self._placed: dict[bytes, int] = {}
        self._forget_at_s = 0.0
        self._behind = False
        """The last turn ran out of time, not of usage."""
        self._topics = {USAGE: layout.usage, COMMANDS: layout.commands}
        # The name of a topic without the environment, as records state it.
        self._input_names = {name: topic.split(".", 1)[-1] for name, topic in self._topics.items()}
        self._initialised = False
        """Whether the broker knows our producer, and has ended what its predecessor left open."""
        self._producer = self._new_producer()
        self._lease = self._new_lease()
        self._successor: Future[GroupState] | None = None
        """Who has our place in the group, while we do not know whether it is another process."""
        self._recoveries = Recoveries(
            cluster,
            layout,
            application,
            stores,
            self._cache,
            clock,
            config.cluster_id,
            config.reader,
            config.identities_ms,
            crash,
        )
        self._watchdog = Watchdog(cluster, layout, self._metrics)
        self._lease.join()

    # --- ownership -----------------------------------------------------------------------------

    def _new_lease(self) -> Lease:
        return Lease(
            self._cluster,
            self._layout,
            self._client_id,
            self._clock,
            self._config.usage,
            self._config.commands,
            self._gained,
            self._lost,
        )

    def _put_out(self, turn: _Turn, cause: KafkaError) -> None:
        """The group has somebody else under our name. That may be ourselves: a member that comes
        back after the broker was away is fenced by what it sent as the old one."""
        log.warning("put out of the group (%s): asking by whom", cause.str())
        self._lost(sorted(self._lease.owned))
        self._lease.reading.clear()
        self._drop(turn, "put_out")
        self._successor = self._cluster.group(self._layout.group)

    def _come_back(self, successor: Future[GroupState]) -> None:
        """Join anew where no other process has our place. Raises FencedError where one has: the
        coordinator may still name a member by the client id of its first life, that of a process
        that was killed, so only who is put out again and again gives way."""
        if not successor.done():
            self._clock.sleep(self._budget.idle_s)
            return
        error = successor.exception()
        if error is not None:
            log.warning("not known who has our place: %s", error)
            self._clock.sleep(0.1)
            self._successor = self._cluster.group(self._layout.group)
            return
        found = successor.result().clients.get(self._layout.instance)
        now = self._clock.monotonic()
        self._put_out_at = [at for at in self._put_out_at if now - at < PUT_OUT_WITHIN_S]
        if found is not None and not found.endswith(self._lease.client_id):
            self._put_out_at.append(now)
        if len(self._put_out_at) >= PUT_OUT_MAX:
            raise FencedError(
                f"another process is {self._layout.instance!r} in the group now: give each"
                " settlement process an instance of its own"
            )
        log.warning("our place is taken back: joining anew")
        self._successor = None
        self._lease.close()
        self._lease = self._new_lease()
        self._lease.join()

    def _gained(self, partitions: list[int]) -> None:
        for partition in partitions:
            self.stopped.pop(partition, None)
            self._recoveries.start(partition, self._lease, None)

    def _lost(self, partitions: list[int]) -> None:
        for partition in partitions:
            self.stopped.pop(partition, None)
            self._recoveries.cancel(partition)
            view = self._views.pop(partition, None)
            if view is not None:
                view.drop()
                view.store.close()
        # Rows of what is gone may change elsewhere; the next owner may be this process again.
        self._cache.clear()

    def _recovered(self, partition: int, view: PartitionView, starts: dict[str, int]) -> None:
        self._views[partition] = view
        try:
            self._look_at_timers(partition, view)
        except StoreUnusableError as error:
            self._rebuild(partition, error)
            return
        self._lease.serve(partition, starts)
        self._recoveries.restore_identities(partition, view.store, starts)
        log.info("partition %d: serving, from %s", partition, starts)

    def _stop(self, partition: int, error: Exception, record: Record | None = None) -> None:
        """Nothing continues on wrong money: this partition rests until an operator has looked."""
        where = (
            f" at {self._topics[record.input]}[{record.partition}]@{record.offset}"
            if record is not None
            else ""
        )
        rule = getattr(error, "rule", UNEXPECTED)
        what = str(error) if rule != UNEXPECTED else f"{rule}: {type(error).__name__}: {error}"
        self.stopped[partition] = f"{what}{where}"
        log.critical(
            "partition %d stopped%s: %s. The others go on. See deploy/runbook.md#%s",
            partition,
            where,
            what,
            rule,
            exc_info=error,
        )
        self._lease.rest(partition)
        self._recoveries.cancel(partition)
        view = self._views.pop(partition, None)
        if view is not None:
            view.drop()
            view.store.close()
        self._cache.clear()

    def _rebuild(self, partition: int, error: StoreUnusableError) -> _DroppedError:
        """A store proved damaged when it was read or written: another one is made of the journal,
        and the other partitions go on. Returns what ends a turn that is not committed yet."""
        view = self._views.pop(partition)
        view.drop()
        self._lease.rest(partition)
        view.store.close()
        self._recoveries.set_aside(partition, str(error))
        self._recoveries.start(partition, self._lease, None)
        self._cache.clear()
        return _DroppedError("store")

    @property
    def serving(self) -> frozenset[int]:
        """Partitions whose records are decided."""
        return frozenset(self._views)

    @property
    def recovering(self) -> dict[int, str]:
        """The partitions that are being recovered, and what each does or waits for."""
        return self._recoveries.doing()

    @property
    def stores(self) -> dict[int, Store]:
        """The stores of the partitions that are served. Between two turns they are at rest."""
        return {partition: view.store for partition, view in self._views.items()}

    # --- a turn --------------------------------------------------------------------------------

    def turn(self) -> int:
        """Decide what is there; returns how many records and timers were.

        Blocks for the commit and, where nothing is to be done, for `Budget.idle_s`. Raises
        FencedError when this process must exit.
        """
        if self._successor is not None:
            self._come_back(self._successor)
            return 0
        waiting = not self._initialised and not self._initialise()
        turn = _Turn(self._layout, self._input_names, self._clock.monotonic())
        if not waiting and self._watchdog.rejoin_due(turn.started, len(self._lease.owned)):
            self._lease.rejoin()
        try:
            if waiting:
                self._lease.beat()
                return 0
            if self._recoveries.busy:
                self._recover()
            elif self.waiting:
                self._go_on_waiting()
            if not self._application.ready():
                self._lease.beat()
                self._clock.sleep(self._budget.idle_s)
                return 0
            turn.started = self._clock.monotonic()
            changes = self._lease.changes
            self._gather(turn)
            if self._lease.changes != changes:
                raise _DroppedError("rebalance")
            if not turn.touched:
                return 0
            self._commit(turn)
        except LogUnreadableError as error:
            self._stop(error.partition, error)
            self._drop(turn, "unreadable")
            return 0
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() not in (*FENCED, KafkaError._FATAL):
                raise
            self._put_out(turn, cause)
            return 0
        except _DroppedError as dropped:
            self._drop(turn, dropped.cause)
            return 0
        except _UnknownError as unknown:
            self._renew(str(unknown))
            return 0
        self._settle(turn)
        return turn.count

    def _recover(self) -> None:
        slice_s = self._budget.recover_s if self._views else 0.2
        self._recoveries.step(slice_s, self._recovered, self._stop)
        if self._recoveries.reader.hanging:
            self._end_hanging()
        self._go_on_waiting()
        if not self._views:
            self._lease.beat()

    def _end_hanging(self) -> None:
        """End transactions of ours that a broker forgot.

        A lone broker that was killed gives up the markers of transactions that end while its
        partitions have no leader for a moment ("likely deleted already and hence can be skipped",
        seen with Kafka 4.3): they count as ended, but readers stop there and the group's offsets
        stay pending, for ever. Another transaction of the same producer writes the markers where it
        touches the same partitions. It is aborted: what it touches them with is never seen. What
        is ended so may have been committed; a store that has it is rebuilt (`recovery`).
        """
        reader = self._recoveries.reader
        hanging, reader.hanging = reader.hanging, set()
        journal, usage = self._layout.journal, self._layout.usage
        try:
            for _, partition in hanging:
                reader.high_watermark(journal, partition, 1.0)
        except KafkaException:
            return  # the broker is away: that is what was waited for
        log.warning("transactions seem to hang at %s: ending those that are ours", sorted(hanging))
        # The offset is that of a topic nobody reads with the group, should it count nevertheless.
        held = [number for topic, number in hanging if topic == usage]
        offsets = [TopicPartition(journal, number, 0) for number in held]
        try:
            self._producer.begin_transaction()
            for topic, number in hanging:
                if topic != usage:
                    self._producer.produce(topic, b"", b"-", number)
            if offsets:
                self._producer.send_offsets_to_transaction(
                    offsets,
                    reader.group_metadata(),
                    self._config.transaction_timeout_s,
                )
            self._producer.flush(self._config.transaction_timeout_s)
            self._producer.abort_transaction(self._config.transaction_timeout_s)
        except KafkaException as error:
            raise _UnknownError(f"ending hanging transactions: {error.args[0].str()}") from error

    def _go_on_waiting(self) -> None:
        """Between two turns: read on what waited for identities that are there now, and say what
        still waits."""
        for partition, view in self._views.items():
            self._lease.go_on(partition, view.store.positions.identities_from_ms)
        reading = self._recoveries.remaining()
        restoring = self._recoveries.identities_remaining()
        for partition in self._lease.owned:
            self._metrics.restore_remaining.labels(partition).set(reading.get(partition, 0))
            self._metrics.identities_remaining.labels(partition).set(restoring.get(partition, 0))
        held = self._lease.held()
        self._metrics.held.set(sum(held.values()))
        told = {
            partition: f"restoring event ids: {offsets} journal offsets to go"
            for partition, offsets in restoring.items()
        }
        for (name, partition), count in held.items():
            told[partition] = f"{told.get(partition, '')}; {count} of {name} wait for them"
        self.waiting = told

    def _gather(self, turn: _Turn) -> None:
        """Steps 1 to 3."""
        budget, clock, lease = self._budget, self._clock, self._lease
        deadline = turn.started + (budget.backlog_s if self._behind else budget.usage_s)
        self._behind = False
        commands = lease.take(COMMANDS, COMMANDS_MAX, 0.0)
        first = True
        while True:
            if commands:
                deadline = min(deadline, clock.monotonic() + budget.usage_with_commands_s)
                self._process(turn, commands)
            usage = lease.take(USAGE, budget.chunk)
            if usage:
                self._process(turn, usage)
            elif first and not commands:
                commands = lease.take(COMMANDS, COMMANDS_MAX, budget.idle_s)
                if commands:
                    first = False
                    continue
                break
            elif not commands:
                break
            first = False
            if clock.monotonic() >= deadline or turn.count >= budget.records_max:
                self._behind = len(usage) == budget.chunk
                break
            commands = lease.take(COMMANDS, COMMANDS_MAX, 0.0)
        self._fire(turn)

    def _process(self, turn: _Turn, records: list[Record]) -> None:
        """Read, look up and decide a few records of one input."""
        started = self._clock.monotonic()
        items: list[Item] = []
        row_keys: dict[int, list[str]] = {}
        identity_keys: dict[int, list[bytes]] = {}
        uncovered = self._uncovered()
        held: set[int] = set()
        for record in records:
            if record.partition in held:
                continue
            if record.partition not in self._views or not self._placed_here(turn, record):
                turn.take(record)
                continue
            try:
                item = self._application.read(record)
            except RecordError as error:
                turn.take(record)
                self._reject(turn, record, error)
                continue
            if uncovered and item.first_at_ms < uncovered.get(record.partition, 0):
                # It, and all behind it: see `identities`.
                self._lease.hold(record, item.first_at_ms)
                self._metrics.waited.labels(record.input).inc()
                held.add(record.partition)
                continue
            turn.take(record)
            items.append(item)
            row_keys.setdefault(record.partition, []).extend(item.row_keys)
            identity_keys.setdefault(record.partition, []).extend(item.identity_keys)
        read = self._clock.monotonic()
        for partition, keys in row_keys.items():
            try:
                self._views[partition].prefetch(keys, identity_keys[partition])
            except StoreUnusableError as error:
                raise self._rebuild(partition, error) from error
        fetched = self._clock.monotonic()
        outbox = turn.outbox
        decide = self._application.decide
        for item in items:
            record = item.record
            view = self._views.get(record.partition)
            if view is None:
                continue
            outbox.at = record.partition
            lag = self._lag(record) if record.input == COMMANDS else NO_LAG
            try:
                decide(item, view, outbox, lag)
            except RecordError as error:
                self._reject(turn, record, error)
            except StoreUnusableError as error:
                raise self._rebuild(record.partition, error) from error
            except Exception as error:
                self._stop(record.partition, error, record)
                raise _DroppedError("stopped") from error
        decided = self._clock.monotonic()
        turn.stage("read", read - started)
        turn.stage("look_up", fetched - read)
        turn.stage("decide", decided - fetched)
        if outbox.waiting >= self._budget.flush_records:
            self._send(turn)

    def _uncovered(self) -> dict[int, int]:
        """Partitions without all identities, and since when they are all there."""
        return {
            partition: since_ms
            for partition, view in self._views.items()
            if (since_ms := view.store.positions.identities_from_ms)
        }

    def _placed_here(self, turn: _Turn, record: Record) -> bool:
        """Whether the record's key belongs to its partition; if not, move it there, once."""
        key = record.key
        if key is None or self._placed.get(key) == record.partition:
            return True  # a missing key is for the application to refuse
        home = partition_of(key, self._layout.partitions)
        if home == record.partition:
            if len(self._placed) >= KEYS_MAX:
                self._placed.clear()
            self._placed[key] = home
            return True
        self._metrics.misplaced.inc()
        turn.outbox.at = record.partition
        if record.header(FORWARDED) is not None:
            self._reject(
                turn,
                record,
                RecordError(
                    Reason.WRONG_PARTITION,
                    f"its key belongs to partition {home} of {self._layout.partitions}, and it was"
                    " forwarded once already",
                ),
            )
            return False
        turn.outbox.forward(self._topics[record.input], record, home)
        turn.results[record.input, "forwarded"] = (
            turn.results.get((record.input, "forwarded"), 0) + 1
        )
        return False

    def _reject(self, turn: _Turn, record: Record, error: RecordError) -> None:
        turn.outbox.at = record.partition
        turn.outbox.reject(record, str(error.reason), error.detail, error.field)
        turn.result(record, "rejected")

    def _lag(self, record: Record) -> Lag:
        """How far usage is behind on the record's partition, as far as this process knows."""
        behind = self._lease.usage_behind(record.partition)
        now_ms = self._clock.now_ms()
        if not behind:
            return Lag(taken_up_ms=now_ms)
        waiting = self._lease.waiting_usage(record.partition)
        state = self._lease.reading[record.partition].inputs[USAGE]
        quiet_ms = max(state.decided_at_ms, state.end_at_ms)
        since_ms = waiting.at_ms if waiting is not None else quiet_ms
        return Lag(behind, max(record.at_ms - since_ms, 0) if since_ms else 0, now_ms)

    # --- timers --------------------------------------------------------------------------------

    def _fire(self, turn: _Turn) -> None:
        """Fire what is due at the watermark: the smaller of both inputs' last decided append
        times, where an input read to its end counts as now."""
        now_ms = self._clock.now_ms()
        for partition, view in list(self._views.items()):
            due_ms = self._timers_next[partition]
            if due_ms > now_ms or turn.started < self._timers_wait_s.get(partition, 0.0):
                continue
            watermark = self._watermark_of(turn, partition)
            if watermark is None or due_ms > watermark:
                # Asked of the broker again only after a while.
                self._timers_wait_s[partition] = turn.started + TIMERS_WAIT_S
                continue
            turn.outbox.at = partition
            turn.fired_at[partition] = watermark
            try:
                due = view.store.due(watermark, self._budget.timers_max)
            except StoreUnusableError as error:
                raise self._rebuild(partition, error) from error
            for timer in due:
                turn.timers += 1
                turn.partitions.add(partition)
                before = turn.outbox.journal_count
                try:
                    self._application.fire(timer.key, watermark, view, turn.outbox)
                    row = view.row(timer.key)
                    still = None if row is None else self._application.due_ms(row)
                    stuck = turn.outbox.journal_count == before  # else there was too much for once
                    if still is not None and still <= watermark and stuck:
                        raise TimerStillDueError(timer.key)
                except StoreUnusableError as error:
                    raise self._rebuild(partition, error) from error
                except Exception as error:
                    self._stop(partition, error)
                    raise _DroppedError("stopped") from error
        if turn.timers:
            self._crash("fired")

    def _check_timers(self, turn: _Turn) -> None:
        """Whether the broker's clock agrees with what timers fired on, before that counts.

        Where inputs were read to their ends, they fire on this process's clock alone: one that
        is a month ahead, from its start or by a jump, would lapse a month's grants. What they
        made is on the broker by now, and says by its append time what the broker believes.
        """
        try:
            left = self._producer.flush(self._config.transaction_timeout_s)
        except KafkaException as error:
            raise self._failed(error) from error
        if left:
            raise _DroppedError("not sent")
        for partition, watermark in turn.fired_at.items():
            appended_ms = turn.outbox.journal_at.get(partition, watermark)
            ahead_ms = watermark - appended_ms
            if ahead_ms > JUMP_MS_MAX:
                self._metrics.timers_held.set(1)
                log.critical(
                    "timers stand still: this process's clock, or the broker's, is %d s from the"
                    " other. See deploy/runbook.md.",
                    ahead_ms // 1000,
                )
                self._watermark.pop(partition, None)
                self._guard.trust(appended_ms)
                self._timers_wait_s[partition] = turn.started + TIMERS_HELD_S
                raise _DroppedError("clocks")

    def _look_at_timers(self, partition: int, view: PartitionView) -> None:
        """Remember when the partition's next timer is due, so that nothing else need be read."""
        following = view.store.due(NEVER_MS, 1)
        self._timers_next[partition] = following[0].due_ms if following else NEVER_MS

    def _watermark_of(self, turn: _Turn, partition: int) -> int | None:
        """Up to when nothing of this partition stands undecided; None where that is not known."""
        times: list[int] = []
        now_ms = self._clock.now_ms()
        for name, state in self._lease.reading[partition].inputs.items():
            if state.end_seen is not None and not turn.took(name, partition):
                try:
                    high = self._recoveries.high_watermark(self._topics[name], partition, 1.0)
                    _, stable = self._recoveries.stable_end(self._topics[name], partition)
                except KafkaException:
                    return None
                if high > state.end_seen or stable < high:
                    state.end_seen = None if stable > state.end_seen else state.end_seen
                    times.append(state.decided_at_ms)
                else:
                    times.append(now_ms)
            else:
                times.append(turn.decided_at.get((name, partition), state.decided_at_ms))
        watermark = min(times)
        if not watermark or not self._guard.believes(watermark):
            if watermark:
                self._metrics.timers_held.set(1)
                log.critical(
                    "timers stand still: a clock is %d s ahead. See deploy/runbook.md.",
                    self._guard.jumped_ms // 1000,
                )
            return None
        self._metrics.timers_held.set(0)
        self._watermark[partition] = max(watermark, self._watermark.get(partition, 0))
        return self._watermark[partition]

    # --- the transaction -----------------------------------------------------------------------

    def _send(self, turn: _Turn) -> None:
        """Hand the outbox to the producer, in the turn's transaction."""
        started = self._clock.monotonic()
        try:
            if not turn.begun:
                self._producer.begin_transaction()
                turn.begun = True
            turn.outbox.flush(self._producer)
        except KafkaException as error:
            raise self._failed(error) from error
        turn.stage("produce", self._clock.monotonic() - started)

    def _commit(self, turn: _Turn) -> None:
        """Step 4."""
        started = self._clock.monotonic()
        outbox = turn.outbox
        for partition in sorted(turn.partitions):
            view = self._views[partition]
            if not view.touched:
                continue
            outbox.at = partition
            sealed = turn.sealed[partition] = view.seal()
            for key, value in sealed.items():
                outbox.row(key, value)
        turn.stage("encode", self._clock.monotonic() - started)
        self._send(turn)
        if turn.timers:
            self._check_timers(turn)
        self._crash("produced")
        offsets = self._lease.offsets(turn.partitions, turn.next_offsets)
        self._timed(
            turn,
            "offsets",
            lambda: self._producer.send_offsets_to_transaction(
                offsets, self._lease.group_metadata(), self._config.transaction_timeout_s
            ),
        )
        self._crash("offsets-sent")
        self._timed(
            turn,
            "commit",
            lambda: self._producer.commit_transaction(self._config.transaction_timeout_s),
        )
        try:
            self._producer.poll(0)
        except KafkaException as error:
            raise _UnknownError(str(error)) from error
        if missing := outbox.journaled - outbox.journal_next.keys():
            raise _UnknownError(f"no delivery report for the journal of partitions {missing}")
        self._crash("committed")

    def _timed(self, turn: _Turn, stage: str, call: Callable[[], None]) -> None:
        """A transactional call; unknown where it failed without a clear answer or took long."""
        started = self._clock.monotonic()
        try:
            call()
        except KafkaException as error:
            raise self._failed(error) from error
        took = self._clock.monotonic() - started
        turn.stage(stage, took)
        if took > self._config.unknown_after_s:
            raise _UnknownError(f"{stage} took {took:.1f} s")

    def _failed(self, error: KafkaException) -> Exception:
        """What a failed transactional call means for the turn."""
        cause: KafkaError = error.args[0]
        # Fenced: by another process, which the group will tell; or because the broker ended the
        # transaction, which took too long. The group's word counts, not the producer's.
        if cause.txn_requires_abort() and not cause.fatal():
            try:
                self._producer.abort_transaction(self._config.transaction_timeout_s)
            except KafkaException as second:
                return _UnknownError(f"abort failed: {second}")
            return _DroppedError(cause.name())
        return _UnknownError(f"{cause.name()}: {cause.str()}")

    def _drop(self, turn: _Turn, cause: str) -> None:
        """Void the turn: nothing of it was or will be seen. Read again what it took."""
        self._metrics.aborted.labels(cause).inc()
        if turn.begun:
            # After an abortable error the transaction is aborted already; else it still stands.
            try:
                self._producer.abort_transaction(self._config.transaction_timeout_s)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:
                    self._renew(f"abort failed: {error}")
                    return
        for view in self._views.values():
            view.drop()
        for partition in list(self._views):
            self._lease.rewind(partition)

    def _renew(self, why: str) -> None:
        """A transaction's fate is unknown: a new producer ends it either way, recovery tells."""
        self._metrics.aborted.labels("unknown").inc()
        log.warning("a transaction's outcome is unknown (%s): new producer, recovering", why)
        self._producer.purge()
        self._producer = self._new_producer()
        for partition, view in list(self._views.items()):
            view.drop()
            self._lease.rest(partition)
            del self._views[partition]
            self._recoveries.start(partition, self._lease, view)
        self._cache.clear()

    def _new_producer(self) -> Producer:
        self._initialised = False
        return self._cluster.producer(
            {**self._config.producer, "transactional.id": self._layout.transactional_id}
        )

    def _initialise(self) -> bool:
        """Ask the coordinator for an epoch; False while it does not answer: the next turn goes on
        asking, so that whoever wants this process to end is not kept waiting by a broker."""
        try:
            self._producer.init_transactions(INITIALISE_S)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.fatal() or not cause.retriable():
                raise
            log.warning("waiting for the transaction coordinator: %s", cause.str())
            return False
        self._initialised = True
        return True

    # --- after the commit ----------------------------------------------------------------------

    def _settle(self, turn: _Turn) -> None:
        """Step 5: what is committed goes to the stores; then to the metrics."""
        started = self._clock.monotonic()
        now_ms = self._clock.now_ms()
        for (name, partition), next_offset in turn.next_offsets.items():
            state = self._lease.reading[partition].inputs[name]
            state.next_offset = next_offset
            state.decided_at_ms = turn.decided_at[name, partition]
        for partition in turn.partitions:
            try:
                self._store(turn, partition, now_ms)
            except StoreUnusableError as error:
                # What is committed is in the journal, of which the store is made anew.
                self._rebuild(partition, error)
        self._crash("stored")
        if turn.decided_at and started >= self._forget_at_s:
            self._forget_at_s = started + FORGET_EVERY_S
            # By what is decided: a backlog repeats what was young then. And by the earlier of both
            # clocks: one that is ahead would forget what may come again.
            known_ms = min(now_ms, *turn.decided_at.values())
            for partition, view in list(self._views.items()):
                decided_ms = min(known_ms, self._decided_to(partition, now_ms))
                try:
                    view.store.forget(decided_ms - self._config.identities_ms)
                except StoreUnusableError as error:
                    self._rebuild(partition, error)
        ended = self._clock.monotonic()
        turn.stage("store", ended - started)
        self._count(turn, now_ms, ended)

    def _store(self, turn: _Turn, partition: int, now_ms: int) -> None:
        """Write what was committed of a partition to its store, with the position that says so.
        Raises StoreUnusableError."""
        view = self._views[partition]
        if not view.touched:
            return
        before = view.store.positions
        journal = turn.outbox.journal_next.get(partition)
        inputs = dict(before.inputs)
        for name in (USAGE, COMMANDS):
            if (name, partition) in turn.next_offsets:
                inputs[name] = turn.next_offsets[name, partition]
        newest = max(
            (at for (_, number), at in turn.decided_at.items() if number == partition),
            default=now_ms,
        )
        timers_changed = view.commit(
            turn.sealed.get(partition, {}),
            msgspec.structs.replace(
                before, journal=before.journal if journal is None else journal, inputs=inputs
            ),
            newest,
        )
        if timers_changed:
            self._look_at_timers(partition, view)

    def _decided_to(self, partition: int, now_ms: int) -> int:
        """The append time up to which nothing stands undecided, as far as known."""
        return min(
            now_ms if state.end_seen is not None else state.decided_at_ms
            for state in self._lease.reading[partition].inputs.values()
        )

    def _count(self, turn: _Turn, now_ms: int, ended: float) -> None:
        metrics = self._metrics
        metrics.transaction_s.observe(ended - turn.started)
        metrics.entries.inc(turn.outbox.journal_count)
        for stage, seconds in turn.stages.items():
            metrics.stage_s.labels(stage).inc(seconds)
        for (name, partition), at_ms in turn.first_at.items():
            if name == USAGE:
                metrics.event_age_s.observe(max(now_ms - at_ms, 0) / 1000)
                metrics.lag.labels(partition).set(self._lease.usage_behind(partition))
        for (name, result), count in turn.results.items():
            metrics.records.labels(name, result).inc(count)
        for name, count in turn.taken.items():
            others = sum(n for (i, _), n in turn.results.items() if i == name)
            metrics.records.labels(name, "decided").inc(count - others)
        metrics.owned.labels("serving").set(len(self._views))
        metrics.owned.labels("recovering").set(len(self._recoveries))
        metrics.owned.labels("stopped").set(len(self.stopped))

    def close(self) -> None:
        """Leave the group and close the stores. Blocks up to the broker's answer."""
        self._recoveries.close()
        self._lease.close()
        for view in self._views.values():
            view.store.close()
        self._views.clear()


NO_LAG: Final = Lag()
FENCED: Final = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.FENCED_INSTANCE_ID,
)


class _Turn:
    """What one turn has taken and decided."""

    def __init__(self, layout: Layout, input_names: dict[str, str], started: float) -> None:
        self.started = started
        self.outbox = Outbox(layout, input_names)
        self.begun = False
        self.partitions: set[int] = set()
        self.first_offsets: dict[tuple[str, int], int] = {}
        self.next_offsets: dict[tuple[str, int], int] = {}
        self.first_at: dict[tuple[str, int], int] = {}
        self.decided_at: dict[tuple[str, int], int] = {}
        self.taken: dict[str, int] = {USAGE: 0, COMMANDS: 0}
        self.results: dict[tuple[str, str], int] = {}
        self.timers = 0
        self.fired_at: dict[int, int] = {}
        """The watermark timers of a partition fired on."""
        self.sealed: dict[int, dict[str, bytes | None]] = {}
        self.stages: dict[str, float] = {}

    def take(self, record: Record) -> None:
        where = (record.input, record.partition)
        if where not in self.first_offsets:
            self.first_offsets[where] = record.offset
            self.first_at[where] = record.at_ms
            self.partitions.add(record.partition)
        self.next_offsets[where] = record.offset + 1
        self.decided_at[where] = record.at_ms
        self.taken[record.input] += 1

    def result(self, record: Record, result: str) -> None:
        key = (record.input, result)
        self.results[key] = self.results.get(key, 0) + 1

    def took(self, name: str, partition: int) -> bool:
        return (name, partition) in self.next_offsets

    def stage(self, name: str, seconds: float) -> None:
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    @property
    def count(self) -> int:
        return self.taken[USAGE] + self.taken[COMMANDS] + self.timers

    @property
    def touched(self) -> bool:
        return bool(self.partitions)
