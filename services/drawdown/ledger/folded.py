"""Rows in memory, folded from entries alone: of one customer, or of several."""

from __future__ import annotations

from collections.abc import Mapping

from drawdown.ledger.evolve import evolve
from drawdown.ledger.journal import Sealed
from drawdown.ledger.rows import Row
from drawdown.ledger.values import Wallet


class FoldedRows:
    """The rows after the entries that were folded. No identities: nothing was decided before."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def row(self, key: str) -> Row | None:
        return self.rows.get(key)

    def identity(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there are none
        return None

    def fold(self, sealed: Sealed) -> Mapping[str, Row | None]:
        """The next entry; the rows it changed. Raises BrokenInvariantError."""
        changed = evolve(self, sealed)
        for key, row in changed.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        return changed


class CustomerRows(FoldedRows):
    """Those of one customer."""

    def __init__(self, customer: str) -> None:
        super().__init__()
        self.customer = customer

    @property
    def wallet(self) -> Wallet | None:
        """None before the first entry."""
        found = self.rows.get(self.customer)
        return found if isinstance(found, Wallet) else None

    def apply(self, sealed: Sealed) -> Wallet:
        """The next entry; the wallet after it. Raises BrokenInvariantError."""
        self.fold(sealed)
        wallet = self.wallet
        assert wallet is not None
        return wallet
