"""What an input record without an entry must have left: a dead letter, an answer, or a place on the
partition it belongs to. Usage and commands share these."""

from __future__ import annotations

from typing import Final

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason
from drawdown.replay.again import Deciding, letter_for
from drawdown.replay.inputs import Incoming, Input
from drawdown.replay.recorded import Ahead, Letter, Told
from drawdown.settlement.application import TOPICS
from drawdown.stream.outbox import FORWARDED

FORWARDED_MAX: Final = 100_000
"""Moved records of a partition that are looked for where they were moved to."""


class Left:
    """The dead letters of one input, and what was forwarded of it."""

    def __init__(
        self, deciding: Deciding, source: Input, letters: Ahead[Letter], partitions: int
    ) -> None:
        self._deciding = deciding
        self._source = source
        self._letters = letters
        self._partitions = partitions

    def letter(self, incoming: Incoming) -> Told[Letter] | None:
        """Take out the dead letter of a record."""
        return self._letters.find(incoming.record.offset)

    def agrees(self, incoming: Incoming, letter: Letter, told: Told[Letter] | None) -> bool:
        """Whether a dead letter holds the record whole and says what it must."""
        if told is None:
            return self._letters.gone(incoming.record.at_ms)
        return told.content == letter and told.value == incoming.record.value

    def unread(self, incoming: Incoming) -> None:
        """Account for a record that was not for settlement's application to decide."""
        deciding, record = self._deciding, incoming.record
        if incoming.home is not None and not incoming.forwarded:
            deciding.counts.forwarded += 1
            origin = f"{TOPICS[record.input]}:{record.partition}:{record.offset}"
            _note(deciding.forwarded_out, origin)
            return
        error = incoming.error
        if incoming.home is not None:
            error = RecordError(
                Reason.WRONG_PARTITION,
                f"its key belongs to partition {incoming.home} of {self._partitions}, and it was"
                " forwarded once already",
            )
        assert error is not None
        self.refused(incoming, letter_for(error), self.letter(incoming))

    def arrived(self, incoming: Incoming) -> None:
        """Note where a record came from that was moved here."""
        origin = incoming.record.header(FORWARDED)
        if origin is not None:
            name = TOPICS[incoming.record.input]
            _note(self._deciding.forwarded_in, f"{name}:{origin.decode('utf-8', 'replace')}")

    def refused(self, incoming: Incoming, letter: Letter, told: Told[Letter] | None) -> None:
        """Account for a record that is refused again, with the dead letter it has, if any."""
        if self.agrees(incoming, letter, told):
            self._deciding.counts.dead_letters += 1
        else:
            self.differs(incoming, letter, told)

    def differs(self, incoming: Incoming, letter: Letter, told: Told[Letter] | None) -> None:
        """A dead letter that is not there, or says something else."""
        where = position(self._source, incoming)
        if told is None:
            detail = (
                f"{where}: it is refused ({letter.reason}: {letter.detail}) and has no dead letter"
            )
        elif told.content != letter:
            found = told.content
            detail = (
                f"{where}: its dead letter {self._letters.topic}[{self._deciding.partition}]"
                f"@{told.offset} says {found.reason}: {found.detail}; decided again it is"
                f" {letter.reason}: {letter.detail}"
            )
        else:
            detail = (
                f"{where}: its dead letter {self._letters.topic}[{self._deciding.partition}]"
                f"@{told.offset} does not hold the record as it is"
            )
        self._deciding.differ(
            "dead-letter", detail, topic=self._source.topic, offset=incoming.record.offset
        )

    def rest(self, end: int) -> None:
        """Dead letters that are left over, of records below `end`."""
        for told in self._letters.rest():
            offset = told.key
            assert isinstance(offset, int)
            if offset >= end or 0 <= offset < self._source.start:
                continue
            where = f"{self._letters.topic}[{self._deciding.partition}]@{told.offset}"
            said = f"{self._source.topic} record {offset}" if offset >= 0 else "no record there is"
            self._deciding.differ(
                "dead-letter",
                f"{where}: a dead letter of {said}, which was not refused",
                topic=self._letters.topic,
                offset=told.offset,
            )


def _note(origins: list[str], origin: str) -> None:
    """So many are kept by name; more of them are only counted."""
    if len(origins) < FORWARDED_MAX:
        origins.append(origin)


def position(source: Input, incoming: Incoming) -> str:
    """`topic[partition]@offset` of an input record."""
    record = incoming.record
    return f"{source.topic}[{record.partition}]@{record.offset}"
