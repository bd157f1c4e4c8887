"""Running an HTTP service: uvicorn, on one address, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import suppress
from typing import Final

import uvicorn
from fastapi import FastAPI

CONCURRENT_MAX: Final = 2_000
DRAIN_S: Final = 10.0
DRAIN_BEAT_S: Final = 0.05
FINISH_S: Final = 5
"""For connections to close once nothing is in hand any more."""
STARTUP_FAILED: Final = 3
"""The exit status of a server that could not start, as uvicorn has it."""


def serve(app: FastAPI, host: str, port: int, drain_s: float = DRAIN_S) -> None:
    """Serve until SIGTERM or SIGINT; what is in hand is finished, for `drain_s` at most."""
    server = Server(app, host, port, drain_s)
    # uvicorn raises the signal once more when all is done, which would be no good end.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with suppress(KeyboardInterrupt):  # SIGINT is passed on once all is done
        server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


class Server(uvicorn.Server):
    """A server that says when it stops, so that streams end and do not hold it up, and that goes on
    listening while it finishes what it has in hand: who comes then is answered 503."""

    def __init__(self, app: FastAPI, host: str, port: int, drain_s: float = DRAIN_S) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONCURRENT_MAX,
                timeout_graceful_shutdown=FINISH_S,
                timeout_keep_alive=75,
            )
        )
        self._app = app
        self._drain_s = drain_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stopping.set()
        now = asyncio.get_running_loop().time
        end = now() + self._drain_s
        while self._app.state.in_hand.requests and now() < end and not self.force_exit:
            await asyncio.sleep(DRAIN_BEAT_S)
        await super().shutdown(sockets)
