"""Histories: what befalls settlement processes on the in-memory cluster, step by step.

A step is a small tuple of plain values, so that a failing history can be cut down, printed and
played again. Processes take their turns when a step says so. A process is also watched in its
turn: each call to the cluster, before and after, each named crash point and each write of its
store is a *moment*, at which it may be killed, held up while the others go on, or have its call go
wrong. In the end all trouble stops; what was sent must be decided, and the judge looks at it all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from tests.simulation.clients import ASKED, USAGE, Clients
from tests.simulation.judge import compare_rebuilt, judged
from tests.simulation.sending import Sending
from tests.simulation.topics import Record
from tests.simulation.verdict import Verdict
from tests.simulation.world import (
    ENVIRONMENT,
    METRICS,
    START_MS,
    TOPIC_CONFIGS,
    Disk,
    MachineClock,
    Time,
    small_pieces,
)

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import BALANCE_CHANGES
from drawdown.events.codec import encode
from drawdown.ledger.identity import FINGERPRINT_BYTES
from drawdown.ledger.replay import WHOLE, first_answer
from drawdown.settlement.service import GROUP, make_worker
from drawdown.stream.loop import Budget, FencedError, Worker
from drawdown.stream.memory import (
    AnswerLost,
    Fault,
    KilledError,
    MarkersDelayed,
    MemoryCluster,
    MemoryProcess,
    MustAbort,
    RequestDelayed,
    RequestLost,
)
from drawdown.stream.memory.client import KILLED, PAUSED, RUNNING

Step = tuple[Any, ...]

CUSTOMERS: Final = ("acme", "bolt", "cyan", "dune")
JOURNAL: Final = ENVIRONMENT.topic(BALANCE_CHANGES)
INSTANCES: Final = ("0", "1", "2")
FAULTS: Final[dict[str, Fault]] = {
    "answer lost": AnswerLost(),
    "request lost": RequestLost(),
    "request delayed": RequestDelayed(200),
    "request delayed long": RequestDelayed(4_000),
    "markers delayed": MarkersDelayed(300),
    "markers delayed long": MarkersDelayed(4_000),
    "offsets before markers": MarkersDelayed(12_000, offsets_first=True),
    "must abort": MustAbort(KafkaError.ILLEGAL_GENERATION),
}
SOURCELESS: Final = (2 * KEY_SEPARATOR).encode()
"""In the keys of commands and of holds that ended."""
REST_S: Final = 8.0
"""Longer than a session, a transaction and any delay: what is at rest after it stays so."""
ROUNDS_MAX: Final = 250


@dataclass(frozen=True)
class Schedule:
    """All that decides a run."""

    partitions: int
    steps: tuple[Step, ...]
    rebuilt: bool = False
    """In the end a process without a disk rebuilds everything, to be compared."""
    slow_ms: int = 0
    """How long every call to the cluster takes."""
    chunk: int = 64
    """How much of a backlog one turn takes on."""


@dataclass(eq=False)
class Life:
    """One settlement process."""

    name: str
    process: MemoryProcess
    disk: Disk
    worker: Worker


@dataclass
class Trouble:
    """What is to happen at the `nth` moment of a name from now on; any moment for an empty one."""

    kind: str
    name: str
    nth: int
    what: Any = None


class History(Sending):
    """Plays a schedule. `verdict` says what was wrong, `counts` what happened."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.moments = 0
        self.verdict: Verdict | None = None
        self._time = Time()
        self.cluster = MemoryCluster(self._time.now_ms, self._time.sleep)
        for name, by_customer, config in TOPIC_CONFIGS:
            self.cluster.create_topic(name, schedule.partitions if by_customer else 1, config)
        self._time.ring = self.cluster.start_broker
        self.clients = Clients(self.cluster, self._time, schedule.partitions)
        self.clients.publish(0)
        self._clocks = {name: MachineClock(self._time) for name in INSTANCES}
        self._disks = {name: Disk(self._write) for name in INSTANCES}
        self._copies: dict[str, Disk] = {}
        self.lives: dict[str, Life] = {}
        self._all: list[Life] = []
        self._running: MemoryProcess | None = None
        self._stalled = False
        self._troubles: list[Trouble] = []
        self._budget = Budget(chunk=schedule.chunk, records_max=schedule.chunk)
        self._hook(bool(schedule.slow_ms))
        self._steady = all(name != "jump" for name, *_ in schedule.steps)
        self._landed: dict[int, list[tuple[int, int]]] = {}
        """By partition: where its journal ended, and when, while clocks may be wrong."""

    def play(self) -> History:
        with small_pieces():
            for name, *arguments in self.schedule.steps:
                getattr(self, "do_" + name)(*arguments)
            self._end()
        return self

    @property
    def wrongs(self) -> dict[str, list[str]]:
        """By invariant, and under `engine` what the processes themselves said."""
        found = {} if self.verdict is None else dict(self.verdict.wrongs)
        return {**found, "engine": self.problems} if self.problems else found

    # what befalls processes

    def do_start(self, name: str, disk: str) -> None:
        """Also what a restart after a death is; one that lives gets a double on another disk."""
        if name in self.lives:
            if self.lives[name].process.state == PAUSED:
                return
            disk = "lost"
        if disk == "lost":
            self._disks[name] = Disk(self._write)
        elif disk == "older" and name in self._copies:
            self._disks[name] = self._copies[name].copied()
        self.counts[f"start, disk {disk}"] += 1
        process = self.cluster.process(f"settlement-{name}")
        with self._going_on(process):
            worker = make_worker(
                process,
                ENVIRONMENT,
                name,
                self._disks[name],
                self._clocks[name],
                budget=self._budget,
                metrics=METRICS,
                crash=self._point,
            )
            self.lives[name] = Life(name, process, self._disks[name], worker)
            self._all.append(self.lives[name])

    def do_copy(self, name: str) -> None:
        """A backup of its disk is made."""
        self._copies[name] = self._disks[name].copied()

    def do_kill(self, name: str) -> None:
        if name in self.lives:
            self.counts["kill"] += 1
            self._bury(self.lives[name])

    def do_stop(self, name: str) -> None:
        """SIGTERM: it leaves by itself."""
        life = self.lives.get(name)
        if life is not None and life.process.state == RUNNING:
            self.counts["stop"] += 1
            with self._going_on(life.process):
                life.worker.close()
            self._bury(life)

    def do_sleep(self, name: str) -> None:
        if name in self.lives and self.lives[name].process.state == RUNNING:
            self.counts["sleep"] += 1
            self.lives[name].process.pause()

    def do_wake(self, name: str) -> None:
        if name in self.lives and self.lives[name].process.state == PAUSED:
            self.lives[name].process.resume()

    def do_cut(self, name: str) -> None:
        if name in self.lives:
            self.counts["cut off"] += 1
            self.lives[name].process.cut()

    def do_heal(self, name: str) -> None:
        if name in self.lives:
            self.lives[name].process.heal()

    def do_broker_away(self, ms: int) -> None:
        if self._time.alarm_ms is None:
            self.counts["broker away"] += 1
            self.cluster.stop_broker()
            self._time.alarm_ms = self._time.ms + ms

    def do_jump(self, whose: str, ms: int) -> None:
        """A clock is wrong by so much from now on; 0 puts it right."""
        self.counts["clock jump"] += bool(ms)
        if whose == "broker":
            self.cluster.set_clock(ms)
        else:
            self._clocks[whose].ahead_ms = ms

    def do_pass(self, ms: int) -> None:
        self._time.sleep(ms / 1000)

    def do_turn(self, name: str, times: int) -> None:
        for _ in range(times):
            if name in self.lives and self.lives[name].process.state == RUNNING:
                self._turn(self.lives[name])

    def do_crash(self, name: str, nth: int) -> None:
        self._arm(Trouble("crash", name, nth))

    def do_stall(self, name: str, nth: int, ms: int) -> None:
        """Whoever comes there stands still while the others go on."""
        self._arm(Trouble("stall", name, nth, ms))

    def do_fault(self, call: str, nth: int, kind: str) -> None:
        self._arm(Trouble("fault", call, nth, kind))

    # turns and moments

    def _turn(self, life: Life) -> int:
        counts: list[int] = []
        with self._going_on(life.process):
            counts.append(life.worker.turn())
        if not self._steady:
            self._note_ends()
        if not counts:  # it has ended
            self._bury(life)
        return sum(counts)

    def _note_ends(self) -> None:
        for partition in range(self.schedule.partitions):
            _, _, end = self.cluster.watermarks(JOURNAL, partition)
            landed = self._landed.setdefault(partition, [(0, 0)])
            if end > landed[-1][0]:
                landed.append((end, self._time.ms))

    def _truly_ms(self, partition: int, record: Record) -> int:
        return next(at for end, at in self._landed[partition] if end > record.offset)

    @contextmanager
    def _going_on(self, process: MemoryProcess) -> Iterator[None]:
        """A process runs: what ends it is its own affair, as long as it may end it."""
        before, self._running = self._running, process
        try:
            yield
        except KilledError:
            pass
        except FencedError:
            self.counts["exit, fenced"] += 1
            process.kill()
        except KafkaException as error:
            # One that does not come up is tried again by its supervisor.
            if any(life.process is process for life in self._all):
                self.problems.append(f"{process.name} ended with {error!r}")
            process.kill()
        finally:
            self._running = before

    def _bury(self, life: Life) -> None:
        self._note_stops(life)
        if life.process.state != KILLED:
            life.process.kill()
        if life in self._all:
            self._all.remove(life)
        if self.lives.get(life.name) is life:
            del self.lives[life.name]

    def _note_stops(self, life: Life) -> None:
        self.problems += [f"partition {p} stopped: {why}" for p, why in life.worker.stopped.items()]

    def _arm(self, trouble: Trouble) -> None:
        self._troubles.append(trouble)
        self._hook(True)

    def watch(self) -> None:
        """Count moments though nothing is to happen at them."""
        self._hook(True)

    def _hook(self, wanted: bool) -> None:
        faults = self.cluster.faults
        faults.before, faults.after = (self._before, self._after) if wanted else (None, None)

    def _before(self, call: str, client: Any) -> Fault | None:
        return self._at(call, True) if client.process is self._running else None

    def _after(self, call: str, client: Any) -> None:
        if client.process is self._running:
            self._time.ms += self.schedule.slow_ms
            self._at(call + " done", False)

    def _point(self, point: str) -> None:
        self._at("turn " + point, False)

    def _write(self, moment: str) -> None:
        self._at(moment, False)

    def _at(self, name: str, is_call: bool) -> Fault | None:
        self.moments += 1
        for trouble in self._troubles:
            if (trouble.name and trouble.name != name) or (trouble.kind == "fault" and not is_call):
                continue
            trouble.nth -= 1
            if trouble.nth > 0 or (trouble.kind == "stall" and self._stalled):
                continue
            self._troubles.remove(trouble)
            self._hook(bool(self._troubles or self.schedule.slow_ms))
            return self._strike(trouble, name)
        return None

    def _strike(self, trouble: Trouble, name: str) -> Fault | None:
        if trouble.kind == "fault":
            self.counts[f"fault: {trouble.what} at {name}"] += 1
            return FAULTS[trouble.what]
        self.counts[f"{trouble.kind} at {name}"] += 1
        assert self._running is not None
        if trouble.kind == "crash":
            self._running.kill()
            raise KilledError(name)
        self._stall(trouble.what)
        return None

    def _stall(self, ms: int) -> None:
        asleep = self._running
        assert asleep is not None
        asleep.pause()
        self._stalled = True
        until_ms = self._time.ms + ms
        while self._time.ms < until_ms:
            self._time.sleep(0.5)
            self.cluster.tick()
            for life in list(self._all):
                if life.process.state == RUNNING:
                    self._turn(life)
        self._stalled = False
        asleep.resume()

    # the end

    def _end(self) -> None:
        """All is well again, and stays so until everything is decided."""
        self._troubles.clear()
        self._hook(False)
        if self._time.alarm_ms is not None:
            self._time.alarm_ms = None
            self.cluster.start_broker()
        self.clients.flush()
        self.cluster.set_clock(0)
        for clock in self._clocks.values():
            clock.ahead_ms = 0
        for life in list(self._all):
            if life.process.state == PAUSED:
                life.process.resume()
            life.process.heal()
        if not self._come_to_rest():
            return
        self.verdict = judged(
            self.cluster,
            self.clients.seen,
            self._stores(),
            None if self._steady else self._truly_ms,
            self._steady,
        )
        if self.schedule.rebuilt and not self.wrongs:
            before = self._remembered()
            for life in list(self._all):
                self._bury(life)
            self.do_start("0", "lost")
            if self._come_to_rest():
                compare_rebuilt(self.verdict, self.cluster, self._stores())
                self._compare_remembered(self.verdict, before)

    def _compare_remembered(self, verdict: Verdict, before: dict[int, dict[bytes, bytes]]) -> None:
        """What was remembered is remembered; a timer may have added to it meanwhile."""
        after = self._remembered()
        for partition, identities in before.items():
            lost = [key for key, value in identities.items() if after[partition].get(key) != value]
            verdict.check("15", not lost, f"forgotten by a rebuild: {lost}")

    def _come_to_rest(self) -> bool:
        rested = False
        for _ in range(ROUNDS_MAX):
            if not self._all:
                self.do_start("0", "kept")
            busy = sum(self._turn(life) for life in list(self._all))
            for life in self._all:
                self._note_stops(life)
            if self.problems:
                return False
            if busy or self._unrest() is not None:
                self._time.sleep(0.01 if busy else 0.6)
            elif rested:
                return True
            else:
                rested = True
                self._time.sleep(REST_S)
                self.cluster.tick()
        self.problems.append(f"not at rest: {self._unrest()}")
        return False

    def _unrest(self) -> str | None:
        """Why it cannot be at rest yet."""
        served = sorted(p for life in self._all for p in life.worker.serving)
        if served != list(range(self.schedule.partitions)):
            return f"served are {served}"
        restored = {p: what for life in self._all for p, what in life.worker.waiting.items()}
        if restored:
            return f"identities are restored: {restored}"
        offsets = self.cluster.offsets(f"{ENVIRONMENT.name}.{GROUP}")
        for topic, by_customer, _ in TOPIC_CONFIGS:
            for partition in range(self.schedule.partitions if by_customer else 1):
                _, stable, high = self.cluster.watermarks(topic, partition)
                if stable < high:
                    return f"{topic}[{partition}] has an open transaction"
                if topic in (USAGE, ASKED) and high:
                    last = self.cluster.records(topic, partition)[-1].offset() or 0
                    if offsets.get((topic, partition), 0) <= last:
                        return f"{topic}[{partition}]@{last} is not decided"
        due = [t for life in self._all for t in _due(life, self._time.ms)]
        return f"timers are due: {due}" if due else None

    def _stores(self) -> dict[int, dict[str, bytes]]:
        return {
            partition: dict(view.store.all_rows())
            for life in self._all
            for partition, view in life.worker._views.items()
        }

    def _remembered(self) -> dict[int, dict[bytes, bytes]]:
        found: dict[int, dict[bytes, bytes]] = {}
        for life in self._all:
            for partition, view in life.worker._views.items():
                generations: Any = getattr(view.store, "_generations")  # noqa: B009
                found[partition] = {
                    key: _meant(key, value)
                    for identities in generations.values()
                    for key, value in identities.items()
                }
        return found

    @property
    def passed_s(self) -> float:
        """How much time went by in it."""
        return (self._time.ms - START_MS) / 1000


def _meant(key: bytes, value: bytes) -> bytes:
    """What is remembered: a command's first answer may be kept as the entry it is made from."""
    fingerprint, result = value[:FINGERPRINT_BYTES], value[FINGERPRINT_BYTES:]
    if SOURCELESS not in key or result[:1] not in (b"{", WHOLE):
        return value
    return fingerprint + encode(first_answer(result))


def _due(life: Life, now_ms: int) -> list[Any]:
    return [t for view in life.worker._views.values() for t in view.store.due(now_ms, 1)]
