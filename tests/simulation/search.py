"""The search: many schedules, what they did, what was wrong, and the smallest that shows it."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.simulation.history import History, Schedule
from tests.simulation.schedules import crashes_of, schedule_of
from tests.simulation.verdict import INVARIANTS


@dataclass
class Failure:
    """A schedule after which something was wrong."""

    seed: str
    schedule: Schedule
    wrongs: dict[str, list[str]]

    def described(self) -> str:
        lines = [
            f"{self.seed}: {len(self.schedule.steps)} steps, replay with --replay '{self.text}'"
        ]
        lines += [f"  {step}" for step in self.schedule.steps]
        lines += [
            f"  -> {number}: {what}" for number, found in self.wrongs.items() for what in found
        ]
        return "\n".join(lines)

    @property
    def text(self) -> str:
        return schedule_text(self.schedule)


@dataclass
class Report:
    """What a search did. Counts add up; `to_json` is what a report of faults includes."""

    schedules: int = 0
    seconds: float = 0.0
    simulated_s: float = 0.0
    steps: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    records: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.schedules += other.schedules
        self.seconds += other.seconds
        self.simulated_s += other.simulated_s
        self.records += other.records
        self.steps += other.steps
        self.faults += other.faults
        self.checked += other.checked
        self.violations += other.violations
        self.failures += other.failures

    def to_json(self) -> dict[str, Any]:
        return {
            "schedules": self.schedules,
            "processor_seconds": round(self.seconds, 1),
            "schedules_per_processor_second": round(self.schedules / max(self.seconds, 1e-9), 1),
            "simulated_seconds": round(self.simulated_s),
            "records_sent": self.records,
            "steps": dict(sorted(self.steps.items())),
            "faults": dict(sorted(self.faults.items())),
            "invariants": {
                number: {
                    "says": says,
                    "checked": self.checked[number],
                    "violations": self.violations[number],
                }
                for number, says in INVARIANTS.items()
            },
            "violations": sum(self.violations.values()),
            "failures": [
                {"seed": f.seed, "wrongs": f.wrongs, "schedule": json.loads(f.text)}
                for f in self.failures
            ],
        }


def play(schedule: Schedule) -> History:
    """Play one schedule; what the engine raises is a wrong of it."""
    history = History(schedule)
    try:
        history.play()
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end a process
        history.problems.append(f"raised {error!r}")
    return history


def search(
    schedules: Iterable[tuple[str, Schedule]],
    *,
    until: Callable[[Report], bool] = lambda report: False,
) -> Report:
    """Play all of them, or until the first after which `until` says so."""
    report = Report()
    started = time.process_time()
    with quick():
        for seed, schedule in schedules:
            history = play(schedule)
            _count(report, history)
            if history.wrongs:
                report.failures.append(Failure(seed, schedule, history.wrongs))
            if until(report):
                break
    report.seconds = time.process_time() - started
    return report


def _count(report: Report, history: History) -> None:
    report.schedules += 1
    report.simulated_s += history.passed_s
    report.records += history.clients.sent
    report.steps.update(name for name, *_ in history.schedule.steps)
    report.faults += history.counts
    if history.verdict is not None:
        report.checked += history.verdict.checked
    report.checked["10"] += history.verdict is None
    for number in history.wrongs:
        report.violations["10" if number == "engine" else number] += 1


@contextmanager
def quick() -> Iterator[None]:
    """Without logs, and with the garbage collected now and then."""
    logging.disable(logging.CRITICAL)
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        logging.disable(logging.NOTSET)


def seeds(first: int, count: int) -> Iterator[tuple[str, Schedule]]:
    """Random schedules."""
    for seed in range(first, first + count):
        yield f"seed {seed}", schedule_of(seed)


def crashes(first: int, count: int) -> Iterator[tuple[str, Schedule]]:
    """Exhaustive ones: `count` of them, of as many quiet histories as that takes."""
    left = count
    seed = first
    while True:
        for number, schedule in enumerate(crashes_of(seed)):
            if not left:
                return
            left -= 1
            yield f"crash {number} of history {seed}", schedule
        seed += 1


def shrunk(failure: Failure) -> Failure:
    """The same wrong with as few steps as can be found by leaving some out."""
    schedule, wrongs = failure.schedule, failure.wrongs
    size = max(len(schedule.steps) // 2, 1)
    with quick():
        while True:
            at, smaller = 0, False
            while at < len(schedule.steps):
                steps = schedule.steps[:at] + schedule.steps[at + size :]
                tried = replace(schedule, steps=steps)
                found = play(tried).wrongs
                if found.keys() & wrongs.keys():
                    schedule, smaller = tried, True
                    wrongs = found
                else:
                    at += size
            if size == 1 and not smaller:
                return Failure(failure.seed, schedule, wrongs)
            size = max(size // 2, 1)


def schedule_text(schedule: Schedule) -> str:
    return json.dumps(asdict(schedule))


def schedule_from(text: str) -> Schedule:
    said = json.loads(text)
    return Schedule(**{**said, "steps": tuple(tuple(step) for step in said["steps"])})
