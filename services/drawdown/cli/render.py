"""What commands print: data on stdout, messages on stderr.

Off a terminal nothing is styled, wrapped or animated, and tables are as wide as their content.
`NO_COLOR` takes the colour out everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from drawdown.events.codec import encode

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print data and errors only.")]

WIDE: Final = 100_000
"""Columns off a terminal: nothing is cut."""
RIGHT: Final = ">"
"""Before a column's title: its cells are numbers."""


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr,
        width=None if stream.isatty() else WIDE,
        highlight=False,
        emoji=False,
        soft_wrap=True,
    )


def show(line: str | Text = "", style: str | None = None) -> None:
    """One line of data."""
    _console(stderr=False).print(line, style=style, markup=False)


def show_json(content: Any) -> None:
    """One JSON value of data, on one line."""
    sys.stdout.write(encode(content).decode() + "\n")
    sys.stdout.flush()


def show_raw(content: bytes) -> None:
    """JSON as it came."""
    sys.stdout.write(content.decode("utf-8", "replace") + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table of data. A column whose title begins with `>` is aligned to the right."""
    _console(stderr=False).print(table(columns, rows))


def show_tree(tree: Tree) -> None:
    """A tree of data."""
    _console(stderr=False).print(tree)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table without lines: what can be read can be cut and pasted too."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in columns:
        right = title.startswith(RIGHT)
        made.add_column(
            title.removeprefix(RIGHT),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(_cell(cell)) for cell in row))
    return made


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return str(value)


def tell(line: str, *, quiet: bool = False, style: str | None = None) -> None:
    """A message on stderr."""
    if not quiet:
        _console(stderr=True).print(line, style=style, markup=False)


def tell_error(line: str) -> None:
    """The one line a failed command ends with; of a file with several faults, a line for each."""
    for part in line.splitlines():
        text = Text("error: ", style="bold red")
        text.append(part, style="not bold default")
        _console(stderr=True).print(text)


def state_text(state: str, label: str | None = None) -> Text:
    """A state in its colour."""
    style = {"ok": "green", "ready": "green", "note": "yellow"}.get(state, "red")
    return Text(label or state, style=style)


class Steps:
    """Progress on stderr: what is being done on a terminal, and a line for what is done."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._console = _console(stderr=True)
        self._status: Status | None = None

    def begin(self, what: str) -> None:
        if self._quiet or not self._console.is_terminal:
            return
        self.pause()
        self._status = self._console.status(f"{what} ...")
        self._status.start()

    def done(self, what: str, where: str) -> None:
        self.pause()
        tell(f"{what:<12}{where}", quiet=self._quiet)

    def pause(self) -> None:
        """Take the animation off the terminal."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def pairs(values: Mapping[str, object] | None) -> str:
    """`name=value` for each, in one line."""
    return " ".join(f"{name}={value}" for name, value in (values or {}).items())


def counted(count: int, what: str) -> str:
    """`1 broker`, `3 brokers`, `no brokers`."""
    ending = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count or 'no'} {what}{ending}"


def time_text(value: str | None) -> str:
    """An RFC 3339 time to the millisecond, always as long: columns stay straight."""
    if not value:
        return "-"
    found = datetime.fromisoformat(value).astimezone(UTC)
    return found.strftime("%Y-%m-%d %H:%M:%S.") + f"{found.microsecond // 1000:03d}Z"


def short_time(value: str | None) -> str:
    """An RFC 3339 time to the second."""
    return "-" if not value else time_text(value)[:19] + "Z"
