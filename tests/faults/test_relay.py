"""The relay: it hurts one connection and no other, and delivers late what it was given."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.children import Talker
from tests.faults.relay import END_TXN

RELAY = Path(__file__).with_name("relay.py")
METADATA = 3


class Broker:
    """Answers each frame with itself, and remembers all of them in order."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.frames: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while frame := received(connection):
                    self.frames.append(frame)
                    connection.sendall(frame)
            except OSError:
                return

    def close(self) -> None:
        self._server.close()


def received(connection: socket.socket) -> bytes:
    """The next frame; nothing at the end."""
    head = exactly(connection, 4)
    return head + exactly(connection, struct.unpack(">i", head)[0]) if head else b""


def exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            return b""
        found += part
    return found


def request(client: str, api: int = METADATA, rest: bytes = b"") -> bytes:
    """A request's frame: header version 1."""
    name = client.encode()
    body = struct.pack(">hhih", api, 0, 1, len(name)) + name + rest
    return struct.pack(">i", len(body)) + body


class Bench:
    """A broker, a relay before it, and clients."""

    def __init__(self, folder: Path) -> None:
        self.broker = Broker()
        command = [sys.executable, str(RELAY), "0", str(self.broker.port)]
        self.relay = Talker(command, folder / "relay.log", {})
        self.port = self.relay.heard(20.0)["listens"]

    def client(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20.0)

    def close(self) -> None:
        self.relay.kill()
        self.broker.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def asked(connection: socket.socket, frame: bytes) -> bool:
    """Whether it was answered with itself."""
    connection.sendall(frame)
    return received(connection) == frame


def test_what_is_asked_is_answered(bench: Bench) -> None:
    with bench.client() as client:
        assert asked(client, request("a"))
        assert asked(client, request("a", rest=b"x" * 100_000))


def test_one_client_is_cut_and_the_other_is_not(bench: Bench) -> None:
    with bench.client() as hurt, bench.client() as spared:
        assert asked(hurt, request("hurt-1"))
        assert asked(spared, request("spared"))
        assert bench.relay.tell(do="cut", client="hurt")["cut"] == 1
        with pytest.raises(ConnectionResetError):
            received(hurt)
        assert asked(spared, request("spared"))
    with bench.client() as again:
        assert asked(again, request("hurt-1"))


def test_one_that_is_refused_comes_back_when_it_is_healed(bench: Bench) -> None:
    bench.relay.tell(do="refuse", client="hurt")
    with bench.client() as client, pytest.raises(ConnectionResetError):
        asked(client, request("hurt"))
    bench.relay.tell(do="heal")
    with bench.client() as client:
        assert asked(client, request("hurt"))


def test_one_client_stands_still_until_it_is_healed(bench: Bench) -> None:
    with bench.client() as hurt, bench.client() as spared:
        assert asked(hurt, request("hurt"))
        bench.relay.tell(do="stall", client="hurt")
        hurt.sendall(request("hurt", rest=b"later"))
        assert asked(spared, request("spared"))
        assert request("hurt", rest=b"later") not in bench.broker.frames
        bench.relay.tell(do="heal")
        assert received(hurt) == request("hurt", rest=b"later")


def test_the_end_of_a_transaction_is_delivered_after_its_client_is_gone(bench: Bench) -> None:
    held = request("settlement-0.drawdown", END_TXN)
    bench.relay.tell(do="hold", client="settlement-0", api=END_TXN, ms=500)
    with bench.client() as client:
        assert asked(client, request("settlement-0.drawdown"))
        client.sendall(held)
    with bench.client() as other:
        assert asked(other, request("settlement-1", END_TXN))
        assert held not in bench.broker.frames
    deadline = time.monotonic() + 20.0
    while held not in bench.broker.frames:
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    assert bench.relay.tell(do="count")["held"] == 1


def test_a_delay_keeps_the_order(bench: Bench) -> None:
    bench.relay.tell(do="delay", client="", ms=50)
    frames = [request("a", rest=bytes([number])) for number in range(20)]
    with bench.client() as client:
        client.sendall(b"".join(frames))
        assert [received(client) for _ in frames] == frames
