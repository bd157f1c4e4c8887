"""Faults of ownership: an owner that never comes back, and processes that come and go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from tests.faults.children import until
from tests.faults.faults import TAKEOVER_S, Fault
from tests.faults.stage import PARTITIONS

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

READERS_WAIT_S = 5.0 + 1.0 + 6.0
"""The transaction's timeout, the broker's look for such ones, and a margin for a busy machine."""
OWNERLESS_S = 60.0
CHANGE_S = 17.9
"""Of a storm, from one process to four and back, as measured on two cores; and the longest that
four are waited for."""
STAYS_S = 1.0
MORE_S = 120.0
"""A machine that is too slow for the changes has so much longer."""
OTHERS = ("1", "2", "3")


class Orphan(Fault):
    """An owner dies after it produced and is never started again: readers wait for its timeout."""

    name = "owner killed after it produced, for good"
    rows = (1, 2, 12, 13)
    lasts_s = 0.0
    takes_s = 20.0
    shows: Mapping[int, int] = {12: 1}

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        dying = stage.settler("9", crash_at=f"produced:{self.chance.randint(5, 30)}")
        until(lambda: not dying.running, TAKEOVER_S, "the process did not die")
        del stage.settlers["9"]
        ends = stage.ends("balance-changes", stable=False)

        def readable() -> bool:
            stable = stage.ends("balance-changes")
            return all(stable[number] >= end for number, end in ends.items())

        waited_s = until(readable, TAKEOVER_S, "readers wait")
        campaign.measured("seconds_readers_waited", waited_s)
        campaign.note(12, events=1)
        if waited_s > READERS_WAIT_S:
            campaign.note(12, violation=f"readers waited {waited_s:.1f} s for a dead transaction")


class Storm(Fault):
    """From one settlement process to four and back, again and again: up until each of the four
    serves, then three of them end, killed or as they are told to."""

    rows = (1, 2)

    def __init__(self, chance: Random, seconds: float) -> None:
        super().__init__(chance)
        self.seconds = seconds
        self.name = f"1, 4, 1 processes for {seconds:.0f} s"
        self.lasts_s = 0.0
        self.changes_min = int(seconds / CHANGE_S)
        self.takes_s = seconds + 30
        self.shows = {22: int(seconds)}

    def faults(self) -> Counter[int]:
        # Of each change six: three processes begin, and end.
        return Counter({1: 1, 2: 1, 22: 6 * self.changes_min})

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        began = time.monotonic()
        self._served_at = dict.fromkeys(range(PARTITIONS), began)
        self._longest = 0.0
        changes = 0
        while (passed := time.monotonic() - began) < self.seconds or (
            changes < self.changes_min and passed < self.seconds + MORE_S
        ):
            for instance in OTHERS:
                if instance not in stage.settlers:
                    stage.settler(instance)
            everybody = list(stage.settlers.values())
            if self._watched(campaign, lambda every=everybody: all(s.serving() for s in every)):
                changes += 1
            self._watched(campaign, lambda: False, STAYS_S)
            for instance in OTHERS:
                gone = stage.settlers.pop(instance)
                if self.chance.random() < 0.5:
                    gone.kill()
                else:
                    gone.terminate()
                    self._watched(campaign, lambda gone=gone: not gone.running)
            self._watched(campaign, lambda: False, STAYS_S)
        campaign.measured("changes_of_the_storm", changes)
        campaign.faults[22] += 6 * changes - self.faults()[22]
        campaign.note(22, events=int(time.monotonic() - began))
        campaign.measured("seconds_ownerless_max", self._longest)
        if self._longest > OWNERLESS_S:
            campaign.note(22, violation=f"a partition was not served for {self._longest:.0f} s")

    def _watched(
        self, campaign: Campaign, true: Callable[[], bool], limit_s: float = CHANGE_S
    ) -> bool:
        """Wait for something, but no longer than that, and watch meanwhile who serves what."""
        deadline = time.monotonic() + limit_s
        while not (done := true()) and time.monotonic() < deadline:
            for service in campaign.stage.settlers.values():
                for number in service.serving():
                    self._served_at[number] = time.monotonic()
            now = time.monotonic()
            self._longest = max(self._longest, *(now - at for at in self._served_at.values()))
            campaign.stage.pause(0.1)
        return done

    def heal(self, campaign: Campaign) -> None:
        stage = campaign.stage
        for instance in ("2", "3"):
            left = stage.settlers.pop(instance, None)
            if left is not None:
                left.kill()
        if "1" not in stage.settlers:
            stage.settler("1")
