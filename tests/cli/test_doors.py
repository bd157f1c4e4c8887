"""The doors as commands use them: what is asked again, and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from drawdown.cli.doors import Door, ProblemError

UNDECIDED = (503, {"code": "no_decision", "detail": "not in time"})


class Service(ThreadingHTTPServer):
    """Answers what it was given, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.asked: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        self.server.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.answers.pop(0)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def door(service: Service) -> Door:
    return Door("gateway", f"http://127.0.0.1:{service.server_port}", "a key")


def test_where_no_decision_was_had_in_time_the_same_is_asked_again(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.answers = [UNDECIDED, UNDECIDED, (200, {"allowed": True})]

    with door(service) as gateway:
        assert gateway.post("/v1/authorizations", {"id": "run-1"}) == {"allowed": True}

    assert service.asked == [b'{"id":"run-1"}'] * 3
    assert capsys.readouterr().err.count("no decision yet: asking again") == 2


def test_what_was_refused_is_not_asked_again(service: Service) -> None:
    service.answers = [(503, {"code": "busy", "detail": "too much at once"})]

    with door(service) as gateway, pytest.raises(ProblemError, match=r"too much at once \[busy\]"):
        gateway.post("/v1/authorizations", {"id": "run-1"})

    assert len(service.asked) == 1
