"""Usage decided again. What an event without an entry came to does not depend on when it was
decided, so it is looked at when the next event with an entry comes by."""

from __future__ import annotations

from drawdown.events.decisions import Decision
from drawdown.events.usage import UsageEvent
from drawdown.replay.again import Again, Deciding
from drawdown.replay.inputs import Incoming, Input
from drawdown.replay.left import Left, position
from drawdown.replay.recorded import Ahead, Letter, Told
from drawdown.settlement.application import REPLY_TO
from drawdown.stream.application import Lag

NO_LAG = Lag()


class UsageAgain:
    """The usage events of a partition."""

    def __init__(
        self,
        deciding: Deciding,
        source: Input,
        answers: Ahead[Decision | None],
        letters: Ahead[Letter],
        partitions: int,
    ) -> None:
        self.source = source
        self._deciding = deciding
        self._answers = answers
        self._left = Left(deciding, source, letters, partitions)

    def before(self, limit: int) -> None:
        """Account for all events below an offset: none of them has an entry."""
        source = self.source
        while (incoming := source.peek()) is not None and incoming.record.offset < limit:
            source.take()
            self._without_entry(incoming)

    def take(self, offset: int) -> Incoming | None:
        """The event at an offset, for its entry; None where it is not there."""
        incoming = self.source.peek()
        if incoming is None or incoming.record.offset != offset:
            return None
        self.source.take()
        self._left.arrived(incoming)
        return incoming

    def _without_entry(self, incoming: Incoming) -> None:
        deciding = self._deciding
        self._left.arrived(incoming)
        if incoming.item is None:
            self._left.unread(incoming)
            return
        event: UsageEvent = incoming.item.content
        if event.subject in deciding.broken:
            deciding.counts.not_followed += 1
            return
        letter: list[Told[Letter] | None] = []

        def agrees(again: Again) -> bool:
            if again.entries or again.failed:
                return False
            if again.letter is None:
                return True
            if not letter:
                letter.append(self._left.letter(incoming))
            return self._left.agrees(incoming, again.letter, letter[0])

        again, agreed = deciding.record(incoming, NO_LAG, agrees)
        if agreed:
            if again.letter is not None:
                deciding.counts.dead_letters += 1
            else:
                deciding.counts.duplicates += 1
            self.answered(incoming, again)
            return
        if incoming.record.header(REPLY_TO) is not None:
            self._answers.find((event.subject, event.id))  # told of once is enough
        told = letter[0] if letter else self._left.letter(incoming)
        if again.letter is not None:
            self._left.differs(incoming, again.letter, told)
            return
        where = position(self.source, incoming)
        if told is not None:
            detail = (
                f"{where}: its dead letter says {told.content.reason}: {told.content.detail};"
                " decided again it is debited"
            )
        else:
            detail = (
                f"{where}: usage {event.id!r} of {event.subject} has neither an entry nor a dead"
                f" letter: it is lost{f' ({again.failed})' if again.failed else ''}"
            )
        deciding.differ(
            "usage",
            detail,
            customer=event.subject,
            topic=self.source.topic,
            offset=incoming.record.offset,
        )

    def answered(self, incoming: Incoming, again: Again) -> None:
        """Compare the answer, where the producer asked for one."""
        if not again.answers:
            return
        assert incoming.item is not None
        deciding = self._deciding
        event: UsageEvent = incoming.item.content
        (value,) = again.answers
        told = self._answers.find((event.subject, event.id), value)
        if told is None and self._answers.gone(incoming.record.at_ms):
            deciding.counts.decisions_gone += 1
            return
        deciding.counts.decisions += 1
        if told is not None and told.value == value:
            return
        where = position(self.source, incoming)
        found = f"{self._answers.topic}[{deciding.partition}]@{told.offset}" if told else ""
        deciding.differ(
            "decision",
            f"{found}, the answer to {where}" if told else f"{where}: it was never answered",
            customer=event.subject,
            topic=self._answers.topic,
            offset=told.offset if told else None,
            written=told.value if told else None,
            again=value,
        )

    def rest(self, end: int) -> None:
        """What is left over, of events below `end`."""
        self._left.rest(end)
        deciding, whole = self._deciding, self.source.peek() is None
        for told in self._answers.rest():
            decision = told.content
            if self.source.start > 0 or decision is None:
                deciding.counts.decisions_gone += 1
            elif whole and decision.customer not in deciding.broken:
                deciding.differ(
                    "decision",
                    f"{self._answers.topic}[{deciding.partition}]@{told.offset}: an answer to usage"
                    f" {decision.id!r} of {decision.customer}, which nobody sent and asked about",
                    customer=decision.customer,
                    topic=self._answers.topic,
                    offset=told.offset,
                )
