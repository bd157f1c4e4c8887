"""Deciding again: the very application of settlement, over rows that a replay has built.

What a decision changes and tells is collected here and kept only if it is what was written, so that
a difference spoils nothing that comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from drawdown.events.base import milliseconds
from drawdown.events.codec import RecordError
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.ledger.conservation import imbalance
from drawdown.ledger.values import Wallet
from drawdown.replay.books import KnownBooks
from drawdown.replay.differences import Difference, Differences, first_gap
from drawdown.replay.inputs import Incoming
from drawdown.replay.rebuild import BROKEN_MAX, TooManyError
from drawdown.replay.recorded import Letter
from drawdown.settlement.application import Settlement
from drawdown.stream.application import Lag, Record
from drawdown.stream.view import PartitionView

MISSING: Final = object()
DETAIL_MAX: Final = 2000
"""Characters of a dead letter's detail; see `stream.outbox`."""
TAKEN_UP: Final = "taken up at "


class Again:
    """What came of deciding a record again: a view and the effects of settlement's application,
    collected. Nothing of it is in the rows until it is kept."""

    __slots__ = ("_view", "answers", "entries", "failed", "identities", "letter", "rows")

    def __init__(self, view: PartitionView) -> None:
        self._view = view
        self.rows: dict[str, Any] = {}
        self.identities: dict[bytes, bytes] = {}
        self.entries: list[tuple[bytes, bytes]] = []
        """Key and value of each."""
        self.answers: list[bytes] = []
        self.letter: Letter | None = None
        """What its dead letter must say."""
        self.failed: str | None = None
        """Why it cannot be decided at all."""

    # what settlement's application reads and changes

    def row(self, key: str) -> Any:
        row = self.rows.get(key, MISSING)
        return self._view.row(key) if row is MISSING else row

    def identity(self, key: bytes) -> bytes | None:
        return self.identities.get(key) or self._view.identity(key)

    def put(self, key: str, row: Any) -> None:
        self.rows[key] = row

    def remember(self, key: bytes, value: bytes) -> None:
        self.identities[key] = value

    # what it tells

    def journal(self, key: bytes, value: bytes) -> None:
        self.entries.append((key, value))

    def answer(self, record: Record, value: bytes) -> None:  # noqa: ARG002
        self.answers.append(value)

    def tell(self, topic: str, key: bytes, value: bytes) -> None:
        """Notices are not compared: they say nothing that the entries do not."""

    def reject(self, record: Record, reason: str, detail: str, field: str | None) -> None:  # noqa: ARG002
        self.letter = Letter(reason, detail, field)

    def keep(self) -> None:
        """It is what was written: the rows are those after it."""
        for key, row in self.rows.items():
            self._view.put(key, row)
        for identity, value in self.identities.items():
            self._view.remember(identity, value)


class Counts(msgspec.Struct):
    """What became of everything on a partition."""

    entries: int = 0
    decided_again: int = 0
    """Entries whose cause was decided again."""
    causes_gone: int = 0
    """Entries whose cause is no longer on its topic: folded and checked, not decided again."""
    timers: int = 0
    """Of `decided_again`: those that a timer caused."""
    decisions: int = 0
    """Decisions on their topic that were decided again."""
    denials: int = 0
    """Of `decisions`: those that allow nothing."""
    decisions_gone: int = 0
    """Commands without an entry whose decision, or decisions whose command, is no longer there."""
    duplicates: int = 0
    """Usage events that were debited before."""
    dead_letters: int = 0
    forwarded: int = 0
    """Records that were moved to the partition of their key."""
    not_followed: int = 0
    """Records and entries of customers whose chain is broken, behind the break."""
    earlier_books: int = 0
    """Decided before a price book was known that counts from before that."""
    as_recorded: int = 0
    """Decisions that depend on a process's clock or lag, taken as they were written."""


class Deciding:
    """The state of a partition, and what was found, shared by those who decide again."""

    def __init__(
        self,
        partition: int,
        view: PartitionView,
        application: Settlement,
        known: KnownBooks,
        differences: Differences,
    ) -> None:
        self.partition = partition
        self.view = view
        self.application = application
        self.differences = differences
        self.counts = Counts()
        self.broken: set[str] = set()
        """Customers whose chain does not go on: nothing of them is decided again."""
        self.head_gone = False
        self.forwarded_out: list[str] = []
        """`topic:partition:offset` of records that were moved elsewhere."""
        self.forwarded_in: list[str] = []
        self._known = known

    def books(self, at_ms: int) -> Iterator[Any]:
        """The sets of price books to decide a record of that time by, likeliest first."""
        yield self._known.every
        yield from self._known.earlier(at_ms)

    def attempt(
        self, at_ms: int, decide: Callable[[Again], None], agrees: Callable[[Again], bool]
    ) -> tuple[Again, bool]:
        """Decide; by earlier price books too where that does not agree with what is written."""
        first: Again | None = None
        for books in self.books(at_ms):
            again = Again(self.view)
            self._known.books = books
            try:
                decide(again)
            except RecordError as error:
                again.letter = letter_for(error)
            except Exception as error:  # noqa: BLE001 - rows that do not follow can do anything
                again.failed = f"{type(error).__name__}: {error}"
            if agrees(again):
                if first is not None:
                    self.counts.earlier_books += 1
                return again, True
            first = first or again
        assert first is not None
        return first, False

    def record(
        self, incoming: Incoming, lag: Lag, agrees: Callable[[Again], bool]
    ) -> tuple[Again, bool]:
        """Decide a record that could be read."""
        item = incoming.item
        assert item is not None
        application = self.application
        return self.attempt(
            incoming.record.at_ms, lambda again: application.decide(item, again, again, lag), agrees
        )

    def timer(self, key: str, at_ms: int, agrees: Callable[[Again], bool]) -> tuple[Again, bool]:
        """Fire a row's timer."""
        application = self.application
        return self.attempt(at_ms, lambda again: application.fire(key, at_ms, again, again), agrees)

    def kept(self, again: Again) -> None:
        """Go on from what was decided; money is neither made nor lost by it."""
        again.keep()
        for row in again.rows.values():
            if isinstance(row, Wallet) and (wrong := imbalance(row)) is not None:
                detail = f"{row.customer}, entry {row.sequence}: {wrong}"
                self.differ("conservation", detail, customer=row.customer)

    def breaks(self, customer: str) -> None:
        """A customer's chain ends here."""
        self.broken.add(customer)
        if len(self.broken) > BROKEN_MAX:
            raise TooManyError(
                f"partition {self.partition}: the entries of more than {BROKEN_MAX} customers do"
                " not follow from those before: this is no whole journal"
            )

    def differ(
        self,
        what: str,
        detail: str,
        *,
        customer: str | None = None,
        topic: str | None = None,
        offset: int | None = None,
        written: bytes | None = None,
        again: bytes | None = None,
    ) -> None:
        """Note a difference; with `written` and `again`, its first field is named."""
        field = expected = found = None
        if written is not None and again is not None:
            gap = first_gap(again, written)
            field, expected, found = gap.field, gap.expected, gap.found
            detail += f": {field} is {found}; decided again it is {expected}"
        self.differences.add(
            Difference(
                what=what,
                partition=self.partition,
                detail=detail,
                topic=topic,
                offset=offset,
                customer=customer,
                field=field,
                expected=expected,
                found=found,
            )
        )


def letter_for(error: RecordError) -> Letter:
    """What the dead letter of a refused record says."""
    detail = error.detail[:DETAIL_MAX].encode("utf-8", "replace").decode()
    field = None if error.field is None else error.field.encode("utf-8", "replace").decode()
    return Letter(str(error.reason), detail, field)


def lag_of(decision: Decision) -> Lag:
    """What a process knew of its lag and its clock: nobody can work that out again, so it is taken
    as the decision states it."""
    return Lag(
        decision.usage_lag_records or 0, decision.usage_lag_ms or 0, taken_up_ms(decision) or 0
    )


def taken_up_ms(decision: Decision) -> int | None:
    """When a command was taken up, as far as its decision says: where that was too late."""
    detail = decision.detail or ""
    if decision.reason != Reason.DEADLINE_PASSED or not detail.startswith(TAKEN_UP):
        return None
    try:
        return milliseconds(datetime.fromisoformat(detail.removeprefix(TAKEN_UP).split(",")[0]))
    except (ValueError, TypeError):
        return None
