"""Rebuild: every row of a partition from its journal alone, into an empty store.

Folding checks what the engine checks while it runs: digests, the customers' chains, sequences,
before and after, holds. What does not follow ends its customer's fold, is told once, and the
others go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from confluent_kafka import Message

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.codec import RecordError
from drawdown.events.entries import EntryType
from drawdown.ledger.conservation import imbalance, unconserved
from drawdown.ledger.evolve import BrokenInvariantError, evolve
from drawdown.ledger.journal import Sealed, unseal
from drawdown.ledger.rows import Row, due_of, row_bytes, row_of
from drawdown.ledger.values import Hold, Wallet
from drawdown.replay.differences import Difference, Differences
from drawdown.stream.identities import of_another_cluster
from drawdown.stream.store import Positions, Store
from drawdown.stream.view import PartitionView, RowCache

if TYPE_CHECKING:
    from drawdown.replay.beside_rows import Remembered

COMMIT_EVERY: Final = 8_000
"""Entries between two writes of the store: their rows are in memory."""
CACHE_BYTES: Final = 32 << 20
BROKEN_MAX: Final = 10_000
"""Customers that do not follow, by name."""

_KNOWN_TYPES: Final = frozenset(get_args(EntryType))
_TYPE: Final = re.compile(rb'"type":"([^"\\]+)"')


class RowCodec:
    """The ledger's rows, as a view of the stream asks for them."""

    row_bytes = staticmethod(row_bytes)
    row_of = staticmethod(row_of)
    due_of = staticmethod(due_of)

    def due_ms(self, row: Row) -> int | None:
        return row.due_ms


class TooManyError(Exception):
    """So much is wrong that going on would say nothing more."""


class Causes:
    """Whether each input record was decided no more than once: a partition's records are decided
    in order, so the offsets of an input grow along the journal. Of several entries that come of
    one command, one has its id."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._named: set[str] = set()
        """Topics of whose last cause there was an entry with its id."""

    def next_offset(self, topic: str) -> int:
        """Behind the last cause of a topic."""
        return self._last.get(topic, -1) + 1

    def wrong(self, topic: str, offset: int, *, named: bool = True) -> str | None:
        """What is wrong with the next cause, in words; `named` where the entry has its id."""
        last = self._last.get(topic, -1)
        if offset > last:
            self._last[topic] = offset
            self._named.discard(topic)
        elif offset < last:
            return f"{topic} record {offset} caused it, after record {last} was decided"
        elif named and topic in self._named:
            return f"{topic} record {offset} caused another entry before"
        if named:
            self._named.add(topic)
        return None


def unreadable(value: bytes, error: RecordError) -> str:
    """Why bytes are no entry of the journal, in words."""
    if error.field == "digest" and "digest is not" in error.detail:
        return "its digest is not that of its bytes: it was changed after it was written"
    found = _TYPE.search(value)
    if found is not None:
        name = found[1].decode("utf-8", "replace")
        if name.startswith("drawdown.entry.") and name not in _KNOWN_TYPES:
            return f"{name!r} is no entry this version knows: use the version that wrote it"
    return f"it is no entry of a journal: {error}"


Folded = Callable[[Sealed, Wallet | None, Wallet], None]


class Rebuilt:
    """The rows of one partition, as far as its journal was folded."""

    def __init__(
        self,
        partition: int,
        topic: str,
        store: Store,
        differences: Differences,
        identities: Remembered | None = None,
        folded: Folded | None = None,
    ) -> None:
        """`identities` is told of every entry, where event ids are to be compared; `folded` each
        entry that followed, with the wallet before and after it."""
        self._folded = folded
        self.partition = partition
        self.identities = identities
        self.topic = topic
        self.store = store
        self.view = PartitionView(store, RowCodec(), RowCache(CACHE_BYTES))
        self.differences = differences
        self.broken: set[str] = set()
        """Customers whose entries do not follow: their rows are those before."""
        self.head_gone = False
        self.entries = 0
        self.skipped = 0
        """Entries of broken customers, behind the first that does not follow."""
        self._causes = Causes()
        self._uncommitted = 0

    def fold(self, messages: Iterable[Message]) -> None:
        """Apply entries, in order. Raises TooManyError."""
        batch = list(messages)
        self.view.prefetch([text_of(message.key()) for message in batch], ())
        for message in batch:
            self._fold(message)
        self._uncommitted += len(batch)
        if self._uncommitted >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Write what was folded to the store."""
        self._uncommitted = 0
        if self.identities is not None:
            self.identities.commit()
        if self.view.touched:
            self.view.commit(self.view.seal(), Positions(), 0)

    def _fold(self, message: Message) -> None:
        self.entries += 1
        customer = text_of(message.key())
        if customer in self.broken:
            self.skipped += 1
            return
        value = message.value() or b""
        try:
            sealed = unseal(value)
        except RecordError as error:
            self.breaks(message, customer, "entry", unreadable(value, error))
            return
        entry = sealed.entry
        if entry.customer != customer:
            self.breaks(message, customer, "entry", f"it is of {entry.customer!r}: a wrong key")
            return
        cause = entry.origin
        if cause.topic is not None and not of_another_cluster(message):
            named = entry.id is not None
            wrong = self._causes.wrong(cause.topic, cause.offset, named=named)
            if wrong is not None:
                self._add(message, customer, "cause", wrong)
        before = None if self._folded is None else self.view.row(customer)
        try:
            changed = evolve(self.view, sealed)
        except (BrokenInvariantError, KeyError, AssertionError) as error:
            self._does_not_follow(message, sealed, error)
            return
        for key, row in changed.items():
            self.view.put(key, row)
        if self.identities is not None:
            self.identities.entry(cast(int, message.offset()), sealed)
        wallet = cast(Wallet, changed[customer])
        if entry.asset is not None and (wrong := imbalance(wallet)):
            self.breaks(message, customer, "conservation", wrong)
        elif self._folded is not None:
            self._folded(sealed, before, wallet)

    def _does_not_follow(self, message: Message, sealed: Sealed, error: Exception) -> None:
        customer = sealed.entry.customer
        if self.head_gone and self.view.row(customer) is None and sealed.entry.sequence > 1:
            # Its first entries are gone with the head, which was told already.
            self.broken.add(customer)
            self.skipped += 1
            self._check_broken()
            return
        self.breaks(message, customer, "entry", f"it does not follow: {error}")

    def breaks(self, message: Message, customer: str, what: str, detail: str) -> None:
        """A customer's chain ends here."""
        self._add(message, customer, what, detail)
        self.broken.add(customer)
        self._check_broken()

    def _check_broken(self) -> None:
        if len(self.broken) > BROKEN_MAX:
            raise TooManyError(
                f"{self.topic}[{self.partition}]: the entries of more than {BROKEN_MAX} customers"
                " do not follow from those before: this is no whole journal"
            )

    def _add(self, message: Message, customer: str, what: str, detail: str) -> None:
        self.differences.add(
            Difference(
                what=what,
                partition=self.partition,
                topic=self.topic,
                offset=message.offset(),
                customer=customer,
                detail=f"{self.topic}[{self.partition}]@{message.offset()}: {detail}",
            )
        )

    def audit(self) -> tuple[int, int]:
        """Check conservation over all rows; returns how many customers and rows there are."""
        customers = rows = 0
        wallet: Wallet | None = None
        holds: list[Hold] = []
        for _, value in self.store.all_rows():
            rows += 1
            row = row_of(value)
            if isinstance(row, Wallet):
                self._conserved(wallet, holds)
                wallet, holds = row, []
                customers += 1
            elif isinstance(row, Hold):
                holds.append(row)
        self._conserved(wallet, holds)
        return customers, rows

    def _conserved(self, wallet: Wallet | None, holds: list[Hold]) -> None:
        if wallet is None:
            return
        mine = [hold for hold in holds if hold.customer == wallet.customer]
        wrong = unconserved(wallet, mine)
        if wrong is not None and wallet.customer not in self.broken:
            self.differences.add(
                Difference(
                    what="conservation",
                    partition=self.partition,
                    customer=wallet.customer,
                    detail=f"{wallet.customer}, entry {wallet.sequence}: {wrong}",
                )
            )


def text_of(key: Any) -> str:
    """A record's key as text."""
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else ""


def customer_of(row_key: str) -> str:
    """Whose row it is."""
    return row_key.partition(KEY_SEPARATOR)[0]
