"""Dead letters as they lie on their topic: what is wrong with each, and whether it was sent again.

A letter is the rejected record with our headers behind its own; a `Redriven` on the same partition
says that it was sent again. `read_letters` leaves the values where they are, `read_whole` has them.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Message

from drawdown.deadletters.scan import scan
from drawdown.events.catalogue import DEAD_LETTERS, Environment
from drawdown.events.codec import RecordError, decode_redriven
from drawdown.events.deadletters import HEADER_PREFIX, REDRIVEN, REDRIVEN_FROM, Redriven
from drawdown.stream.ports import Cluster, Headers

REASON: Final = HEADER_PREFIX + "reason"
"""The first of the headers that settlement adds."""


class Position(NamedTuple):
    """Where a letter lies on `dead-letters`. As people write it: `2@17`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"

    @property
    def header(self) -> bytes:
        return f"{self.partition}:{self.offset}".encode()


def position_of(text: str) -> Position:
    """The position that people write as `2@17`, and headers as `2:17`. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,9})[@:]([0-9]{1,18})", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no position: give partition@offset, such as 2@17")
    return Position(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class Letter:
    """What is said of a dead letter. Of text that settlement did not write, whatever it is."""

    position: Position
    at_ms: int
    """When it was set aside."""
    key: bytes | None
    size_bytes: int | None
    """Of its value; None where it has none."""
    said: dict[str, str] = field(default_factory=dict)
    """By the field of `DeadLetterHeaders`."""
    redriven_from: Position | None = None
    """The letter it was before, where it was sent again and came back."""
    redriven: Redriven | None = None
    """That it was sent again, and when."""
    came_back_as: Position | None = None

    @property
    def reason(self) -> str:
        return self.said.get("reason", "")

    @property
    def topic(self) -> str:
        """The input it was rejected from, without the environment's prefix."""
        return self.said.get("topic", "")

    @property
    def customer(self) -> str:
        return "" if self.key is None else self.key.decode("utf-8", "replace")

    @property
    def open(self) -> bool:
        """It was not sent again."""
        return self.redriven is None


@dataclass(frozen=True, slots=True)
class Whole:
    """The rejected record as it was, byte for byte."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers


def read_letters(
    cluster: Cluster,
    environment: Environment,
    meant: Callable[[Letter], bool] = lambda _: True,
    *,
    since_ms: int | None = None,
) -> list[Letter]:
    """The letters that are meant and were set aside at or after a time, all without one; by
    partition and offset. `meant` is asked before it is known whether a letter was sent again.

    Keeps some hundred bytes of each in memory. Blocks until the topic's end. Raises
    DeadLettersError, KafkaException.
    """
    letters: dict[Position, Letter] = {}
    back: dict[Position, Position] = {}
    for message in scan(cluster, environment.topic(DEAD_LETTERS), since_ms=since_ms):
        if _note_redriven(message, letters) is None:
            letter = letter_in(message)
            if letter is not None and meant(letter):
                letters[letter.position] = letter
            if letter is not None and letter.redriven_from is not None:
                back[letter.redriven_from] = letter.position
    for former in back.keys() & letters.keys():
        letters[former] = replace(letters[former], came_back_as=back[former])
    return [letters[position] for position in sorted(letters)]


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest of the letters that are meant, and how many there are in all."""

    letters: list[Letter]
    """Newest first."""
    reasons: Counter[str]
    """How many of each reason, those that are not in `letters` as well."""


def newest_letters(
    cluster: Cluster,
    environment: Environment,
    meant: Callable[[Letter], bool],
    limit: int,
    *,
    redriven_too: bool = False,
    since_ms: int | None = None,
) -> Newest:
    """The `limit` letters that were set aside last, of those that are meant and, unless
    `redriven_too`, were not sent again.

    Keeps those in memory, and 8 bytes of each that was sent again. Reads the topic twice where any
    was. Blocks until the topic's end. Raises DeadLettersError, KafkaException.
    """
    topic = environment.topic(DEAD_LETTERS)
    seen = _Redrivens()
    found = _newest(scan(cluster, topic, since_ms=since_ms), meant, limit, _Redrivens(), seen)
    if not redriven_too:
        if seen:
            messages = scan(cluster, topic, since_ms=since_ms)
            found = _newest(messages, meant, limit, seen, _Redrivens())
        return found
    letters = {letter.position: letter for letter in found.letters}
    if any(letter.redriven for letter in found.letters):
        for message in scan(cluster, topic, since_ms=since_ms):
            later = letter_in(message)
            former = None if later is None else later.redriven_from
            if later is not None and former in letters:
                letters[former] = replace(letters[former], came_back_as=later.position)
    return Newest(list(letters.values()), found.reasons)


def _newest(
    messages: Iterable[Message],
    meant: Callable[[Letter], bool],
    limit: int,
    left_out: _Redrivens,
    seen: _Redrivens,
) -> Newest:
    """One look through the topic; what says that letters were sent again is put into `seen`."""
    heap: list[tuple[int, Position]] = []
    kept: dict[Position, Letter] = {}
    reasons: Counter[str] = Counter()
    for message in messages:
        redriven = _note_redriven(message, kept)
        if redriven is not None:
            seen.add(redriven)
            continue
        letter = letter_in(message)
        if letter is None or not meant(letter) or letter.position in left_out:
            continue
        reasons[letter.reason] += 1
        kept[letter.position] = letter
        heappush(heap, (letter.at_ms, letter.position))
        if len(heap) > limit:
            del kept[heappop(heap)[1]]
    return Newest([kept[position] for _, position in sorted(heap, reverse=True)], reasons)


def _note_redriven(message: Message, letters: dict[Position, Letter]) -> Redriven | None:
    """What a record says of a letter that was sent again; the letter is told, if it is there."""
    redriven = redriven_in(message)
    if redriven is not None:
        about = Position(redriven.partition, redriven.offset)
        if about in letters:
            letters[about] = replace(letters[about], redriven=redriven)
    return redriven


class _Redrivens:
    """Which letters were sent again, at 8 bytes each."""

    def __init__(self) -> None:
        self._offsets: dict[int, array[int]] = {}
        self._sorted = True

    def __bool__(self) -> bool:
        return bool(self._offsets)

    def add(self, redriven: Redriven) -> None:
        self._offsets.setdefault(redriven.partition, array("q")).append(redriven.offset)
        self._sorted = False

    def __contains__(self, position: Position) -> bool:
        if not self._sorted:
            self._offsets = {n: array("q", sorted(found)) for n, found in self._offsets.items()}
            self._sorted = True
        found = self._offsets.get(position.partition, array("q"))
        place = bisect_left(found, position.offset)
        return place < len(found) and found[place] == position.offset


def read_whole(
    cluster: Cluster, environment: Environment, positions: Iterable[Position]
) -> Iterator[Whole]:
    """The records at these positions, those that are there; by partition and offset. Blocks.

    Raises DeadLettersError, KafkaException.
    """
    wanted = set(positions)
    for partition in sorted({position.partition for position in wanted}):
        offsets = [position.offset for position in wanted if position.partition == partition]
        first, last = {partition: min(offsets)}, {partition: max(offsets) + 1}
        topic = environment.topic(DEAD_LETTERS)
        for message in scan(cluster, topic, starts=first, until=last):
            position = _position(message)
            if position in wanted and letter_in(message) is not None:
                yield Whole(
                    position,
                    message.key(),
                    message.value(),
                    _split(_headers(message))[0],
                )


def letter_in(message: Message) -> Letter | None:
    """The letter that a record of the topic is; None where settlement did not write it."""
    own, ours = _split(_headers(message))
    if not ours:
        return None
    value = message.value()
    return Letter(
        _position(message),
        message.timestamp()[1],
        message.key(),
        None if value is None else len(value),
        {name.removeprefix(HEADER_PREFIX): _text(text) for name, text in ours},
        _former(own),
    )


def redriven_in(message: Message) -> Redriven | None:
    """That a letter was sent again, if that is what a record of the topic says."""
    headers = _headers(message)
    if _split(headers)[1] or not any(name == REDRIVEN for name, _ in headers):
        return None
    try:
        return decode_redriven(message.value() or b"")
    except RecordError:
        return None  # nobody of ours wrote it


def _split(headers: Headers) -> tuple[Headers, Headers]:
    """A letter's own headers, and ours behind them: whatever the producer's were called, ours begin
    with the last `drawdown-reason`."""
    for place in range(len(headers) - 1, -1, -1):
        if headers[place][0] == REASON:
            return headers[:place], headers[place:]
    return headers, []


def _headers(message: Message) -> Headers:
    found: Any = message.headers()
    return list(found or ())


def _position(message: Message) -> Position:
    return Position(cast(int, message.partition()), cast(int, message.offset()))


def _former(headers: Headers) -> Position | None:
    for name, text in reversed(headers):
        if name == REDRIVEN_FROM:
            try:
                return position_of(_text(text))
            except ValueError:
                return None
    return None


def _text(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace")
