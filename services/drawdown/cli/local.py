"""What is known of the stack on this machine: its folder, its processes, its key.

Any command reads it to find Kafka, the gateway and the query service; only `stack` writes it.
Processes are named so that a recycled pid is never taken for one of ours.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from drawdown.broker import state as broker_state
from drawdown.broker.ports import LOOPBACK
from drawdown.broker.process import Process
from drawdown.broker.storage import write_whole

HEALTH_S: Final = 2.0


class StackError(Exception):
    """The stack is not as it must be; one line: what is wrong, and what to do."""


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

    def running(self) -> dict[str, Service]:
        """The services that are alive now."""
        return {name: s for name, s in self.services.items() if s.process.alive()}


class Home:
    """The folder of a stack."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.kafka = self.path / "kafka"
        self.logs = self.path / "logs"
        self.key_path = self.path / "key"
        self.state_path = self.path / "stack.json"

    def state(self) -> State | None:
        """What was started here last, running or not; None if nothing was."""
        try:
            document = json.loads(self.state_path.read_text(encoding="utf-8"))
            services = {
                name: Service(name, Process(**part["process"]), part["url"])
                for name, part in document["services"].items()
            }
            return State(document["environment"], document["bootstrap"], services)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError(
                f"{self.state_path} is damaged ({error}): end its processes and remove it"
            ) from error

    def save(self, state: State) -> None:
        """Replace what is known."""
        write_whole(self.state_path, json.dumps(asdict(state), indent=2) + "\n")

    def service(self, name: str) -> Service | None:
        """A service that runs, or None."""
        known = self.state()
        return known.running().get(name) if known else None

    def bootstrap(self) -> str | None:
        """The address of the local Kafka; None where it does not run."""
        known = broker_state.load(self.kafka / "state.json")
        if known is None or len(known.running()) < len(known.nodes):
            return None
        return ",".join(f"{LOOPBACK}:{node.client_port}" for node in known.nodes)

    def key(self) -> str | None:
        """The key that `drawdown up` made, or None."""
        try:
            return self.key_path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def save_key(self, secret: str) -> None:
        """Keep a key for its owner's eyes only."""
        draft = self.key_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret + "\n")
        draft.replace(self.key_path)


READY: Final = "ready"


def health(url: str) -> str:
    """What `/readyz` says: `ready`, `not ready: ...` or `does not answer`. Waits at most 2 s."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            return READY
        said = json.loads(body)
        wanting = (f"{name} {value}" for name, value in said.items() if name != "ready")
        return "not ready: " + ", ".join(wanting)
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return "does not answer"
    finally:
        connection.close()
