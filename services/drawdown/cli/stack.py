"""The stack on this machine: Kafka, settlement, gateway and query, started and stopped together.

`Stack` brings up what is missing, in order, and waits until each part can do its work; it takes
down what it brought up, in the reverse order. A Kafka that is configured elsewhere is used and
left alone. What a service does is its own business; here it is a process with a URL.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from drawdown import access, topics
from drawdown.broker import state as broker_state
from drawdown.broker.errors import BrokerError
from drawdown.broker.local import LocalKafka
from drawdown.broker.ports import LOOPBACK, HeldPorts
from drawdown.broker.process import Process, spawn
from drawdown.cli.local import READY, Home, Service, StackError, State, health
from drawdown.config import Config
from drawdown.stream.kafka import KafkaCluster

SERVICES: Final = ("settlement", "gateway", "query")
"""In the order they are started."""
KAFKA_PORT: Final = 9092
"""Of the local Kafka, where nothing else has it."""
START_S: Final = 60.0
STOP_S: Final = 20.0
POLL_S: Final = 0.05
ANY_ADDRESS: Final = ("0.0.0.0", "::")


class Progress(Protocol):
    """Is told what is being done, for a person who waits."""

    def begin(self, what: str) -> None: ...

    def done(self, what: str, where: str) -> None: ...


@dataclass(frozen=True)
class Part:
    """One process of the stack, now."""

    name: str
    pid: int | None
    address: str
    health: str
    """`ready`, `not ready: ...`, `does not answer`, `paused`, `stopped`."""
    rss_bytes: int | None = None

    @property
    def ready(self) -> bool:
        return self.health == READY


class Stack:
    """The stack of a home. `configured` is the operator's own Kafka, if there is one."""

    def __init__(self, config: Config, configured: KafkaCluster | None = None) -> None:
        self._config = config
        self._configured = configured
        self.home = Home(config.home)
        self._ports = HeldPorts()

    # What it is

    def _local_kafka(self) -> LocalKafka | None:
        """The local Kafka of this home, running or not; None if there never was one."""
        if broker_state.load(self.home.kafka / "state.json") is None:
            return None
        return LocalKafka.attach(self.home.kafka)

    def status(self) -> list[Part]:
        """Every process as it is now; asks each service for its health."""
        kafka = self._local_kafka()
        brokers = kafka.status().brokers if kafka is not None else ()
        parts = [
            Part(
                "kafka" if len(brokers) == 1 else f"kafka-{broker.id}",
                broker.pid,
                f"{LOOPBACK}:{broker.port}",
                READY if broker.state == "running" else broker.state,
                broker.rss_bytes,
            )
            for broker in brokers
        ]
        known = self.home.state()
        for service in known.services.values() if known else ():
            process = service.process
            if not process.alive():
                parts.append(Part(service.name, None, service.url, "stopped"))
                continue
            said = "paused" if process.paused() else health(service.url)
            parts.append(Part(service.name, process.pid, service.url, said, process.rss_bytes()))
        return parts

    # Up

    def up(
        self,
        progress: Progress,
        *,
        brokers: int | None = None,
        port: int | None = None,
        fresh: bool = False,
        services: bool = True,
    ) -> bool:
        """Bring up what does not run and wait until all of it is ready; True if anything was
        started. Raises StackError, BrokerError, TopicsError, AccessError, with nothing left running
        that this call started."""
        with self._alone():
            if fresh:
                self._forget()
            self._refuse_other_stack()
            kafka = None if self._configured else self._start_kafka(progress, brokers, port, fresh)
            try:
                cluster = self._configured or self._local_cluster()
                self._prepare(cluster, progress)
                started = self._start_services(cluster, progress) if services else False
            except BaseException:
                if kafka is not None:
                    kafka.stop()
                raise
            return started or kafka is not None

    def _local_cluster(self) -> KafkaCluster:
        bootstrap = self.home.bootstrap()
        if bootstrap is None:
            raise StackError(f"the local Kafka ended again: see {self.home.kafka}")
        return KafkaCluster(bootstrap)

    def _refuse_other_stack(self) -> None:
        """One home has one stack: what runs must be of the same environment and Kafka."""
        known = self.home.state()
        if known is None or not known.running():
            return
        address = self._configured.bootstrap if self._configured else self.home.bootstrap()
        if known.environment != self._config.environment:
            what = f"environment {known.environment!r}"
        elif address not in (None, known.bootstrap):
            what = f"Kafka at {known.bootstrap}"
        else:
            return
        raise StackError(
            f"services for {what} run in {self.home.path}: run `drawdown down` first, or set"
            " another DRAWDOWN_HOME"
        )

    def _forget(self) -> None:
        """Delete what is known of the local cluster besides its own data: copies and the key."""
        running = [part.name for part in self.status() if part.pid is not None]
        if running:
            raise StackError(f"{', '.join(running)} still run: `drawdown down` before --fresh")
        for folder in ("stores", "query", "logs"):
            shutil.rmtree(self.home.path / folder, ignore_errors=True)
        for path in (self.home.key_path, self.home.state_path):
            path.unlink(missing_ok=True)

    def _start_kafka(
        self, progress: Progress, brokers: int | None, port: int | None, fresh: bool
    ) -> LocalKafka | None:
        """The Kafka that was started, or None if it runs already."""
        known = None if fresh else self._local_kafka()
        if brokers is None:
            brokers = len(known.brokers) if known else 1
        if port is None and known is None and _free(range(KAFKA_PORT, KAFKA_PORT + brokers)):
            port = KAFKA_PORT
        kafka = LocalKafka(self.home.kafka, brokers, port, detached=True)
        progress.begin("kafka")
        started = kafka.start(fresh)
        progress.done("kafka", kafka.bootstrap)
        return kafka if started else None

    def _prepare(self, cluster: KafkaCluster, progress: Progress) -> None:
        """Topics, and a key for whoever works on this machine."""
        progress.begin("topics")
        created = topics.create(cluster.admin(), self._config.topics)
        progress.done("topics", f"{len(created)} created" if created else "all there")
        progress.begin("key")
        made = self._ensure_key(cluster)
        progress.done("key", f"{'made, in ' if made else ''}{self.home.key_path}")

    def _ensure_key(self, cluster: KafkaCluster) -> bool:
        """A key with every permission in the home; True if a new one was made."""
        environment, now = self._config.topics, datetime.now(UTC)
        settings = access.read_settings(cluster, environment)
        settings.stop()
        secret = self.home.key()
        if secret is not None and settings.caller(secret, now) is not None:
            return False
        secret, record = access.new_key(access.PERMISSIONS, now, "made by `drawdown up`")
        access.write_setting(cluster, environment, "api_key", record.id, record)
        self.home.save_key(secret)
        return True

    def _start_services(self, cluster: KafkaCluster, progress: Progress) -> bool:
        before = self.home.state()
        known = before.running() if before else {}
        started: list[Service] = []
        self.home.logs.mkdir(exist_ok=True)
        try:
            for name in SERVICES:
                if name in known:
                    continue
                service = self._spawn(name, cluster.bootstrap)
                started.append(service)
                known[name] = service
                self.home.save(State(self._config.environment, cluster.bootstrap, known))
            for name in SERVICES:
                progress.begin(name)
                self._await_ready(known[name])
                progress.done(name, known[name].url)
        except BaseException:
            for service in reversed(started):
                _end(service.process)
            raise
        finally:
            self._ports.release()
        return bool(started)

    def _spawn(self, name: str, bootstrap: str) -> Service:
        config = self._config
        port = self._port(name)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "DRAWDOWN_HOME": str(self.home.path),
            "DRAWDOWN_ENVIRONMENT": config.environment,
            "DRAWDOWN_HOST": config.host,
            f"DRAWDOWN_{name.upper()}_PORT": str(port),
        }
        environment.pop("DRAWDOWN_KEY", None)
        log = self.home.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        process = spawn(
            # -P: the folder it runs in has names that must not be taken for modules.
            [sys.executable, "-P", "-m", "drawdown.cli.main", name],
            folder=self.home.path,
            console=log,
            environment=environment,
            owned=False,
        )
        host = LOOPBACK if config.host in ANY_ADDRESS else config.host
        return Service(name, process, f"http://{host}:{port}")

    def _port(self, name: str) -> int:
        """The configured port, held until the service has it; a default one gives way to a free
        one."""
        wanted: int = getattr(self._config, f"{name}_port")
        if wanted and f"{name}_port" in self._config.model_fields_set:
            return self._ports.take(wanted, f"{name} (DRAWDOWN_{name.upper()}_PORT)")
        return self._ports.take_free(wanted or None)

    def _await_ready(self, service: Service) -> None:
        deadline = time.monotonic() + START_S
        log = self.home.logs / f"{service.name}.log"
        while (said := health(service.url)) != READY:
            if service.process.wait(POLL_S):
                raise StackError(f"{service.name} ended: {_last_line(log)} (see {log})")
            if time.monotonic() > deadline:
                raise StackError(f"{service.name} {said} after {START_S:.0f} s (see {log})")

    # Down

    def down(self, progress: Progress) -> list[str]:
        """End what runs, the last started first; returns the names. Waits for each, 20 s at most,
        then kills it."""
        with self._alone():
            ended: list[str] = []
            known = self.home.state()
            running = known.running() if known else {}
            for name in reversed(SERVICES):
                if name in running:
                    progress.begin(name)
                    clean = _end(running[name].process)
                    progress.done(name, "stopped" if clean else f"killed after {STOP_S:.0f} s")
                    ended.append(name)
            kafka = self._local_kafka()
            if kafka is not None and any(broker.pid for broker in kafka.brokers):
                progress.begin("kafka")
                kafka.stop()
                progress.done("kafka", f"stopped; its data stays in {self.home.kafka}")
                ended.append("kafka")
            self.home.state_path.unlink(missing_ok=True)
            return ended

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the home against another `up` or `down`; waits for it."""
        try:
            self.home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.home.path / "lock").open("w")
        except OSError as error:
            raise StackError(
                f"cannot write to {self.home.path} ({error.strerror}): set DRAWDOWN_HOME to a"
                " folder of yours"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _free(ports: range) -> bool:
    held = HeldPorts()
    try:
        for port in ports:
            held.take(port, "Kafka")
    except BrokerError:
        return False
    finally:
        held.release()
    return True


def _end(process: Process) -> bool:
    """End a process and wait for it; False if it had to be killed."""
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)  # a paused one cannot act on a signal
    if process.wait(STOP_S):
        return True
    process.signal(signal.SIGKILL)
    process.wait(STOP_S)
    return False


def _last_line(log: Path) -> str:
    """What a process said last."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it said nothing"
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
