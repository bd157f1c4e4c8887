"""What consumers and producers of the in-memory cluster have in common: the process they live in.

A process dies, stops and loses its network as a whole. It counts as sending its heartbeats exactly
while it runs and is reachable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .broker import Broker
from .errors import KilledError
from .faults import Fault, Faults

RUNNING: Final = "running"
PAUSED: Final = "paused"
KILLED: Final = "killed"


class Process:
    """Where clients live. `state` is one of running, paused, killed."""

    def __init__(self, name: str, broker: Broker, faults: Faults) -> None:
        self.name = name
        self.state: str = RUNNING
        self.broker = broker
        self.faults = faults
        self.connected = True
        self.clients: list[Client] = []
        self._cut_since_ms = 0

    @property
    def reachable(self) -> bool:
        """Whether the broker answers it."""
        return self.connected and self.broker.up

    @property
    def unreachable_since_ms(self) -> int:
        """When that began; the later cause counts, which is kind by at most one session."""
        if not self.broker.up:
            return self.broker.down_since_ms
        return self._cut_since_ms

    def kill(self) -> None:
        """SIGKILL: nothing of it runs again, and nobody is told. Its open transaction waits for its
        timeout, its members for the end of their sessions."""
        self.broker.tick()
        self.state = KILLED
        self._fall_silent()

    def pause(self) -> None:
        """SIGSTOP: no heartbeats, and no calls until `resume`."""
        self.broker.tick()
        self._must_be(RUNNING)
        self.state = PAUSED
        self._fall_silent()

    def resume(self) -> None:
        """SIGCONT: it goes on and does not know how long it was away."""
        self.broker.tick()
        self._must_be(PAUSED)
        self.state = RUNNING
        if self.connected:
            self._speak()

    def cut(self) -> None:
        """Its network is gone: all its calls time out, and no heartbeat arrives."""
        self.broker.tick()
        self.connected = False
        self._cut_since_ms = self.broker.now
        self._fall_silent()

    def heal(self) -> None:
        """Its network is back."""
        self.broker.tick()
        self.connected = True
        if self.state == RUNNING:
            self._speak()

    def _must_be(self, state: str) -> None:
        if self.state != state:
            raise RuntimeError(f"process {self.name} is {self.state}, not {state}")

    def _fall_silent(self) -> None:
        for client in self.clients:
            client.silence()

    def _speak(self) -> None:
        for client in self.clients:
            client.speak()


class Client:
    """A consumer or a producer."""

    def __init__(self, process: Process, config: Mapping[str, Any]) -> None:
        self.process = process
        self.config = dict(config)
        self._broker = process.broker
        self._faults = process.faults
        process.clients.append(self)

    def silence(self) -> None:
        """Its process sends no heartbeats from now on."""

    def speak(self) -> None:
        """Its process sends heartbeats again."""

    def _enter(self, call: str) -> Fault | None:
        """Begin a call: let time do its work, and ask what is to go wrong."""
        if self.process.state is not RUNNING:
            self._refuse(call)
        self._broker.tick()
        before = self._faults.before
        if before is None:
            return None
        fault = before(call, self)
        if self.process.state is not RUNNING:
            self._refuse(call)
        self._broker.tick()
        return fault

    def _wait(self, timeout_s: float) -> bool:
        """Wait in the middle of a call; others may act meanwhile, also on this process. False if no
        time can pass."""
        waited = self._broker.wait(timeout_s)
        if self.process.state is not RUNNING:
            self._refuse("a wait")
        return waited

    def _leave(self, call: str) -> None:
        """A call has ended well."""
        after = self._faults.after
        if after is not None:
            after(call, self)
            if self.process.state is not RUNNING:
                self._refuse(call)

    def _refuse(self, call: str) -> None:
        if self.process.state is KILLED:
            raise KilledError(f"{self.process.name} was killed at {call}")
        raise RuntimeError(f"{self.process.name} is paused at {call}: resume it first")
