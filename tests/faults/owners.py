"""Faults of ownership: an owner that never comes back, and processes that come and go."""

from __future__ import annotations

import time
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


class Orphan(Fault):
    """An owner dies after it produced and is never started again: readers wait for its timeout."""

    name = "owner killed after it produced, for good"
    rows = (1, 2, 12, 13)
    lasts_s = 0.0

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
    """From one settlement process to four and back, every 2 s."""

    rows = (1, 2)

    def __init__(self, chance: Random, seconds: float) -> None:
        super().__init__(chance)
        self.seconds = seconds
        self.name = f"1, 4, 1 processes for {seconds:.0f} s"
        self.lasts_s = 0.0

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        began = time.monotonic()
        served_at = dict.fromkeys(range(PARTITIONS), began)
        longest = 0.0
        more = True
        while (now := time.monotonic()) < began + self.seconds:
            for instance in ("1", "2", "3"):
                if more and instance not in stage.settlers:
                    stage.settler(instance)
                elif not more and instance in stage.settlers:
                    gone = stage.settlers.pop(instance)
                    if self.chance.random() < 0.5:
                        gone.kill()
                    else:
                        gone.stop()
                campaign.faults[22] += 1
            more = not more
            while time.monotonic() < now + 2.0:
                for service in stage.settlers.values():
                    for number in service.serving():
                        served_at[number] = time.monotonic()
                gaps = [time.monotonic() - at for at in served_at.values()]
                longest = max(longest, *gaps)
                stage.pause(0.1)
        campaign.note(22, events=int(time.monotonic() - began))
        campaign.measured("seconds_ownerless_max", longest)
        if longest > OWNERLESS_S:
            campaign.note(22, violation=f"a partition was not served for {longest:.0f} s")

    def heal(self, campaign: Campaign) -> None:
        stage = campaign.stage
        for instance in ("2", "3"):
            left = stage.settlers.pop(instance, None)
            if left is not None:
                left.kill()
        if "1" not in stage.settlers:
            stage.settler("1")
