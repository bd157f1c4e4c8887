"""Differences: what a replay found otherwise than it is written, where, and in which field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from drawdown.events.codec import RecordError, decode_any, encode

KEPT_MAX: Final = 20
"""Differences that are told one by one, per partition; the others are counted."""
SHOWN: Final = 120
"""Characters of a value."""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it must be."""

    what: str
    """A word for it: `entry`, `decision`, `row`, ...; see deploy/runbook.md."""
    partition: int
    detail: str
    """In words, with its position."""
    topic: str | None = None
    offset: int | None = None
    customer: str | None = None
    field: str | None = None
    """Path of the first field that differs."""
    expected: str | None = None
    """As worked out again."""
    found: str | None = None
    """As it is written."""


class Differences:
    """The differences of a partition: counted, the first ones kept."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Difference] = []

    def add(self, difference: Difference) -> None:
        self.count += 1
        if len(self.first) < KEPT_MAX:
            self.first.append(difference)


class Gap(msgspec.Struct, frozen=True):
    """Where two values begin to differ."""

    field: str
    expected: str
    found: str


def first_gap(expected: bytes | None, found: bytes | None) -> Gap:
    """Where `found` first differs from `expected`: the field where both are JSON, else the byte."""
    if expected is None or found is None:
        return Gap("", _said(expected), _said(found))
    try:
        pair = decode_any(expected), decode_any(found)
    except RecordError:
        return _byte(expected, found)
    gap = next(_gaps("", *pair), None)
    return gap or _byte(expected, found)


def _byte(expected: bytes, found: bytes) -> Gap:
    place = next(
        (n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    around = slice(max(place - 20, 0), place + 20)
    return Gap(f"byte {place}", _said(expected[around]), _said(found[around]))


def _gaps(path: str, expected: Any, found: Any) -> Iterator[Gap]:
    """The fields that differ, in the order they are written; a digest last: it covers all else."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = list(dict.fromkeys((*expected, *found)))
        names.sort(key=lambda name: name == "digest")
        for name in names:
            where = f"{path}.{name}" if path else name
            if name not in expected or name not in found:
                yield Gap(
                    where,
                    _json(expected[name]) if name in expected else "nothing",
                    _json(found[name]) if name in found else "nothing",
                )
            else:
                yield from _gaps(where, expected[name], found[name])
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for place, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _gaps(f"{path}[{place}]", one, other)
    elif expected != found:
        yield Gap(path, _json(expected), _json(found))


def _json(value: Any) -> str:
    return _shortened(value if isinstance(value, str) else encode(value).decode())


def _said(value: bytes | None) -> str:
    return "nothing" if value is None else _shortened(value.decode("utf-8", "replace"))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
