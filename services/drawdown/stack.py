"""The stack on this machine: Kafka, settlement, gateway and query, started and stopped together.

`Stack` brings up what is missing, in order, and waits until each part can do its work; it takes
down what it brought up, in the reverse order. What it knows between two calls is a file in its
home, with processes named so that a recycled pid is never taken for one of ours. A Kafka that is
configured elsewhere is used and left alone. What a service does is its own business; here it is a
process with a URL.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from drawdown import access, topics
from drawdown.broker import state as broker_state
from drawdown.broker.errors import BrokerError
from drawdown.broker.local import LocalKafka
from drawdown.broker.ports import HeldPorts
from drawdown.broker.process import Process, spawn
from drawdown.broker.storage import write_whole
from drawdown.config import Config
from drawdown.stream.kafka import KafkaCluster

SERVICES: Final = ("settlement", "gateway", "query")
"""In the order they are started."""
KAFKA_PORT: Final = 9092
"""Of the local Kafka, where nothing else has it."""
START_S: Final = 60.0
STOP_S: Final = 20.0
POLL_S: Final = 0.05
HEALTH_S: Final = 2.0


class StackError(Exception):
    """The stack cannot be brought up or down; one line: what is wrong, and what to do."""


class Progress(Protocol):
    """Is told what is being done, for a person who waits."""

    def begin(self, what: str) -> None: ...

    def done(self, what: str, where: str) -> None: ...


class Silence:
    """Progress nobody watches."""

    def begin(self, what: str) -> None: ...

    def done(self, what: str, where: str) -> None: ...


@dataclass(frozen=True)
class Service:
    """One service that was started here."""

    name: str
    process: Process
    url: str


@dataclass(frozen=True)
class State:
    """What was started in a home, and for which topics of which Kafka."""

    environment: str
    bootstrap: str
    services: Mapping[str, Service] = field(default_factory=dict)


@dataclass(frozen=True)
class PartStatus:
    """One process of the stack, now."""

    name: str
    pid: int | None
    address: str
    health: str
    """`ready`, `not ready: ...`, `does not answer`, `paused`, `stopped`."""
    rss_bytes: int | None = None

    @property
    def well(self) -> bool:
        return self.health == "ready"


class Stack:
    """The stack of a home. `configured` is the operator's own Kafka, if there is one."""

    def __init__(self, config: Config, configured: KafkaCluster | None = None) -> None:
        self._config = config
        self._configured = configured
        self.home = config.home.expanduser().absolute()
        self.logs = self.home / "logs"
        self.key_path = self.home / "key"
        self._kafka_home = self.home / "kafka"
        self._state_path = self.home / "stack.json"
        self._ports = HeldPorts()

    # What it is

    def state(self) -> State | None:
        """What was started here last, running or not."""
        try:
            document = json.loads(self._state_path.read_text(encoding="utf-8"))
            services = {
                name: Service(name, Process(**part["process"]), part["url"])
                for name, part in document["services"].items()
            }
            return State(document["environment"], document["bootstrap"], services)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError(
                f"{self._state_path} is damaged ({error}): end its processes and remove it"
            ) from error

    def local_kafka(self) -> LocalKafka | None:
        """The local Kafka of this home, running or not; None if there never was one."""
        if broker_state.load(self._kafka_home / "state.json") is None:
            return None
        return LocalKafka.attach(self._kafka_home)

    def bootstrap(self) -> str | None:
        """The address of the local Kafka; None where it does not run."""
        kafka = self.local_kafka()
        return kafka.bootstrap if kafka is not None and kafka.status().running else None

    def service(self, name: str) -> Service | None:
        """A service that runs, or None."""
        known = self.state()
        found = known.services.get(name) if known else None
        return found if found is not None and found.process.alive() else None

    def status(self) -> list[PartStatus]:
        """Every process as it is now; asks each for its health."""
        parts = self._kafka_status()
        known = self.state()
        for service in known.services.values() if known else ():
            process = service.process
            if not process.alive():
                parts.append(PartStatus(service.name, None, service.url, "stopped"))
                continue
            said = "paused" if process.paused() else health(service.url)
            parts.append(
                PartStatus(service.name, process.pid, service.url, said, process.rss_bytes())
            )
        return parts

    def _kafka_status(self) -> list[PartStatus]:
        kafka = self.local_kafka()
        if kafka is None:
            return []
        brokers = kafka.status().brokers
        return [
            PartStatus(
                "kafka" if len(brokers) == 1 else f"kafka-{broker.id}",
                broker.pid,
                f"127.0.0.1:{broker.port}",
                "ready" if broker.state == "running" else broker.state,
                broker.rss_bytes,
            )
            for broker in brokers
        ]

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
                cluster = self._configured or KafkaCluster(self._local_bootstrap())
                self._prepare(cluster, progress)
                started = self._start_services(cluster, progress) if services else False
            except BaseException:
                if kafka is not None:
                    kafka.stop()
                raise
            return started or kafka is not None

    def _local_bootstrap(self) -> str:
        bootstrap = self.bootstrap()
        if bootstrap is None:
            raise StackError(f"the local Kafka ended again: see {self._kafka_home}")
        return bootstrap

    def _refuse_other_stack(self) -> None:
        known = self.state()
        if known is None or not any(s.process.alive() for s in known.services.values()):
            return
        address = self._configured.bootstrap if self._configured else self.bootstrap()
        if known.environment != self._config.environment:
            raise StackError(
                f"services of environment {known.environment!r} run in {self.home}: run"
                " `drawdown down` first, or set another DRAWDOWN_HOME"
            )
        if address not in (None, known.bootstrap):
            raise StackError(
                f"services of Kafka at {known.bootstrap} run in {self.home}: run `drawdown down`"
                " first, or set another DRAWDOWN_HOME"
            )

    def _forget(self) -> None:
        """Delete what is known of the local cluster besides its own data: copies and the key."""
        running = [part.name for part in self.status() if part.pid is not None]
        if running:
            raise StackError(f"{', '.join(running)} still run: `drawdown down` before --fresh")
        for folder in ("stores", "query", "logs"):
            shutil.rmtree(self.home / folder, ignore_errors=True)
        for path in (self.key_path, self._state_path):
            path.unlink(missing_ok=True)

    def _start_kafka(
        self, progress: Progress, brokers: int | None, port: int | None, fresh: bool
    ) -> LocalKafka | None:
        """The Kafka that was started, or None if it runs already."""
        known = None if fresh else self.local_kafka()
        if brokers is None:
            brokers = len(known.brokers) if known else 1
        if port is None and known is None and _free(range(KAFKA_PORT, KAFKA_PORT + brokers)):
            port = KAFKA_PORT
        kafka = LocalKafka(self._kafka_home, brokers, port, detached=True)
        progress.begin("kafka")
        started = kafka.start(fresh)
        progress.done("kafka", kafka.bootstrap)
        return kafka if started else None

    def _prepare(self, cluster: KafkaCluster, progress: Progress) -> None:
        """Topics, and a key for whoever works on this machine."""
        progress.begin("topics")
        admin = cluster.admin()
        created = topics.create(admin, self._config.topics)
        progress.done("topics", f"{len(created)} created" if created else "all there")
        progress.begin("key")
        made = self._ensure_key(cluster)
        progress.done("key", f"{'made, in' if made else 'in'} {self.key_path}")

    def _ensure_key(self, cluster: KafkaCluster) -> bool:
        """A key with every permission in `key_path`, for its owner's eyes; True if a new one."""
        environment = self._config.topics
        now = datetime.now(UTC)
        settings = access.read_settings(cluster, environment)
        settings.stop()
        secret = self.key()
        if secret is not None and settings.caller(secret, now) is not None:
            return False
        secret, record = access.new_key(access.PERMISSIONS, now, "made by `drawdown up`")
        access.write_setting(cluster, environment, "api_key", record.id, record)
        draft = self.key_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        draft.replace(self.key_path)
        return True

    def key(self) -> str | None:
        """The key that `up` made, or None."""
        try:
            return self.key_path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def _start_services(self, cluster: KafkaCluster, progress: Progress) -> bool:
        before = self.state()
        known = dict(before.services) if before else {}
        started: list[Service] = []
        self.logs.mkdir(exist_ok=True)
        try:
            for name in SERVICES:
                if name in known and known[name].process.alive():
                    continue
                service = self._spawn(name, cluster.bootstrap)
                started.append(service)
                known[name] = service
                state = State(self._config.environment, cluster.bootstrap, known)
                write_whole(self._state_path, json.dumps(asdict(state), indent=2) + "\n")
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
        wanted: int = getattr(config, f"{name}_port")
        if not wanted:
            port = self._ports.take_free()
        elif f"{name}_port" in config.model_fields_set:
            port = self._ports.take(wanted, f"{name} (DRAWDOWN_{name.upper()}_PORT)")
        else:
            port = self._ports.take_free(wanted)
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "DRAWDOWN_HOME": str(self.home),
            "DRAWDOWN_ENVIRONMENT": config.environment,
            "DRAWDOWN_HOST": config.host,
            f"DRAWDOWN_{name.upper()}_PORT": str(port),
        }
        environment.pop("DRAWDOWN_KEY", None)
        log = self.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        process = spawn(
            # -P: the folder it runs in has names that must not be taken for modules.
            [sys.executable, "-P", "-m", "drawdown.cli.main", name],
            folder=self.home,
            console=log,
            environment=environment,
            owned=False,
        )
        host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104
        return Service(name, process, f"http://{host}:{port}")

    def _await_ready(self, service: Service) -> None:
        deadline = time.monotonic() + START_S
        log = self.logs / f"{service.name}.log"
        while (said := health(service.url)) != "ready":
            if service.process.wait(POLL_S):
                raise StackError(f"{service.name} ended: {_last_line(log)} (see {log})")
            if time.monotonic() > deadline:
                raise StackError(f"{service.name} is {said} after {START_S:.0f} s (see {log})")

    # Down

    def down(self, progress: Progress) -> list[str]:
        """End what runs, the last started first; returns the names. Waits for each, 20 s at most,
        then kills it."""
        with self._alone():
            ended: list[str] = []
            known = self.state()
            for name in reversed(SERVICES):
                service = known.services.get(name) if known else None
                if service is None or not service.process.alive():
                    continue
                progress.begin(name)
                clean = _end(service.process)
                progress.done(name, "stopped" if clean else f"killed after {STOP_S:.0f} s")
                ended.append(name)
            kafka = self.local_kafka()
            if kafka is not None:
                progress.begin("kafka")
                if kafka.stop():
                    progress.done("kafka", f"stopped; its data stays in {self._kafka_home}")
                    ended.append("kafka")
            self._state_path.unlink(missing_ok=True)
            return ended

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the home against another `up` or `down`; waits for it."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.home / "lock").open("w")
        except OSError as error:
            raise StackError(
                f"cannot write to {self.home} ({error.strerror}): set DRAWDOWN_HOME to a folder of"
                " yours"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def health(url: str) -> str:
    """What `/readyz` says: `ready`, `not ready: ...`, or `does not answer`. Waits at most 2 s."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            return "ready"
        said = json.loads(body)
        wanting = {name: value for name, value in said.items() if name != "ready"}
        return "not ready: " + ", ".join(f"{name} {value}" for name, value in wanting.items())
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return "does not answer"
    finally:
        connection.close()


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
