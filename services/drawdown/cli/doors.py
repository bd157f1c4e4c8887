"""The doors of the gateway and the query service, as commands use them."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE, CommandError
from drawdown.cli.render import tell
from drawdown.events.codec import RecordError, decode_any, encode

TIMEOUT: Final = httpx.Timeout(35.0, connect=3.0)
"""Longer than a decision may be waited for."""
PATIENCE_S: Final = 30.0
"""How long a command goes on asking for a decision that none could be had for in time."""
KEY_REFUSED: Final = (401, 403)
NOT_NOW: Final = 503
UNDECIDED: Final = "no_decision"


class Door:
    """One service over HTTP, to be used in a `with`. What it refuses is a CommandError."""

    def __init__(self, name: str, url: str, key: str) -> None:
        self._name = name
        self._url = url.rstrip("/")
        # Reading the certificates there are takes 0.1 s, which plain HTTP has no use for.
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if url.startswith("http://") else True
        self._client = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT,
            verify=trusted,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """The answer to a GET, with exact numbers."""
        return decode_any(self.get_bytes(path, parameters))

    def get_bytes(self, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """The answer to a GET, byte for byte."""
        return self._asked("GET", path, params=dict(parameters or {})).content

    def post(self, path: str, content: Any) -> Any:
        """The answer to a POST of JSON, with exact numbers."""
        return decode_any(self.post_bytes(path, encode(content), "application/json"))

    def post_bytes(self, path: str, content: bytes, media: str) -> bytes:
        """The answer to a POST, byte for byte."""
        return self._asked("POST", path, content=content, headers={"Content-Type": media}).content

    def put(self, path: str, content: Any) -> bytes:
        """The answer to a PUT of JSON, byte for byte."""
        json = {"Content-Type": "application/json"}
        return self._asked("PUT", path, content=encode(content), headers=json).content

    def changes(self, path: str) -> Iterator[bytes]:
        """The data of server-sent events, as they come, until the service ends."""
        try:
            with self._client.stream("GET", path, timeout=httpx.Timeout(None, connect=3.0)) as got:
                if got.is_error:
                    got.read()
                    raise self._refused(got)
                for line in got.iter_lines():
                    if line.startswith("data: "):
                        yield line.removeprefix("data: ").encode()
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def _asked(self, method: str, path: str, **content: Any) -> httpx.Response:
        """What was answered. A question without a decision in time is asked again, as it says: it
        has the same id, so it is decided once."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                response = self._client.request(method, path, **content)
            except httpx.HTTPError as error:
                raise self._away(error) from None
            if not response.is_error:
                return response
            refused = self._refused(response)
            undecided = refused.problem.get("code") == UNDECIDED
            if not undecided or time.monotonic() > until:
                raise refused
            tell("no decision yet: asking again")
            time.sleep(float(response.headers.get("Retry-After", "1")))

    def _away(self, error: httpx.HTTPError) -> CommandError:
        detail = str(error) or type(error).__name__
        return CommandError(
            f"the {self._name} does not answer at {self._url} ({detail}): run `drawdown up`, or set"
            f" DRAWDOWN_{self._name.upper()}",
            UNREACHABLE,
        )

    def _refused(self, response: httpx.Response) -> ProblemError:
        """A problem (RFC 9457) as an error; `problem` has all of it."""
        try:
            problem = decode_any(response.content)
        except RecordError:
            problem = None
        if not isinstance(problem, dict):
            problem = {"detail": f"HTTP {response.status_code}"}
        code, field = problem.get("code"), problem.get("field")
        detail = problem.get("detail") or response.reason_phrase
        line = f"{field}: {detail}" if field else str(detail)
        if code:
            line = f"{line} [{code}]"
        status = response.status_code
        exit_code = USAGE if status in KEY_REFUSED else UNREACHABLE if status == NOT_NOW else FAILED
        return ProblemError(line, exit_code, problem)


class ProblemError(CommandError):
    """What a service refused."""

    def __init__(self, line: str, code: int, problem: Mapping[str, Any]) -> None:
        super().__init__(line, code)
        self.problem = problem


def in_path(text: str) -> str:
    """A customer's id as a part of a path. Dots too: `..` would be taken for a step up."""
    return quote(text, safe="").replace(".", "%2E")
