"""How soon money is decided again after a crash, a takeover, and the loss of a store.

    python -m benchmarks recovery --json

One broker, settlement processes, all on this machine. `--customers` wallets are opened and
`--events` debited, so that `balances` and the journal have something to read. Each time is from the
event (a process is started, or killed) until a fresh usage event *and* a fresh grant, sent at that
moment, have their entries in the journal of every partition, read_committed:

- `restart_seconds`: killed by SIGKILL under load and started with its store; from the start.
- `takeover_seconds`: one of two is killed under load, with its transaction open; the other takes
  over, with the store that it had of these partitions before; from the kill.
- `empty_store_seconds`: started without its stores; from the start. Then, until all event ids are
  restored beside the serving: `ids_per_second`.
- `rss_mb`: the most resident memory of settlement at the end of any of these.

With `benchmarks/replay.py` there, what it measures of folding and verifying is in the result too.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import shutil
import subprocess
import time
import urllib.request
from typing import Any, Final

from confluent_kafka import TopicPartition

from benchmarks.load import customer, now_text
from benchmarks.machine import machine
from benchmarks.throughput import Wallets, settled, start_load
from benchmarks.world import ENVIRONMENT, PARTITIONS, BenchmarkError, World, measured, say
from drawdown.events.catalogue import BALANCE_CHANGES, COMMANDS, USAGE_EVENTS
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of

LIMIT_S: Final = 900.0
FIRST: Final = "settlement"
SECOND: Final = "settlement-2"


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks recovery", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=200_000, help="debited before the crashes")
    parser.add_argument("--rate", type=int, default=1_000, help="events a second while killed")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    return measured(lambda world: run(world, told), as_json=told.json)


def run(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """All of it, in order."""
    result: dict[str, Any] = {"machine": machine(), "customers": told.customers}
    probe = Probe(world, told.customers)
    memory = 0.0
    world.start(FIRST)
    Wallets(world).up_to(told.customers)
    start_load(
        world, "pile", "--customers", str(told.customers), "--events", str(told.events)
    ).wait()
    settled(world)
    result["journal_entries"] = probe.journal()

    say("killed under load, and restarted with its store")
    child = steady(world, told, 15)
    time.sleep(5)
    world.kill(FIRST)
    began = time.monotonic()
    world.start(FIRST, ready=False)
    result["restart_seconds"] = probe.decided_since(began)
    child.wait()
    memory = max(memory, world.rss_mb(FIRST))

    say("one of two killed under load, and taken over")
    world.start(SECOND, FIRST)
    # The second has had all partitions once, so that it has a store of each.
    world.kill(FIRST)
    serves(world, SECOND, PARTITIONS)
    world.start(FIRST)
    serves(world, SECOND, PARTITIONS // 2)
    child = steady(world, told, 20)
    time.sleep(5)
    world.kill(FIRST)
    result["takeover_seconds"] = probe.decided_since(time.monotonic())
    child.wait()
    settled_at(world, SECOND)
    memory = max(memory, world.rss_mb(SECOND))
    world.stop(SECOND)

    say("started with no store at all")
    shutil.rmtree(world.home / "stores")
    before = probe.journal()
    time.sleep(8)  # the place of the one that was stopped is free again
    began = time.monotonic()
    world.start(FIRST, ready=False)
    restored = Restored(world, before)
    result["empty_store_seconds"] = probe.decided_since(began, restored.look)
    world.until(restored.done, "identities", LIMIT_S)
    result["ids_per_second"] = restored.per_second()
    result["rss_mb"] = max(memory, world.rss_mb(FIRST))

    if importlib.util.find_spec("benchmarks.replay") is not None:
        replay = importlib.import_module("benchmarks.replay")
        replayed = replay.measure(world)
        wanted = ("fold_entries_per_second", "verify_entries_per_second", "mismatches")
        result |= {name: replayed[name] for name in wanted}
    return result


class Probe:
    """Sends a fresh event and a fresh grant to every partition, and waits for their entries."""

    def __init__(self, world: World, customers: int) -> None:
        self._world = world
        self._producer = world.cluster.producer(kafka.plain_producer())
        self._topic = ENVIRONMENT.topic(BALANCE_CHANGES)
        self._count = 0
        self._names: dict[int, str] = {}
        for number in range(customers):
            name = customer(number)
            self._names.setdefault(partition_of(name.encode(), PARTITIONS), name)
            if len(self._names) == PARTITIONS:
                break

    def journal(self) -> int:
        """Offsets of the journal, all partitions."""
        return sum(end for end in self._ends().values())

    def _ends(self) -> dict[int, int]:
        consumer = self._world.cluster.consumer(kafka.reader())
        ends = {}
        for partition in range(PARTITIONS):
            where = TopicPartition(self._topic, partition)
            _, ends[partition] = consumer.get_watermark_offsets(where, 10, cached=False)
        consumer.close()
        return ends

    def decided_since(self, began: float, look: Any = lambda: None) -> float:
        """Seconds from `began` until all that is sent now is in the journal."""
        consumer = self._world.cluster.consumer(kafka.reader())
        consumer.assign([TopicPartition(self._topic, p, e) for p, e in self._ends().items()])
        missing = set()
        for partition, name in self._names.items():
            self._count += 1
            event_id, now = f"probe-{self._count}", now_text()
            event = {
                "specversion": "1.0",
                "id": event_id,
                "source": "probe",
                "type": "llm.completion",
                "subject": name,
                "time": now,
                "data": {"model": "gpt-5", "input": 10, "output": 10},
            }
            grant = {"type": "grant", "id": event_id, "customer": name, "time": now}
            grant |= {"asset": "USD", "amount": "1"}
            for topic, content in ((USAGE_EVENTS, event), (COMMANDS, grant)):
                self._producer.produce(
                    ENVIRONMENT.topic(topic), json.dumps(content).encode(), name.encode(), partition
                )
                missing.add((event_id, topic is USAGE_EVENTS))
        self._producer.flush(30)
        looked = 0.0
        while missing:
            if time.monotonic() - began > LIMIT_S:
                raise BenchmarkError(f"not decided within {LIMIT_S:.0f} s: {sorted(missing)}")
            if time.monotonic() - looked > 0.5:
                looked = time.monotonic()
                look()
            for message in consumer.consume(500, 0.02):
                value = message.value() or b""
                if message.error() is None and b"probe-" in value:
                    data = json.loads(value)["data"]
                    missing.discard((data["id"], "source" in data))
        took = time.monotonic() - began
        consumer.close()
        return round(took, 2)


class Restored:
    """Follows the restoring of identities in a process."""

    def __init__(self, world: World, records: int) -> None:
        self._world = world
        self._records = records
        self._began: float | None = None
        self._ended: float | None = None

    def done(self) -> bool:
        self.look()
        return self._ended is not None

    def look(self) -> None:
        said = status(self._world, FIRST)
        serving = len(said.get("serving", ()))
        if serving and self._began is None:
            self._began = time.monotonic()
        restoring = said.get("restoring_identities")
        if serving == PARTITIONS and not restoring and self._ended is None:
            self._ended = time.monotonic()

    def per_second(self) -> int:
        """Offsets of the journal a second, from the first partition that is served to the last that
        is complete. Each is an identity but for the ends of transactions."""
        assert self._began is not None
        assert self._ended is not None
        return round(self._records / max(self._ended - self._began, 0.5))


def status(world: World, name: str) -> dict[str, Any]:
    """What a service says of itself; nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"{world.address(name)}/readyz", timeout=5) as response:
            return dict(json.loads(response.read()))
    except OSError as error:
        read = getattr(error, "read", None)
        return dict(json.loads(read())) if read is not None else {}


def serves(world: World, name: str, partitions: int) -> None:
    """Wait until a process serves so many."""
    world.until(
        lambda: len(status(world, name).get("serving", ())) == partitions, f"{name} serves", LIMIT_S
    )


def settled_at(world: World, name: str) -> None:
    """Wait until a process decides nothing more."""
    last, since = -1.0, time.monotonic()

    def still() -> bool:
        nonlocal last, since
        now = world.metrics(name)["drawdown_journal_entries_total", ""]
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 1.5

    world.until(still, "backlog", 600)


def steady(world: World, told: argparse.Namespace, seconds: float) -> subprocess.Popen[bytes]:
    """Load at a rate, whoever settles."""
    return start_load(
        world,
        "steady",
        *("--customers", str(told.customers), "--rate", str(told.rate)),
        *("--seconds", str(seconds), "--source", f"load-{time.monotonic():.0f}"),
    )
