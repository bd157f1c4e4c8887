"""The frame of an HTTP service: identified requests, problems, keys, health, metrics."""

from __future__ import annotations

import asyncio
import gzip
import io
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drawdown import __version__
from drawdown.access import Caller, Settings
from drawdown.events.codec import RecordError
from drawdown.web.bounds import Bounded, CallerGoneError, InHand
from drawdown.web.openapi import describe
from drawdown.web.problems import (
    ProblemError,
    on_caller_gone,
    on_fault,
    on_http_error,
    on_invalid,
    on_problem,
    on_record_error,
)

BODY_BYTES_MAX: Final = 5 << 20
UNZIPPED_BYTES_MAX: Final = 20 << 20
SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS: Final = Counter(
    "drawdown_http_requests", "HTTP requests by door and status.", ["door", "status"]
)
REQUEST_S: Final = Histogram(
    "drawdown_http_request_duration_seconds", "Time to answer.", ["door"], buckets=SECONDS
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def make_app(
    title: str,
    description: str,
    settings: Settings,
    ready: Callable[[], tuple[bool, dict[str, Any]]],
    lifespan: Lifespan,
) -> FastAPI:
    """An app with `/livez`, `/readyz`, `/metrics`, `/openapi.json` and problems everywhere.

    `state.stopping` is set when the server was told to stop: an answer without an end ends then.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Answers are records: what is the default may be left out of them, as on the topics.
        separate_input_output_schemas=False,
    )
    app.state.settings = settings
    app.state.session_cookie = None
    app.state.stopping = asyncio.Event()
    app.state.in_hand = InHand()
    app.add_middleware(Bounded, app.state.in_hand, app.state.stopping)
    app.add_middleware(Identified)
    app.add_exception_handler(ProblemError, on_problem)
    app.add_exception_handler(RecordError, on_record_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(CallerGoneError, on_caller_gone)
    app.add_exception_handler(Exception, on_fault)
    describe(app)

    @app.get("/livez", include_in_schema=False)
    async def livez() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        well, status = ready()
        well = well and not app.state.stopping.is_set()
        return JSONResponse({"ready": well, **status}, 200 if well else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


class Identified:
    """Gives each request an id, echoes the caller's, and counts and times the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((v for k, v in scope["headers"] if k == b"x-request-id"), b"")
        request_id = given.decode("latin-1") if 0 < len(given) <= 64 else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode("latin-1")))
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            route = scope.get("route")
            door = getattr(route, "path", "unknown")
            REQUESTS.labels(door, str(status)).inc()
            REQUEST_S.labels(door).observe(time.perf_counter() - started)


def caller_of(request: Request, permission: str, customer: str | None = None) -> Caller:
    """Who is asking. Raises ProblemError 401 or 403, and 503 while keys are still being read."""
    secret = _secret_of(request)
    if not secret:
        raise ProblemError(
            401,
            "unauthenticated",
            "send `Authorization: Bearer <key>`; make one with `drawdown keys create`",
        )
    settings: Settings = request.app.state.settings
    caller = settings.caller(secret, datetime.now(UTC))
    if caller is None and not settings.caught_up.is_set():
        raise ProblemError(503, "starting", "not every key is read yet", retry_after_s=1)
    if caller is None:
        raise ProblemError(401, "unauthenticated", "the key is unknown, revoked or expired")
    if caller.customer is not None and customer != caller.customer:
        raise ProblemError(403, "forbidden", "the token sees one customer, and not this")
    if not caller.may(permission, customer):
        raise ProblemError(403, "forbidden", f"the key lacks the permission {permission!r}")
    return caller


def _secret_of(request: Request) -> str:
    """The key or token a request comes with; empty where there is none.

    It is in the header. Only where the app has pages (`state.session_cookie` is the name of their
    cookie) a GET without the header may bring it as that cookie. Browsers send a cookie along
    unasked, so it must never be enough to change something: the doors for GET change nothing, and
    the cookie is SameSite=Strict besides (`portal.session` has the whole reasoning).
    """
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        return secret.strip() if scheme.lower() == "bearer" else ""
    cookie: str | None = request.app.state.session_cookie
    if cookie is not None and request.method == "GET":
        return request.cookies.get(cookie, "")
    return ""


async def body_of(request: Request) -> bytes:
    """The body, at most 5 MiB, unzipped if need be. Raises ProblemError 413, 415, 429."""
    size = request.headers.get("content-length", "")
    if size.isdecimal() and int(size) > BODY_BYTES_MAX:
        raise ProblemError(413, "oversized", f"{size} bytes; at most {BODY_BYTES_MAX}")
    parts: list[bytes] = []
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > BODY_BYTES_MAX:
            raise ProblemError(413, "oversized", f"more than {BODY_BYTES_MAX} bytes")
        parts.append(part)
    body = b"".join(parts)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity":
            return body
        case "gzip":
            content = _unzipped(body)
            request.state.take_bytes(len(content))
            return content
        case other:
            raise ProblemError(415, "unsupported_encoding", f"{other}: send gzip or none")


def _unzipped(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(UNZIPPED_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ProblemError(400, "malformed", f"not gzip: {error}") from None
    if len(content) > UNZIPPED_BYTES_MAX:
        raise ProblemError(413, "oversized", f"unzips to more than {UNZIPPED_BYTES_MAX} bytes")
    return content
