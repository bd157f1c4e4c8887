"""Identities of a rebuilt store: restored from the journal, newest first, while it serves.

Rows alone are enough to go on with what is new. What may be a repetition has to wait until the
store knows what it might repeat, and what that is follows from time alone:

- An entry has the append time `at` of the record that caused it, and was itself appended later.
  So when the journal is covered from an offset on whose record was appended at A, all that is not
  covered yet was decided from records with `at <= A` (two brokers' clocks may differ: `SKEW_MS`).
- A record that was accepted was at most so far ahead of its `at` as the application allows (5 min),
  and a repetition has the time its producer gave the first one. The application says of each item
  since when a first one can have been decided (`Item.first_at_ms`); where that is later than all
  that is not covered, the item repeats nothing that is unknown, and is decided.
- Who gave no time of its own (a gateway filled it in) may repeat anything: it waits for all of it.

**Order.** The first record of an input that must wait stops its input there, on its partition: it
and all behind it wait. Later ones of other customers could be decided, but only one offset per
input is committed, so what is decided behind one that waits would be decided again after a crash;
and the same customer's records must keep their order. It goes on by itself once the journal is
covered that far back. The other input of the partition, the other partitions and what is new go on.
Timers of the partition rest meanwhile, because the watermark stands at what waits.

**Crashes.** What is covered is an interval of the journal, `Positions.identities_from` to
`Positions.journal`, written after the identities in it and with or after each other. A piece that
was cut short is read again: it remembers the same. A rebalance is no different: the next owner has
its own store and its own interval. Identities that are there already are newer, and stay.

What cannot be told before all is covered: an id that is used a second time for *other* content (a
conflict, not a repetition) is decided as new if the first was older than what is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from drawdown.stream.application import Application
from drawdown.stream.clock import Clock
from drawdown.stream.reading import Reader, Task
from drawdown.stream.store import GENERATION_MS, Changes, Positions, Store

SKEW_MS: Final = 60_000
"""How far the clocks of two brokers may be apart: they stamp the inputs and the journal."""
PIECE_FIRST: Final = 2_000
"""Offsets of the first piece; the next are twice as large each: what is new waits little."""
PIECE_MAX: Final = 64_000
UNKNOWN_MS: Final = 1 << 62
"""`identities_from_ms` before the first piece: nothing can be told."""


class CauseError(Exception):
    """The journal has an entry of a record that has not been decided yet, going by the offsets."""


class IdentityRestore(Task):
    """Restores the identities of one partition into a store that may be serving meanwhile."""

    def __init__(
        self,
        reader: Reader,
        partition: int,
        journal: str,
        inputs: Mapping[str, str],
        application: Application,
        store: Store,
        clock: Clock,
        identities_ms: int,
        starts: Mapping[str, int],
        crash: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`starts` are next offsets of the inputs: every cause in the journal lies below. Where
        they are not known (no key), how far causes go is found out (`highest`)."""
        super().__init__(reader, partition)
        self._journal = journal
        self._inputs = inputs
        self._application = application
        self._store = store
        self._clock = clock
        self._identities_ms = identities_ms
        self._starts = starts
        self._crash = crash
        self.highest: dict[str, int] = dict.fromkeys(inputs, 0)
        """Per input: behind the highest cause seen."""
        self.count = 0
        self._since_ms = 0
        self._work = self.run()

    def step(self) -> bool:
        """Go on; True when done. Raises CauseError."""
        if self.error is not None:
            raise self.error
        return next(self._work, True)

    def run(self) -> Iterator[bool]:
        """Piece after piece, the newest first."""
        store = self._store
        since_ms = self._since_ms = yield from self._window()
        start = yield from self.asked(
            "asking where the window of identities begins",
            lambda: self._reader.first_since(self._journal, self.partition, since_ms),
        )
        size = PIECE_FIRST
        end = store.positions.identities_from
        while 0 <= start < end:
            begin = max(start, end - size)
            appended_ms = yield from self._piece(begin, end)
            size = min(size * 2, PIECE_MAX)
            if appended_ms is None and begin > start:
                # Nothing but ends of transactions, or nothing at all: read again, with what is
                # before it, rather than believed.
                size = end - begin + size
                continue
            self._crash("piece-read")
            if begin > start:
                assert appended_ms is not None
                at_ms = appended_ms + SKEW_MS + 1
                if (yield from self._later_before(begin, at_ms)):
                    at_ms = store.positions.identities_from_ms  # no more is sure than before
                self._covered(begin, at_ms)
            self._crash("piece-covered")
            end = begin
        self._covered(0, 0)

    def _later_before(self, offset: int, at_ms: int) -> Generator[bool, None, bool]:
        """Whether an entry before an offset was appended then or later: the broker's clock was set
        back since, and what came while it was ahead is not told by its time."""
        first = yield from self.asked(
            "asking whether append times ever went back",
            lambda: self._reader.first_since(self._journal, self.partition, at_ms),
        )
        return 0 <= first < offset

    def _covered(self, offset: int, at_ms: int) -> None:
        before = self._store.positions
        inputs = {
            name: max(behind, before.inputs.get(name, 0)) for name, behind in self.highest.items()
        }
        positions = msgspec.structs.replace(
            before, inputs=inputs, identities_from=offset, identities_from_ms=at_ms
        )
        self._store.write(Changes({}, {}, 0, (), (), positions))

    def _window(self) -> Generator[bool, None, int]:
        """Append time before which nothing can be repeated any more: what comes next counts, not
        the clock, because a backlog is decided by the time it arrived; and the newest entry where
        that is earlier than this process's clock, which may be ahead."""
        newest_ms = yield from self._newest()
        next_ms = self._clock.now_ms() if newest_ms is None else newest_ms
        for name, topic in self._inputs.items():
            start = self._starts.get(name, 0)
            low, end = yield from self.asked(
                f"asking for the end of {topic}",
                partial(self._reader.stable_end, topic, self.partition),
            )
            start = max(start, low)
            for messages in self.messages(topic, start, end):
                if messages:
                    next_ms = min(next_ms, messages[0].timestamp()[1])
                    self.rest()
                    break
                yield False
        return max(next_ms - self._identities_ms - SKEW_MS, 0)

    def _newest(self) -> Generator[bool, None, int | None]:
        """When the newest entry was appended, by the broker's clock or by ours, where that is
        earlier; None where there is none."""
        end = self._store.positions.identities_from
        size = PIECE_FIRST
        while end > 0:
            begin = max(0, end - size)
            newest_ms: int | None = None
            for messages in self.messages(self._journal, begin, end):
                if messages:
                    newest_ms = messages[-1].timestamp()[1]
                yield False
            if newest_ms is not None:
                return min(newest_ms, self._clock.now_ms())
            if begin == 0:
                break
            size *= 2
        return None

    def _piece(self, begin: int, end: int) -> Generator[bool, None, int | None]:
        """Remember what a stretch of the journal identifies; says when its first entry was
        appended, None where there is no entry."""
        first_ms: int | None = None
        for messages in self.messages(self._journal, begin, end):
            if not messages:
                yield False
                continue
            if first_ms is None and messages[0].offset() < end:
                first_ms = messages[0].timestamp()[1]
            self._remember([message for message in messages if message.offset() < end])
            self._crash("piece-begun")
            self.remaining += begin - min(self._store.positions.identities_from, begin)
            yield False
        return first_ms

    def _remember(self, messages: list[Any]) -> None:
        generations: dict[int, dict[bytes, bytes]] = {}
        for message in messages:
            found = Remembered()
            folded = self._application.identify(message.value(), found)
            if folded.at_ms >= self._since_ms:
                generations.setdefault(folded.at_ms // GENERATION_MS, {}).update(found.identities)
            if folded.input is None or of_another_cluster(message):
                continue
            if folded.offset >= self._starts.get(folded.input, folded.offset + 1):
                raise CauseError(
                    f"the journal has an entry caused by {folded.input} record {folded.offset}, the"
                    f" group is at {self._starts[folded.input]}"
                )
            self.highest[folded.input] = max(self.highest[folded.input], folded.offset + 1)
        for generation, identities in sorted(generations.items()):
            keys = list(identities)
            for key, known in zip(keys, self._store.identities(keys), strict=True):
                if known is not None:
                    del identities[key]
            if identities:
                at_ms = generation * GENERATION_MS
                positions: Positions = self._store.positions
                self._store.write(Changes({}, identities, at_ms, (), (), positions))
                self.count += len(identities)


class Remembered:
    """What `Application.identify` remembers of an entry."""

    def __init__(self) -> None:
        self.identities: dict[bytes, bytes] = {}

    def remember(self, key: bytes, value: bytes) -> None:
        self.identities[key] = value


ORIGIN: Final = "drawdown-origin"
"""Header of a journal entry that was copied from another cluster, which it names: its cause is an
offset over there and says nothing here."""


def of_another_cluster(message: Any) -> bool:
    """Whether the entry was decided on another cluster."""
    headers = message.headers()
    return bool(headers) and any(name == ORIGIN for name, _ in headers)
