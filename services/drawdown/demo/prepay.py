"""Ten dollars and a hundred agents: what a balance minutes old costs, and what a hold saves.

Google's prepay for Gemini may stop work up to ten minutes late; a hundred agents at 0.02 USD a
second spend 1,200 USD in that time (example 20 of the domain's). The same load is played three
times, each with a wallet of its own, a minute in a second (60 to 1): by a balance of ten minutes
ago, authorized without a hold, and authorized with one. Every step's usage is booked in all three:
what was used is a fact.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from drawdown.demo.play import Player
from drawdown.demo.traffic import AGENT_METER, AGENT_PRICE
from drawdown.demo.watch import Watch
from drawdown.events.numbers import amount_of, amount_text

PAID: Final = "10"
AGENTS: Final = 100
STEP_S: Final = 60
"""Of an agent's work between two questions."""
COMPRESSED: Final = 60
LATE_S: Final = 600

Asked = Callable[[int], Awaitable[str | None]]
"""May an agent take its step? The id of its hold, empty without one; None is no."""


@dataclass
class Outcome:
    """What came of one of the three."""

    customer: str
    how: str
    steps: int = 0
    denied: int = 0
    shortfall: str = ""
    over: str = "0"
    """USD spent beyond what was paid."""


class Prepay:
    """The three plays, side by side."""

    def __init__(self, player: Player, watch: Watch) -> None:
        self._player = player
        self._watch = watch
        self.late = Outcome("prepay-late", "by a balance 10 minutes old")
        self.checked = Outcome("prepay-checked", "authorized, nothing held")
        self.held = Outcome("prepay-held", "authorized with holds")
        self._numbers = itertools.count()

    async def play(self) -> list[Outcome]:
        """Play all three; returns when all they used is booked. Raises DemoError."""
        outcomes = [self.late, self.checked, self.held]
        for outcome in outcomes:
            self._watch.follow(outcome.customer)
            await self._player.grant(outcome.customer, PAID, "paid", outcome.customer, proved=False)
        async with asyncio.TaskGroup() as group:
            for _ in range(AGENTS):
                group.create_task(self._agent(self.late, self._by_old_balance))
                group.create_task(self._agent(self.checked, self._by_check))
                group.create_task(self._agent(self.held, self._by_hold))
        for outcome in outcomes:
            spent = amount_of(AGENT_PRICE) * STEP_S * outcome.steps
            left = amount_of(PAID) - spent
            await self._watch.until_balance(outcome.customer, left)
            outcome.over = amount_text(max(-left, 0))
        return outcomes

    async def _agent(self, outcome: Outcome, asked: Asked) -> None:
        while (hold := await asked(next(self._numbers))) is not None:
            await asyncio.sleep(STEP_S / COMPRESSED)
            data: dict[str, Any] = {"seconds": STEP_S}
            if hold:
                data |= {"hold": hold, "final": True}
            outcome.steps += 1
            await self._player.report(
                f"step-{next(self._numbers)}", outcome.customer, AGENT_METER, data, None
            )

    async def _by_old_balance(self, _: int) -> str | None:
        """As a biller that is ten minutes behind sees it."""
        old = self._watch.balance_before(self.late.customer, LATE_S / COMPRESSED)
        return "" if old > 0 else None

    async def _by_check(self, number: int) -> str | None:
        return await self._authorize(self.checked, number, {})

    async def _by_hold(self, number: int) -> str | None:
        return await self._authorize(self.held, number, {"require": "hold"})

    async def _authorize(self, outcome: Outcome, number: int, more: dict[str, str]) -> str | None:
        decision = await self._player.authorize(
            f"ask-{number}", outcome.customer, AGENT_METER, {}, {"seconds": STEP_S}, more
        )
        if decision["allowed"]:
            hold = decision.get("hold")
            return str(hold["id"]) if hold else ""
        outcome.denied += 1
        outcome.shortfall = decision.get("shortfall") or ""
        return None
