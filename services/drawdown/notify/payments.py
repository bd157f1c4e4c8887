"""What a payment provider is asked, and what it may answer.

An adapter joins a provider to this. It must hold to one thing: the same key is charged once, for at
least as long as a request may be charged (24 hours, `ledger.topups.ANSWER_MS`). What it does not
know it must call unknown: a failure that was none is money taken for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from drawdown.events.base import KEY_SEPARATOR


@dataclass(frozen=True, slots=True)
class Charge:
    """A payment that is wanted. `key` is its idempotency key, the same for every attempt."""

    key: str
    customer: str
    asset: str
    amount: str
    """Decimal text, in `asset`."""


@dataclass(frozen=True, slots=True)
class Paid:
    """The money was taken."""

    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider said for good that it was not."""

    reference: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say: no answer, or none that can be read. The same charge is tried again."""

    detail: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """The provider has no payment under the key."""


Outcome = Paid | Failed | Unknown


class Payments(Protocol):
    """A provider. Both calls may block for some seconds, and raise nothing; they are made by
    several threads at a time."""

    def charge(self, charge: Charge) -> Outcome:
        """Take the money, once for all calls with the same key."""

    def find(self, charge: Charge) -> Outcome | Nothing:
        """What became of a charge; nothing is charged by it."""


def key_of(environment: str, customer: str, request: str) -> str:
    """The key of a request's payment: its id is unique for one customer of one environment. A hash,
    because a customer's id may be any text, and providers bound theirs."""
    name = KEY_SEPARATOR.join((environment, customer, request))
    return f"topup_{sha256(name.encode()).hexdigest()[:40]}"
