"""The broker's side of the in-memory log: time, topics, groups and transactional ids.

Nothing runs by itself. Each call of a client first lets `tick` carry out what has come due by the
injected clock, in order of time: sessions that expire, transactions that time out, heartbeats that
notice a rebalance, commits that arrive late.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from .group import Group
from .log import PartitionLog, Topic, Txn


class TransactionalId:
    """What the coordinator knows of a `transactional.id`."""

    __slots__ = ("epoch", "finishing", "hanging", "open", "timeout_ms")

    def __init__(self, timeout_ms: int) -> None:
        self.epoch = -1
        self.open: Txn | None = None
        self.finishing: Txn | None = None  # ended, but for its markers
        self.hanging: list[Txn] = []  # ended, but its markers will never come
        self.timeout_ms = timeout_ms


class Broker:
    """One cluster's state. `now` is the time of the last `tick`, ms."""

    def __init__(self, now_ms: Callable[[], int], idle: Callable[[float], None] | None) -> None:
        self.now = now_ms()
        self.ahead_ms = 0
        self.up = True
        self.down_since_ms = 0
        self.topics: dict[str, Topic] = {}
        self.groups: dict[str, Group] = {}
        self.transactional_ids: dict[str, TransactionalId] = {}
        self._now_ms = now_ms
        self._idle = idle
        self._timers: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._timers_made = 0

    # Time

    @property
    def stamp_ms(self) -> int:
        """What is stamped on what is appended now: by a clock that may be wrong."""
        return self.now + self.ahead_ms

    def tick(self) -> None:
        """Let what is due by now happen, if the broker is up."""
        now = self._now_ms()
        timers = self._timers
        if timers and timers[0][0] <= now and self.up:
            while timers and timers[0][0] <= now:
                at_ms, _, act, arguments = heappop(timers)
                self.now = max(self.now, at_ms)  # what it starts is timed from here
                act(*arguments)
        self.now = now

    def at(self, at_ms: int, act: Callable[..., None], *arguments: Any) -> None:
        """Have `act` called at a time; it checks for itself whether it is still wanted."""
        self._timers_made += 1
        heappush(self._timers, (at_ms, self._timers_made, act, arguments))

    def wait(self, timeout_s: float) -> bool:
        """Someone waits up to `timeout_s` for something. False if no time can pass in between."""
        if timeout_s < 0:
            raise RuntimeError("this would wait for ever, with nobody else to act: give a timeout")
        if self._idle is None or timeout_s == 0:
            return False
        self._idle(timeout_s)
        self.tick()
        return True

    # Being there

    def stop(self) -> None:
        """Answer nothing from now on."""
        self.tick()
        if self.up:
            self.up = False
            self.down_since_ms = self.now

    def start(self) -> None:
        """Answer again. A coordinator that comes back gives every member a whole session."""
        if not self.up:
            self.up = True
            self.now = self._now_ms()
            for group in self.groups.values():
                group.renew_sessions()
            self.tick()

    # Topics

    def log(self, topic: str, partition: int) -> PartitionLog | None:
        """A partition that exists."""
        found = self.topics.get(topic)
        if found is None or not 0 <= partition < len(found.logs):
            return None
        return found.logs[partition]

    def create(self, topic: Topic) -> None:
        """Add a topic; groups that subscribe to it are rebalanced."""
        self.topics[topic.name] = topic
        self._rebalance_for(topic.name)

    def delete(self, name: str) -> None:
        """Remove a topic. Transactions that wrote to it go on elsewhere."""
        for log in self.topics.pop(name).logs:
            log.deleted = True
            for txn in log.open:
                txn.logs.remove(log)
        self._rebalance_for(name)

    def _rebalance_for(self, topic: str) -> None:
        for group in self.groups.values():
            group.topic_changed(topic)

    # Groups

    def group(self, name: str) -> Group:
        """The group of a name, which exists from its first mention on."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(self)
        return group

    # Transactions

    def init_producer(self, name: str, timeout_ms: int) -> TransactionalId:
        """Take the next epoch; what the last one left open is aborted."""
        transactional_id = self.transactional_ids.get(name)
        if transactional_id is None:
            transactional_id = self.transactional_ids[name] = TransactionalId(timeout_ms)
        self._finish(transactional_id)
        self.end_transaction(transactional_id, committed=False)
        transactional_id.timeout_ms = timeout_ms
        transactional_id.epoch += 1
        return transactional_id

    def open_transaction(self, transactional_id: TransactionalId) -> Txn:
        """The transaction that is open; a new one, timed from now, if none is. It begins only when
        the last one has its markers."""
        txn = transactional_id.open
        if txn is None:
            self._finish(transactional_id)
            txn = transactional_id.open = Txn()
            self.at(
                self.now + transactional_id.timeout_ms,
                self._expire_transaction,
                transactional_id,
                txn,
            )
        return txn

    def end_transaction(
        self,
        transactional_id: TransactionalId,
        committed: bool,
        markers_ms: int = 0,
        offsets_first: bool = False,
    ) -> None:
        """End the transaction that is open, if one is. Its markers follow within `markers_ms`; with
        `offsets_first` that of the offsets is written at once."""
        txn, transactional_id.open = transactional_id.open, None
        if txn is None:
            return
        txn.decide(committed)
        transactional_id.finishing = txn
        if offsets_first:
            txn.settle()
        if markers_ms:
            self.at(self.now + markers_ms, self._finish, transactional_id, txn)
        else:
            self._finish(transactional_id)

    def _finish(self, transactional_id: TransactionalId, only: Txn | None = None) -> None:
        txn = transactional_id.finishing
        if txn is not None and only in (None, txn):
            transactional_id.finishing = None
            for hanging in transactional_id.hanging:
                hanging.end_where(txn)  # markers name a producer, and no transaction
            txn.finish(self.stamp_ms)

    def forget(self, name: str) -> None:
        """What Kafka may do to a transaction when its broker is killed: leave out the markers, of
        one that is committed as of one that is open and taken for aborted."""
        transactional_id = self.transactional_ids[name]
        txn, transactional_id.open = transactional_id.open, None
        if txn is not None:
            txn.decide(committed=False)
        else:
            txn, transactional_id.finishing = transactional_id.finishing, None
        if txn is not None:
            transactional_id.hanging.append(txn)

    def end_late(self, transactional_id: TransactionalId, epoch: int, committed: bool) -> None:
        """A request to end a transaction arrives after all. Nothing in it says which one."""
        if transactional_id.epoch == epoch:
            self.end_transaction(transactional_id, committed)

    def _expire_transaction(self, transactional_id: TransactionalId, txn: Txn) -> None:
        if transactional_id.open is txn:
            self.end_transaction(transactional_id, committed=False)
            transactional_id.epoch += 1  # its producer is fenced
