"""`/livez`, `/readyz` and `/metrics` of a process that has no HTTP of its own.

`/livez` says that the process answers, and asks nothing of anybody; `/readyz` whether it can do
its work now; `/metrics` is Prometheus text.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class HealthServer:
    """A small HTTP server in a thread. Port 0 takes a free one; `port` says which."""

    def __init__(
        self,
        host: str,
        port: int,
        ready: Callable[[], bool],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.split("?", 1)[0]
                if path == "/livez":
                    self._answer(200, b"ok\n", "text/plain")
                elif path == "/readyz":
                    well = ready()
                    body = json.dumps({"ready": well, **status()}).encode()
                    self._answer(200 if well else 503, body, "application/json")
                elif path == "/metrics":
                    self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
                else:
                    self._answer(404, b"/livez /readyz /metrics\n", "text/plain")

            def _answer(self, code: int, body: bytes, kind: str) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every second; they are not news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="health", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
