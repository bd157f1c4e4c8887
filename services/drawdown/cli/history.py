"""A customer's entries from the newest back, and what each grant had before and after one of them.

An entry says what it took from a grant, not what the grant had. That is worked out from what it has
now, by taking back every entry since: no more is read than there is between then and now.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

import msgspec

from drawdown.cli.doors import Door, ProblemError, in_path
from drawdown.cli.outcome import UNREACHABLE, CommandError
from drawdown.events.codec import decode_any
from drawdown.events.numbers import amount_of

PAGE: Final = 100
SETTLE_S: Final = 1.0
"""How long an entry that is not there is waited for: it may have been sent a moment ago."""
BEHIND_S: Final = 5.0
"""How long the service's entries are waited for where they are behind its wallets."""
AGAIN_S: Final = 0.1


@dataclass(frozen=True)
class Wanted:
    """Which entry: by sequence, by the id of its event or command, or else the last one."""

    sequence: int | None = None
    id: str | None = None
    source: str | None = None

    def is_it(self, data: Mapping[str, Any]) -> bool:
        if self.sequence is not None:
            return bool(data["sequence"] == self.sequence)
        if self.id is not None:
            if self.source is None and self.id == _made(data):
                return True
            return data.get("id") == self.id and self.source in (None, data.get("source"))
        return True

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"entry {self.sequence}"
        source = "" if self.source is None else f" of source {self.source!r}"
        return f"entry of {self.id!r}{source}" if self.id is not None else "entry"


def _made(data: Mapping[str, Any]) -> str | None:
    """The id of the hold that an entry made: only that has what it is for."""
    hold = data.get("hold")
    return None if hold is None or "use" not in hold else str(hold["id"])


@dataclass(frozen=True)
class Found:
    """An entry, byte for byte and read, and its grants in pico-units."""

    value: bytes
    entry: Mapping[str, Any]
    before: Mapping[str, int]
    after: Mapping[str, int]
    since: Sequence[Mapping[str, Any]] = ()
    """What became of the hold it is about: younger entries, oldest first."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool
    next_cursor: str | None = None


_decode_page = msgspec.json.Decoder(_Page).decode


class MissingError(CommandError):
    """There is no such entry; perhaps there is a decision."""


class NotYetError(Exception):
    """The two views of the query service are not at the same place: ask again."""


def find(door: Door, customer: str, wanted: Wanted) -> Found:
    """The entry. Waits up to 1 s for one that is not there yet. Raises CommandError."""
    started = time.monotonic()
    while True:
        last: int | None = None
        behind = False
        try:
            row = _wallet(door, customer)
            if row is not None:
                last = row["sequence"]
                found = _search(door, customer, wanted, row)
                if found is not None:
                    return found
        except NotYetError:
            behind = True
        waited_s = time.monotonic() - started
        if behind and waited_s > BEHIND_S:
            raise CommandError(
                f"the query service has not read all entries of {customer!r} yet: try again",
                UNREACHABLE,
            )
        if not behind and waited_s > SETTLE_S:
            raise MissingError(_missing(customer, wanted, last))
        time.sleep(AGAIN_S)


def _wallet(door: Door, customer: str) -> Mapping[str, Any] | None:
    try:
        answer = door.get(f"/v1/customers/{in_path(customer)}/wallet")
    except ProblemError as error:
        if error.problem.get("code") == "unknown_customer":
            return None
        raise
    row: Mapping[str, Any] = answer["wallet"]
    return row


def _search(door: Door, customer: str, wanted: Wanted, row: Mapping[str, Any]) -> Found | None:
    """The entry as far as the wallet row goes. Raises NotYetError."""
    left = {grant["id"]: amount_of(grant["remaining"]) for grant in row["grants"]}
    expected = row["sequence"]
    of_holds: list[Mapping[str, Any]] = []
    for value in newest_first(door, customer):
        entry = decode_any(value)
        data = entry["data"]
        if data["sequence"] > expected:
            continue  # younger than the row
        if data["sequence"] < expected:
            raise NotYetError
        before = undone(left, data)
        if wanted.is_it(data):
            return Found(value, entry, before, left, _since(data, of_holds))
        if "hold" in data:
            of_holds.append(entry)
        left = before
        expected -= 1
    if expected:
        raise NotYetError
    return None


def _since(
    data: Mapping[str, Any], younger: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    hold = data.get("hold")
    if hold is None:
        return []
    return [entry for entry in reversed(younger) if entry["data"]["hold"]["id"] == hold["id"]]


def undone(left: Mapping[str, int], data: Mapping[str, Any]) -> dict[str, int]:
    """What the grants had before an entry, of what they have after it."""
    before = dict(left)

    def give(parts: Iterable[Mapping[str, str]], sign: int) -> None:
        for part in parts:
            before[part["grant"]] = before.get(part["grant"], 0) + sign * amount_of(part["amount"])

    give(data.get("allocations", ()), 1)
    hold = data.get("hold")
    if hold is not None:  # what it had was not in what the grants had left
        give(hold.get("taken", ()), -1)
        give(hold.get("returned", ()), -1)
    grant = data.get("grant")
    if grant is not None:
        amount = amount_of(data["amount"])
        came = 0  # into the grant of a debit below zero: its slice said so
        if amount >= 0:  # it may have joined one of its id
            came = amount + amount_of(data.get("credit", "0"))
            came += amount_of(data.get("overdrawn", "0"))
        if "reverses" in data:
            came += sum(amount_of(part["amount"]) for part in data.get("allocations", ()))
        before[grant["id"]] = before.get(grant["id"], 0) - came
        if not before[grant["id"]]:
            del before[grant["id"]]
    return before


def newest_first(door: Door, customer: str) -> Iterator[bytes]:
    """A customer's entries as the query service has them, page by page as they are asked for."""
    parameters = {"limit": str(PAGE)}
    while True:
        answer = door.get_bytes(f"/v1/customers/{in_path(customer)}/entries", parameters)
        page = _decode_page(answer)
        for item in page.data:
            yield bytes(item)
        if not page.has_more or page.next_cursor is None:
            return
        parameters["cursor"] = page.next_cursor


def _missing(customer: str, wanted: Wanted, last: int | None) -> str:
    if last is None:
        return (
            f"CUSTOMER: no wallet of {customer!r} is known: `drawdown customers` lists those there"
            " are"
        )
    if wanted.sequence is not None:
        return f"ENTRY: {customer!r} has the entries 1 to {last}, and no {wanted.sequence}"
    return (
        f"ENTRY: {customer!r} has no {wanted} among its {last}; if it was refused, `drawdown tail"
        f" dead-letters --from-beginning --no-follow --customer {quote(customer)}` says why"
    )
