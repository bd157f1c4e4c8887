"""Histories: what befalls settlement processes on the in-memory cluster, step by step, and a judge.

A step is a small tuple, so that a failing history can be shrunk, printed and played again. Each
process takes its turns when a step says so; between them it may be killed, restarted with or
without its disk, put to sleep and woken, cut off, or hit by a fault in the very next call of a
kind. In the end all faults stop and what was sent must have been decided: once, and right.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from tests.support import judge
from tests.support.desk import ENVIRONMENT, START_MS, Desk, DeskClock, Settler

from drawdown.events.base import at_text
from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES, DECISIONS, USAGE_EVENTS
from drawdown.stream import kafka
from drawdown.stream.loop import FencedError
from drawdown.stream.memory import (
    AnswerLost,
    Fault,
    KilledError,
    MarkersDelayed,
    MustAbort,
    RequestDelayed,
    RequestLost,
)
from drawdown.stream.memory.client import KILLED, PAUSED, RUNNING
from drawdown.stream.partition import partition_of
from drawdown.stream.store import MemoryStores

Step = tuple[Any, ...]

PARTITIONS = 3
CUSTOMERS = ("acme", "bolt", "cyan", "dune", "echo")
INSTANCES = ("0", "1", "2")
CRASH_POINTS = ("produced", "offsets-sent", "committed", "stored")
CALLS = (
    "produce_batch",
    "send_offsets_to_transaction",
    "commit_transaction",
    "abort_transaction",
    "init_transactions",
    "committed",
    "get_watermark_offsets",
)
FAULTS: dict[str, Fault] = {
    "answer lost": AnswerLost(),
    "request lost": RequestLost(),
    "request delayed": RequestDelayed(700),
    "request delayed long": RequestDelayed(4_000),
    "markers delayed": MarkersDelayed(300),
    "must abort": MustAbort(KafkaError.ILLEGAL_GENERATION),
}


class BrokerClock(DeskClock):
    """Its broker comes back by itself, also while a process does nothing but wait for it."""

    def __init__(self) -> None:
        super().__init__(START_MS)
        self.broker_back_ms: int | None = None
        self.start_broker: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.broker_back_ms is not None and self.ms >= self.broker_back_ms:
            self.broker_back_ms = None
            self.start_broker()


class History:
    """Plays steps."""

    def __init__(self) -> None:
        self.clock = BrokerClock()
        self.desk = Desk(partitions=PARTITIONS, clock=self.clock, crash=self._crash)
        self.clock.start_broker = self.desk.cluster.start_broker
        self.desk.cluster.faults.before = self._before
        # What is sent while the broker is away arrives when it is back, however long that takes.
        producer = {**kafka.plain_producer(), "message.timeout.ms": 86_400_000}
        self.desk._producer = self.desk.cluster.producer(producer)
        self.disks = {name: MemoryStores() for name in INSTANCES}
        self.lives: dict[str, Settler] = {}
        self.sent: dict[tuple[str, str], bytes] = {}
        self.broken = 0
        self.commands: list[str] = []
        self._current: Settler | None = None
        self._crash_at: str | None = None
        self._stall_at: tuple[str, int] | None = None
        self._fault: tuple[str, Fault] | None = None
        for customer in CUSTOMERS:
            self.commands.append(self.desk.grant(customer, "1"))

    def play(self, steps: list[Step]) -> None:
        for name, *arguments in steps:
            getattr(self, "do_" + name)(*arguments)
        self.end()

    # steps

    def do_use(self, customer: str, tokens: int, astray: bool) -> None:
        event_id = f"e{len(self.sent)}"
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": "test",
            "type": "llm.completion",
            "subject": customer,
            "time": at_text(self.clock.ms),
            "data": {"model": "gpt-5", "input": tokens},
        }
        value = self.sent[customer, event_id] = json.dumps(event).encode()
        self._usage(customer, value, astray)

    def do_again(self, number: int, astray: bool) -> None:
        if self.sent:
            (customer, _), value = list(self.sent.items())[number % len(self.sent)]
            self._usage(customer, value, astray)

    def do_break(self, customer: str) -> None:
        self.broken += 1
        self._usage(customer, b"{", False)

    def _usage(self, customer: str, value: bytes, astray: bool) -> None:
        key = customer.encode()
        partition = (partition_of(key, PARTITIONS) + astray) % PARTITIONS
        self.desk.produce(USAGE_EVENTS, key, value, partition=partition)

    def do_grant(self, customer: str, lives_s: int) -> None:
        terms = {"expires_at": at_text(self.clock.ms + lives_s * 1000)} if lives_s else {}
        self.commands.append(self.desk.grant(customer, "0.5", **terms))

    def do_authorize(self, customer: str) -> None:
        self.commands.append(self.desk.authorize(customer))

    def do_start(self, name: str) -> None:
        """Also what a restart after a death is; one that lives gets a double on another disk."""
        double = name in self.lives
        if double and self.lives[name].process.state == PAUSED:
            return
        stores = MemoryStores() if double else self.disks[name]
        with self._going_on(None):
            self.lives[name] = self.desk.start(name, stores)
            self.disks[name] = stores

    def do_wipe(self, name: str) -> None:
        if name not in self.lives:
            self.disks[name] = MemoryStores()

    def do_kill(self, name: str) -> None:
        if name in self.lives:
            self._bury(self.lives[name])

    def do_sleep(self, name: str) -> None:
        if name in self.lives and self.lives[name].process.state == RUNNING:
            self.lives[name].process.pause()

    def do_wake(self, name: str) -> None:
        if name in self.lives and self.lives[name].process.state == PAUSED:
            self.lives[name].process.resume()

    def do_cut(self, name: str) -> None:
        if name in self.lives:
            self.lives[name].process.cut()

    def do_heal(self, name: str) -> None:
        if name in self.lives:
            self.lives[name].process.heal()

    def do_broker_away(self, ms: int) -> None:
        if self.clock.broker_back_ms is None:
            self.desk.cluster.stop_broker()
            self.clock.broker_back_ms = self.clock.ms + ms

    def do_pass(self, ms: int) -> None:
        self.clock.sleep(ms / 1000)

    def do_turn(self, name: str, times: int) -> None:
        for _ in range(times):
            if name in self.lives and self.lives[name].process.state == RUNNING:
                self._turn(self.lives[name])

    def do_crash(self, point: str) -> None:
        self._crash_at = point

    def do_stall(self, point: str, ms: int) -> None:
        """Whoever comes to this point next stands still there while the others go on."""
        self._stall_at = point, ms

    def do_fault(self, call: str, kind: str) -> None:
        self._fault = call, FAULTS[kind]

    # what they are made of

    def _turn(self, settler: Settler) -> None:
        with self._going_on(settler):
            settler.turn()

    def _going_on(self, settler: Settler | None) -> Going:
        self._current = settler
        return Going(self, settler)

    def bury(self, settler: Settler | None) -> None:
        if settler is not None:
            self._bury(settler)

    def _bury(self, settler: Settler) -> None:
        if settler.process.state != KILLED:
            settler.kill()
        elif settler in self.desk.settlers:
            self.desk.settlers.remove(settler)
        if self.lives.get(settler.instance) is settler:
            del self.lives[settler.instance]

    def _crash(self, point: str) -> None:
        if point == self._crash_at and self._current is not None:
            self._crash_at = None
            self._current.process.kill()
            raise KilledError(point)
        if self._stall_at is not None and self._stall_at[0] == point:
            _, ms = self._stall_at
            self._stall_at = None
            self._stall(ms)

    def _stall(self, ms: int) -> None:
        asleep = self._current
        assert asleep is not None
        asleep.process.pause()
        until_ms = self.clock.ms + ms
        while self.clock.ms < until_ms:
            self.clock.sleep(0.3)
            for settler in list(self.desk.settlers):
                if settler.process.state == RUNNING:
                    self._turn(settler)
        self._current = asleep
        asleep.process.resume()

    def _before(self, call: str, client: Any) -> Fault | None:
        if self._fault is None or self._fault[0] != call or self._current is None:
            return None
        if not client.process.name.startswith("settlement-"):
            return None
        _, fault = self._fault
        self._fault = None
        return fault

    # the end

    def end(self) -> None:
        """Everything is well again, and stays so until all is decided."""
        self._fault = self._crash_at = self._stall_at = None
        if self.clock.broker_back_ms is not None:
            self.clock.broker_back_ms = None
            self.desk.cluster.start_broker()
        assert self.desk._producer.flush(1.0) == 0
        for settler in list(self.desk.settlers):
            if settler.process.state == PAUSED:
                settler.process.resume()
            settler.process.heal()
        quiet = 0
        for _ in range(200):
            self.clock.sleep(0.3)
            if not self.lives:
                self.do_start("0")
            busy = 0
            for settler in list(self.desk.settlers):
                with self._going_on(settler):
                    for _ in range(3):
                        busy += settler.turn()
            served = [p for s in self.desk.settlers for p in s.worker.serving]
            stopped = {p: w for s in self.desk.settlers for p, w in s.worker.stopped.items()}
            assert not stopped, stopped
            quiet = quiet + 1 if not busy and sorted(served) == list(range(PARTITIONS)) else 0
            if quiet == 20:  # long enough for a session and a transaction to end
                self.judge()
                return
        raise AssertionError(f"not at rest: {served} served")

    def judge(self) -> None:
        journal = [(m.key() or b"", m.value() or b"") for m in self.desk.records(BALANCE_CHANGES)]
        rows = [(m.key() or b"", m.value()) for m in self.desk.records(BALANCES)]
        assert judge.wrongs(journal, rows) == []
        entries = [json.loads(value) for _, value in journal]
        debited = Counter((e["subject"], e["data"]["id"]) for e in entries if "source" in e["data"])
        assert debited == Counter(self.sent.keys())
        answers = Counter(json.loads(m.value() or b"")["id"] for m in self.desk.records(DECISIONS))
        assert answers == Counter(self.commands)
        assert len(self.desk.dead_letters()) == self.broken
        stored: dict[str, bytes | None] = {}
        for settler in self.desk.settlers:
            for view in settler.worker._views.values():
                stored |= dict(view.store.all_rows())
        assert stored == {key.decode(): value for key, value in rows}
        offsets = self.desk.cluster.offsets(self.desk.group)
        for number in range(PARTITIONS):
            where = ENVIRONMENT.topic(USAGE_EVENTS), number
            records = self.desk.cluster.records(*where)
            if records:
                assert offsets[where] > (records[-1].offset() or 0)


class Going:
    """A process runs: what ends it is its own affair."""

    def __init__(self, history: History, settler: Settler | None) -> None:
        self._history, self._settler = history, settler

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        self._history._current = None
        if isinstance(error, KilledError | FencedError):
            self._history.bury(self._settler)
            return True
        # One that does not come up is tried again by its supervisor.
        return self._settler is None and isinstance(error, KafkaException)
