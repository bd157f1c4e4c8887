"""A real Kafka on this machine: one broker or three, as processes that `pip install` brought.

`LocalKafka` starts, finds, asks and stops a cluster whose whole life is in one folder, its home.
In its plain form the brokers die with the process that started them, which is what tests want;
`detached` ones stay until they are stopped, from any process. It relies on `jvm` for
what to run, on `state` for what it knows, and on `process` for never touching a process of others.
Linux only, loopback only, no authentication.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from . import aot, fence, jvm, logs, properties, ready, state, storage
from .errors import BrokerError
from .jvm import Runtime
from .lock import read_lock
from .ports import LOOPBACK, HeldPorts
from .process import Process, spawn
from .state import Node, Options, State

GIB = 1 << 30
_READY_POLL_S = 0.02
_STOP_POLL_S = 0.1
_PAUSE_POLL_S = 0.001
_METADATA_TIMEOUT_S = 1.0
_KILL_TIMEOUT_S = 10.0
_LEFT_ALONE_TIMEOUT_S = 3.0

BrokerState = Literal["running", "paused", "stopped"]


@dataclass(frozen=True)
class BrokerStatus:
    """One broker, now."""

    id: int
    state: BrokerState
    port: int
    pid: int | None
    rss_bytes: int | None


@dataclass(frozen=True)
class Status:
    """A cluster, now."""

    home: Path
    cluster_id: str
    bootstrap: str
    brokers: tuple[BrokerStatus, ...]

    @property
    def running(self) -> bool:
        """Whether all brokers run (a paused one runs)."""
        return all(broker.state != "stopped" for broker in self.brokers)


class LocalKafka:
    """A cluster of brokers in `home`.

    `brokers`: 1 or 3. With 3, topics have three replicas of which two must take a write.
    `port`: that of the first broker, the next ones follow; free ones if not given, and after a stop
    the same ones again if they still are.
    `detached`: the brokers stay when this process ends.
    `advertised`: by broker id, the port that clients are sent to instead of the broker's own. The
    broker listens on its own all the same: what is in between (a relay of a test) is the caller's.
    `server_properties`: Kafka settings over ours. `jvm_args` come after ours. `env`: variables for
    the brokers' processes, over those of this one.
    `heap_mib`: the largest heap of each broker, MiB.
    `start_timeout_s`: for a broker to serve. `stop_timeout_s`: to end by itself, before it is
    killed.
    `disk_free_bytes_min`: a start with less room on the disk is refused.
    `train_later`: after a detached start, make what lets later starts take half the time (`aot`),
    once per machine, in a background process that uses idle time only.
    """

    def __init__(
        self,
        home: Path,
        brokers: int = 1,
        port: int | None = None,
        *,
        detached: bool = False,
        advertised: Mapping[int, int] | None = None,
        server_properties: Mapping[str, str] | None = None,
        jvm_args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        heap_mib: int = 512,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 30.0,
        disk_free_bytes_min: int = GIB,
        train_later: bool = True,
    ) -> None:
        if brokers not in (1, 3):
            raise BrokerError(f"{brokers} brokers are not supported: choose 1 or 3")
        unknown = sorted(set(advertised or ()) - set(range(1, brokers + 1)))
        if unknown:
            raise BrokerError(f"advertised names broker {unknown[0]}: ids go from 1 to {brokers}")
        self.home = home.expanduser().absolute()
        self.start_timeout_s = start_timeout_s
        self.stop_timeout_s = stop_timeout_s
        self.disk_free_bytes_min = disk_free_bytes_min
        self.train_later = train_later
        self._options = Options(
            brokers=brokers,
            port=port,
            detached=detached,
            advertised=dict(advertised or {}),
            server_properties=dict(server_properties or {}),
            jvm_args=tuple(jvm_args),
            env=dict(env or {}),
            heap_mib=heap_mib,
        )
        self._ports = HeldPorts()
        self._log_starts_bytes: dict[int, int] = {}
        self._started_here = False

    @classmethod
    def attach(cls, home: Path) -> LocalKafka:
        """The cluster of a home, running or not, with the options it was last started with. Raises
        `BrokerError` if none was ever started there."""
        found = state.load(home.expanduser().absolute() / "state.json")
        if found is None:
            raise BrokerError(f"no Kafka was started in {home}: start one there first")
        kafka = cls(home, found.options.brokers)
        kafka._options = found.options
        return kafka

    # What it is

    @property
    def bootstrap(self) -> str:
        """`host:port,...` for clients: the advertised ports where some were given."""
        return ",".join(f"{LOOPBACK}:{node.client_port}" for node in self._known().nodes)

    @property
    def brokers(self) -> tuple[Broker, ...]:
        """A handle per broker, by id from 1."""
        return tuple(Broker(self, id) for id in range(1, self._options.brokers + 1))

    def broker(self, id: int) -> Broker:
        """The handle of one broker; ids start at 1."""
        if not 1 <= id <= self._options.brokers:
            raise BrokerError(f"there is no broker {id}: ids go from 1 to {self._options.brokers}")
        return Broker(self, id)

    def status(self) -> Status:
        """The processes as they are now. Does not ask Kafka, and does not wait."""
        known = self._known()
        return Status(
            home=self.home,
            cluster_id=known.cluster_id,
            bootstrap=self.bootstrap,
            brokers=tuple(_status_of(node, known.processes.get(node.id)) for node in known.nodes),
        )

    # Starting and stopping

    def start(self, fresh: bool = False) -> bool:
        """Start the brokers that do not run and wait until all serve. True if any was started;
        False if the cluster runs already (then nothing is changed).

        Data is kept, unless `fresh`: then what the home holds is deleted first. The first start of
        a machine downloads Kafka. A start or stop of the same home by another process is waited
        for. Raises `BrokerError`, with nothing left running that this call started.
        """
        runtime = Runtime.ready()
        with self._alone():
            before = state.load(self._state_path)
            running = before.running() if before else {}
            if before and running:
                self._refuse_other_port(before)
                if fresh:
                    raise BrokerError(f"Kafka runs in {self.home}: stop it before a fresh start")
            if fresh:
                self._delete()
                before = None
            self._refuse_other_data(before)
            if before and len(running) == len(before.nodes):
                self._options = before.options
                return False
            self._refuse_small_disk()
            try:
                self._bring_up(before, running, runtime)
            except BaseException:
                self._end(self._brokers_alive() - set(running), signal.SIGKILL)
                self._ports.release()
                raise
        self._started_here = True
        if self._options.detached:
            self._ports.release()  # this process may live on for other things
            if self.train_later:
                aot.train_later(runtime.java, runtime.class_path)
        return True

    def stop(self) -> bool:
        """Stop all brokers, paused ones too, and wait until they have ended: at most
        `stop_timeout_s`, then they are killed. False if none ran. Waits for a start by another
        process first."""
        if state.load(self._state_path) is None:
            return False
        with self._alone():
            stopped = self._end(self._brokers_alive(), signal.SIGTERM)
        self._ports.release()
        self._started_here = False
        return stopped

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every broker serves clients. Raises `BrokerError` when the time is over or one
        of them ends."""
        deadline = time.monotonic() + timeout_s
        for broker in self.brokers:
            broker.wait_ready(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops what `start` started here; a cluster that was found running stays."""
        if self._started_here:
            self.stop()

    # Where things are

    def folder(self, id: int) -> Path:
        """A broker's folder: `server.log`, `console.log`, `server.properties`, `data`."""
        return self.home / f"broker-{id}"

    @property
    def _state_path(self) -> Path:
        return self.home / "state.json"

    def _known(self) -> State:
        known = state.load(self._state_path)
        if known is None:
            raise BrokerError(f"no Kafka was started in {self.home}: start one there first")
        return known

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the home's lock, against other processes and other threads; waits for it."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.home / "lock").open("w")
        except OSError as error:
            raise BrokerError(
                f"cannot write to {self.home} ({error.strerror}): choose a folder of yours"
            ) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # The steps of a start, in their order

    def _refuse_other_port(self, running: State) -> None:
        if self._options.port not in (None, running.nodes[0].port):
            raise BrokerError(
                f"Kafka of {self.home} runs on port {running.nodes[0].port}, not"
                f" {self._options.port}: stop it first"
            )

    def _refuse_other_data(self, before: State | None) -> None:
        """What is there must be one cluster of as many brokers. The state knows how many, also
        when a first start was cut short; without it, the folders do."""
        found = self._cluster_ids()
        count = len(before.nodes) if before else len(found)
        if count not in (0, self._options.brokers):
            raise BrokerError(
                f"{self.home} holds a cluster of {count} broker(s), not {self._options.brokers}:"
                " start it with as many, start afresh, or choose another home"
            )
        if len(set(found)) > 1:
            raise BrokerError(f"{self.home} holds data of several clusters: start afresh")

    def _refuse_small_disk(self) -> None:
        free_bytes = shutil.disk_usage(self.home).free
        if free_bytes < self.disk_free_bytes_min:
            raise BrokerError(
                f"the disk of {self.home} has {free_bytes / GIB:.1f} GiB free, Kafka is not started"
                f" with less than {self.disk_free_bytes_min / GIB:.1f}: make room, or choose a home"
                " on another disk"
            )

    def _delete(self) -> None:
        """Delete what this module writes into a home, and nothing else."""
        self._state_path.unlink(missing_ok=True)
        for folder in self.home.glob("broker-[0-9]*"):
            shutil.rmtree(folder)

    def _cluster_ids(self) -> list[str]:
        """The cluster that each formatted broker belongs to."""
        folders = sorted(self.home.glob("broker-[0-9]*"))
        ids = (storage.cluster_id_of(folder / "data") for folder in folders)
        return [id for id in ids if id is not None]

    def _bring_up(
        self, before: State | None, running: Mapping[int, Process], runtime: Runtime
    ) -> None:
        """Start the brokers that are not among the running ones and wait until all serve."""
        found = self._cluster_ids()
        cluster_id = found[0] if found else storage.new_id()
        nodes = self._nodes(before, running)
        state.save(self._state_path, State(self._options, cluster_id, nodes, running))
        for node in nodes:
            if node.id in running:
                continue
            data = self.folder(node.id) / "data"
            if storage.cluster_id_of(data) is None:
                checkpoint = read_lock().bootstrap_checkpoint
                storage.format_data(data, node.id, cluster_id, checkpoint)
            self._spawn(node.id, runtime)
        for node in nodes:
            self._wait_ready(node.id, self.start_timeout_s)
        if not found and not self._options.advertised:  # a relay may not be up yet
            ready.create_internal_topics(
                self.bootstrap, self._settings(nodes[0]), self.start_timeout_s
            )

    def _nodes(self, before: State | None, running: Mapping[int, Process]) -> tuple[Node, ...]:
        """Each broker's ports, held for those that are to be started."""
        self._ports.release()
        known = {node.id: node for node in before.nodes} if before else {}
        if running:  # and they have the others' ports in their settings
            for id in known.keys() - running.keys():
                node = known[id]
                for port in (node.port, node.internal_port, node.controller_port):
                    self._ports.take(port, f"broker {id}")
            return tuple(known.values())
        ids = range(1, self._options.brokers + 1)
        wanted = self._options.port
        if wanted is not None:
            # All of them before any free one, which could be among them.
            clients = {id: self._ports.take(wanted + id - 1, f"broker {id}") for id in ids}
        else:
            clients = {id: self._free(known.get(id), "port") for id in ids}
        return tuple(
            Node(
                id=id,
                port=clients[id],
                internal_port=self._free(known.get(id), "internal_port"),
                controller_port=self._free(known.get(id), "controller_port"),
                advertised_port=self._options.advertised.get(id),
            )
            for id in ids
        )

    def _free(self, before: Node | None, which: str) -> int:
        """A free port; the one from before if it is."""
        return self._ports.take_free(None if before is None else getattr(before, which))

    def _spawn(self, id: int, runtime: Runtime, env: Mapping[str, str] | None = None) -> None:
        """Run a formatted broker, and remember its process. A lone one that was killed first gets
        its former life ended, which takes 3 s."""
        known = self._known()
        node = next(node for node in known.nodes if node.id == id)
        folder = self.folder(id)
        shutil.rmtree(jvm.scratch(folder), ignore_errors=True)
        jvm.scratch(folder).mkdir(parents=True)
        if len(known.nodes) == 1 and fence.is_due(folder / "data"):
            fence.end_former_life(
                folder,
                self._settings(node),
                jvm.command(runtime, known.options, folder, fence.NAME),
                jvm.environment(known.options, env),
                self.start_timeout_s,
            )
        storage.write_whole(folder / "server.properties", properties.dumps(self._settings(node)))
        self._log_starts_bytes[id] = logs.size_bytes(folder / "server.log")
        process = spawn(
            jvm.command(runtime, known.options, folder),
            folder=folder,
            console=folder / "console.log",
            environment=jvm.environment(known.options, env),
            owned=not known.options.detached,
        )
        state.save(self._state_path, replace(known, processes={**known.processes, id: process}))

    def _settings(self, node: Node) -> dict[str, str]:
        known = self._known()
        return properties.server_properties(
            node, known.nodes, self.folder(node.id) / "data", known.options.server_properties
        )

    def _brokers_alive(self) -> set[int]:
        known = state.load(self._state_path)
        return set(known.running()) if known else set()

    def _wait_ready(self, id: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        known = self._known()
        node = next(node for node in known.nodes if node.id == id)
        process = known.processes.get(id)
        while True:
            if process is None or process.wait(_READY_POLL_S):
                raise BrokerError(f"Kafka broker {id} is not running: {self._reason(id)}")
            if ready.answers(node.port, id, _METADATA_TIMEOUT_S):
                return
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka broker {id} does not serve after {timeout_s:.0f} s: {self._reason(id)}"
                )

    def _reason(self, id: int) -> str:
        log, console = self.folder(id) / "server.log", self.folder(id) / "console.log"
        return f"{logs.reason(log, console, self._log_starts_bytes.get(id, 0))} (see {log})"

    def _end(self, ids: set[int], with_signal: signal.Signals) -> bool:
        """End these brokers and wait for them; kill what has not ended in time. False if none."""
        ending = {id: self._known().processes[id] for id in ids & self._brokers_alive()}
        deadline = time.monotonic() + self.stop_timeout_s
        for process in ending.values():
            process.signal(with_signal)
            process.signal(signal.SIGCONT)  # a paused one cannot act on a signal
        for id, process in ending.items():
            while not process.wait(_STOP_POLL_S):
                alive = self._brokers_alive()
                if 2 * len(alive) <= self._options.brokers:
                    # No majority, no controller: a broker waits minutes for one to let it go.
                    deadline = min(deadline, time.monotonic() + _LEFT_ALONE_TIMEOUT_S)
                if time.monotonic() > deadline or (alive == {id} and self._waits_for_nobody(id)):
                    process.signal(signal.SIGKILL)
                    process.wait(_KILL_TIMEOUT_S)
        return bool(ending)

    def _waits_for_nobody(self, id: int) -> bool:
        """Whether the last one of several has closed its logs: as leader of the controllers it
        would now wait 5 s for a successor. The marker is Kafka's own, for its next start."""
        marker = self.folder(id) / "data" / ".kafka_cleanshutdown"
        return self._options.brokers > 1 and marker.exists()


class Broker:
    """One broker of a cluster, to be hurt and healed by tests. Calls may come from any thread."""

    def __init__(self, cluster: LocalKafka, id: int) -> None:
        self.id = id
        self._cluster = cluster

    @property
    def port(self) -> int:
        """Where it listens for clients, whatever is advertised."""
        return self._node().port

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        process = self._process()
        return process.pid if process else None

    @property
    def log_path(self) -> Path:
        """Its server log."""
        return self._cluster.folder(self.id) / "server.log"

    def kill(self) -> bool:
        """SIGKILL, and wait until it is gone. False if it did not run."""
        process = self._process()
        if process is None:
            return False
        process.signal(signal.SIGKILL)
        if not process.wait(_KILL_TIMEOUT_S):
            raise BrokerError(f"broker {self.id} (pid {process.pid}) does not die: see dmesg")
        return True

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still: it answers nothing, its connections stay open.
        Raises `BrokerError` if it does not run."""
        process = self._signal(signal.SIGSTOP)
        while not process.paused() and not process.wait(_PAUSE_POLL_S):
            pass

    def resume(self) -> None:
        """SIGCONT. Raises `BrokerError` if it does not run."""
        self._signal(signal.SIGCONT)

    def restart(
        self,
        *,
        env: Mapping[str, str] | None = None,
        classes: Path | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Run it again on the same folder and ports and wait until it serves; one that runs is
        stopped first. For this run only: `env`, variables over those of the cluster; `classes`, a
        folder of Java classes that come before Kafka's own."""
        cluster, runtime = self._cluster, Runtime.ready()
        if classes is not None:
            runtime = replace(runtime, class_path=(classes, *runtime.class_path))
        with cluster._alone():
            cluster._end({self.id}, signal.SIGTERM)
            cluster._spawn(self.id, runtime, env)
        cluster._wait_ready(self.id, timeout_s)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it serves clients. Raises `BrokerError` when the time is over or it ends."""
        self._cluster._wait_ready(self.id, timeout_s)

    def _node(self) -> Node:
        return next(node for node in self._cluster._known().nodes if node.id == self.id)

    def _process(self) -> Process | None:
        return self._cluster._known().running().get(self.id)

    def _signal(self, number: signal.Signals) -> Process:
        process = self._process()
        if process is None or not process.signal(number):
            raise BrokerError(f"broker {self.id} does not run: restart it first")
        return process


def _status_of(node: Node, process: Process | None) -> BrokerStatus:
    if process is None or not process.alive():
        return BrokerStatus(node.id, "stopped", node.port, None, None)
    now: BrokerState = "paused" if process.paused() else "running"
    return BrokerStatus(node.id, now, node.port, process.pid, process.rss_bytes())
