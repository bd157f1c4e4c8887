"""Running an HTTP service: uvicorn, on one address, until it is told to stop."""

from __future__ import annotations

from typing import Final

import uvicorn
from fastapi import FastAPI

CONCURRENT_MAX: Final = 2_000
DRAIN_S: Final = 10


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; what is in hand is finished, for 10 s at most."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONCURRENT_MAX,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
    )
