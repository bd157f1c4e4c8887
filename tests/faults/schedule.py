"""Which faults a campaign does, in which order: by its length and the chance of its seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from tests.faults.apart import ClockShifted, PartitionsAdded
from tests.faults.disks import (
    DAMAGES,
    BrokerDiskFull,
    Compacted,
    DamagedStore,
    StoreDiskFull,
    Tmpfs,
)
from tests.faults.faults import (
    BookChanged,
    BrokerAway,
    CrashAt,
    Fault,
    KillBroker,
    KillGateway,
    KillSettlement,
    Paused,
    Races,
)
from tests.faults.network import HeldCommit, Reset, SlowNetwork, Stalled
from tests.faults.owners import Orphan, Storm

LONG_MINUTES = 20.0
"""From here on a campaign tries to show every row."""
BROKER_KILLS = 50
RACE_ROUNDS = 1_020
"""Some are not counted: their grant was not answered."""


def schedule(
    minutes: float, chance: Random, disk: Tmpfs | None, only: Sequence[str] = ()
) -> Iterator[Fault]:
    """The faults in order: what this length must do, then any, without an end. `only`: of what a
    long one must do, the kinds of these names, once each, and no more."""
    if only:
        for fault in unlike(long(chance, disk)):
            if type(fault).__name__ in only:
                yield fault
        return
    wanted = long(chance, disk) if minutes >= LONG_MINUTES else short(chance)
    yield from wanted
    while True:
        yield anything(chance)


def unlike(faults: list[Fault]) -> list[Fault]:
    """Those that have a name of their own."""
    return list({str(fault): fault for fault in faults}.values())


def short(chance: Random) -> list[Fault]:
    """What a few minutes are for: one of each kind that takes seconds, the most telling first."""
    first: list[Fault] = [
        CrashAt(chance, "committed", "produced"),
        CrashAt(chance, "stored", "offsets-sent"),
        BookChanged(chance),
        KillSettlement(chance),
        KillGateway(chance),
        KillBroker(chance),
        HeldCommit(chance, 2),
        Reset(chance),
        DamagedStore(chance, chance.choice(DAMAGES)),
    ]
    rest: list[Fault] = [
        CrashAt(chance, "fired", "fired"),
        SlowNetwork(chance),
        Stalled(chance),
        Paused(chance),
        Orphan(chance),
        PartitionsAdded(chance),
        Compacted(chance),
        BrokerAway(chance, 5),
    ]
    chance.shuffle(first)
    chance.shuffle(rest)
    return [Races(chance, 20, 1.0), *first, *rest]


def long(chance: Random, disk: Tmpfs | None) -> list[Fault]:
    """What it takes to show every row, shuffled, but for what must come at the end."""
    faults: list[Fault] = [
        *(KillBroker(chance) for _ in range(BROKER_KILLS)),
        *(KillSettlement(chance) for _ in range(4)),
        *(KillGateway(chance) for _ in range(3)),
        *(HeldCommit(chance, seconds) for seconds in (2, 6, chance.randint(10, 30))),
        *(CrashAt(chance, "fired", "fired") for _ in range(2)),
        *(CrashAt(chance, "committed", "produced") for _ in range(2)),
        *(CrashAt(chance, "stored", "offsets-sent") for _ in range(2)),
        *(DamagedStore(chance, how) for how in DAMAGES),
        *(Paused(chance) for _ in range(2)),
        *(Orphan(chance) for _ in range(2)),
        *(Reset(chance) for _ in range(2)),
        *(Stalled(chance) for _ in range(2)),
        SlowNetwork(chance),
        BookChanged(chance),
        PartitionsAdded(chance),
        StoreDiskFull(chance),
        BrokerDiskFull(chance, disk),
    ]
    chance.shuffle(faults)
    return [
        Races(chance, RACE_ROUNDS, 0.9),
        BrokerAway(chance, 302, meanwhile=[ClockShifted(chance)]),
        Storm(chance, 305),
        *faults,
        Compacted(chance),
    ]


def anything(chance: Random) -> Fault:
    """Some fault that takes seconds."""
    kinds = (KillSettlement, KillGateway, KillBroker, Reset, Stalled, SlowNetwork, Paused, Orphan)
    draw = chance.randrange(len(kinds) + 3)
    if draw < len(kinds):
        return kinds[draw](chance)
    if draw == len(kinds):
        return HeldCommit(chance, chance.randint(2, 10))
    if draw == len(kinds) + 1:
        return DamagedStore(chance, chance.choice(DAMAGES))
    return CrashAt(chance, "committed", "produced")
