"""Rows ahead of the store: a decision of several entries reads what the earlier ones left."""

from __future__ import annotations

from drawdown.ledger.evolve import Rows, RowsAfter, evolve
from drawdown.ledger.journal import Entry, Sealed, seal
from drawdown.ledger.limits import limited
from drawdown.ledger.outcome import Crossing, Decided
from drawdown.ledger.values import Wallet


class Ahead(RowsAfter):
    """Rows of a customer with the entries that were made so far, and what there is to tell."""

    def __init__(self, rows: Rows, customer: str) -> None:
        super().__init__(rows, {})
        self._customer = customer
        self.entries: list[Sealed] = []
        self.crossed: list[Crossing] = []
        self.overdrawn = 0

    @property
    def wallet(self) -> Wallet:
        """As it is after them; a new one where there is none."""
        found: Wallet | None = self.row(self._customer)
        return Wallet(self._customer) if found is None else found

    def add(self, entry: Entry) -> Sealed:
        """Make an entry that follows from the rows as they are now, with the margins it changes."""
        sealed = seal(limited(self, self.wallet, entry))
        self.follow(sealed)
        return sealed

    def follow(self, sealed: Sealed) -> None:
        """Take over an entry that was made already."""
        self._changed.update(evolve(self, sealed))
        self.entries.append(sealed)

    def tell(self, decided: Decided) -> None:
        """Take over what a part of the decision has to tell."""
        self.crossed.extend(decided.crossed)
        self.overdrawn += decided.overdrawn

    def before(self, decided: Decided, wallet: Wallet) -> Decided:
        """What came of a record where these entries had to come before its own; `wallet` as it was
        read."""
        return Decided(
            (*self.entries, *decided.entries),
            decided.answer,
            decided.identity,
            (*self.crossed, *decided.crossed),
            decided.unpriced,
            self.overdrawn + decided.overdrawn,
            decided.repeated,
            wallet,
        )
