"""How each customer stood after each entry: what a decision at that sequence should have read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tests.simulation.topics import ms, pico
from tests.simulation.verdict import Verdict

USD: Final = "USD"
ALWAYS: Final = 0
NEVER: Final = 1 << 62


@dataclass(frozen=True)
class Standing:
    """A customer after an entry. Amounts are in 10^-12 USD."""

    left: dict[str, int] = field(default_factory=dict)
    """By grant, without what is held."""
    times: dict[str, tuple[int, int]] = field(default_factory=dict)
    """When each grant begins and ends, ms."""
    credit: int = 0
    limit: int = 0
    holds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Open ones: when each ends, ms, and what it holds."""
    ended: dict[str, str] = field(default_factory=dict)
    """Closed ones, by the kind of entry that closed them."""
    cap: int | None = None
    """Of the customer's budget; None where there is none."""
    used: int = 0
    """That counts in the budget."""
    counted: dict[str, int] = field(default_factory=dict)
    """What open holds count in it."""

    @property
    def budget_left(self) -> int | None:
        if self.cap is None:
            return None
        return max(self.cap - self.used - sum(self.counted.values()), 0)

    def available(self, at_ms: int) -> int:
        """What an authorization at a time could be paid with."""
        free = sum(
            amount
            for grant, amount in self.left.items()
            if self.times[grant][0] <= at_ms < self.times[grant][1]
        )
        return free + max(self.limit - self.credit, 0)


class Standings:
    """Of all customers, by sequence: the first is before any entry."""

    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._of: dict[str, list[Standing]] = defaultdict(lambda: [Standing()])

    def of(self, customer: str) -> list[Standing]:
        return self._of[customer]

    def after(
        self,
        entry: dict[str, Any],
        totals: dict[str, Any],
        grants: dict[str, Decimal],
        holds: dict[str, dict[str, Any]],
    ) -> None:
        """An entry was folded."""
        data, kind = entry["data"], entry["type"].rpartition(".")[2]
        history = self._of[entry["subject"]]
        before = history[-1]
        total = totals[USD]
        standing = Standing(
            left={grant: _pico(amount) for grant, amount in grants.items()},
            times=_times(before, data) if kind == "grant" else before.times,
            credit=_pico(total["credit"]),
            limit=_limit(data) if kind == "terms" else before.limit,
            holds={
                name: (ms(hold["expires"]), _pico(sum(hold["parts"].values())))
                for name, hold in holds.items()
            },
            ended={**before.ended, data["hold"]["id"]: kind} if _closes(data) else before.ended,
            **_budget(before, kind, data),
        )
        history.append(standing)
        self._check(entry["id"], before, standing, total)

    def _check(self, name: str, before: Standing, after: Standing, total: Any) -> None:
        check = self._verdict.check
        out = total["debit"] + total["lapse"] + total["held"]
        unspent = sum(after.left.values())
        made = _pico(total["grant"] - out + total["credit"] + total["overdrawn"]) - unspent
        check("1", not made, f"{name}: {made} out of balance")
        check("5", min(after.left.values(), default=0) >= 0, f"{name}: a grant is below zero")
        grew = after.credit > before.credit
        check("5", not grew or after.credit <= after.limit, f"{name}: more credit than its limit")


def _budget(before: Standing, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """What counts in the budget after an entry: what is used and held from when it was set on."""
    if kind == "budget":
        cap = pico(data["budget"]["terms"]["cap"])
        return {"cap": cap, "used": before.used, "counted": before.counted}
    if before.cap is None:
        return {}
    used, counted = before.used, dict(before.counted)
    if kind in ("debit", "capture"):
        used += pico(data["amount"])
    if kind == "hold":
        counted[data["hold"]["id"]] = pico(data["amount"])
    elif "hold" in data and data["hold"]["id"] in counted:
        hold = data["hold"]
        out = pico(hold.get("before", "0")) - pico(hold.get("after", "0"))
        counted[hold["id"]] = max(counted[hold["id"]] - out, 0)
        if _closes(data):
            del counted[hold["id"]]
    return {"cap": before.cap, "used": used, "counted": counted}


def _closes(data: dict[str, Any]) -> bool:
    return bool(data.get("hold", {}).get("closed", False))


def _times(before: Standing, data: dict[str, Any]) -> dict[str, tuple[int, int]]:
    terms = data["grant"]
    begins = ALWAYS if terms.get("at_once") else ms(terms["effective_at"])
    ends = ms(terms["expires_at"]) if "expires_at" in terms else NEVER
    return {**before.times, terms["id"]: (begins, ends)}


def _limit(data: dict[str, Any]) -> int:
    return pico(data["terms"].get("credit_limits", {}).get(USD, "0"))


def _pico(amount: Decimal | int) -> int:
    return int(Decimal(amount).scaleb(12))
