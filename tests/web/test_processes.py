"""The services as processes: what they say of themselves, and how they stop."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from tests.web.live import LIMIT_S, Live, bearer, http, prepare, until

from drawdown.access import new_key, write_setting
from drawdown.events.catalogue import Environment
from drawdown.events.codec import encode

pytestmark = pytest.mark.kafka

START = "from drawdown.cli.main import main; main()"


@dataclass
class Running:
    """A service in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    client: httpx.Client

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> httpx.Response:
        return self.client.get(self.address + path)

    def ready(self) -> bool:
        assert self.process.poll() is None, "the service ended"
        try:
            return self.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def service(live: Live, name: str, home: Path, environment: str = "test") -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": live.kafka.bootstrap,
        "DRAWDOWN_ENVIRONMENT": environment,
        "DRAWDOWN_HOME": str(home),
        "DRAWDOWN_INSTANCE": "process",
        f"DRAWDOWN_{name.upper()}_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", START, name], env=variables, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        yield Running(process, port, live.anyone)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def processes(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """All three, started side by side; settlement in an environment of its own, because another
    one in the group would take partitions over."""
    home = tmp_path_factory.mktemp("processes")
    prepare(live.cluster, Environment("own"))
    with (
        service(live, "settlement", home, "own") as settlement,
        service(live, "gateway", home) as gateway,
        service(live, "query", home) as query,
    ):
        until(lambda: settlement.ready() and gateway.ready() and query.ready(), 60.0)
        yield {"settlement": settlement, "gateway": gateway, "query": query}


def test_each_says_that_it_is_alive_ready_and_busy(processes: dict[str, Running]) -> None:
    for name, running in processes.items():
        alive = running.get("/livez")
        assert (alive.status_code, alive.text) == (200, "ok\n")
        ready = running.get("/readyz")
        assert ready.json()["ready"] is True
        metrics = running.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        counted = "drawdown_records" if name == "settlement" else "drawdown_http_requests"
        assert counted in metrics.text
        assert running.get("/elsewhere").status_code == 404
    state = processes["settlement"].get("/readyz").json()
    assert (state["serving"], state["stopped"]) == ([0, 1], {})
    state = processes["query"].get("/readyz").json()
    assert (state["balances"], state["entries"], state["failed"]) == (True, True, None)


def test_a_gateway_that_is_told_to_stop_finishes_what_it_has_in_hand(
    live: Live, processes: dict[str, Running]
) -> None:
    gateway = processes["gateway"]
    customer = live.customer()
    live.grant(customer, "credit", "480")
    body = encode(live.event(customer))
    head = (
        "POST /v1/events HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        f"Authorization: {live.gateway.headers['authorization']}\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port), LIMIT_S) as line:
        line.sendall(head.encode())
        # The door has begun to read: the request is in flight.
        assert line.recv(1024).startswith(b"HTTP/1.1 100")
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: gateway.get("/readyz").status_code == 503)
        refused = live.gateway.post(f"{gateway.address}/v1/events", json=live.event(customer))
        assert (refused.status_code, refused.json()["code"]) == (503, "stopping")
        assert refused.headers["retry-after"] == "2"
        line.sendall(body)
        answer = b""
        while part := line.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 202")
    assert b'{"accepted":1,"rejected":[]}' in answer
    assert gateway.process.wait(LIMIT_S) == 0
    live.await_entry(customer, 2)


def test_who_waits_when_a_gateway_is_told_to_stop_is_answered_within_their_time(
    live: Live, tmp_path: Path
) -> None:
    """No settlement runs here: they wait until their time is up, and the process ends then."""
    environment = Environment("draining")
    prepare(live.cluster, environment)
    secret, record = new_key(("admin",), datetime.now(UTC))
    write_setting(live.cluster, environment, "api_key", record.id, record)
    headers = {**bearer(secret), "Request-Timeout": "1.5"}
    asked = {"customer": "c", "meter": "responses"}
    with (
        service(live, "gateway", tmp_path, "draining") as gateway,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        until(gateway.ready, 60.0)
        door = f"{gateway.address}/v1/authorizations"
        waiting = pool.submit(live.anyone.post, door, json=asked, headers=headers)
        until(lambda: gateway.get("/readyz").json()["waiting"] == 1)
        gateway.process.send_signal(signal.SIGTERM)
        answer = waiting.result()
        assert (answer.status_code, answer.json()["code"]) == (503, "no_decision")
        assert gateway.process.wait(LIMIT_S) == 0


def test_an_open_page_does_not_keep_the_query_service_from_stopping(
    live: Live, processes: dict[str, Running]
) -> None:
    query = processes["query"]
    path = f"{query.address}/v1/customers/nobody/stream"
    ended = threading.Event()
    with (
        http(headers=dict(live.query.headers), timeout=LIMIT_S) as client,
        client.stream("GET", path) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        query.process.send_signal(signal.SIGTERM)
        for _ in lines:  # to its end, and not to a lost connection
            pass
        ended.set()
    assert query.process.wait(LIMIT_S) == 0
    assert ended.is_set()
    assert query.process.stderr is not None
    assert b"timeout graceful shutdown exceeded" not in query.process.stderr.read()


def test_settlement_stops_when_it_is_told_to(processes: dict[str, Running]) -> None:
    process = processes["settlement"].process
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
