"""Price books as files: YAML or JSON, read with the line of everything, so that an error names it.

Numbers are taken as the text that is written: 1.25e-06 is 0.00000125, and no float is on the way.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from drawdown.events.numbers import plain_text
from drawdown.events.pricebook import PriceBook
from drawdown.ledger.book import BookError

TEXTS: Final = frozenset({"price", "prices", "thresholds"})
"""Fields below which a number is exact decimal text, even if it is written without a point."""


class BookFileError(Exception):
    """A file that is no price book: one line that names file, line and field."""


class _Node:
    """A parsed file: its content and the line of each path in it."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str | int, ...], int] = {}

    def content(self, node: yaml.Node, path: tuple[str | int, ...] = (), text: bool = False) -> Any:
        self.lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in found:
                    raise BookFileError(
                        f"line {key_node.start_mark.line + 1}: {key!r} stands there twice"
                    )
                found[key] = self.content(value_node, (*path, key), text or key in TEXTS)
                self.lines[*path, key] = key_node.start_mark.line + 1
            return found
        if isinstance(node, yaml.SequenceNode):
            return [
                self.content(item, (*path, place), text) for place, item in enumerate(node.value)
            ]
        return _scalar(node, text)

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line of a path, or of the nearest one above it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def _scalar(node: yaml.Node, text: bool) -> Any:
    tag, value = node.tag, str(node.value)
    if tag == "tag:yaml.org,2002:null":
        return None
    if tag == "tag:yaml.org,2002:bool":
        return value.lower() in ("true", "yes", "on")
    if tag == "tag:yaml.org,2002:int" and not text:
        return int(value.replace("_", ""), 0)
    if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return _plain(value)
    # YAML 1.1 takes 1e-06 for text: where a price is expected it is a number all the same.
    return _plain(value) if text else value


def _plain(value: str) -> str:
    try:
        number = Decimal(value.replace("_", ""))
    except InvalidOperation:
        return value
    return plain_text(number) if number.is_finite() and abs(number.adjusted()) < 60 else value


def read_book(path: Path) -> tuple[PriceBook, _Node]:
    """The book in a file, and where everything in it stands. Raises BookFileError."""
    try:
        source = path.read_text("utf-8")
    except OSError as error:
        raise BookFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BookFileError(f"{path}: not UTF-8 at byte {error.start}") from None
    lines = _Node()
    try:
        root = yaml.compose(source, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise BookFileError(f"{path}: line 1: expected a price book: `version: ...` and so on")
        content = _shorthand(lines.content(root))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BookFileError(f"{path}: line {line}: {error.problem or error.context}") from None
    except BookFileError as error:
        raise BookFileError(f"{path}: {error}") from None
    try:
        return PriceBook.model_validate(content), lines
    except ValidationError as error:
        first = error.errors()[0]
        where = tuple(part for part in first["loc"] if part not in ("per_unit", "token_map"))
        field = ".".join(str(part) for part in where)
        raise BookFileError(
            f"{path}: line {lines.line(where)}: {field}: {first['msg'].lower()}"
        ) from None


def _shorthand(content: Any) -> Any:
    """`fields: [input, output]` is `fields: {input: input, output: output}`."""
    for meter in content.get("meters") or []:
        if isinstance(meter, dict) and isinstance(meter.get("fields"), list):
            meter["fields"] = {str(name): str(name) for name in meter["fields"]}
    return content


def located(path: Path, lines: _Node, book: PriceBook, error: BookError) -> BookFileError:
    """A book's contradiction, with the line it stands at."""
    part, _, rest = error.where.partition(".")
    parts: tuple[str | int, ...] = (part,)
    for place, item in enumerate(getattr(book, part, None) or []):
        item_id = getattr(item, "id", None)
        if item_id and (rest == item_id or rest.startswith(f"{item_id}.")):
            field = rest.removeprefix(item_id).lstrip(".")
            parts = (part, place, *(field.split(".") if field else ()))
    return BookFileError(f"{path}: line {lines.line(parts)}: {error.where}: {error.detail}")
