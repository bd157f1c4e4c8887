"""What became of commands: each attempt has one answer, and it is the right one.

An answer says the sequence it was decided at; where a refusal does not, it must be right at one of
those it can have been decided at: after the entries of earlier commands, before those of later.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.simulation.standing import Standing, Standings
from tests.simulation.topics import FORWARDED, Record, Topics, home, ms, pico
from tests.simulation.verdict import Verdict

LEAST: Final = 1
LATENESS_MS: Final = 35 * 86_400_000
EARLY_MS: Final = 300_000


class Causes(Protocol):
    """The journal of a partition, by cause."""

    partition: int
    entries: list[dict[str, Any]]

    def entry_of(self, topic: str, offset: int) -> dict[str, Any] | None: ...


@dataclass
class Asked:
    """One attempt at a command, and what came of it."""

    name: str
    offset: int
    at_ms: int
    command: dict[str, Any]
    answer: dict[str, Any]
    entry: dict[str, Any] | None
    dead: int

    @property
    def allowed(self) -> bool:
        return bool(self.answer["allowed"])

    @property
    def reason(self) -> str:
        return str(self.answer["reason"])


def judge_commands(verdict: Verdict, logs: Topics, standings: Standings, causes: Causes) -> None:
    partition = causes.partition
    answers: dict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for record in logs.decisions[partition]:
        answers[record.headers["attempt_id"]].append(json.loads(record.value or b""))
    bounds = _bounds(causes.entries)
    first: dict[tuple[str, str], Asked] = {}
    for record in logs.commands[partition]:
        name = f"command {partition}@{record.offset}"
        entry = causes.entry_of("commands", record.offset)
        if home(record.key or b"", logs.partitions) != partition:
            moved = _moved(logs, record, partition)
            verdict.check("6", moved == 1 and entry is None, f"{name}: moved {moved} times")
            continue
        found = answers[record.headers["attempt_id"]]
        if not verdict.check("6", len(found) == 1, f"{name}: {len(found)} answers"):
            continue
        command = json.loads(record.value or b"")
        dead = len(logs.dead.get(("commands", partition, record.offset), ()))
        asked = Asked(name, record.offset, record.stamp_ms, command, found[0], entry, dead)
        key = command["customer"], command["id"]
        if key in first:
            _judge_again(verdict, first[key], asked)
            continue
        judge = Judgement(verdict, logs, standings.of(command["customer"]), asked, bounds)
        judge.judge()
        if entry is not None:
            first[key] = asked


def _moved(logs: Topics, record: Record, partition: int) -> int:
    origin = f"{partition}:{record.offset}".encode()
    parts = logs.commands[home(record.key or b"", logs.partitions)]
    return sum(r.headers.get(FORWARDED) == origin and r.value == record.value for r in parts)


def _judge_again(verdict: Verdict, first: Asked, asked: Asked) -> None:
    """An id that had changed something before."""
    verdict.check("7", asked.entry is None, f"{asked.name}: done again")
    if _content(first.command) == _content(asked.command):
        same = {**first.answer, "duplicate": True}
        verdict.check("3", asked.answer == same, f"{asked.name}: another answer than the first")
    else:
        right = (asked.allowed, asked.reason, asked.dead) == (False, "conflict", 1)
        verdict.check("3", right, f"{asked.name}: {asked.reason} instead of conflict")


def _content(command: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in command.items() if name != "deadline_at"}


def _bounds(entries: list[dict[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """By customer: offset of the command and sequence, of entries that commands caused."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for entry in entries:
        cause = entry["data"]["cause"]
        if cause.get("topic") == "commands":
            found[entry["subject"]].append((cause["offset"], entry["data"]["sequence"]))
    return found


class Judgement:
    """Of one attempt at a command whose id had changed nothing yet."""

    def __init__(
        self,
        verdict: Verdict,
        logs: Topics,
        history: list[Standing],
        asked: Asked,
        bounds: dict[str, list[tuple[int, int]]],
    ) -> None:
        self._verdict = verdict
        self._logs = logs
        self._history = history
        self._asked = asked
        mine = bounds[asked.command["customer"]]
        self._lowest = max((s for offset, s in mine if offset < asked.offset), default=0)
        self._highest = min(
            (s - 1 for offset, s in mine if offset >= asked.offset), default=len(history) - 1
        )

    def judge(self) -> None:
        asked = self._asked
        kind = asked.command["type"]
        changes = asked.allowed and (kind != "authorize" or "require" in asked.command)
        right = (asked.entry is not None) == changes
        self._check("7", right, f"{asked.reason}, entry {asked.entry is not None}")
        self._check("9", not asked.dead, "answered and a dead letter")
        if asked.entry is not None and changes:
            data = asked.entry["data"]
            said = asked.answer["sequence"], asked.answer["digest"], asked.answer["id"]
            same = said == (data["sequence"], asked.entry["digest"], data["id"])
            self._check("6", same, "its answer is not about its entry")
            self._check("8", ms(asked.entry["time"]) == asked.at_ms, "its entry's time is another")
        if asked.reason in ("deadline_passed", "too_late", "too_early"):
            self._check("4", self._out_of_time(asked.reason), f"answered {asked.reason}")
        elif kind == "authorize":
            self._authorize()
        elif kind in ("capture", "release", "extend"):
            self._about_a_hold(kind)
        else:
            self._other(kind)

    def _check(self, number: str, right: object, what: str) -> None:
        self._verdict.check(number, right, f"{self._asked.name}: {what}")

    def _out_of_time(self, reason: str) -> bool:
        late_ms = self._asked.at_ms - ms(self._asked.command["time"])
        if reason == "deadline_passed":
            return "deadline_at" in self._asked.command
        return late_ms > LATENESS_MS if reason == "too_late" else late_ms < -EARLY_MS

    def _other(self, kind: str) -> None:
        """Grants and terms."""
        asked = self._asked
        ends = asked.command.get("expires_at")
        if kind == "grant" and ends is not None and ms(ends) <= asked.at_ms:
            self._check("4", asked.reason == "invalid", f"{asked.reason}: it is over already")
            return
        self._check("4", asked.allowed, f"{asked.reason}: nothing speaks against it")
        if kind == "grant" and asked.entry is not None:
            amounts = asked.entry["data"]["amount"], asked.command["amount"]
            self._check("1", pico(amounts[0]) == pico(amounts[1]), f"granted {amounts}")

    def _authorize(self) -> None:
        asked, at_ms = self._asked, self._asked.at_ms
        read = asked.answer.get("sequence", 0) - (asked.entry is not None)
        within = self._lowest <= read <= self._highest
        self._check("4", within, f"read {read}, of {self._lowest} to {self._highest}")
        if not 0 <= read < len(self._history):
            return
        standing = self._history[read]
        if not read:
            self._check("4", asked.reason == "unknown_customer", f"{asked.reason}: nobody's wallet")
            return
        per_token = self._per_token(asked.answer)
        tokens = asked.command.get("estimate", {}).get("quantities", {}).get("input")
        amount = LEAST if tokens is None else tokens * per_token
        there = standing.available(at_ms)
        hold = asked.command.get("hold", {}).get("hold_id")
        if hold in standing.holds or hold in standing.ended:
            self._check("4", asked.reason == "hold_exists", f"{asked.reason}: its hold exists")
            return
        left = standing.budget_left
        if left is not None and amount > left:
            right = (asked.allowed, asked.reason) == (False, "budget_exceeded")
            self._check("4", right, f"{asked.reason}: {left} of the budget for {amount}")
            return
        enough = there >= max(amount, LEAST)
        if asked.entry is not None:
            said = asked.entry["data"]["read"]["available"]
        else:
            said = asked.answer.get("available", {}).get("USD", "-1")
        self._check("4", pico(said) == there, f"read {said} available, was {there}")
        reason = "ok" if enough else "insufficient_balance"
        right = (asked.allowed, asked.reason) == (enough, reason)
        self._check("4", right, f"{asked.reason}: {there} for {amount}")
        if asked.entry is not None:
            held = pico(asked.entry["data"]["amount"])
            self._check("5", held == amount <= there, f"holds {held} for {amount} of {there}")

    def _per_token(self, answer: dict[str, Any]) -> int:
        """By the book the answer names, which must be the one in effect."""
        said = answer["book"], answer["book_offset"]
        books = self._logs.books_at(self._asked.at_ms)
        # Ahead of time with the broker's clock, a book may be in effect before it is there.
        may = books[-1:] if self._logs.steady else books
        found = [book for book in may if (book.version, book.offset) == said]
        self._check("24", found, f"priced by {said}")
        return (found or books)[-1].per_token

    def _about_a_hold(self, kind: str) -> None:
        asked = self._asked
        if asked.entry is None:
            at = range(self._lowest, min(self._highest, len(self._history) - 1) + 1)
            right = any(self._may_be(asked.reason, self._history[s]) for s in at)
            self._check("4", right, f"{kind} answered {asked.reason}")
            return
        standing = self._history[asked.entry["data"]["sequence"] - 1]
        hold = standing.holds.get(asked.command["hold_id"])
        if hold is None:
            self._check("7", False, f"{kind} of a hold that was not open")
            return
        ends_ms, held = hold
        self._check("7", asked.at_ms < ends_ms, f"{kind} of a hold that was over")
        if kind == "capture":
            tokens = asked.command.get("quantities", {}).get("input")
            if tokens is not None:
                held = tokens * self._logs.books_at(ms(asked.command["time"]))[-1].per_token
            amount = asked.entry["data"]["amount"]
            self._check("2", pico(amount) == held, f"captured {amount}, not {held}")

    def _may_be(self, reason: str, standing: Standing) -> bool:
        """Whether a refusal is right for a customer who stands so."""
        asked = self._asked
        name = asked.command["hold_id"]
        if name in standing.holds:
            ends_ms, _ = standing.holds[name]
            if asked.at_ms >= ends_ms:
                return reason == "hold_expired"
            return reason in ("hold_too_long", "invalid") and asked.command["type"] == "extend"
        if name in standing.ended:
            over = standing.ended[name] == "expire"
            return reason == ("hold_expired" if over else "hold_closed")
        return reason == "hold_unknown"
