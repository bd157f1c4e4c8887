"""Where a scenario plays: the ledger alone, or settlement on a real broker. Both take the same
records and are asked the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from drawdown.events.pricebook import PriceBook
from drawdown.scenarios.happenings import Sent


@dataclass(frozen=True)
class Outcome:
    """What became of a record."""

    answer: Mapping[str, Any] | None = None
    """The decision about a command."""
    refused: str | None = None
    """The reason code of a record that was set aside."""
    detail: str = ""
    """Why, in words."""


class World(Protocol):
    """One engine, with wallets of its own."""

    def publish(self, book: PriceBook, effective_at_ms: int) -> None:
        """A version of the prices. Raises BookError."""

    def advance(self, at_ms: int) -> None:
        """It is now `at_ms`: what came due until then is done, each at its time."""

    def take(self, records: Sequence[Sent]) -> list[Outcome]:
        """Records that arrive now, one after another; what became of each."""

    def journal(self, customer: str) -> Sequence[bytes]:
        """The customer's entries so far, as they stand on their topic."""

    def wallet(self, customer: str) -> Mapping[str, Any] | None:
        """The wallet's row; None of a customer nobody has seen."""

    def rows(self) -> Mapping[str, bytes]:
        """All rows as they stand on `balances`, by key."""
