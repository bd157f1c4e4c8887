"""Scenario files: a price book, what is given, and steps of when and then, as YAML or JSON.

The form is this module's models, the kinds of `happenings` and the expectations of `expectations`;
`schemas/scenario-file.json` is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag, ValidationError

from drawdown.book_file import (
    BookFileError,
    Lines,
    Where,
    located,
    problems,
    read_lines,
    shorthand,
)
from drawdown.events.base import (
    EPOCH,
    CustomerId,
    DimensionValue,
    StrictRecord,
    Timestamp,
    moment,
)
from drawdown.events.pricebook import PriceBook
from drawdown.events.pricemodels import MODELS
from drawdown.ledger.book import BookError
from drawdown.pure import load
from drawdown.scenarios.expectations import Then
from drawdown.scenarios.happenings import Happening

START: Final = moment(1_800_000_000_000)
"""2027-01-15T08:00:00Z: when a scenario begins that does not say."""
TIMES_MAX: Final = 100_000
BY_ID: Final = {"assets": "code", "meters": "id", "rates": "id", "costs": "id", "plans": "id"}
"""Lists of a price book, and what tells their items apart."""


ONE: Final = "<one>"
SEVERAL: Final = "<several>"


class Step(StrictRecord):
    """Something happens, or only time goes on, and something is expected."""

    at: Timestamp | None = Field(default=None, description="Default: when the step before was")
    note: str = Field(default="", description="Why, in words")
    when: (
        Annotated[
            Annotated[Happening, Tag(ONE)] | Annotated[list[Happening], Tag(SEVERAL)],
            Discriminator(lambda value: SEVERAL if isinstance(value, list) else ONE),
        ]
        | None
    ) = Field(default=None, description="Nothing: time goes on to `at`")
    times: Annotated[int, Field(ge=1, le=TIMES_MAX)] = Field(
        default=1, description="All of it so often at that time; {n} in a text is the how manyth"
    )
    then: Then = Then()

    @property
    def happenings(self) -> list[Any]:
        if self.when is None:
            return []
        return self.when if isinstance(self.when, list) else [self.when]


class ScenarioFile(StrictRecord):
    """A scenario as people write it: the file of `drawdown scenario`."""

    title: Annotated[str, Field(min_length=1, max_length=256)]
    source: str = Field(description="Where the rules and numbers are from")
    examples: list[int] = Field(
        default_factory=list, description="Numbers of the worked examples it plays"
    )
    product: DimensionValue = Field(default="", description="The product it is about")
    notes: str = Field(default="", description="What it leaves out, or says in another way")
    starts_at: Timestamp = START
    customer: CustomerId = Field(default="ada", description="Whom it is about, unless said")
    book: PriceBook = Field(description="In effect from the beginning; as a price book's file")
    given: list[Happening] = Field(
        default_factory=list, description="What has happened when it starts; all of it must be done"
    )
    steps: Annotated[list[Step], Field(min_length=1)]


class ScenarioFileError(BookFileError):
    """A file that is no scenario: a line per problem that names file, line and field."""


@dataclass(frozen=True)
class Scenario:
    """A file that was read."""

    path: Path
    file: ScenarioFile
    books: Mapping[int, PriceBook]
    """The versions its steps publish, whole, by the number of the step (from 0)."""
    lines: Lines

    @property
    def name(self) -> str:
        return self.path.stem

    def line(self, where: Where) -> int:
        """Where in the file something stands."""
        return self.lines.line(where)


def read_scenario(path: Path) -> Scenario:
    """The scenario in a file. Raises ScenarioFileError."""
    try:
        content, lines = read_lines(path, "a scenario: `title: ...` and so on")
        return _checked(path, content, lines)
    except ScenarioFileError:
        raise
    except BookFileError as error:
        raise ScenarioFileError(str(error)) from None


def _checked(path: Path, content: dict[str, Any], lines: Lines) -> Scenario:
    if isinstance(content.get("book"), dict):
        shorthand(content["book"])
    try:
        file = ScenarioFile.model_validate(content)
    except ValidationError as error:
        tags = frozenset({*MODELS, ONE, SEVERAL})
        raise ScenarioFileError(problems(path, lines, content, error, tags)) from None
    _compile(path, lines, file.book, EPOCH, ("book",))
    return Scenario(path, file, _steps(path, lines, file), lines)


def _steps(path: Path, lines: Lines, file: ScenarioFile) -> dict[int, PriceBook]:
    """What the models do not say of the steps; the versions they publish."""

    def wrong(where: Where, detail: str) -> ScenarioFileError:
        field = ".".join(map(str, where))
        return ScenarioFileError(f"{path}: line {lines.line(where)}: {field}: {detail}")

    for number, happening in enumerate(file.given):
        _one_kind(happening, ("given", number), wrong)
        if happening.publish is not None:
            raise wrong(("given", number, "publish"), "publish in a step; `book` is what is given")
    at, book, books, versions = file.starts_at, file.book, {}, {file.book.version}
    for number, step in enumerate(file.steps):
        where = ("steps", number)
        if step.at is not None and step.at < at:
            raise wrong((*where, "at"), "is before the step above: time never goes back")
        at = step.at or at
        for place, happening in enumerate(step.happenings):
            below = (*where, "when", place) if isinstance(step.when, list) else (*where, "when")
            _one_kind(happening, below, wrong)
            if happening.publish is None:
                continue
            if len(step.happenings) > 1 or step.times > 1:
                raise wrong((*below, "publish"), "give it a step of its own")
            said = happening.publish
            book = _next_book(path, lines, book, said.book, (*below, "publish", "book"))
            _compile(path, lines, book, said.effective_at or at, (*below, "publish", "book"))
            if book.version in versions:
                raise wrong((*below, "publish", "book"), "give it a `version` of its own")
            versions.add(book.version)
            books[number] = book
    return books


def _one_kind(happening: Any, where: Where, wrong: Any) -> None:
    if len(happening.kinds) != 1:
        said = ", ".join(happening.kinds) or "nothing"
        raise wrong(where, f"says {said}: give one kind of happening, such as `use: {{...}}`")


def _next_book(
    path: Path, lines: Lines, before: PriceBook, changes: Mapping[str, Any], under: Where
) -> PriceBook:
    """A book with what is other in its next version."""
    content = before.model_dump(mode="json")
    for name, value in shorthand(dict(changes)).items():
        if name in BY_ID and isinstance(value, list):
            key = BY_ID[name]
            items = {item[key]: item for item in content[name]}
            items |= {str(item.get(key)): item for item in value if isinstance(item, dict)}
            content[name] = list(items.values())
        else:
            content[name] = value
    try:
        return PriceBook.model_validate(content)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()[:5]
        )
        raise ScenarioFileError(f"{path}: line {lines.line(under)}: {said}") from None


def _compile(path: Path, lines: Lines, book: PriceBook, at: datetime, under: Where) -> None:
    try:
        load(book.model_dump(mode="json"), effective_at=at)
    except BookError as error:
        found = located(path, lines, book, error, under)
        raise ScenarioFileError(str(found)) from None
