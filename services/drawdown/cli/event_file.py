"""Usage events in a file: a JSON array, JSON lines, one JSON object, or CSV with a header.

JSON stays as it is written, byte for byte: no number passes through a float. In CSV the columns
`id`, `type`, `customer` (or `subject`), `source` and `time` are the event's own, every other one is
a field of its `data`; an empty cell is none.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from drawdown.cli.outcome import CommandError
from drawdown.events.codec import RECORD_BYTES_MAX, encode

STDIN: Final = "-"
BOM: Final = b"\xef\xbb\xbf"
"""What some editors begin a file with."""
ENVELOPE: Final = ("id", "type", "subject", "customer", "source", "time")
NEEDED: Final = ("id", "type")
ARRAY_BYTES_MAX: Final = 256 << 20
"""An array is read whole; JSON lines may go on for ever."""

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Read(NamedTuple):
    """An event of a file, or what is there instead."""

    place: str
    """`line 3`, or `item 3` of an array."""
    value: bytes
    problem: str | None = None


def read_events(path: str) -> Iterator[Read]:
    """The events of a file, or of stdin, as they are read. Raises CommandError where it is none."""
    try:
        with _opened(path) as file:
            yield from _events(path, file)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not UTF-8 at byte {error.start}") from None
    except csv.Error as error:
        raise CommandError(f"{path}: no CSV: {error}") from None


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    if path == STDIN:
        return nullcontext(sys.stdin.buffer)
    return Path(path).open("rb")


def _events(path: str, file: IO[bytes]) -> Iterator[Read]:
    numbered = enumerate(file, 1)
    first, line = next(((number, line) for number, line in numbered if line.strip()), (0, b""))
    if not first:
        raise CommandError(f"{path}: is empty")
    line = line.removeprefix(BOM)
    start = line.lstrip()[:1]
    if start == b"[":
        yield from _array(path, line + _rest(path, file))
    elif start == b"{" and _is_object(line):
        yield _json_line(f"line {first}", line)
        for number, other in numbered:
            if other.strip():
                yield _json_line(f"line {number}", other)
    elif start == b"{":
        value = line + _rest(path, file)  # one object over several lines
        if not _is_object(value):
            raise CommandError(
                f"{path}: line {first}: {_why(line)}; give one object per line, or a JSON array of"
                " them"
            )
        yield _checked("item 1", value)
    elif path.lower().endswith(".csv") or b"," in line:
        yield from _csv(path, itertools.chain([line], file), first)
    else:
        raise CommandError(
            f"{path}: line {first}: neither JSON nor CSV: give a JSON array, one JSON object per"
            " line, or CSV with a header"
        )


def _rest(path: str, file: IO[bytes]) -> bytes:
    rest = file.read(ARRAY_BYTES_MAX)
    if len(rest) == ARRAY_BYTES_MAX:
        raise CommandError(
            f"{path}: more than {ARRAY_BYTES_MAX >> 20} MiB as one JSON value: give one event per"
            " line"
        )
    return rest


def _array(path: str, value: bytes) -> Iterator[Read]:
    try:
        items = _decode_array(value)
    except (ValueError, RecursionError):
        raise CommandError(f"{path}: {_where(value)}") from None
    for place, item in enumerate(items, 1):
        yield _json_line(f"item {place}", bytes(item))


def _json_line(place: str, value: bytes) -> Read:
    if not _is_object(value):
        return Read(place, value, f"is no JSON object: {_why(value)}")
    return _checked(place, value)


def _checked(place: str, value: bytes) -> Read:
    if len(value) > RECORD_BYTES_MAX:
        return Read(place, value, f"{len(value)} bytes; at most {RECORD_BYTES_MAX} (1 MiB)")
    return Read(place, value.strip())


def _is_object(value: bytes) -> bool:
    try:
        _decode_object(value)
    except (ValueError, RecursionError):
        return False
    return True


def _why(value: bytes) -> str:
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (ValueError, RecursionError) as error:
        return str(error)
    return f"begins with {value.strip()[:20].decode('utf-8', 'replace')!r}"


def _where(value: bytes) -> str:
    """What is wrong with a JSON text, with its line."""
    try:
        json.loads(value)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: {error.msg[:1].lower()}{error.msg[1:]}"
    except (ValueError, RecursionError) as error:
        return f"no JSON array of events: {error}"
    return "no JSON array of events"


# CSV


def _csv(path: str, lines: Iterable[bytes], first: int) -> Iterator[Read]:
    reader = csv.reader((line.decode() for line in lines), strict=True)
    header = [name.strip() for name in next(reader)]
    if missing := [name for name in NEEDED if name not in header]:
        raise CommandError(
            f"{path}: line {first}: the header lacks {', '.join(missing)}; it names the columns:"
            " id, type, customer, time, and the fields of data"
        )
    if "customer" not in header and "subject" not in header:
        raise CommandError(f"{path}: line {first}: the header lacks customer")
    if twice := [name for name in header if header.count(name) > 1]:
        raise CommandError(f"{path}: line {first}: the header has {twice[0]!r} twice")
    for cells in reader:
        if not cells:
            continue
        place = f"line {first + reader.line_num - 1}"
        if len(cells) != len(header):
            yield Read(place, b"", f"{len(cells)} cells, but the header has {len(header)}")
            continue
        yield _checked(place, encode(event_of(dict(zip(header, cells, strict=True)))))


def event_of(cells: dict[str, str]) -> dict[str, Any]:
    """An event of its fields as text; those that are not the envelope's are its data."""
    event: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name, text in cells.items():
        if not text:
            continue
        if name in ENVELOPE:
            event[name] = text
        else:
            data[name] = value_of(text)
    event["data"] = data
    return event


def value_of(text: str) -> int | str:
    """A field of data: a whole number, or text as it is written - which also is how an exact
    decimal is given."""
    plain = text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")
    return int(text) if plain and len(text) < 16 else text
