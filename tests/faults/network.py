"""Faults of the network, through the relay between brokers and their clients."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from tests.faults.children import until
from tests.faults.faults import TAKEOVER_S, Fault
from tests.faults.relay import END_TXN

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

UNKNOWN = "a transaction's outcome is unknown"


def told(campaign: Campaign, **rule: Any) -> dict[str, Any]:
    """Tell every relay; what they have done so far, together."""
    sums: dict[str, int] = {}
    for relay in campaign.stage.relays:
        for name, count in relay.tell(**rule).items():
            sums[name] = sums.get(name, 0) + count
    return sums


class NetworkFault(Fault):
    """Ends when the relays are told to heal; the calls made meanwhile count."""

    rows: tuple[int, ...] = (6, 23)

    def begin(self, campaign: Campaign) -> None:
        self.calls = campaign.stage.load.tell(do="count")["calls"]

    def heal(self, campaign: Campaign) -> None:
        told(campaign, do="heal")
        campaign.stage.serving()
        calls = campaign.stage.load.tell(do="count")["calls"] - self.calls
        campaign.note(23, events=calls)


class SlowNetwork(NetworkFault):
    """Every request and every answer comes 200 ms late, of everybody."""

    name = "network slow by 200 ms each way"
    lasts_s = 5.0
    takes_s = 10.0

    def inject(self, campaign: Campaign) -> None:
        self.begin(campaign)
        told(campaign, do="delay", client="", ms=200)


class Reset(NetworkFault):
    """Connections are reset, of one process or of everybody; new ones may come."""

    def __init__(self, chance: Random) -> None:
        super().__init__(chance)
        self.client = chance.choice(("settlement-0", "settlement-1", "gateway-0", "load", ""))
        self.name = f"connections of {self.client or 'everybody'} reset"

    def inject(self, campaign: Campaign) -> None:
        self.begin(campaign)
        for _ in range(3):
            told(campaign, do="cut", client=self.client)
            campaign.stage.pause(self.chance.uniform(0.05, 0.5))


class Stalled(NetworkFault):
    """Nothing passes on one process's connections, which stay open."""

    def __init__(self, chance: Random) -> None:
        super().__init__(chance)
        self.client = chance.choice(("settlement-0", "settlement-1", "gateway-0", "gateway-1"))
        self.name = f"connections of {self.client} stalled"
        self.lasts_s = chance.uniform(1.5, 4.0)

    def inject(self, campaign: Campaign) -> None:
        self.begin(campaign)
        told(campaign, do="stall", client=self.client)


class HeldCommit(Fault):
    """The end of one transaction comes late, when its producer has given it up."""

    rows = (1, 2, 9, 23)
    shows: Mapping[int, int] = {9: 1}

    def __init__(self, chance: Random, seconds: float) -> None:
        super().__init__(chance)
        self.seconds = seconds
        self.takes_s = 2 * seconds + 8
        self.name = f"EndTxn held for {seconds:.0f} s"

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        serving = [s for s in stage.settlers.values() if s.serving()]
        writer = self.chance.choice(serving)
        before = writer.log().count(UNKNOWN)
        held = told(campaign, do="count").get("held", 0)
        client = f"settlement-{writer.instance}"
        told(campaign, do="hold", client=client, api=END_TXN, ms=int(self.seconds * 1000))
        until(
            lambda: told(campaign, do="count").get("held", 0) > held, TAKEOVER_S, "no EndTxn came"
        )
        limit_s = self.seconds + TAKEOVER_S
        until(lambda: writer.log().count(UNKNOWN) > before, limit_s, "no new producer")
        campaign.note(9, events=1)
        stage.pause(self.seconds)

    def heal(self, campaign: Campaign) -> None:
        told(campaign, do="heal")
