"""The steps of a history that are about what clients send."""

from __future__ import annotations

from typing import Any

from tests.simulation.clients import Clients
from tests.simulation.world import Time

from drawdown.events.base import at_text


class Sending:
    """What clients do: a step each."""

    clients: Clients
    _time: Time

    def do_use(self, customer: str, tokens: int, astray: bool, back_ms: int) -> None:
        self.clients.send_usage(self.clients.use(customer, tokens, back_ms), astray)

    def do_use_held(self, number: int, tokens: int, final: bool) -> None:
        if self.clients.holds:
            customer, hold = self.clients.holds[number % len(self.clients.holds)]
            self.clients.send_usage(self.clients.use(customer, tokens, hold=hold, final=final))

    def do_again(self, number: int, astray: bool) -> None:
        if self.clients.events:
            event = self.clients.events[number % len(self.clients.events)]
            self.clients.send_usage(event, astray)

    def do_twist(self, number: int) -> None:
        """An event's id again, with other content."""
        if self.clients.events:
            event = self.clients.events[number % len(self.clients.events)]
            self.clients.send_usage({**event, "data": {"input": 7_777}})

    def do_poison(self, customer: str, kind: str) -> None:
        self.clients.send_poison(customer, kind)

    def do_grant(self, customer: str, amount: str, lives_s: int) -> None:
        terms = {"expires_at": at_text(self._time.ms + lives_s * 1000)} if lives_s else {}
        self.clients.send_command(
            self.clients.ask("grant", customer, asset="USD", amount=amount, **terms)
        )

    def do_credit(self, customer: str, limit: str) -> None:
        self.clients.send_command(
            self.clients.ask("set_terms", customer, credit_limits={"USD": limit})
        )

    def do_budget(self, customer: str, cap: str) -> None:
        terms = {"asset": "USD", "cap": cap, "window": {"every": "total"}}
        self.clients.send_command(
            self.clients.ask("set_budget", customer, budget_id="b", budget=terms)
        )

    def do_check(self, customer: str, tokens: int, astray: bool) -> None:
        estimate = {"estimate": {"quantities": {"input": tokens}}} if tokens else {}
        self.clients.send_command(
            self.clients.ask("authorize", customer, meter="llm", **estimate), astray
        )

    def do_hold(self, customer: str, tokens: int, lives_s: int, deadline_ms: int) -> None:
        hold = f"h{len(self.clients.holds)}"
        self.clients.holds.append((customer, hold))
        terms: dict[str, Any] = {"hold": {"hold_id": hold, "expires_in_s": lives_s}}
        if deadline_ms:
            terms["deadline_at"] = at_text(self._time.ms + deadline_ms)
        self.clients.send_command(
            self.clients.ask(
                "authorize",
                customer,
                meter="llm",
                require="hold",
                estimate={"quantities": {"input": tokens}},
                **terms,
            )
        )

    def do_end_hold(self, kind: str, number: int, tokens: int, final: bool) -> None:
        """Capture, release or extend one."""
        if not self.clients.holds:
            return
        customer, hold = self.clients.holds[number % len(self.clients.holds)]
        terms: dict[str, Any] = {}
        if kind == "capture":
            terms = {"final": final, **({"quantities": {"input": tokens}} if tokens else {})}
        elif kind == "extend":
            terms = {"expires_in_s": tokens % 20 + 1}
        self.clients.send_command(self.clients.ask(kind, customer, hold_id=hold, **terms))

    def do_retry(self, number: int, astray: bool) -> None:
        if self.clients.commands:
            command = self.clients.commands[number % len(self.clients.commands)]
            self.clients.send_command(command, astray)

    def do_twist_command(self, number: int) -> None:
        """A command's id again, with other content."""
        if self.clients.commands:
            command = self.clients.commands[number % len(self.clients.commands)]
            other = {"type": "grant", "asset": "USD", "amount": "0.7"}
            kept = {name: command[name] for name in ("id", "customer", "time")}
            self.clients.send_command({**kept, **other})

    def do_publish(self, ahead_ms: int) -> None:
        self.clients.publish(ahead_ms)

    def do_look(self) -> None:
        self.clients.look()
