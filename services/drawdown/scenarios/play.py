"""Plays a scenario in a world, step by step, and says what was expected and what was found."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drawdown.book_file import Where
from drawdown.events.base import at_text, milliseconds
from drawdown.events.codec import decode_any
from drawdown.events.pricebook import PriceBook
from drawdown.scenarios.expectations import After, Check, check
from drawdown.scenarios.happenings import KINDS, LOOKS_BACK, About, Sent
from drawdown.scenarios.scenario_file import Scenario, Step
from drawdown.scenarios.world import Outcome, World


class ScenarioError(Exception):
    """A scenario that cannot be played: what it is about is not there."""


@dataclass(frozen=True)
class Happened:
    """A record of a step, and what became of it."""

    kind: str
    sent: Sent | None
    """None of a version of the price book."""
    outcome: Outcome


@dataclass(frozen=True)
class Played:
    """A step that was played."""

    number: int
    """From 1; 0 is what was given."""
    at: str
    step: Step | None
    happened: Sequence[Happened]
    customer: str
    """Whom its expectations are about."""
    entries: Sequence[Mapping[str, Any]]
    """That customer's, made by the step."""
    values: Sequence[bytes]
    """The same, as they stand on their topic."""
    wallet: Mapping[str, Any] | None
    checks: Sequence[Check]
    book: PriceBook
    """The version the step was played under, last published."""

    @property
    def difference(self) -> Check | None:
        """The first expectation that is not met."""
        return next((found for found in self.checks if not found.ok), None)


def play(scenario: Scenario, world: World) -> Iterator[Played]:
    """Play it; each step as it is done. Raises ScenarioError."""
    return _Player(scenario, world).steps()


def difference(scenario: Scenario, played: Played) -> str | None:
    """The first expectation of a step that is not met, in words; None where all are."""
    found = played.difference
    if found is None:
        return None
    line = scenario.line(("steps", played.number - 1, "then", *found.path))
    return (
        f"{scenario.path}: line {line}: step {played.number} at {played.at}: then.{found.name}:"
        f" expected {said(found.expected)}, found {said(found.found)}"
    )


def said(value: Any) -> str:
    """A value as one would write it."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value)


class _Player:
    def __init__(self, scenario: Scenario, world: World) -> None:
        self._scenario = scenario
        self._file = scenario.file
        self._world = world
        self._at_ms = milliseconds(self._file.starts_at)
        self._journal: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._book = self._file.book

    def steps(self) -> Iterator[Played]:
        self._world.publish(self._book, 0)
        self._world.advance(self._at_ms)
        if self._file.given:
            yield self._given()
        for number, step in enumerate(self._file.steps, 1):
            yield self._step(number, step)

    def _given(self) -> Played:
        happened = self._happen("given", self._file.given, 1, ("given",))
        for number, one in enumerate(happened):
            answer = one.outcome.answer
            refused = one.outcome.detail or (
                "" if answer is None or answer["allowed"] else said(answer.get("detail"))
            )
            if refused:
                line = self._scenario.line(("given", number))
                raise ScenarioError(f"{self._scenario.path}: line {line}: {one.kind}: {refused}")
        return self._played(0, None, happened, self._file.customer, {})

    def _step(self, number: int, step: Step) -> Played:
        if step.at is not None:
            self._at_ms = milliseconds(step.at)
        customers = [one.customer or self._file.customer for one in step.happenings]
        customer = step.then.customer or (customers or [self._file.customer])[-1]
        self._read(customer)
        before = {customer: len(self._journal[customer])}
        self._world.advance(self._at_ms)
        where = ("steps", number - 1, "when")
        happened = self._happen(f"step-{number}", step.happenings, step.times, where)
        return self._played(number, step, happened, customer, before)

    def _played(
        self,
        number: int,
        step: Step | None,
        happened: Sequence[Happened],
        customer: str,
        before: Mapping[str, int],
    ) -> Played:
        self._read(customer)
        journal = self._journal[customer]
        since = before.get(customer, 0)
        values = self._world.journal(customer)
        made = journal[since:]
        wallet = self._world.wallet(customer)
        about = [one.outcome for one in happened if one.sent and one.sent.customer == customer]
        after = After(about, made, journal, wallet, customer, values, self._book.reporting)
        checks = [] if step is None else check(step.then, after)
        at = at_text(self._at_ms)
        return Played(
            number, at, step, happened, customer, made, values[since:], wallet, checks, self._book
        )

    def _read(self, customer: str) -> None:
        known = self._journal[customer]
        known += map(decode_any, self._world.journal(customer)[len(known) :])

    def _happen(
        self, name: str, happenings: Sequence[Any], times: int, where: Where
    ) -> list[Happened]:
        """What happens, in order; records go out together as far as none needs those before."""
        done: list[Happened] = []
        waiting: list[tuple[str, Sent]] = []
        kinds = [happening.kinds[0] for happening in happenings]
        for repetition in range(1, times + 1):
            for place, (kind, happening) in enumerate(zip(kinds, happenings, strict=True), 1):
                if kind == "publish":
                    self._publish(name, happening.publish)
                    done.append(Happened(kind, None, Outcome()))
                    continue
                if kind in LOOKS_BACK:
                    done += self._send(waiting)
                one = "" if len(happenings) == 1 else f".{place}"
                again = "" if times == 1 else f"/{repetition}"
                id = happening.id or f"{name}{one}{again}"
                customer = happening.customer or self._file.customer
                said = getattr(happening, kind)
                about = About(id, customer, self._at_ms, self._entry_of(customer, where))
                record = KINDS[kind].record
                assert record is not None
                sent = record(said, about)
                if times > 1:
                    sent = _numbered(sent, repetition)
                waiting.append((kind, sent))
        return done + self._send(waiting)

    def _send(self, waiting: list[tuple[str, Sent]]) -> list[Happened]:
        outcomes = self._world.take([sent for _, sent in waiting])
        done = [
            Happened(kind, sent, outcome)
            for (kind, sent), outcome in zip(waiting, outcomes, strict=True)
        ]
        waiting.clear()
        return done

    def _publish(self, name: str, said: Any) -> None:
        number = int(name.rpartition("-")[2]) - 1
        self._book = self._scenario.books[number]
        at = said.effective_at
        self._world.publish(self._book, self._at_ms if at is None else milliseconds(at))

    def _entry_of(self, customer: str, where: Where) -> Any:
        def entry(of: str | int) -> Mapping[str, Any]:
            self._read(customer)
            found: Mapping[str, Any]
            for found in reversed(self._journal[customer]):
                if of in (found["data"].get("id"), found["data"]["sequence"]):
                    return found
            line = self._scenario.line(where)
            raise ScenarioError(
                f"{self._scenario.path}: line {line}: {customer} has no entry {of!r} yet"
            )

        return entry


NUMBER_HERE = b"{n}"


def _numbered(sent: Sent, number: int) -> Sent:
    """A record with the number of its repetition in its texts."""
    text = str(number)
    id = sent.id.replace(NUMBER_HERE.decode(), text)
    customer = sent.customer.replace(NUMBER_HERE.decode(), text)
    return Sent(sent.topic, customer, id, sent.value.replace(NUMBER_HERE, text.encode()))
