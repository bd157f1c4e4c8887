"""A verdict: what was looked at and what was wrong, by the number of the invariant.

The numbers are those of the design's list; a number with nothing looked at was not shown.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

INVARIANTS: Final[dict[str, str]] = {
    "1": "conservation at every sequence; sequence, digest chain, before and after of every entry",
    "2": "every usage event that is right is debited once, and nothing else is",
    "3": "same id and content: the first answer; other content: a conflict",
    "4": "each allow was affordable at its own sequence, each denial was not",
    "5": "no grant below zero, no credit above its limit",
    "6": "each attempt has one answer, as its entry says; what was read once stays readable",
    "7": "what was refused left nothing; a hold ends once",
    "8": "entries are in the order of their causes: nobody stale has written",
    "9": "entry, answer, row and offset of a record are there together",
    "10": "in the end everything is decided, served and readable",
    "13": "stores hold what `balances` holds, byte for byte",
    "15": "rebuilt without a disk: the same bytes",
    "17": "what cannot be decided is a dead letter, whole, once",
    "19": "timers fire neither early nor ahead of the backlog",
    "24": "priced by the book in effect at its instant",
}


class Verdict:
    """Of one history."""

    def __init__(self) -> None:
        self.wrongs: dict[str, list[str]] = {}
        self.checked: Counter[str] = Counter()

    def check(self, number: str, right: object, what: str) -> bool:
        """Look at one thing."""
        self.checked[number] += 1
        if not right:
            self.wrongs.setdefault(number, []).append(what)
        return bool(right)
