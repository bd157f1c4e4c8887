"""The journal folded with integers: what each customer had, at every sequence."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .reading import Read, exact


@dataclass
class Account:
    """One asset of one customer: integers of 10^-12."""

    granted: int = 0
    debited: int = 0
    held: int = 0
    overdrawn: int = 0
    lapsed: int = 0
    credit: int = 0

    @property
    def balance(self) -> int:
        """What is left: below zero where more was used than was there."""
        return self.granted - self.debited - self.held - self.lapsed

    @property
    def available(self) -> int:
        """What an authorization may take, where there is no credit limit."""
        return max(self.balance, 0)


@dataclass
class Folded:
    """What came of the fold."""

    entries: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """By customer, in order."""
    available: dict[tuple[str, int, str], int] = field(default_factory=dict)
    """(customer, sequence, asset) -> what was available after that entry."""
    wrongs: list[str] = field(default_factory=list)
    count: int = 0

    def available_at(self, customer: str, sequence: int, asset: str) -> int:
        """After an entry, which need not be of that asset."""
        while sequence > 0:
            found = self.available.get((customer, sequence, asset))
            if found is not None:
                return found
            sequence -= 1
        return 0


class FloatFoundError(ValueError):
    """A number with a point or an exponent stands where amounts are text."""


def _no_float(text: str) -> Any:
    raise FloatFoundError(text)


def fold(journal: Iterable[Read]) -> Folded:
    """Fold it, and hold every prefix against the rule that nobody spends what they have not."""
    folded = Folded()
    accounts: dict[tuple[str, str], Account] = defaultdict(Account)
    for record in journal:
        try:
            entry = json.loads(record.value or b"null", parse_float=_no_float)
        except FloatFoundError as error:
            folded.wrongs.append(f"entry at {record.partition}@{record.offset} has a float {error}")
            entry = record.json
        customer, data = entry["subject"], entry["data"]
        folded.entries[customer].append(entry)
        folded.count += 1
        asset = data.get("asset")
        if asset is None:
            continue
        account = accounts[customer, asset]
        before = account.overdrawn
        _apply(account, entry["type"].rpartition(".")[2], data)
        where = f"{customer} at {data['sequence']}"
        if account.held + account.debited - account.overdrawn > account.granted + account.credit:
            folded.wrongs.append(f"{where}: more is held and debited than was granted")
        if account.overdrawn > before and not entry["type"].endswith((".debit", ".capture")):
            folded.wrongs.append(f"{where}: overdrawn by {entry['type']}")
        if account.balance != exact(data["after"]):
            folded.wrongs.append(f"{where}: {data['after']} is left, reckoned {account.balance}")
        folded.available[customer, data["sequence"], asset] = account.available
    return folded


def _apply(account: Account, kind: str, data: dict[str, Any]) -> None:
    amount = exact(data["amount"])
    said = data.get("hold") or {}
    taken, returned = _sum(said, "taken"), _sum(said, "returned")
    account.overdrawn += exact(data.get("overdrawn", "0"))
    account.credit += exact(data.get("credit", "0"))
    match kind:
        case "grant":
            account.granted += amount
        case "hold":
            account.held += amount
        case "capture":
            account.debited += amount
            account.held -= taken + returned
        case "release" | "expire":
            account.held -= amount
        case "lapse":
            account.lapsed += amount
        case _:
            account.debited += amount


def _sum(said: dict[str, Any], name: str) -> int:
    parts = sum(exact(part["amount"]) for part in said.get(name, ()))
    return parts + exact(said.get(f"{name}_credit", "0"))
