"""Commands decided again, those without an entry at the very rows they were decided by.

A command has its place in the journal by the order of commands: behind the entry of any earlier
one, before the entry of any later one. Within that, a check or a denial says which entry of its
customer it read; a refusal does not, and is right if it is what was decided anywhere there.

So commands are looked at as early as they can be, up to the next that says it made an entry; what
is not yet as it was written waits, and is tried again whenever its customer's rows change, until a
later command's entry comes by.
"""

from __future__ import annotations

from typing import Final, cast

import msgspec

from drawdown.events.codec import Command, kind_of
from drawdown.events.commands import Authorize
from drawdown.events.decisions import Decision
from drawdown.events.reasons import Reason
from drawdown.ledger.decide import AUTHORIZE
from drawdown.ledger.values import Wallet
from drawdown.replay.again import Again, Deciding, lag_of
from drawdown.replay.inputs import Incoming, Input
from drawdown.replay.left import Left, position
from drawdown.replay.recorded import Ahead, Letter, Told

WAITING_MAX: Final = 10_000
"""Commands that wait for their customer's rows to be as they were."""


class Waiting(msgspec.Struct, frozen=True):
    """A command without an entry, and its decision."""

    incoming: Incoming
    told: Told[Decision | None]

    @property
    def command(self) -> Command:
        assert self.incoming.item is not None
        return cast(Command, self.incoming.item.content)

    @property
    def decision(self) -> Decision:
        assert self.told.content is not None
        return self.told.content


class CommandsAgain:
    """The commands of a partition."""

    def __init__(
        self,
        deciding: Deciding,
        source: Input,
        decisions: Ahead[Decision | None],
        letters: Ahead[Letter],
        partitions: int,
        committed: int,
    ) -> None:
        self.source = source
        self._deciding = deciding
        self._decisions = decisions
        self._left = Left(deciding, source, letters, partitions)
        self._committed = committed
        """The group's offset: all commands below it are decided."""
        self._next: tuple[int, Told[Decision | None] | None] | None = None
        """The decision about the next command, taken out already."""
        self._waiting: dict[str, list[Waiting]] = {}
        self._waiting_count = 0

    # forward

    def open(self) -> None:
        """Look at the next commands, up to one that made an entry."""
        while (incoming := self.source.peek()) is not None and self._open(incoming):
            self.source.take()
            self._next = None

    def _open(self, incoming: Incoming) -> bool:
        """Whether the command was looked at; not where it may have made an entry."""
        decided = incoming.record.offset < self._committed
        if incoming.item is None:
            if decided:
                self._left.arrived(incoming)
                self._left.unread(incoming)
            return decided
        told = self._told(incoming)
        if told is None:
            if not decided or may_enter(incoming.item.content):
                return False
            self._undecided(incoming)
            return True
        waiting = Waiting(incoming, told)
        if entered(waiting.decision):
            return False
        self._left.arrived(incoming)
        if not self._attempt(waiting):
            self._wait(waiting)
        return True

    def before(self, limit: int) -> None:
        """Account for all commands below an offset, where an entry was made by a later one."""
        while (incoming := self.source.peek()) is not None and incoming.record.offset < limit:
            if not self._open(incoming):
                self._past(incoming)
            self.source.take()
            self._next = None
        self._end_waiting(limit)

    def take(self, offset: int) -> tuple[Incoming | None, Told[Decision | None] | None]:
        """The command at an offset, for its entry, and its decision; None where it is not there."""
        waiting = [each for group in self._waiting.values() for each in group]
        for each in waiting:
            if each.incoming.record.offset == offset:
                self._forget(each)
                return each.incoming, each.told
        incoming = self.source.peek()
        if incoming is None or incoming.record.offset != offset:
            return None, None
        told = None if incoming.item is None else self._told(incoming)
        self.source.take()
        self._next = None
        self._left.arrived(incoming)
        return incoming, told

    def answered(
        self, incoming: Incoming, told: Told[Decision | None] | None, again: Again
    ) -> None:
        """Compare the decision of a command that made an entry."""
        if told is None:
            self._undecided(incoming, entered=True)
        elif again.answers == [told.value]:
            assert told.content is not None
            self.counted(told.content)
        else:
            waiting = Waiting(incoming, told)
            detail = f"{self._where(told)}, the answer to {position(self.source, incoming)}"
            self._differ(waiting, detail, again)

    def changed(self, customer: str) -> None:
        """A customer's rows are those after another entry."""
        waiting = self._waiting.pop(customer, None)
        if waiting is None:
            return
        self._waiting_count -= len(waiting)
        for each in waiting:
            if not self._attempt(each):
                self._wait(each)

    def _told(self, incoming: Incoming) -> Told[Decision | None] | None:
        """The decision about the next command."""
        offset = incoming.record.offset
        if self._next is None or self._next[0] != offset:
            assert incoming.item is not None
            command: Command = incoming.item.content
            self._next = offset, self._decisions.find((command.customer, command.id))
        return self._next[1]

    # one command

    def _wait(self, waiting: Waiting) -> None:
        self._waiting.setdefault(waiting.command.customer, []).append(waiting)
        self._waiting_count += 1
        if self._waiting_count > WAITING_MAX:
            self._end_waiting(waiting.incoming.record.offset)

    def _end_waiting(self, limit: int) -> None:
        """No command below an offset can have been decided later."""
        ended = [
            each
            for waiting in self._waiting.values()
            for each in waiting
            if each.incoming.record.offset < limit
        ]
        for each in ended:
            self._forget(each)
            self._attempt(each, last=True)

    def _forget(self, waiting: Waiting) -> None:
        customer = waiting.command.customer
        self._waiting[customer].remove(waiting)
        self._waiting_count -= 1
        if not self._waiting[customer]:
            del self._waiting[customer]

    def _attempt(self, waiting: Waiting, *, last: bool = False) -> bool:
        """Decide it by the rows as they are; False where it was perhaps decided later."""
        deciding, decision, told = self._deciding, waiting.decision, waiting.told
        customer = waiting.command.customer
        if customer in deciding.broken or (
            deciding.head_gone and deciding.view.row(customer) is None and decision.sequence
        ):
            deciding.counts.not_followed += 1
            return True
        wallet: Wallet | None = deciding.view.row(customer)
        sequence = 0 if wallet is None else wallet.sequence
        stated = decision.digest is not None and not decision.duplicate
        if stated and sequence < decision.sequence and not last:
            return False

        def agrees(again: Again) -> bool:
            return not again.entries and again.answers == [told.value]

        again, agreed = deciding.record(waiting.incoming, lag_of(decision), agrees)
        if agreed:
            self._agreed(waiting, again)
            return True
        if not last and not stated:
            return False
        detail = f"{self._where(told)}, the answer to {position(self.source, waiting.incoming)}"
        if stated and sequence != decision.sequence:
            detail += (
                f": it says it was made by entry {decision.sequence} of {customer}; in the order of"
                f" commands that customer stands at {sequence}"
            )
        self._differ(waiting, detail, again)
        return True

    def _agreed(self, waiting: Waiting, again: Again) -> None:
        self.counted(waiting.decision)
        if again.letter is not None:
            incoming = waiting.incoming
            self._left.refused(incoming, again.letter, self._left.letter(incoming))

    def counted(self, decision: Decision) -> None:
        """A decision was decided again, and is as it was written."""
        counts = self._deciding.counts
        counts.decisions += 1
        counts.denials += not decision.allowed
        counts.as_recorded += bool(
            decision.usage_lag_records
            or decision.usage_lag_ms
            or decision.reason == Reason.DEADLINE_PASSED
        )

    def _past(self, incoming: Incoming) -> None:
        """A command without an entry, where its decision or its kind let one be expected."""
        self._left.arrived(incoming)
        if incoming.item is None:
            self._left.unread(incoming)
            return
        told = self._told(incoming)
        if told is None:
            self._undecided(incoming)
            return
        waiting = Waiting(incoming, told)
        if not entered(waiting.decision):
            self._attempt(waiting, last=True)
        elif waiting.command.customer in self._deciding.broken:
            self._deciding.counts.not_followed += 1
        else:
            self._differ(
                waiting,
                f"{self._where(told)}, the answer to {position(self.source, incoming)}: it says it"
                f" made entry {waiting.decision.sequence} of {waiting.command.customer}; there is"
                " no entry of this command",
            )

    def _undecided(self, incoming: Incoming, *, entered: bool = False) -> None:
        deciding = self._deciding
        assert incoming.item is not None
        command: Command = incoming.item.content
        if self._decisions.gone(incoming.record.at_ms):
            deciding.counts.decisions_gone += 1
            return
        deciding.differ(
            "command",
            f"{position(self.source, incoming)}: {kind_of(command)} {command.id!r} of"
            f" {command.customer} has "
            + ("no decision" if entered else "neither an entry nor a decision: it is lost"),
            customer=command.customer,
            topic=self.source.topic,
            offset=incoming.record.offset,
        )

    def _where(self, told: Told[Decision | None]) -> str:
        return f"{self._decisions.topic}[{self._deciding.partition}]@{told.offset}"

    def _differ(self, waiting: Waiting, detail: str, again: Again | None = None) -> None:
        value = None
        if again is not None:
            value = again.answers[0] if again.answers else None
            if again.failed:
                detail += f": it cannot be decided: {again.failed}"
        self._deciding.differ(
            "decision",
            detail,
            customer=waiting.command.customer,
            topic=self._decisions.topic,
            offset=waiting.told.offset,
            written=waiting.told.value if value is not None else None,
            again=value,
        )

    # the end

    def rest(self, end: int) -> None:
        """What is left over behind the last command that is known to be decided: `end`."""
        self._committed = end
        while (incoming := self.source.peek()) is not None and incoming.item is not None:
            told = self._told(incoming)
            if told is None:
                break
            waiting = Waiting(incoming, told)
            if not entered(waiting.decision):
                self._attempt(waiting)  # perhaps decided later than we look
            self.source.take()
            self._next = None
        self._left.rest(end)
        for told in self._decisions.rest():
            if self.source.start > 0:
                self._deciding.counts.decisions_gone += 1
                continue
            decision = told.content
            said = (
                "it is no decision"
                if decision is None
                else f"a decision about {decision.command} {decision.id!r} of {decision.customer},"
                " which nobody asked for"
            )
            self._deciding.differ(
                "decision",
                f"{self._where(told)}: {said}",
                customer=None if decision is None else decision.customer,
                topic=self._decisions.topic,
                offset=told.offset,
            )


def entered(decision: Decision) -> bool:
    """Whether a decision says that it made an entry."""
    if not decision.allowed or decision.duplicate:
        return False
    return decision.command != AUTHORIZE or decision.balance is not None


def may_enter(command: Command) -> bool:
    """Whether a command could make an entry at all: a check cannot."""
    if kind_of(command) != AUTHORIZE:
        return True
    asked = cast(Authorize, command)
    return asked.require == "hold" or asked.capture
