"""What can go wrong, as callers see it.

    DrawdownError
      Denied             the answer is no: `reason`, `shortfall`, `budgets`, `retry_at`, `decision`
      RefusedError       it cannot be done as it was asked: `status`, `code`, `field`, `errors`
        AccessError        no key, or one that may not (401, 403)
        ConflictError      the same id was used before with other content (422)
        HoldGoneError      the hold is unknown, closed or expired (404, 409)
      UnavailableError   no answer in time, also after retries: the same id gets it later

What httpx raises is one of them by the time a caller sees it. A value that cannot be sent at all,
such as a float for a quantity, is a TypeError or ValueError before anything is sent.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import httpx
import msgspec

from drawdown.events.decisions import Decision
from drawdown.events.limits import LimitState
from drawdown.events.reasons import Reason

HOLD_GONE: Final = frozenset({"hold_unknown", "hold_closed", "hold_expired"})
CONFLICT: Final = 422
ACCESS: Final = (401, 403)
SAID: Final = frozenset({Reason.BUDGET_EXCEEDED, Reason.BLOCKED})
"""Reasons whose detail says what to wait for, or whom to ask."""


class DrawdownError(Exception):
    """The root of all of them."""


class Denied(DrawdownError):  # noqa: N818 - an answer, not a fault
    """May this run? No. Nothing was held and nothing is remembered: ask again when it may."""

    def __init__(self, decision: Decision) -> None:
        short = f", short of {decision.shortfall} {decision.asset}" if decision.shortfall else ""
        if decision.reason in SAID and decision.detail:
            short = f", {decision.detail}"
        super().__init__(f"{decision.id}: {decision.reason}{short}")
        self.decision = decision
        self.reason = str(decision.reason)
        self.shortfall = decision.shortfall
        """How much more would have been needed, as decimal text in `decision.asset`."""
        self.budgets: tuple[LimitState, ...] = tuple(
            [each for each in decision.limits if each.wanted is not None]
        )
        """The budgets that denied it: of each what is `left`, what was `wanted`, and when it
        `resets_at`. Empty where none did."""

    @property
    def retry_at(self) -> datetime | None:
        """When each budget that denied it has begun its next window: asked before, the answer is no
        again, unless something is given back or a cap is raised. None where no time helps: another
        reason, or a budget whose window does not end by the calendar."""
        ends = [each.resets_at for each in self.budgets]
        return max((end for end in ends if end is not None), default=None) if all(ends) else None


class RefusedError(DrawdownError):
    """What was asked cannot be done; asked again, it cannot be done either."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        code, field = str(problem.get("code", "")), problem.get("field")
        detail = str(problem.get("detail", f"HTTP {status}"))
        super().__init__(f"{field}: {detail}" if field else detail)
        self.status = status
        self.code = code
        self.field = field
        self.errors: list[dict[str, Any]] = problem.get("errors", [])
        """What is wrong with each event, where all were refused."""
        self.request_id = problem.get("request_id")


class AccessError(RefusedError):
    """No key, or one that may not do this."""


class ConflictError(RefusedError):
    """The same id was used before with other content: give each thing its own."""


class HoldGoneError(RefusedError):
    """The hold is unknown, or was captured, released or expired before."""


class UnavailableError(DrawdownError):
    """No answer in time. Whether it was done is unknown: ask again with the same id."""


def refusal(response: httpx.Response) -> RefusedError:
    """The error that an answer is."""
    try:
        problem = msgspec.json.decode(response.content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"HTTP {response.status_code}"}
    kind = RefusedError
    if response.status_code in ACCESS:
        kind = AccessError
    elif response.status_code == CONFLICT:
        kind = ConflictError
    elif problem.get("code") in HOLD_GONE:
        kind = HoldGoneError
    return kind(response.status_code, problem)
