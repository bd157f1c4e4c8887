"""Price books as files: YAML or JSON, read with the line of everything, so that an error names it.
Scenario files, which have a book in them, are read the same way.

Numbers are taken as the text that is written: 1.25e-06 is 0.00000125, and no float is on the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from drawdown.events.base import NAME
from drawdown.events.numbers import plain_text
from drawdown.events.pricebook import PriceBook
from drawdown.events.pricemodels import DECIMAL_FIELDS, MODELS
from drawdown.ledger.book import BookError

TEXTS: Final = DECIMAL_FIELDS
"""Fields below which a number is exact decimal text, even if it is written without a point."""
NESTED_MAX: Final = 20
NODES_MAX: Final = 300_000
"""Of a file, with what its aliases stand for written out: LiteLLM's catalogue has 60,000."""
PROBLEMS_MAX: Final = 20
WHOLE: Final = re.compile("[0-9]{1,40}")
Where = tuple[str | int, ...]

Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML has it: a catalogue of models is 5 MB."""


class BookFileError(Exception):
    """A file that is no price book: a line per problem that names file, line and field."""


class Lines:
    """A parsed file: its content, and the line of everything in it. `texts` are the fields below
    which numbers are taken as text."""

    def __init__(self, texts: frozenset[str] = TEXTS) -> None:
        self._texts = texts
        self._lines: dict[Where, int] = {(): 1}
        self._nodes = 0

    def content(self, node: yaml.Node, path: Where = (), text: bool = False) -> Any:
        """What a node says; `text` takes its numbers as text."""
        self._lines.setdefault(path, _line(node))
        self._nodes += 1
        if self._nodes > NODES_MAX:  # an alias of aliases of aliases needs few lines
            raise BookFileError(f"line {_line(node)}: more than {NODES_MAX} values in all")
        if len(path) > NESTED_MAX:
            raise BookFileError(f"line {_line(node)}: nested more than {NESTED_MAX} deep")
        if isinstance(node, yaml.MappingNode):
            # `price: {model: ..., per: 1000}` has numbers of its own kinds.
            return self._mapping(node, path, text and path[-1] != "price")
        if isinstance(node, yaml.SequenceNode):
            return [
                self.content(item, (*path, place), text) for place, item in enumerate(node.value)
            ]
        return _scalar(node, text)

    def _mapping(self, node: yaml.MappingNode, path: Where, text: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in found:
                raise BookFileError(f"line {_line(key_node)}: {key!r} stands there twice")
            self._lines[*path, key] = _line(key_node)
            found[key] = self.content(value_node, (*path, key), text or key in self._texts)
        return found

    def line(self, path: Where) -> int:
        """The line of a path, or of the nearest one above it."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: yaml.Node, text: bool) -> Any:
    tag, value = node.tag, str(node.value)
    if tag == "tag:yaml.org,2002:null":
        return None
    if tag == "tag:yaml.org,2002:bool":
        return value.lower() in ("true", "yes", "on")
    if tag == "tag:yaml.org,2002:int" and not text and WHOLE.fullmatch(value):
        return int(value)
    if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return _plain(value)
    # YAML 1.1 takes 1e-06 for text: where a price is expected it is a number all the same.
    return _plain(value) if text else value


def _plain(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    return plain_text(number) if number.is_finite() and abs(number.adjusted()) < 60 else value


def read_book(path: Path) -> tuple[PriceBook, Lines]:
    """The book in a file, and where everything in it stands. Raises BookFileError."""
    content, lines = read_lines(path, "a price book: `version: ...` and so on")
    content = shorthand(content)
    try:
        return PriceBook.model_validate(content), lines
    except ValidationError as error:
        raise BookFileError(problems(path, lines, content, error)) from None


def read_lines(
    path: Path, what: str, texts: frozenset[str] = TEXTS
) -> tuple[dict[str, Any], Lines]:
    """What a file says, and where; `what` is what it should be, in words. Raises BookFileError."""
    try:
        source = path.read_text("utf-8")
    except OSError as error:
        raise BookFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BookFileError(f"{path}: not UTF-8 at byte {error.start}") from None
    lines = Lines(texts)
    try:
        _look_how_deep(source)
        root = yaml.compose(source, Loader=Loader)
        if not isinstance(root, yaml.MappingNode):
            raise BookFileError(f"line 1: expected {what}")
        return lines.content(root), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BookFileError(f"{path}: line {line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BookFileError(f"{path}: {' '.join(str(error).split())}") from None
    except BookFileError as error:
        raise BookFileError(f"{path}: {error}") from None


def _look_how_deep(source: str) -> None:
    """Before anything is made of it: nodes are composed by recursion in C, which ends the process
    where it goes too deep."""
    depth = 0
    for event in yaml.parse(source, Loader=Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > NESTED_MAX + 1:
                mark = event.start_mark
                line = mark.line + 1 if mark else 1
                raise BookFileError(f"line {line}: nested more than {NESTED_MAX} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def shorthand(content: Any) -> Any:
    """A book whose meters have `fields: [input, output]` written out as `{input: input, ...}`."""
    meters = content.get("meters")
    for meter in meters if isinstance(meters, list) else ():
        if isinstance(meter, dict) and isinstance(meter.get("fields"), list):
            meter["fields"] = {str(name): str(name) for name in meter["fields"]}
    return content


# What is wrong, in words


def problems(
    path: Path,
    lines: Lines,
    content: Any,
    error: ValidationError,
    tags: frozenset[str] = frozenset(MODELS),
) -> str:
    """What is wrong in a file: a line per problem, in its order. `tags` are those of unions, which
    pydantic names on the way."""
    found: dict[str, int] = {}
    for details in error.errors():
        # The tag of a union's member is no part of the file.
        where = tuple(part for part in details["loc"] if part not in tags)
        line = lines.line(where)
        found[f"{path}: line {line}: {_field(where, content)}: {_detail(details)}"] = line
    said = sorted(found, key=lambda text: found[text])
    if len(said) > PROBLEMS_MAX:
        said[PROBLEMS_MAX:] = [f"{path}: and {len(said) - PROBLEMS_MAX} more"]
    return "\n".join(said)


def _field(where: Where, content: Any) -> str:
    """A path with the ids of what it goes through: `rates.gpt-5.price`, not `rates.17.price`."""
    names: list[str] = []
    for part in where:
        name: object = part
        if isinstance(part, int) and isinstance(content, Sequence) and part < len(content):
            content = content[part]
            if isinstance(content, Mapping):
                name = content.get("id") or content.get("code") or part
        elif isinstance(content, Mapping):
            content = content.get(str(part))
        names.append(str(name))
    return ".".join(names)


def _detail(error: ErrorDetails) -> str:
    """The rule that is broken, and the fix where there is one."""
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is no field here: mistyped, or not of this model"
        case "string_pattern_mismatch" if context.get("pattern") == NAME:
            return f"{given!r} is no name: use letters, digits and _ . : / @ + -, without spaces"
        case "string_pattern_mismatch":
            return f"{given!r} is no decimal number such as 0.0025, or has too many digits"
        case "union_tag_not_found":
            return "say which: `model: per_unit`, or another of " + ", ".join(MODELS)
        case "union_tag_invalid":
            return f"model {context.get('tag')!r} is none of {', '.join(MODELS)}"
        case "string_type":
            return f"expected text: put {given!r} in quotes"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"expected a whole number, got {given!r}"
        case "list_type":
            return "expected a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "expected fields with names"
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def located(
    path: Path, lines: Lines, book: PriceBook, error: BookError, under: Where = ()
) -> BookFileError:
    """A book's contradiction, with the line it stands at; the book stands `under` a path."""
    part, _, rest = error.where.partition(".")
    where: Where = (part,)
    items = getattr(book, part, None)
    for place, item in enumerate(items if isinstance(items, list) else ()):
        item_id = getattr(item, "id", None)
        if item_id and (rest == item_id or rest.startswith(f"{item_id}.")):
            field = rest.removeprefix(item_id).lstrip(".")
            where = (part, place, *(field.split(".") if field else ()))
    if rest and len(where) == 1:
        where = (part, rest)
    return BookFileError(
        f"{path}: line {lines.line((*under, *where))}: {error.where}: {error.detail}"
    )
