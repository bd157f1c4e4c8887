"""One customer's rows, folded from the customer's entries alone."""

from __future__ import annotations

from drawdown.ledger.evolve import evolve
from drawdown.ledger.journal import Sealed
from drawdown.ledger.rows import Row
from drawdown.ledger.values import Wallet


class CustomerRows:
    """The rows after the entries that were applied; what `evolve` reads."""

    def __init__(self, customer: str) -> None:
        self.customer = customer
        self.rows: dict[str, Row] = {}

    def row(self, key: str) -> Row | None:
        return self.rows.get(key)

    def identity(self, key: bytes) -> bytes | None:  # noqa: ARG002 - folding asks for none
        return None

    @property
    def wallet(self) -> Wallet | None:
        """None before the first entry."""
        found = self.rows.get(self.customer)
        return found if isinstance(found, Wallet) else None

    def apply(self, sealed: Sealed) -> Wallet:
        """The next entry; the wallet after it. Raises BrokenInvariantError."""
        for key, row in evolve(self, sealed).items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        wallet = self.wallet
        assert wallet is not None
        return wallet
