"""A payment provider that takes no money: for tests, and to see auto top-ups work.

    python -m drawdown.notify.sandbox --port 8794 [--fail CUSTOMER] [--no-answer CUSTOMER]

It keeps each idempotency key with its first answer, in memory. A customer may be told to fail, or
to be charged and get no answer, as a provider does whose connection breaks at the wrong moment.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

PREFIX: Final = "/charges/"
BODY_MAX: Final = 1 << 16


class Sandbox:
    """The provider, in a thread. Port 0 takes a free one; `url` says where it is.

    `before_answer` is called with each charge's key when it is charged and not answered yet.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        failing: Iterable[str] = (),
        silent: Iterable[str] = (),
        before_answer: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.failing = set(failing)
        self.silent = Counter(silent)
        """How often each customer is charged without being answered."""
        self.charges: dict[str, dict[str, Any]] = {}
        """By key: what was asked for first, and the answer."""
        self.asked: Counter[str] = Counter()
        self._before_answer = before_answer
        self._lock = threading.Lock()
        self._server = _Server((host, port), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="sandbox", daemon=True
        )

    def __enter__(self) -> Sandbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def charge(self, key: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Charge once for each key; None where no answer comes."""
        customer = str(asked.get("customer"))
        with self._lock:
            self.asked[key] += 1
            if key not in self.charges:
                number = len(self.charges) + 1
                failed = customer in self.failing
                self.charges[key] = {
                    **asked,
                    "id": f"charge-{number}",
                    "status": "failed" if failed else "succeeded",
                    **({"detail": "the card was declined"} if failed else {}),
                }
            silent = self.silent[customer] > 0
            self.silent[customer] -= silent
        self._before_answer(key)
        return None if silent else self.charges[key]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is gone is what this is for; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", "0")), BODY_MAX)
            try:
                asked = json.loads(self.rfile.read(length))
            except ValueError:
                asked = None
            key = self.headers.get("Idempotency-Key")
            if self.path != "/charges" or not key or not isinstance(asked, dict):
                self._answer(400, {"detail": "POST /charges with an Idempotency-Key"})
                return
            answer = sandbox.charge(key, asked)
            if answer is None:
                self.close_connection = True
                return
            self._answer(201 if answer["status"] == "succeeded" else 402, answer)

        def do_GET(self) -> None:
            found = sandbox.charges.get(self.path.removeprefix(PREFIX))
            self._answer(404 if found is None else 200, found or {"detail": "no such charge"})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Who runs it sees the charges in Drawdown."""

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description="A payment provider that takes no money.")
    parser.add_argument("--port", type=int, default=8794)
    parser.add_argument("--fail", action="append", default=[], metavar="CUSTOMER")
    parser.add_argument("--no-answer", action="append", default=[], metavar="CUSTOMER")
    options = parser.parse_args()
    sandbox = Sandbox(port=options.port, failing=options.fail, silent=options.no_answer)
    with sandbox:
        print(f"DRAWDOWN_PAYMENT_URL={sandbox.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
