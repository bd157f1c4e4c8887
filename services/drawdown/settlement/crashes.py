"""Dying on purpose, at a named point of the loop: for fault tests, and for them alone.

`DRAWDOWN_CRASH_AT=committed:3` kills the process with SIGKILL the third time its loop comes to that
point; `stream.loop` has the points where they are. Configuration refuses it in every environment
whose name does not begin with `faults`.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = ("fired", "produced", "offsets-sent", "committed", "stored")
"""In the order a turn comes to them: timers fired; records handed to the producer; offsets in the
transaction; transaction committed; store written."""


class CrashAt:
    """Kills this process the `times`-th time the loop is at `point`."""

    def __init__(self, point: str, times: int) -> None:
        self._point = point
        self._left = times

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def crash_at(said: str) -> CrashAt:
    """Of `point` or `point:times`. Raises ValueError where there is no such point."""
    point, _, times = said.partition(":")
    if point not in POINTS:
        raise ValueError(f"there is no point {point!r}: use one of {', '.join(POINTS)}")
    if times and (not times.isdecimal() or int(times) < 1):
        raise ValueError(f"{times!r} is no number of times: use 1 or more")
    return CrashAt(point, int(times or "1"))
