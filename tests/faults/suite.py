"""A campaign: a seeded schedule of faults under load, then the verdict, then the report.

One that fails keeps its folder, and says its seed, its schedule and the first thing that was wrong.
Of a broker on a disk of its own, which is unmounted, it keeps the logs and the internal topics.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from tests.faults.beside import beside
from tests.faults.children import CampaignError, CannotError
from tests.faults.disks import Tmpfs
from tests.faults.faults import Fault
from tests.faults.invariants import INVARIANTS
from tests.faults.schedule import LONG_MINUTES, schedule
from tests.faults.stage import Stage

from drawdown.broker.errors import BrokerError

BROKER_DISK_MIB = 3072
"""Of the broker, where a campaign fills it: enough for what half an hour writes."""
END_S = 60.0
"""What the end takes: everything decided, stores dumped, the verdict."""
DUPLICATES_S = 30.0
"""What the concurrent duplicates at the beginning take."""


class Campaign:
    """What was done and what came of it."""

    def __init__(
        self,
        stage: Stage,
        seed: int,
        minutes: float,
        say: Callable[[str], None],
        disk: Tmpfs | None = None,
    ) -> None:
        self.stage = stage
        self.disk = disk
        self.seed = seed
        self.minutes = minutes
        self.say = say
        self.chance = random.Random(seed)
        self.schedule: list[str] = []
        self.schedules = 1
        """This one, and those that were simulated."""
        self.faults: Counter[int] = Counter()
        self.events: Counter[int] = Counter()
        self.violations: dict[int, list[str]] = defaultdict(list)
        self.not_shown: dict[int, str] = {}
        self.figures: dict[str, list[float]] = defaultdict(list)
        self.counts: dict[str, Any] = {}

    # What faults tell

    def note(self, row: int, *, events: int = 0, violation: str | None = None) -> None:
        """Something seen that the judge cannot see."""
        self.events[row] += events
        if violation is not None:
            self.violations[row].append(violation)

    def measured(self, name: str, value: float) -> None:
        self.figures[name].append(round(value, 2))

    def memory_bytes(self) -> dict[str, int]:
        """Resident, by service."""
        services = [*self.stage.settlers.values(), *self.stage.gateways.values()]
        return {f"{s.name}-{s.instance}": s.rss_bytes() for s in services}

    # The course of it

    def do(self, fault: Fault) -> None:
        """One fault: done, left for a while, undone, and everything served again."""
        began = time.monotonic()
        self.schedule.append(str(fault))
        self.attempt(fault, self._do)
        self.stage.serving()
        took = time.monotonic() - began
        self.measured(f"seconds_{type(fault).__name__}", took)
        self.say(f"{fault}: served again after {took:.1f} s")

    def _do(self, fault: Fault) -> None:
        fault.inject(self)
        self.stage.pause(fault.lasts_s)
        fault.heal(self)
        self.stage.serving()

    def attempt(self, fault: Fault, doing: Callable[[Fault], None]) -> None:
        """Do a fault and count it. What this machine cannot do leaves its rows not shown; what does
        not come about, as it must, is a violation, and the campaign goes on if it can."""
        try:
            doing(fault)
        except CannotError as error:
            for row in fault.rows:
                self.not_shown[row] = str(error)
            self.say(f"{fault}: {error}")
        except (CampaignError, BrokerError, KafkaException) as error:
            self.note(fault.rows[0], violation=f"{fault}: {error}")
            self.say(f"{fault}: VIOLATION: {error}")
            self.stage.mend()
        else:
            self.faults.update(fault.faults())

    def run(self, only: Sequence[str] = ()) -> None:
        """All of it. Raises CampaignError where it comes to no end."""
        deadline = time.monotonic() + self.minutes * 60 - END_S
        load = self.stage.load
        load.tell(do="flow")
        load.tell(180.0, do="duplicates", groups=20, copies=50)
        self.faults[3] += 1
        for fault in schedule(self.minutes, self.chance, self.disk, only):
            if time.monotonic() > deadline:
                break
            self.do(fault)
        self.end()

    def end(self) -> None:
        """No more load; everything decided; then the verdict."""
        self.counts = self.stage.load.tell(180.0, do="stop")
        self.stage.quiet()
        ended_at = datetime.now(UTC).isoformat()
        self.say("all is decided; reading, dumping and judging")
        # Settlement ends first: a hold that expires would be in one of two copies.
        stores = self.stage.dump_stores()
        balances = self.stage.asked_balances()
        beside(self, long=self.minutes >= LONG_MINUTES)
        verdict = self.stage.judge(ended_at=ended_at, balances=balances, stores=stores)
        self.counts["records"] = verdict["records"]
        for number, found in verdict["rows"].items():
            self.events[int(number)] += found["events"] if not self._own(int(number)) else 0
            self.violations[int(number)] += found["violations"]

    def _own(self, number: int) -> bool:
        """Rows whose events are what the suite saw, not what the judge compared."""
        return number in (9, 13, 14, 15, 16)

    def result(self) -> dict[str, Any]:
        """Rows and totals, as `--json` has them."""
        rows = []
        for invariant in INVARIANTS:
            number = invariant.number
            faults, events = self.faults[number], self.events[number]
            why = self.not_shown.get(number)
            if why is None and (faults < invariant.faults_min or events < invariant.events_min):
                why = (
                    f"{faults} of {invariant.faults_min} faults, {events} of"
                    f" {invariant.events_min} {invariant.unit}"
                )
            rows.append(
                {
                    "number": number,
                    "faults": faults,
                    "events": events,
                    "violations": self.violations[number],
                    "not_shown": why,
                }
            )
        return {
            "rows": rows,
            "invariants": len(INVARIANTS),
            "shown": sum(row["not_shown"] is None for row in rows),
            "faults": len(self.schedule),
            "events": sum((self.counts.get("records") or {}).values()),
            "schedules": self.schedules,
            "violations": sum(len(row["violations"]) for row in rows),
            "seeds": [self.seed],
            "schedule": self.schedule,
            "counts": self.counts,
            "figures": dict(self.figures),
            "minutes": self.minutes,
            "date": datetime.now(UTC).date().isoformat(),
        }


def campaign(
    minutes: float,
    seed: int,
    say: Callable[[str], None],
    *,
    brokers: int = 1,
    keep: bool = False,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Run one, or the faults named in `only`; returns its result. What went wrong is in it, and its
    folder is kept then."""
    folder = Path(tempfile.mkdtemp(prefix="drawdown-faults-"))
    say(f"seed {seed}, {minutes:g} minutes, in {folder}")
    with ExitStack() as stack:
        disk = _small_disk(folder, say) if minutes >= LONG_MINUTES or only else None
        if disk is not None:
            stack.callback(disk.unmount)
        home = None if disk is None else disk.at / "kafka"
        stage = Stage(folder, seed, say, brokers=brokers, kafka_home=home)
        played = Campaign(stage, seed, minutes, say, disk)
        error: str | None = None
        try:
            with stage:
                say(f"Kafka at {stage.kafka.bootstrap}; services are ready")
                played.run(only)
        except (CampaignError, BrokerError, KafkaException) as failed:
            error = str(failed)
        result = {**played.result(), "error": error}
        if home is not None and (error is not None or result["violations"]):
            keep_brokers(home, folder / "kafka")  # the disk is gone in a moment
    if error is None and not result["violations"] and not keep:
        shutil.rmtree(folder)
        return result
    result["folder"] = str(folder)
    (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def keep_brokers(home: Path, to: Path) -> None:
    """Copy what tells why a broker answered as it did: its logs, and the topics in which it keeps
    groups' offsets, transactions and metadata."""
    for broker in home.glob("broker-*"):
        kept = to / broker.name
        kept.mkdir(parents=True)
        for log in broker.glob("*.log*"):
            shutil.copy2(log, kept)
        for topic in broker.glob("data/__*-*"):
            shutil.copytree(topic, kept / "data" / topic.name)


def _small_disk(folder: Path, say: Callable[[str], None]) -> Tmpfs | None:
    try:
        return Tmpfs(folder / "disk", BROKER_DISK_MIB)
    except CannotError as error:
        say(str(error))
        return None
