"""Holding a port: nobody else gets it, Kafka does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from drawdown.broker.errors import BrokerError
from drawdown.broker.ports import HeldPorts


@pytest.fixture
def ports() -> Iterator[HeldPorts]:
    held = HeldPorts()
    yield held
    held.release()


def _listener(port: int) -> socket.socket:
    """As Java opens one."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_a_broker_can_listen_on_a_held_port_and_on_it_again(ports: HeldPorts) -> None:
    port = ports.take_free()
    for _ in range(2):
        with _listener(port), socket.create_connection(("127.0.0.1", port)):
            pass


def test_nobody_else_gets_a_held_port(ports: HeldPorts) -> None:
    port, others = ports.take_free(), HeldPorts()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port))
    assert others.take_free() != port
    others.release()


def test_a_taken_port_is_refused_in_one_line_that_names_it(ports: HeldPorts) -> None:
    free = ports.take_free()
    with _listener(free):
        with pytest.raises(BrokerError) as refusal:
            ports.take(free, "broker 1")
        assert str(refusal.value) == (
            f"port {free} is not available for broker 1 (Address already in use):"
            " stop what listens there, or choose another port"
        )


def test_a_port_that_cannot_exist_is_refused(ports: HeldPorts) -> None:
    with pytest.raises(BrokerError, match="port 70000 is not available"):
        ports.take(70_000, "broker 1")


def test_a_port_where_connections_still_end_is_free(ports: HeldPorts) -> None:
    port = ports.take_free()
    with _listener(port) as listener, socket.create_connection(("127.0.0.1", port)) as client:
        server, _ = listener.accept()
        server.close()  # the side that closes first keeps the connection in TIME_WAIT
        assert client.recv(1) == b""
    ports.release()
    assert ports.take(port, "broker 1") == port


def test_a_preferred_port_is_given_if_it_is_free(ports: HeldPorts) -> None:
    port = ports.take_free()
    ports.release()
    assert ports.take_free(port) == port
    ports.release()
    with _listener(port):
        assert ports.take_free(port) != port


def test_free_ports_are_outside_those_of_outgoing_connections(ports: HeldPorts) -> None:
    range_text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    first = int(range_text.split()[0])
    assert first < 21_000 or all(ports.take_free() < first for _ in range(20))
