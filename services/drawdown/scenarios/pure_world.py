"""Scenarios on the ledger alone: no broker, no clock, no waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from drawdown.events.catalogue import USAGE_EVENTS
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import PriceBook
from drawdown.events.reasons import Reason
from drawdown.pure import Ledger, load, subject_of
from drawdown.scenarios.happenings import Sent
from drawdown.scenarios.world import Outcome


class PureWorld:
    """A `World` of calls. `places` are where the records stand on their topics, if they do: with
    them every entry is the same to the byte, its digest too."""

    def __init__(
        self, places: Mapping[tuple[str, str, str], Sequence[tuple[int, int]]] | None = None
    ) -> None:
        self._places: dict[tuple[str, str, str], Iterator[tuple[int, int]]] = {
            key: iter(found) for key, found in (places or {}).items()
        }
        self._ledger: Ledger | None = None
        self._read = 0
        self._journal: defaultdict[str, list[bytes]] = defaultdict(list)

    def publish(self, book: PriceBook, effective_at_ms: int) -> None:
        content = book.model_dump(mode="json")
        place = self._place("price-book", "", book.version)
        number = 0 if place is None else place[1]
        if self._ledger is None:
            made = load(content, effective_at=effective_at_ms, number=number)
            self._ledger = Ledger(made, at=0)
        else:
            self._ledger.publish(content, effective_at=effective_at_ms, number=number)

    @property
    def ledger(self) -> Ledger:
        """What decides; there from the first version of the prices on."""
        assert self._ledger is not None, "a price book comes first"
        return self._ledger

    def advance(self, at_ms: int) -> None:
        self.ledger.advance(at_ms)

    def take(self, records: Sequence[Sent]) -> list[Outcome]:
        return [self._take(record) for record in records]

    def _take(self, record: Sent) -> Outcome:
        position = self._place(record.topic, record.customer, record.id)
        try:
            if record.topic == USAGE_EVENTS.name:
                self.ledger.take_usage(record.value, position=position)
                return Outcome()
            answer = self.ledger.take_command(record.value, position=position)
        except RecordError as error:
            return Outcome(refused=str(error.reason), detail=error.detail)
        # Settlement answers a conflict and sets it aside.
        conflict = answer["reason"] == Reason.CONFLICT
        return Outcome(answer, *((answer["reason"], answer["detail"]) if conflict else ()))

    def _place(self, topic: str, customer: str, id: str) -> tuple[int, int] | None:
        found = self._places.get((topic, customer, id))
        return None if found is None else next(found)

    def journal(self, customer: str) -> Sequence[bytes]:
        new = self.ledger.journal(self._read)
        self._read += len(new)
        for value in new:
            self._journal[subject_of(value)].append(value)
        return self._journal[customer]

    def wallet(self, customer: str) -> Mapping[str, Any] | None:
        try:
            return self.ledger.wallet(customer)
        except KeyError:
            return None

    def rows(self) -> Mapping[str, bytes]:
        return self.ledger.rows()
