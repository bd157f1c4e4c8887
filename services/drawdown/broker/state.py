"""What is known of a cluster beyond the process that started it: `state.json` in its home.

It is the only memory of `LocalKafka`. Whoever has the home can ask, stop and restart the cluster;
writers hold the home's lock (`local` sees to that), readers need none, because the file is replaced
whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import BrokerError
from .process import Process
from .storage import write_whole


@dataclass(frozen=True)
class Node:
    """One broker's place: its number, from 1, and its ports on the loopback interface."""

    id: int
    port: int
    """Where it listens for clients."""
    internal_port: int
    controller_port: int
    advertised_port: int | None = None
    """Where it sends clients, if not to its own port."""

    @property
    def client_port(self) -> int:
        """The port that a client should use."""
        return self.port if self.advertised_port is None else self.advertised_port


@dataclass(frozen=True)
class Options:
    """How the brokers are to be run. `LocalKafka` says what each means."""

    brokers: int = 1
    port: int | None = None
    detached: bool = False
    advertised: Mapping[int, int] = field(default_factory=dict)
    server_properties: Mapping[str, str] = field(default_factory=dict)
    jvm_args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    heap_mib: int = 512


@dataclass(frozen=True)
class State:
    """A cluster as it was last started."""

    options: Options
    cluster_id: str
    nodes: tuple[Node, ...]
    processes: Mapping[int, Process]
    """By node id, also of those that have ended since: `Process.alive` tells."""

    def running(self) -> dict[int, Process]:
        """The processes that are alive now."""
        return {id: process for id, process in self.processes.items() if process.alive()}


def load(path: Path) -> State | None:
    """The state of a home; None if nothing was ever started there. Raises `BrokerError` if the file
    is not one of ours."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        options = document["options"]
        options["jvm_args"] = tuple(options["jvm_args"])
        options["advertised"] = {int(id): port for id, port in options["advertised"].items()}
        return State(
            options=Options(**options),
            cluster_id=document["cluster_id"],
            nodes=tuple(Node(**node) for node in document["nodes"]),
            processes={int(id): Process(**p) for id, p in document["processes"].items()},
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokerError(
            f"{path} is damaged ({error}): remove it; the data beside it is kept"
        ) from error


def save(path: Path, state: State) -> None:
    """Replace the state of a home."""
    write_whole(path, json.dumps(asdict(state), indent=2) + "\n")
