"""Schedules: what a seed decides.

Most are short, a few events and one or two troubles, because many short ones find more than few
long ones; few are long. `crashes_of` is the exhaustive form: of one quiet history, every
moment of it, and what the disk is afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from tests.simulation.clients import DAY_MS, POISON
from tests.simulation.history import CUSTOMERS, FAULTS, INSTANCES, History, Schedule, Step

LONG_EVERY: Final = 250
POINTS: Final = (
    ("", 120),
    ("turn produced", 3),
    ("turn offsets-sent", 3),
    ("turn committed", 3),
    ("turn stored", 3),
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
MARKERS: Final = ("offsets before markers",) * 4
JUMPS_MS: Final = (-3_600_000, -2_000, 2_000, 300_000, 3_600_000, 30 * DAY_MS, 90 * DAY_MS)
PASSES_MS: Final = (5, 200, 200, 1_100, 3_000, 7_000)


def schedule_of(seed: int) -> Schedule:
    """The schedule of a seed: always the same one."""
    return _Maker(Random(seed), seed % LONG_EVERY == 0).make()


class _Maker:
    def __init__(self, random: Random, long: bool) -> None:
        self._random = random
        self._long = long
        self._theme = random.choices(_THEMES, _THEME_WEIGHTS)[0]
        self._partitions = random.choice((2, 3) if long else (1, 1, 2))
        self._customers = CUSTOMERS[: 4 if long else random.choice((1, 1, 2))]
        self._instances = INSTANCES[: 3 if long else 2]

    def make(self) -> Schedule:
        random, theme = self._random, self._theme
        first, both = self._instances[:1], self._instances
        there = both if theme == "takeover" or random.random() < 0.2 else first
        steps: list[Step] = [("start", name, "kept") for name in there]
        steps += [("turn", name, 3) for name in there]
        for customer in self._customers:
            steps.append(("grant", customer, random.choice(("1", "0.01", "0.002")), 0))
        plots = {
            "mixed": self._mixed,
            "takeover": self._takeover,
            "answers": self._late_answers,
            "backlog": self._backlog,
            "clocks": self._clocks,
        }
        for _ in range(random.randint(4, 9) if self._long else 1):
            steps += plots[theme]()
            if self._long:
                theme = random.choices(_THEMES, _THEME_WEIGHTS)[0]
        slow_ms = random.choice((15, 40)) if theme == "answers" or random.random() < 0.1 else 0
        chunk = random.choice((1, 2, 3)) if theme == "backlog" or random.random() < 0.1 else 64
        return Schedule(self._partitions, tuple(steps), random.random() < 0.08, slow_ms, chunk)

    # themes

    def _mixed(self) -> list[Step]:
        """Anything."""
        steps: list[Step] = []
        kinds = (self._work, self._turns, self._trouble)
        for make in self._random.choices(kinds, (45, 30, 25), k=self._random.randint(5, 12)):
            steps.append(make())
            if steps[-1][0] in ("crash", "stall", "fault"):
                # Something must be going on for it to strike.
                steps += [self._work(), ("turn", self._random.choice(self._instances), 3)]
        return steps

    def _takeover(self) -> list[Step]:
        """One falls silent in the middle of its work, another one takes over, the first is back."""
        random = self._random
        one, other = random.sample(self._instances, 2)
        steps = self._works(1, 3)
        if random.random() < 0.4:
            steps += [("turn", one, 1), *self._works(1, 2)]
        if random.random() < 0.5:
            steps.append(("fault", "commit_transaction", 1, random.choice((*ENDS, *MARKERS))))
        match random.choice(("stall", "stall", "crash", "crash", "sleep", "broker")):
            case "stall":
                steps.append(("stall", *self._moment(), 15_000))
            case "crash":
                ended = (
                    random.choice(("turn committed", "turn stored", "commit_transaction done")),
                    1,
                )
                steps.append(("crash", *(ended if random.random() < 0.4 else self._moment())))
            case "sleep":
                steps.append(("sleep", one))
            case "broker":
                steps.append(("broker_away", random.choice((500, 3_000, 12_000))))
        steps += [("turn", one, 2), ("pass", random.choice((1_100, 7_000))), ("turn", other, 4)]
        steps += self._works(0, 2)
        disk = random.choice(("kept", "lost", "older"))
        steps += [("turn", other, 1), ("wake", one), ("start", one, disk), ("turn", one, 2)]
        return steps

    def _late_answers(self) -> list[Step]:
        """Answers are late or never come, and what was asked happens later."""
        random = self._random
        steps: list[Step] = []
        for _ in range(random.randint(1, 3)):
            steps += [*self._works(1, 2), self._fault(), ("turn", "0", 2)]
            steps += [*self._works(1, 2), ("turn", "0", random.randint(1, 3))]
        return [*steps, *([self._trouble(), ("turn", "0", 2)] if random.random() < 0.3 else [])]

    def _backlog(self) -> list[Step]:
        """Time is over for something while usage and commands stand undecided."""
        random = self._random
        who = random.choice(self._customers)
        steps: list[Step] = [("grant", who, "0.01", random.choice((2, 5)))]
        steps += [("hold", who, _tokens(random), random.choice((1, 5)), 0), ("turn", "0", 4)]
        steps += [*self._works(2, 4), ("pass", random.choice((1_100, 3_000, 7_000)))]
        steps += [*self._works(0, 3), ("turn", "0", random.randint(1, 4))]
        return [*steps, *([self._trouble(), ("turn", "0", 2)] if random.random() < 0.4 else [])]

    def _clocks(self) -> list[Step]:
        """Clocks are wrong, for a while."""
        random = self._random
        who = random.choice(self._customers)
        steps: list[Step] = [("grant", who, "0.01", random.choice((5, 3_600, 7 * 86_400)))]
        # One at a time: two that are wrong alike are right to whoever asks them.
        whose = random.choice(("0", "0", "broker"))
        for _ in range(random.randint(1, 3)):
            steps += [*self._works(0, 2), ("turn", "0", 1)]
            steps += [("jump", whose, random.choice((0, *JUMPS_MS))), *self._works(0, 2)]
            if random.random() < 0.3:
                steps += [("kill", "0"), ("start", "0", random.choice(("kept", "lost", "older")))]
            steps += [("pass", random.choice(PASSES_MS)), ("turn", "0", 3)]
        return [*steps, ("again", random.randrange(9), False), ("turn", "0", 2)]

    # steps

    def _works(self, least: int, most: int) -> list[Step]:
        return [self._work() for _ in range(self._random.randint(least, most))]

    def _work(self) -> Step:
        random = self._random
        name = random.choices(_WORK_NAMES, _WORK_WEIGHTS)[0]
        return _WORK[name][1](random, self._customers, self._partitions > 1)

    def _turns(self) -> Step:
        random = self._random
        if random.random() < 0.75:
            return "turn", random.choice(self._instances), random.randint(1, 3)
        if random.random() < 0.05:
            return "pass", 65_000
        return "pass", random.choice(PASSES_MS)

    def _trouble(self) -> Step:
        random = self._random
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
                return self._fault()
        return kind, name

    def _fault(self) -> Step:
        random = self._random
        call, most = random.choice(CALLS)
        if call in ("commit_transaction", "abort_transaction"):
            fault = random.choice(ENDS)
        else:
            fault = random.choice(LOSSES[: 3 if call in IN_TRANSACTION else 2])
        return "fault", call, random.randint(1, most), fault

    def _moment(self) -> tuple[str, int]:
        point, most = self._random.choice(POINTS)
        return point, self._random.randint(1, most)


_THEMES = ("mixed", "takeover", "answers", "backlog", "clocks")
_THEME_WEIGHTS = (40, 25, 15, 10, 10)
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
    "budget": (2, lambda r, who, wide: ("budget", r.choice(who), r.choice(("0.004", "0.02", "1")))),
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
