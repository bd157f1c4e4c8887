"""A customer's month: a plan with a fee and an included grant, then overage from a top-up.

What is included is used first and stops at zero (there is no credit); what is bought pays for the
rest. The fee is invoiced outside: its entry says how much and for which time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drawdown.demo.play import Player
from drawdown.demo.traffic import AGENT_METER, AGENT_PRICE, PLAN, PLAN_FEE, PLAN_INCLUDED
from drawdown.demo.watch import Watch
from drawdown.events.numbers import amount_of, amount_text

CUSTOMER: Final = "subscriber"
USED_S: Final = (200, 200)
"""Of an agent's work, before the top-up and after it."""
ASKED_S: Final = 100
"""What does not run without one."""
TOP_UP: Final = "10"


@dataclass
class Month:
    """What came of it, in USD."""

    fee: str = PLAN_FEE
    included: str = PLAN_INCLUDED
    overage: str = "0"
    shortfall: str = ""
    left: str = "0"


async def play(player: Player, watch: Watch) -> Month:
    """Subscribe, use, be denied, buy, use. Raises DemoError, TimeoutError."""
    watch.follow(CUSTOMER)
    await player.subscribe(CUSTOMER, PLAN)
    left = amount_of(PLAN_INCLUDED)
    await watch.until_balance(CUSTOMER, left)
    left -= await _use(player, 0)
    await watch.until_balance(CUSTOMER, left)
    denied = await player.authorize(
        "month", CUSTOMER, AGENT_METER, {}, {"seconds": ASKED_S}, {"require": "check"}
    )
    await player.grant(CUSTOMER, TOP_UP, "paid", f"top-up-{CUSTOMER}", proved=False)
    overage = await _use(player, 1) - left
    left = amount_of(TOP_UP) - overage
    await watch.until_balance(CUSTOMER, left)
    return Month(
        overage=amount_text(overage),
        shortfall=denied.get("shortfall") or "",
        left=amount_text(left),
    )


async def _use(player: Player, which: int) -> int:
    """An agent's work; what it costs."""
    data = {"seconds": USED_S[which]}
    await player.report(f"month-{which}", CUSTOMER, AGENT_METER, data, None)
    return amount_of(AGENT_PRICE) * USED_S[which]
