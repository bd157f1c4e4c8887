"""What a service takes on at once: so many requests, so many bytes of bodies, and no more.

What is beyond is refused with 429 and `Retry-After` before memory is spent on it, and with 503 once
the service was told to stop. A caller who goes away is not worked for any longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drawdown.web.problems import ProblemError, response

REQUESTS_MAX: Final = 1_500
"""In hand at once: below what uvicorn closes the door at, which says nothing of when to return."""
BYTES_MAX: Final = 256 << 20
"""Of bodies in hand, as they came and unzipped."""
UNBOUNDED: Final = ("/livez", "/readyz", "/metrics")
"""Doors that say how a service is: they answer however it is."""
STOPPING_RETRY_S: Final = 2

T = TypeVar("T")


class InHand:
    """What a service has in hand."""

    def __init__(self, requests_max: int = REQUESTS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.requests = 0
        self.bytes = 0
        self.requests_max = requests_max
        self.bytes_max = bytes_max


class Bounded:
    """The middleware that counts and refuses."""

    def __init__(self, app: ASGIApp, in_hand: InHand, stopping: asyncio.Event) -> None:
        self._app = app
        self._in_hand = in_hand
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNBOUNDED:
            await self._app(scope, receive, send)
            return
        refused = self._refused()
        if refused is not None:
            await response(refused, Request(scope))(scope, receive, send)
            return
        in_hand, taken = self._in_hand, 0

        def take(count: int) -> None:
            nonlocal taken
            if in_hand.bytes + count > in_hand.bytes_max:
                raise busy(f"{in_hand.bytes} bytes of other requests are in hand")
            taken += count
            in_hand.bytes += count

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                take(len(message.get("body", b"")))
            return message

        scope.setdefault("state", {})["take_bytes"] = take
        in_hand.requests += 1
        try:
            await self._app(scope, received, send)
        finally:
            in_hand.requests -= 1
            in_hand.bytes -= taken

    def _refused(self) -> ProblemError | None:
        if self._stopping.is_set():
            return ProblemError(
                503,
                "stopping",
                "this instance stops; another one, or the next, takes it",
                retry_after_s=STOPPING_RETRY_S,
                headers={"Connection": "close"},
            )
        if self._in_hand.requests >= self._in_hand.requests_max:
            return busy(f"{self._in_hand.requests} requests are in hand")
        return None


def busy(why: str) -> ProblemError:
    """Too much at once: nothing was done, and the same may be sent again in a second."""
    return ProblemError(429, "busy", why, retry_after_s=1)


class CallerGoneError(Exception):
    """Nobody waits for the answer any more."""


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do this while the caller is there. Raises CallerGoneError, the work cancelled, where they go.

    The request's body must have been read: what else comes is that they went.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerGoneError
        return working.result()
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
