"""Sees to it that no partition stays without an owner.

A static member that dies between the two steps of a cooperative rebalance and is back within its
session is given what it had after the first step, and nobody asks for the second: what was on the
move belongs to nobody for as long as nobody comes or goes (`tests/stream/contract/test_groups.py`).
So each process asks the coordinator now and then what it has assigned. A gap that is seen twice in
a row, in a group that is at rest, is closed by one member that joins anew. That is the first by
name; should it not do so, the others follow, one each time.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Final

from drawdown.stream.layout import Layout
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.ports import Cluster, GroupState

log = logging.getLogger("drawdown.watchdog")

EVERY_S: Final = 5.0
ANSWER_LOOK_S: Final = 0.2


class Watchdog:
    """Of one process. Asks in the background: nothing here waits."""

    def __init__(self, cluster: Cluster, layout: Layout, metrics: StreamMetrics) -> None:
        self._cluster = cluster
        self._layout = layout
        self._metrics = metrics
        self._asked: Future[GroupState] | None = None
        self._due_s = 0.0
        self._ownerless: frozenset[int] = frozenset()
        self._seen = 0

    def rejoin_due(self, now_s: float, owned: int) -> bool:
        """Whether this process, which owns so many partitions, is to join anew, now. To be called
        every turn while the broker answers; `now_s` never goes back. Who owns all of them has
        nothing to ask.
        """
        if owned == self._layout.partitions:
            self._metrics.ownerless.set(0)
            self._seen = 0
            return False
        if now_s < self._due_s:
            return False
        if self._asked is None:
            self._asked = self._cluster.group(self._layout.group)
        if not self._asked.done():
            self._due_s = now_s + ANSWER_LOOK_S
            return False
        asked, self._asked = self._asked, None
        self._due_s = now_s + EVERY_S
        error = asked.exception()
        if error is not None:
            log.info("the group's members are not known: %s", error)
            return False
        return self._closes_gap(asked.result())

    def _closes_gap(self, group: GroupState) -> bool:
        ownerless = self._ownerless_of(group)
        self._metrics.ownerless.set(len(ownerless))
        self._seen = self._seen + 1 if ownerless == self._ownerless else 1
        self._ownerless = ownerless
        if not ownerless or self._layout.instance not in group.members:
            return False
        before_us = sorted(group.members).index(self._layout.instance)
        if self._seen < 2 + before_us:
            return False
        log.warning("partitions %s have no owner: joining anew", sorted(ownerless))
        self._seen = 0
        return True

    def _ownerless_of(self, group: GroupState) -> frozenset[int]:
        if not group.stable:
            return frozenset()
        owned = {
            partition
            for partitions in group.members.values()
            for topic, partition in partitions
            if topic == self._layout.usage
        }
        return frozenset(range(self._layout.partitions)) - owned
