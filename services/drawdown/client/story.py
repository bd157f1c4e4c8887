"""One run, from the question to its end: what it used, and what is to be asked next. No I/O.

A run that was held is captured or released exactly once. Usage whose hold is gone when it is to be
captured - it took longer than the hold lived - is reported as a usage event instead: what happened
is booked. So is the usage of a run that was let through in an outage, or asked a replica only: it
has no hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from drawdown.client import questions
from drawdown.client.advice import worth
from drawdown.client.errors import Denied
from drawdown.client.questions import Amount, Number, Quantities, Question, Require
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason

ID_MAX: Final = 240
"""Of a run's id: those derived from it must stay below 256."""


class Story:
    """What is known of a run."""

    def __init__(
        self,
        customer: str,
        meter: str,
        dimensions: Mapping[str, str],
        estimate: Quantities | Amount | None,
        *,
        require: Require,
        id: str,
        terms: Mapping[str, Any],
    ) -> None:
        if require not in questions.REQUIRES:
            raise ValueError(f"require: {require!r}: use one of {', '.join(questions.REQUIRES)}")
        if not 0 < len(id) <= ID_MAX:
            raise ValueError(f"id: 1 to {ID_MAX} characters")
        self.id = id
        self.customer = customer
        self.hold = require == "hold"
        self.advisory = require == "advisory"
        """Whether a replica is asked and not the gateway."""
        if self.advisory and terms:
            raise ValueError(f"{sorted(terms)[0]}: not for require: advisory, it holds nothing")
        self.worth = worth(estimate) if self.advisory else None
        self.question = questions.authorize(
            customer,
            meter,
            id=id,
            dimensions=dimensions,
            estimate=estimate,
            **({"require": "hold"} if self.hold else {}),
            **terms,
        )
        self.ended = False
        """Whether nothing is left to be captured or released."""
        self.meter = meter
        self.dimensions = dict(dimensions)
        self._used: dict[str, Decimal] = {}
        self._pending: list[Question] | None = None
        self._pending_final = False
        self._parts = 0
        self._extensions = 0

    def begin(self, decision: Decision) -> Decision:
        """Take the authorization's answer. Raises Denied."""
        if not decision.allowed:
            self.ended = True
            raise Denied(decision)
        if decision.reason == Reason.OUTAGE_OPEN:
            self.hold = False  # it runs by the terms for an outage: nothing was held for it
        self.ended = not self.hold
        return decision

    def use(self, quantities: Mapping[str, Number]) -> None:
        """Add to what was used."""
        for name, value in questions.quantities(quantities).items():
            self._used[name] = self._used.get(name, Decimal(0)) + Decimal(value)

    @property
    def owed(self) -> bool:
        """Whether something was used that is not captured, or not known to be."""
        return self._pending is not None or any(self._used.values())

    def capture(self, usage: Quantities | Amount | None, *, final: bool) -> list[Question]:
        """What to ask to have usage debited: the second where the first finds the hold gone.

        A capture that was not answered is repeated as it was, for it may have been done.
        """
        if self._pending is not None and usage is None:
            return self._pending
        given = dict(self._used) if usage is None else usage
        if not given:
            raise ValueError("nothing was used: give what to capture, or let the hold be released")
        asked = self._asked(given, final=final and not self.ended)
        if self._pending is not None and asked != self._pending:
            raise ValueError("a capture is not answered yet: repeat it without usage first")
        if self._pending is None:
            self._used.clear()
        self._pending = asked
        self._pending_final = final
        return asked

    def _asked(self, usage: Quantities | Amount, *, final: bool) -> list[Question]:
        name = f"{self.id}/capture" if final else f"{self.id}/capture-{self._parts}"
        asked = []
        if self.hold and not self.ended:
            content: dict[str, Any] = {"id": name, "final": final}
            if isinstance(usage, Amount):
                content["amount"] = str(questions.number(usage.amount))
            else:
                content["quantities"] = questions.quantities(usage)
            asked.append(questions.about_hold("capture", self.id, self.customer, **content))
        if not isinstance(usage, Amount):
            asked.append(self._report(name, usage))
        if not asked:
            raise ValueError("without a hold there is no amount to capture: give quantities")
        return asked

    def captured(self) -> None:
        """What was asked last is done."""
        self._pending = None
        self._parts += 1
        self.ended = self.ended or self._pending_final

    def refused(self) -> None:
        """What was asked last cannot be done, and was not."""
        self._pending = None

    def _report(self, name: str, usage: Quantities) -> Question:
        event = {
            "id": name,
            "type": self.meter,
            "customer": self.customer,
            "data": {**self.dimensions, **questions.quantities(usage)},
        }
        return questions.events([event], wait=True)

    def release(self, reason: str | None) -> Question:
        """What to ask to have the rest given back."""
        content = {"id": f"{self.id}/release"}
        if reason is not None:
            content["reason"] = reason[:256]
        return questions.about_hold("release", self.id, self.customer, **content)

    def extend(self, seconds: int) -> Question:
        """What to ask to have the hold live so much longer, from now."""
        self._extensions += 1
        name = f"{self.id}/extend-{self._extensions}"
        content: dict[str, Any] = {"id": name, "expires_in_s": seconds}
        return questions.about_hold("extend", self.id, self.customer, **content)
