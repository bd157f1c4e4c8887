"""Time as an argument: the process's clocks, and a guard against one that jumps.

Decisions take their time from the append time of what they decide; the process's clock only says
what "now" is where an input was read to its end, and how long a turn may take.
"""

from __future__ import annotations

import time
from typing import Final, Protocol


class Clock(Protocol):
    """The clocks of a process; a simulator has its own."""

    def now_ms(self) -> int:
        """Unix milliseconds, as the machine believes."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


JUMP_MS_MAX: Final = 600_000
"""How far a time may run ahead of both the process's clock and the time that has passed."""


class ClockGuard:
    """Tells whether a time can be believed enough to let timers fire on it.

    A broker whose clock jumps a month ahead must not lapse a month's grants: a time that is more
    than 10 minutes ahead of the process's clock, and of what has elapsed since the last believable
    time, stops the timers until the two agree again. Backwards needs no guard: the watermark only
    ever grows.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trusted_ms = clock.now_ms()
        self._trusted_at = clock.monotonic()
        self.jumped_ms = 0
        """By how much the last refused time was ahead; 0 while all is well."""

    def believes(self, time_ms: int) -> bool:
        elapsed_ms = int((self._clock.monotonic() - self._trusted_at) * 1000)
        ahead_ms = time_ms - max(self._clock.now_ms(), self._trusted_ms + elapsed_ms)
        if ahead_ms > JUMP_MS_MAX:
            self.jumped_ms = ahead_ms
            return False
        self.jumped_ms = 0
        if time_ms > self._trusted_ms:
            self.trust(time_ms)
        return True

    def trust(self, time_ms: int) -> None:
        """It is that late now, whatever was believed before."""
        self._trusted_ms = time_ms
        self._trusted_at = self._clock.monotonic()
