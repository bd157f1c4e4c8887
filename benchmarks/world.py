"""A broker, topics, prices and services of a benchmark, in a folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil
from prometheus_client.parser import text_string_to_metric_families

from drawdown import topics
from drawdown.broker.errors import BrokerError
from drawdown.broker.local import LocalKafka
from drawdown.broker.ports import HeldPorts
from drawdown.cli.local import READY, health
from drawdown.demo import traffic
from drawdown.events.catalogue import Environment
from drawdown.settlement.publish import publish
from drawdown.stream.kafka import KafkaCluster

ENVIRONMENT = Environment("bench")
PARTITIONS = 4


class BenchmarkError(Exception):
    """The benchmark cannot go on; one line."""


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)


def measured(run: Callable[[World], dict[str, Any]], *, as_json: bool) -> int:
    """Run it in a world of its own and say what came of it, the last line with `as_json` as one
    object; returns the exit code: 1 where it could not go on, or found a mismatch."""
    try:
        with World(say) as world:
            result = run(world)
    except (BenchmarkError, BrokerError, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        return 1
    for name, value in result.items():
        say(f"{name:<28}{value}")
    if as_json:
        print(json.dumps(result))
    return 1 if result.get("mismatches") else 0


class World:
    """Everything beside the load. Stops and deletes all of it when left."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._folder = tempfile.TemporaryDirectory(prefix="drawdown-bench-")
        self.home = Path(self._folder.name)
        self._kafka = LocalKafka(self.home / "kafka", heap_mib=1024)
        self._ports = HeldPorts()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._kafka.start()
        self.bootstrap = self._kafka.bootstrap
        self.cluster = KafkaCluster(self.bootstrap)
        topics.create(self.cluster.admin(), ENVIRONMENT, partitions=PARTITIONS)
        now = datetime.now(UTC)
        publish(self.cluster, ENVIRONMENT, traffic.book("bench"), now=now)
        self._say(f"Kafka at {self.bootstrap}, {PARTITIONS} partitions, prices published")
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._children):
            self.stop(name)
        self._kafka.stop()
        self._folder.cleanup()

    def start(self, name: str, service: str | None = None, *, ready: bool = True) -> None:
        """Start a service, as an instance of that name where it is not the only one, and wait until
        it is ready."""
        service = service or name
        port = self._ports.take_free(None)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "DRAWDOWN_HOME": str(self.home),
            "DRAWDOWN_ENVIRONMENT": ENVIRONMENT.name,
            "DRAWDOWN_INSTANCE": "0" if service == name else name,
            f"DRAWDOWN_{service.upper()}_PORT": str(port),
        }
        self._ports.release()
        with (self.home / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", "drawdown.cli.main", service],
                env=environment,
                stdout=log,
                stderr=log,
            )
        self._addresses[name] = f"http://127.0.0.1:{port}"
        if ready:
            self.until(lambda: health(self._addresses[name]) == READY, f"{name} ready", 300)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        child = self._children.pop(name)
        child.kill()
        child.wait()

    def stop(self, name: str) -> None:
        child = self._children.pop(name)
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def address(self, name: str) -> str:
        return self._addresses[name]

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def rss_mb(self, name: str) -> float:
        """Resident memory of a service, in MB of 10^6 bytes."""
        return round(psutil.Process(self.pid(name)).memory_info().rss / 1e6, 1)

    def cpu_s(self) -> dict[str, float]:
        """Processor time spent so far, by process."""
        pids = {name: child.pid for name, child in self._children.items()}
        pids["kafka"] = self._kafka.status().brokers[0].pid or 0
        return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items() if pid}

    def metrics(self, name: str) -> Mapping[tuple[str, str], float]:
        """A service's metrics: (sample, first label's value) -> value."""
        with urllib.request.urlopen(f"{self._addresses[name]}/metrics", timeout=10) as response:
            text = response.read().decode()
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                label = ",".join(sample.labels.values())
                found[sample.name, label] = sample.value
        return found

    def debits(self) -> float:
        """Journal entries that settlement has committed."""
        return self.metrics("settlement")["drawdown_journal_entries_total", ""]

    def until(self, reached: Callable[[], Any], what: str, timeout_s: float) -> None:
        """Wait for something. Raises BenchmarkError when a child ended or time is up."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            for name, child in self._children.items():
                if child.poll() is not None:
                    log = (self.home / f"{name}.log").read_text(errors="replace")
                    raise BenchmarkError(f"{name} ended: {log[-500:]}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{what}: not within {timeout_s:.0f} s")
            time.sleep(0.05)
