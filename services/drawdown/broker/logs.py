"""Why a broker did not start, in one line, from what it wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_ENTRY = re.compile(r"^\d{4}-\S+ (?P<level>[A-Z]+) +(?P<text>.*)$")
_EXCEPTION = re.compile(
    r"^(?:Caused by: )?(?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error)\b:?(?P<text>.*)$"
)
_TEXT_LENGTH_MAX = 300


def reason(server_log: Path, console: Path, since_bytes: int) -> str:
    """What went wrong, as the broker says it: the last exception or error in its log after the
    first `since_bytes` bytes, else the last line it printed."""
    found = _last_error(lines(server_log, since_bytes)) or _last_printed(lines(console, 0))
    return found[:_TEXT_LENGTH_MAX] or "it said nothing"


def size_bytes(path: Path) -> int:
    """How long a log is now; 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def lines(path: Path, since_bytes: int) -> list[str]:
    """What was written after the first `since_bytes` bytes; nothing where there is no file."""
    try:
        with path.open("rb") as file:
            # A log that is shorter than it was has been rolled over since.
            file.seek(since_bytes if path.stat().st_size >= since_bytes else 0)
            return file.read().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _last_error(lines: Iterable[str]) -> str:
    """The message of the innermost exception of the last error; else of the error itself."""
    found, in_error = "", False
    for line in lines:
        if entry := _ENTRY.match(line):
            in_error = entry["level"] in ("ERROR", "FATAL")
            if in_error:
                found = entry["text"].strip()
        elif in_error and (exception := _EXCEPTION.match(line)):
            found = exception["text"].strip() or line.strip()
    return found


def _last_printed(lines: Iterable[str]) -> str:
    said = [line.strip() for line in lines if line.strip()]
    # "Error: Could not create the Java Virtual Machine" and the like only follow the reason.
    telling = [
        s
        for s in said
        if not s.startswith(("WARNING", "[", "at ", "Error: A fatal", "Error: Could"))
    ]
    return telling[-1] if telling else ""
