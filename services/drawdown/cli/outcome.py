"""How a command ends: exit codes, and failures that are one clear line."""

from __future__ import annotations

from typing import Final

FAILED: Final = 1
USAGE: Final = 2
"""Wrong arguments, wrong configuration, a key that may not."""
DENIED: Final = 3
"""An authorization said no."""
UNREACHABLE: Final = 4
"""Kafka or a service does not answer."""

EXITS: Final = "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 denied, 4 unreachable."


class CommandError(Exception):
    """Ends the command with `code` and one line on stderr."""

    def __init__(self, line: str, code: int = FAILED) -> None:
        super().__init__(line)
        self.line = line
        self.code = code
