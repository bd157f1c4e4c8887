"""Problems over HTTP: RFC 9457 `application/problem+json` for every error there is.

Beside the members of the RFC a problem has `code` (a reason code), `field` where one can be named,
and `request_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from drawdown.events.codec import RecordError

PROBLEM_TYPE: Final = "application/problem+json"
TITLES: Final = {
    400: "The request is wrong",
    401: "No valid key",
    403: "The key may not do this",
    404: "There is nothing here",
    405: "Not that way",
    409: "It conflicts with what was done before",
    413: "Too large",
    415: "Not a media type of this door",
    422: "The same id was used with other content",
    429: "Too much at once",
    500: "A fault of ours",
    503: "Not now",
}
CALLER_GONE: Final = 499
"""The status of what nobody waited for, as nginx has it."""


class ItemProblem(BaseModel):
    """What is wrong with one event of several."""

    index: int = Field(description="Its place in the request, from 0")
    id: str | None = Field(description="Its id, where it could be read")
    code: str
    field: str | None
    detail: str


class Problem(BaseModel):
    """A problem, RFC 9457: how every error is answered."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="A reason code, for programs")
    detail: str = Field(description="In words, with the fix")
    field: str | None = Field(default=None, description="What it is about, such as `data.input`")
    id: str | None = Field(default=None, description="Of the command")
    errors: list[ItemProblem] = Field(default_factory=list, description="Of each refused event")
    request_id: str | None = Field(description="Also in the header X-Request-Id")


class ProblemError(Exception):
    """An error to be answered as a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        retry_after_s: int | None = None,
        extra: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        self.extra = extra or {}
        self.headers = headers or {}


def response(problem: ProblemError, request: Request) -> Response:
    """The problem as an answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": getattr(request.state, "request_id", None),
        **problem.extra,
    }
    if problem.field is not None:
        body["field"] = problem.field
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, problem.status, headers, PROBLEM_TYPE)


def refused(error: RecordError) -> ProblemError:
    """A record that cannot be, as a problem."""
    status = 413 if error.reason == "oversized" else 400
    return ProblemError(status, str(error.reason), error.detail, field=error.field)


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return response(error, request)


async def on_record_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RecordError)
    return response(refused(error), request)


async def on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    problem = ProblemError(error.status_code, code, str(error.detail), headers=error.headers)
    return response(problem, request)


async def on_invalid(request: Request, error: Exception) -> Response:
    """A parameter that FastAPI refused."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return response(ProblemError(400, "invalid", first["msg"], field=field), request)


async def on_caller_gone(_: Request, __: Exception) -> Response:
    """For the metrics: nobody reads it."""
    return Response(status_code=CALLER_GONE)


async def on_fault(request: Request, _: Exception) -> Response:
    """What nobody expected: the log has the traceback, the answer the id to find it by."""
    # Answered outside of `web.app.Identified`, which adds the header to all else.
    request_id = getattr(request.state, "request_id", "")
    problem = ProblemError(
        500,
        "internal",
        "this should not have happened, and was logged with the request's id",
        headers={"X-Request-Id": request_id},
    )
    return response(problem, request)
