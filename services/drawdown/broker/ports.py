"""Loopback ports for brokers: the wanted ones, or free ones, held until Kafka listens on them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from pathlib import Path

from .errors import BrokerError

LOOPBACK = "127.0.0.1"
FREE_PORT_MIN = 20_000
_CHOICE = random.SystemRandom()  # not the global one: a test that seeds it must not seed our ports


class HeldPorts:
    """Ports that nobody else can take meanwhile.

    A held port is bound and not listened on. Linux lets a second socket bind it if both set
    SO_REUSEADDR, which Java does; setting it on ours only after the bind keeps other holders out.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def take(self, port: int, purpose: str) -> int:
        """Hold exactly `port`. Raises `BrokerError` if something listens on it."""
        holder = socket.socket()
        # Before the bind: connections that wait out their end (TIME_WAIT) do not make a port taken.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            holder.close()
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise BrokerError(
                f"port {port} is not available for {purpose} ({reason}): stop what listens there,"
                " or choose another port"
            ) from error
        self._sockets[port] = holder
        return port

    def take_free(self, preferred: int | None = None) -> int:
        """Hold `preferred` if it is free, else some free port, below the range from which the
        system takes those of outgoing connections: one of these could land on a broker's port
        while that broker is down."""
        if preferred is not None:
            try:
                return self.take(preferred, "a broker")
            except BrokerError:
                pass  # a preference, not a wish
        below = _outgoing_port_min()
        candidates: Iterable[int] = [0] * 100
        if below - FREE_PORT_MIN >= 1_000:
            candidates = _CHOICE.sample(range(FREE_PORT_MIN, below), 100)
        for candidate in candidates:
            holder = socket.socket()
            try:
                holder.bind((LOOPBACK, candidate))
            except OSError:
                holder.close()
                continue
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port = int(holder.getsockname()[1])
            self._sockets[port] = holder
            return port
        raise BrokerError("found no free port on the loopback interface: close some programs")

    def release(self) -> None:
        """Let go of all of them."""
        while self._sockets:
            self._sockets.popitem()[1].close()


def _outgoing_port_min() -> int:
    text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    return int(text.split()[0])
