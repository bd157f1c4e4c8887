"""Schedules: what a seed decides.

Most are short, a few events and one or two troubles, because many short ones find more than few
long ones; one in fifty is long. `crashes_of` is the exhaustive form: of one quiet history, every
moment of it, and what the disk is afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from tests.simulation.clients import DAY_MS, POISON
from tests.simulation.history import CUSTOMERS, FAULTS, INSTANCES, History, Schedule, Step

LONG_EVERY: Final = 50
POINTS: Final = (
    ("", 120),
    ("produced", 3),
    ("offsets-sent", 3),
    ("committed", 3),
    ("stored", 3),
    ("store", 4),
    ("store done", 4),
    ("begin_transaction", 3),
    ("produce_batch", 6),
    ("send_offsets_to_transaction", 3),
    ("send_offsets_to_transaction done", 3),
    ("commit_transaction", 3),
    ("commit_transaction done", 3),
    ("abort_transaction", 1),
    ("abort_transaction done", 1),
    ("committed done", 2),
    ("get_watermark_offsets done", 6),
)
"""Moments worth a trouble, and how many of one there may be before it."""
CALLS: Final = (
    ("commit_transaction", 3),
    ("commit_transaction", 3),
    ("commit_transaction", 3),
    ("abort_transaction", 1),
    ("send_offsets_to_transaction", 3),
    ("produce_batch", 6),
    ("init_transactions", 1),
    ("committed", 2),
    ("get_watermark_offsets", 6),
    ("offsets_for_times", 1),
)
IN_TRANSACTION: Final = ("send_offsets_to_transaction", "produce_batch", "produce")
LOSSES: Final = ("answer lost", "request lost", "must abort")
ENDS: Final = tuple(sorted(FAULTS))
JUMPS_MS: Final = (-3_600_000, -2_000, 2_000, 300_000, 3_600_000, 30 * DAY_MS, 90 * DAY_MS)
PASSES_MS: Final = (5, 200, 200, 1_100, 3_000, 7_000)


def schedule_of(seed: int) -> Schedule:
    """The schedule of a seed: always the same one."""
    return _Maker(Random(seed), seed % LONG_EVERY == 0).make()


class _Maker:
    def __init__(self, random: Random, long: bool) -> None:
        self._random = random
        self._long = long
        self._partitions = random.choice((1, 1, 2)) if not long else random.choice((2, 3))
        self._customers = CUSTOMERS[: 4 if long else random.choice((1, 1, 2))]
        self._instances = INSTANCES[: 3 if long else random.choice((1, 2, 2))]
        self._jumps = random.random() < 0.15
        self._names = self._instances[:1] if random.random() < 0.7 else self._instances

    def make(self) -> Schedule:
        random = self._random
        steps: list[Step] = [("start", name, "kept") for name in self._names]
        steps += [("turn", name, 3) for name in self._names]
        for customer in self._customers:
            steps.append(("grant", customer, random.choice(("1", "0.01", "0.002")), 0))
        count = random.randint(40, 120) if self._long else random.randint(6, 16)
        kinds = (self._work, self._turns, self._trouble)
        for make in random.choices(kinds, (45, 30, 25), k=count):
            made = make()
            steps.append(made)
            if made[0] in ("crash", "stall", "fault"):
                # Something must be going on for it to strike.
                steps += [self._work(), ("turn", random.choice(self._instances), 3)]
        return Schedule(self._partitions, tuple(steps), random.random() < 0.1)

    # what clients do

    def _work(self) -> Step:
        random = self._random
        name = random.choices(_WORK_NAMES, _WORK_WEIGHTS)[0]
        return _WORK[name][1](random, self._customers, self._partitions > 1)

    # processes and time

    def _turns(self) -> Step:
        random = self._random
        if random.random() < 0.75:
            return "turn", random.choice(self._instances), random.randint(1, 3)
        if random.random() < 0.05:
            return "pass", 65_000
        return "pass", random.choice(PASSES_MS)

    def _trouble(self) -> Step:
        random = self._random
        if self._jumps and random.random() < 0.4:
            whose = random.choice((*self._instances, "broker"))
            return "jump", whose, random.choice((0, *JUMPS_MS))
        name = random.choice(self._instances)
        kind = random.choices(_TROUBLES, _TROUBLE_WEIGHTS)[0]
        match kind:
            case "start":
                return kind, name, random.choice(("kept", "kept", "lost", "older"))
            case "broker_away":
                return kind, random.choice((500, 3_000, 12_000))
            case "crash":
                return kind, *self._moment()
            case "stall":
                return kind, *self._moment(), random.choice((500, 4_000, 15_000))
            case "fault":
                call, most = random.choice(CALLS)
                if call in ("commit_transaction", "abort_transaction"):
                    fault = random.choice(ENDS)
                else:
                    fault = random.choice(LOSSES[: 3 if call in IN_TRANSACTION else 2])
                return kind, call, random.randint(1, most), fault
        return kind, name

    def _moment(self) -> tuple[str, int]:
        point, most = self._random.choice(POINTS)
        return point, self._random.randint(1, most)


_TROUBLES = (
    *("start", "copy", "kill", "stop", "sleep", "wake", "cut", "heal"),
    *("broker_away", "crash", "stall", "fault"),
)
_TROUBLE_WEIGHTS = (14, 4, 8, 3, 6, 6, 3, 3, 3, 16, 14, 20)

Make = Callable[[Random, tuple[str, ...], bool], Step]


def _tokens(random: Random) -> int:
    return random.choice((0, 1, 100, 700, 1_000, 4_000, 100_000))


_WORK: Final[dict[str, tuple[int, Make]]] = {
    "use": (
        30,
        lambda r, who, wide: (
            *("use", r.choice(who), _tokens(r), wide and r.random() < 0.1),
            r.choice((0, 0, 0, 0, 0, 70_000, 40 * DAY_MS)),
        ),
    ),
    "use_held": (
        8,
        lambda r, who, wide: ("use_held", r.randrange(9), _tokens(r), r.random() < 0.6),
    ),
    "again": (10, lambda r, who, wide: ("again", r.randrange(99), wide and r.random() < 0.2)),
    "twist": (2, lambda r, who, wide: ("twist", r.randrange(99))),
    "poison": (3, lambda r, who, wide: ("poison", r.choice(who), r.choice(sorted(POISON)))),
    "grant": (
        7,
        lambda r, who, wide: (
            *("grant", r.choice(who), r.choice(("1", "0.01", "0.002"))),
            r.choice((0, 2, 5, 8, 30)),
        ),
    ),
    "credit": (2, lambda r, who, wide: ("credit", r.choice(who), r.choice(("0.004", "1")))),
    "check": (
        6,
        lambda r, who, wide: ("check", r.choice(who), _tokens(r), wide and r.random() < 0.1),
    ),
    "hold": (
        12,
        lambda r, who, wide: (
            *("hold", r.choice(who), _tokens(r), r.choice((1, 5, 20))),
            r.choice((0, 0, 0, 2_000)),
        ),
    ),
    "end_hold": (
        9,
        lambda r, who, wide: (
            *("end_hold", r.choice(("capture", "capture", "release", "extend"))),
            *(r.randrange(9), _tokens(r), r.random() < 0.7),
        ),
    ),
    "retry": (7, lambda r, who, wide: ("retry", r.randrange(99), wide and r.random() < 0.1)),
    "twist_command": (1, lambda r, who, wide: ("twist_command", r.randrange(99))),
    "publish": (2, lambda r, who, wide: ("publish", 60_000)),
    "look": (3, lambda r, who, wide: ("look",)),
}
_WORK_NAMES = tuple(_WORK)
_WORK_WEIGHTS = tuple(weight for weight, _ in _WORK.values())


def crashes_of(seed: int) -> Iterator[Schedule]:
    """One short quiet history of a process, and then the same with that process killed at each of
    its moments, started again on each kind of disk."""
    random = Random(f"crashes {seed}")
    partitions = random.choice((1, 2))
    who = CUSTOMERS[: random.choice((1, 2))]
    head: list[Step] = [("start", "0", "kept")]
    body: list[Step] = [("grant", customer, "0.01", 0) for customer in who]
    for _ in range(3):
        body.append(("turn", "0", 2))
        for _ in range(random.randint(1, 3)):
            name = random.choices(_WORK_NAMES, _WORK_WEIGHTS)[0]
            body.append(_WORK[name][1](random, who, partitions > 1))
        body.append(("pass", random.choice(PASSES_MS)))
    copy_at = random.randrange(len(body))
    body.insert(copy_at, ("copy", "0"))
    quiet = History(Schedule(partitions, (*head, *body, ("turn", "0", 2))))
    quiet.watch()
    yield quiet.play().schedule
    for moment in range(1, quiet.moments + 1):
        for disk in ("kept", "lost", "older"):
            end: list[Step] = [("turn", "0", 2), ("start", "0", disk), ("turn", "0", 3)]
            steps = (("crash", "", moment), *head, *body, *end)
            yield Schedule(partitions, steps)
