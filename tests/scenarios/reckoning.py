"""What balances must be, reckoned from what was sent, with `decimal` alone: no code of Drawdown's.

A load is usage that producers sent, some of it more than once, some of it to a wrong partition and
some of it broken, and commands. Each event counts once, however often and wherever it was sent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any

PRICES = {"input": Decimal(2), "cached_input": Decimal("0.2"), "output": Decimal(10)}
"""USD per million tokens."""
IMAGE = Decimal(12)
"""Credits."""
GRANTED = {"USD": Decimal(50), "credit": Decimal(3_000)}


@dataclass
class Load:
    """A stream of records, the same for the same seed, and what they must come to."""

    seed: int
    customers: int = 40
    sent: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """(customer, event id) -> what it costs, of every event that is right."""
    asset_of: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: int = 0
    commands: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._recent: list[tuple[str, bytes]] = []

    def names(self) -> list[str]:
        return [f"customer-{number}" for number in range(self.customers)]

    def grants(self, time: str) -> list[tuple[str, bytes]]:
        """Commands that come before all usage."""
        found = []
        for customer in self.names():
            for asset, amount in GRANTED.items():
                terms = {"cost_basis": "0.01"} if asset == "credit" else {}
                content = {"asset": asset, "amount": str(amount), **terms}
                found.append(self._command("grant", customer, time, content))
        return found

    def authorize(self, time: str) -> tuple[str, bytes]:
        customer = self._random.choice(self.names())
        content = {"meter": "llm", "dimensions": {"model": "gpt-5"}}
        return self._command("authorize", customer, time, content)

    def _command(
        self, kind: str, customer: str, time: str, content: dict[str, Any]
    ) -> tuple[str, bytes]:
        id = f"command-{len(self.commands)}"
        self.commands.add(id)
        value = {"type": kind, "id": id, "customer": customer, "time": time, **content}
        return customer, json.dumps(value).encode()

    def event(self, time: str) -> tuple[str, bytes, bool]:
        """The next usage record: key, value, and whether it is sent to the wrong partition."""
        random = self._random
        draw = random.random()
        if draw < 0.1 and self._recent:
            return (*random.choice(self._recent), random.random() < 0.1)
        customer = f"customer-{random.randrange(self.customers)}"
        if draw < 0.105:
            self.broken += 1
            return customer, random.choice((b"{", b"null", b'{"id": 1}')), False
        id = f"event-{len(self.sent)}"
        data: dict[str, Any]
        if random.random() < 0.2:
            data = {"images": random.randrange(1, 4)}
            cost, asset, kind = IMAGE * data["images"], "credit", "image"
        else:
            tokens = {name: random.randrange(3_000) for name in PRICES}
            data = {"model": "gpt-5", **tokens}
            cost = sum((PRICES[name] * tokens[name] / 1_000_000 for name in PRICES), Decimal(0))
            asset, kind = "USD", "llm.completion"
        self.sent[customer, id] = cost
        self.asset_of[customer, id] = asset
        event = {
            "specversion": "1.0",
            "id": id,
            "source": "scenario",
            "type": kind,
            "subject": customer,
            "time": time,
            "data": data,
        }
        value = json.dumps(event).encode()
        if len(self._recent) < 500:
            self._recent.append((customer, value))
        else:
            self._recent[random.randrange(500)] = (customer, value)
        return customer, value, random.random() < 0.005

    def balances(self) -> dict[tuple[str, str], Decimal]:
        """(customer, asset) -> what is left, below zero where more was used than was there."""
        spent: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (customer, id), cost in self.sent.items():
            spent[customer, self.asset_of[customer, id]] += cost
        return {
            (customer, asset): amount - spent[customer, asset]
            for customer in self.names()
            for asset, amount in GRANTED.items()
        }
