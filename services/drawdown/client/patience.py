"""When to ask again, and when to give up: the same for both clients, and without any I/O.

Asked again is what the gateway did not get or could not answer in time: connection errors, 429 and
503. Each time it is the same bytes under the same id, so that nothing is done twice. Pauses double
from 50 ms up to 2 s, with chance in them so that many callers do not come back at once, and are
never shorter than `Retry-After` says; together with the tries they end after `patience_s`.
"""

from __future__ import annotations

import random
import time
from typing import Final

import httpx

from drawdown.client.errors import UnavailableError, refusal

AGAIN: Final = (429, 502, 503, 504)
FIRST_S: Final = 0.05
LONGEST_S: Final = 2.0


class Patience:
    """The patience there is for one question."""

    def __init__(self, patience_s: float) -> None:
        self._end = time.monotonic() + patience_s
        self._pause_s = FIRST_S

    def refused(self, response: httpx.Response) -> float:
        """How long to wait after an error's answer. Raises RefusedError, UnavailableError."""
        error = refusal(response)
        if response.status_code not in AGAIN:
            raise error
        try:
            told_s = float(response.headers.get("retry-after", "0"))
        except ValueError:
            told_s = 0.0
        return self._wait(f"{error} [{error.code}]", None, told_s)

    def failed(self, error: httpx.RequestError) -> float:
        """How long to wait after a connection's error. Raises UnavailableError."""
        return self._wait(f"{type(error).__name__}: {error}", error, 0.0)

    def _wait(self, why: str, cause: Exception | None, told_s: float) -> float:
        pause_s = max(told_s, self._pause_s * random.uniform(0.5, 1.0))
        self._pause_s = min(self._pause_s * 2, LONGEST_S)
        if time.monotonic() + pause_s > self._end:
            raise UnavailableError(why) from cause
        return pause_s
