"""What is done to a running Drawdown: each fault knows how it is done and undone, what it shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from tests.faults.book import SECOND
from tests.faults.children import CampaignError, until

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

SESSION_S = 6.0
"""After which a silent member's partitions go to others."""
TAKEOVER_S = 60.0
RESTART_S = 120.0
"""For a broker, on a machine that does everything at once."""


class Fault:
    """One kind of fault. `rows` are the invariants that it counts for."""

    name = ""
    rows: tuple[int, ...] = ()
    lasts_s = 2.0
    """How long the load runs between inject and heal."""
    takes_s = 8.0
    """All of it, until everything is served again: as measured on two cores, under load."""
    shows: Mapping[int, int] = {}
    """What it adds to the events of a row, at least, where the judge does not count them."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    meanwhile: Sequence[Fault] = ()
    """Faults of worlds of their own that are done while this one lasts."""

    def faults(self) -> Counter[int]:
        """For how many faults of each row it counts."""
        return Counter(self.rows)

    def inject(self, campaign: Campaign) -> None:
        """Do it. Raises CampaignError where it cannot be done."""
        raise NotImplementedError

    def heal(self, campaign: Campaign) -> None:
        """Undo it, if it does not pass by itself. That all is served again is waited for after."""

    def __str__(self) -> str:
        return self.name


class KillSettlement(Fault):
    """One of the processes dies at a random moment and is started again at once."""

    takes_s = 7.0

    name = "settlement killed"
    rows = (1, 2, 4, 6, 17)
    lasts_s = 0.5

    def inject(self, campaign: Campaign) -> None:
        campaign.stage.pause(self.chance.uniform(0.1, 1.0))
        instance = self.chance.choice(sorted(campaign.stage.settlers))
        campaign.stage.settlers[instance].kill()
        campaign.stage.settler(instance)


class KillGateway(Fault):
    """One gateway dies; clients ask the other one."""

    name = "gateway killed"
    rows = (6,)
    lasts_s = 1.0

    def inject(self, campaign: Campaign) -> None:
        self.instance = self.chance.choice(sorted(campaign.stage.gateways))
        campaign.stage.gateways[self.instance].kill()

    def heal(self, campaign: Campaign) -> None:
        campaign.stage.gateway(self.instance)


class CrashAt(Fault):
    """Processes die at named points of their loops, by their own hands, and are started again."""

    lasts_s = 0.5
    takes_s = 14.0

    def __init__(self, chance: Random, *points: str) -> None:
        super().__init__(chance)
        self.points = points
        self.name = f"settlement died at {' and '.join(points)}"
        self.rows = (1, 7) if "fired" in points else (1, 2, 4, 13, 17)
        self.shows = {} if "fired" in points else {13: len(points)}

    def faults(self) -> Counter[int]:
        return Counter({row: len(self.points) for row in self.rows})

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        dying = {}
        for instance, point in zip(sorted(stage.settlers), self.points, strict=False):
            # "fired" comes with each hold that expires; the others with each turn.
            times = 1 if point == "fired" else self.chance.randint(5, 60)
            dying[instance] = stage.settler(instance, crash_at=f"{point}:{times}")
        for instance, service in dying.items():
            code = service.wait(TAKEOVER_S)
            if code != -9:
                raise CampaignError(f"{service.log_path.name} did not die at its point: {code}")
            stage.settler(instance)
        if "fired" not in self.points:
            campaign.note(13, events=len(dying))


class Paused(Fault):
    """A process is stopped until another has taken over, and goes on with a full batch."""

    name = "settlement stopped and continued"
    rows = (1, 2, 8, 23)
    takes_s = 14.0
    shows: Mapping[int, int] = {8: 1}

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        instance = self.chance.choice(sorted(stage.settlers))
        self.stale = stage.settlers[instance]
        other = next(s for s in stage.settlers.values() if s is not self.stale)
        before = other.serving()
        self.stale.pause()
        until(lambda: len(other.serving()) > len(before), TAKEOVER_S, "nobody took over")

    def heal(self, campaign: Campaign) -> None:
        self.stale.resume()
        campaign.stage.serving()
        campaign.note(8, events=1)


class KillBroker(Fault):
    """The JVM of a broker dies and is started again on the same folder."""

    name = "broker killed"
    rows = (1, 2, 6, 10)
    lasts_s = 1.0
    takes_s = 9.0
    shows: Mapping[int, int] = {10: 1}

    def inject(self, campaign: Campaign) -> None:
        brokers = campaign.stage.kafka.brokers
        campaign.stage.pause(self.chance.uniform(0.1, 0.5))
        self.broker = self.chance.choice(brokers)
        self.broker.kill()

    def heal(self, campaign: Campaign) -> None:
        self.broker.restart(timeout_s=RESTART_S)
        began = time.monotonic()
        before = campaign.stage.ends("decisions")
        until(lambda: campaign.stage.ends("decisions") != before, TAKEOVER_S, "no decision")
        campaign.measured("seconds_to_first_decision", time.monotonic() - began)
        campaign.note(10, events=1)


class BrokerAway(Fault):
    """The broker stands still: connections stay open, nothing is answered."""

    name = "broker away"
    rows = (11,)

    def __init__(self, chance: Random, seconds: float, meanwhile: Sequence[Fault] = ()) -> None:
        super().__init__(chance)
        self.seconds = seconds
        self.takes_s = seconds + 12
        self.shows = {11: int(seconds)}
        self.meanwhile = meanwhile
        self.name = f"broker away for {seconds:.0f} s"

    def inject(self, campaign: Campaign) -> None:
        self.began = time.monotonic()
        self.memory = campaign.memory_bytes()
        self.slow = campaign.stage.load.tell(do="count")["slow"]
        campaign.stage.kafka.broker(1).pause()
        for fault in self.meanwhile:
            campaign.schedule.append(f"{fault} meanwhile")
            campaign.attempt(fault, lambda one: one.inject(campaign))
        self.lasts_s = max(0.0, self.began + self.seconds - time.monotonic())

    def heal(self, campaign: Campaign) -> None:
        memory = campaign.memory_bytes()
        slow = campaign.stage.load.tell(do="count")["slow"] - self.slow
        campaign.stage.kafka.broker(1).resume()
        campaign.note(11, events=int(time.monotonic() - self.began))
        if slow:
            campaign.note(11, violation=f"{slow} calls were not answered in their time")
        for name, bytes_ in memory.items():
            grown = bytes_ - self.memory.get(name, bytes_)
            if grown > MEMORY_BYTES_MAX:
                campaign.note(11, violation=f"{name} grew by {grown >> 20} MiB")


class Races(Fault):
    """Rounds of 64 clients for a balance that is worth fewer requests: they go on through all the
    faults that follow."""

    rows = (5,)
    lasts_s = 0.0
    takes_s = 1.0

    def __init__(self, chance: Random, rounds: int, every_s: float) -> None:
        super().__init__(chance)
        self.rounds, self.every_s = rounds, every_s
        self.shows = {5: rounds}
        self.name = f"{rounds} races of 64 clients"

    def inject(self, campaign: Campaign) -> None:
        campaign.stage.load.tell(do="races", rounds=self.rounds, every_s=self.every_s)


class BookChanged(Fault):
    """A price book is published into the load, and settlement is killed around its instant."""

    name = "price book changed"
    rows = (17, 24)
    lasts_s = 1.0
    takes_s = 16.0
    ahead = timedelta(seconds=6)

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        stage.load.tell(do="known")  # what no book knew is not made any more
        effective_at = datetime.now(UTC).replace(microsecond=0) + self.ahead
        stage.publish(SECOND, effective_at)
        for instance in sorted(stage.settlers):
            left_s = (effective_at - datetime.now(UTC)).total_seconds()
            stage.pause(max(0.0, left_s - 0.5) if instance == "0" else 1.0)
            stage.settlers[instance].kill()
            stage.settler(instance)

    def heal(self, campaign: Campaign) -> None:
        campaign.stage.serving()
        campaign.measured("events_redriven", campaign.stage.load.tell(do="redrive")["did"])


MEMORY_BYTES_MAX = 512 << 20
"""By so much a service may grow while the broker is away: its queues are bounded."""
