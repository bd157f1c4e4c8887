"""`drawdown scenario`: a scenario file played step by step, in words, on the ledger or on Kafka."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from drawdown.broker.local import LocalKafka
from drawdown.cli.context import Context
from drawdown.cli.explain import Explained
from drawdown.cli.history import Found
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.price_lines import Sum, exact_text
from drawdown.cli.render import (
    Json,
    Quiet,
    counted,
    pairs,
    short_time,
    show,
    show_json,
    show_table,
    state_text,
    tell,
    tell_error,
)
from drawdown.cli.said import entry_about, entry_kind, signed_amount
from drawdown.events.base import EPOCH
from drawdown.events.catalogue import USAGE_EVENTS
from drawdown.events.codec import decode_any
from drawdown.events.pricebook import PriceBook
from drawdown.scenarios.compared import unlike
from drawdown.scenarios.kafka_world import kafka_world
from drawdown.scenarios.play import Happened, Played, difference, play, said
from drawdown.scenarios.pure_world import PureWorld
from drawdown.scenarios.scenario_file import Scenario, read_scenario
from drawdown.scenarios.world import World
from drawdown.settlement.books import Content, read_books
from drawdown.settlement.publish import records_of
from drawdown.stream.kafka import KafkaCluster

app = typer.Typer(rich_markup_mode=None)

ENTRIES_SHOWN: Final = 6
"""Of one step, the last ones; of one that is repeated, the last."""
MARKS: Final = {True: "✓", False: "✗"}
ENVELOPE: Final = frozenset({"type", "id", "customer", "time", "entry", "data"})
"""Of a record, what its line does not repeat."""


@app.command(
    epilog="""\b
Examples:
  drawdown scenario credits.yaml             what happens, step by step
  drawdown scenario tests/scenarios          every file below, a line each
  drawdown scenario credits.yaml --kafka     on a real broker; the same to the byte

The form of a file is schemas/scenario-file.json. Exit code 1 at the first difference."""
)
def scenario(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders.")],
    on_kafka: Annotated[
        bool,
        typer.Option(
            "--kafka", help="On a real broker: as configured, the one `up` started, or a new one."
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Play a scenario file: what happens, step by step, and whether it is as expected.

    A file has a price book, what is given, and steps: when this happens, then that is so. Its times
    are made up, and no wallet of yours is touched.
    """
    scenarios = [read_scenario(path) for path in _paths(files)]
    alone = len(scenarios) == 1
    with _worlds(on_kafka, quiet=quiet or as_json) as made:
        results = []
        for each in scenarios:
            result = Result(each)
            with made() as world:
                for played in play(each, world):
                    result.take(played)
                    if alone and not as_json:
                        _show_step(result, played)
                    if result.difference is not None:
                        break
                else:
                    result.compare(world)
            results.append(result)
    if as_json:
        show_json(results[0].as_json() if alone else [result.as_json() for result in results])
    elif not alone:
        _show_results(results)
    for result in results:
        if result.difference is not None:
            tell_error(result.difference)
    if any(result.difference is not None for result in results):
        raise typer.Exit(FAILED)
    tell(_passed(results, on_kafka=on_kafka), quiet=quiet or as_json, style="green")


def _paths(files: Iterable[Path]) -> list[Path]:
    """The files, and those in the folders."""
    found = []
    for path in files:
        inside = sorted([*path.rglob("*.yaml"), *path.rglob("*.json")]) if path.is_dir() else [path]
        if not inside:
            raise CommandError(f"{path}: no scenario (*.yaml, *.json) in this folder", USAGE)
        found += inside
    return found


@contextmanager
def _worlds(on_kafka: bool, *, quiet: bool) -> Iterator[Any]:
    """What makes a world for each scenario."""
    if not on_kafka:

        @contextmanager
        def ledger() -> Iterator[World]:
            yield PureWorld()

        yield ledger
        return
    context = Context()
    if context.configured_kafka() is not None or context.home.bootstrap() is not None:
        cluster = context.kafka()
        yield lambda: kafka_world(cluster)
        return
    tell("starting a Kafka for this", quiet=quiet)
    with tempfile.TemporaryDirectory() as home, LocalKafka(Path(home)) as broker:
        local = KafkaCluster(broker.bootstrap)
        yield lambda: kafka_world(local)


@dataclass
class Result:
    """A scenario as far as it was played."""

    scenario: Scenario
    played: list[Played] = field(default_factory=list)
    difference: str | None = None
    contents: dict[str, Content] = field(default_factory=dict)

    def take(self, played: Played) -> None:
        """One more step."""
        if played.book.version not in self.contents:
            self.contents[played.book.version] = _content(played.book)
        self.played.append(played)
        self.difference = difference(self.scenario, played)
        if self.difference is None:
            wrong = [problem for one in self.explained(played) for problem in one.problems]
            where = f"{self.scenario.path}: step {played.number}"
            self.difference = f"{where}: {wrong[0]}" if wrong else None

    def explained(self, played: Played) -> list[Explained]:
        """The last entries of a step, with the arithmetic of their prices done again."""
        times = 1 if played.step is None else played.step.times
        shown = slice(-(ENTRIES_SHOWN if times == 1 else 1), None)
        return [
            Explained(Found(value, entry, {}, {}), self._content_of(entry))
            for entry, value in zip(played.entries[shown], played.values[shown], strict=True)
        ]

    def _content_of(self, entry: Mapping[str, Any]) -> Content | None:
        price = entry["data"].get("price")
        return None if price is None else self.contents.get(price["book"])

    def compare(self, world: World) -> None:
        """What was played on a broker is as on the ledger alone."""
        if not isinstance(world, PureWorld):
            found = unlike(self.scenario, world, self.played)  # type: ignore[arg-type]
            self.difference = f"{self.scenario.path}: {found[0]}" if found else None

    @property
    def checks(self) -> int:
        return sum(len(played.checks) for played in self.played)

    def as_json(self) -> dict[str, Any]:
        file = self.scenario.file
        return {
            "file": str(self.scenario.path),
            "title": file.title,
            "source": file.source,
            "examples": file.examples,
            "passed": self.difference is None,
            "difference": self.difference,
            "steps": [_json(played) for played in self.played],
        }


def _content(book: PriceBook) -> Content:
    values, _ = records_of(book, EPOCH, EPOCH)
    return read_books(enumerate(values), keep=True).contents[book.version]


def _json(played: Played) -> dict[str, Any]:
    return {
        "step": played.number,
        "at": played.at,
        "happened": [
            {
                "kind": one.kind,
                "id": one.sent.id if one.sent else None,
                "customer": one.sent.customer if one.sent else None,
                "decision": one.outcome.answer,
                "refused": one.outcome.refused,
            }
            for one in played.happened
        ],
        "customer": played.customer,
        "entries": list(played.entries),
        "expectations": [
            {
                "name": found.name,
                "expected": found.expected,
                "found": found.found,
                "ok": found.ok,
            }
            for found in played.checks
        ],
    }


# In words


def _show_step(result: Result, played: Played) -> None:
    if played.number == 0 or (played is result.played[0]):
        file = result.scenario.file
        show(file.title, "bold")
        show(f"source: {file.source}")
        if file.notes:
            show(f"notes: {file.notes}")
    step = played.step
    title = "given" if step is None else f"step {played.number}"
    note = f"  {step.note}" if step is not None and step.note else ""
    show()
    show(f"{short_time(played.at)}  {title}{note}", "bold")
    if not played.happened:
        show("  time goes on")
    times = 1 if step is None else step.times
    for one in played.happened[-(len(played.happened) // times) :]:
        show(f"  {'' if times == 1 else f'{times} times, the last: '}{_happened(one)}")
    explained = result.explained(played)
    if len(played.entries) > len(explained):
        show(f"    {len(played.entries)} entries, the last:")
    for line in (line for found in explained for line in _entry_lines(found)):
        show(f"    {line}")
    if played.wallet is not None:
        balances = {a["asset"]: a["balance"] for a in played.wallet["accounts"]}
        show(f"    {played.customer} has {pairs(balances)}")
    for found in played.checks:
        tail = "" if found.ok else f", found {said(found.found)}"
        style = "green" if found.ok else "red"
        show(f"  {MARKS[found.ok]} {found.name} {said(found.expected)}{tail}", style)


def _asked(one: Happened) -> str:
    """What a record says, without what tells it from its repetitions."""
    if one.sent is None:
        return ""
    content = decode_any(one.sent.value)
    if one.sent.topic == USAGE_EVENTS.name:
        return f"{content['type']} {_words(content['data'])}".rstrip()
    return _words({name: value for name, value in content.items() if name not in ENVELOPE})


def _words(value: Mapping[str, Any]) -> str:
    return pairs({name: _word(item) for name, item in value.items()})


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_word(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)


def _happened(one: Happened) -> str:
    """A record and what became of it, in one line."""
    line = f"{one.sent.customer}: {one.kind} {_asked(one)}" if one.sent else one.kind
    answer = one.outcome.answer
    if one.outcome.refused is not None:
        return f"{line}: set aside, {one.outcome.refused}"
    if answer is None or (answer["allowed"] and answer["command"] != "authorize"):
        return line
    if answer["allowed"]:
        price = f", {answer['amount']} {answer['asset']}" if answer.get("amount") else ""
        return f"{line}: allowed{price}"
    short = f", {answer['shortfall']} {answer['asset']} short" if answer.get("shortfall") else ""
    return f"{line}: denied, {answer['reason']}{short}"


def _entry_lines(explained: Explained) -> Iterator[str]:
    """An entry: its kind and amount, what it is about, and how its price came about."""
    entry = explained.entry
    parts = [f"{entry_kind(entry):<9}{signed_amount(entry) or ''}", entry_about(entry)]
    yield "  ".join(part for part in parts if part.strip())
    if explained.price is not None:
        yield f"  {_derivation(explained.price)}"
    yield from (f"  {problem}" for problem in explained.problems)


def _derivation(found: Sum) -> str:
    """`2000 input x 1.25 / 1000000 + ... = 0.0025 USD, by gpt-5`."""
    lines = [line for line in found.lines if line.price is not None]
    terms = [
        f"{line.used} {line.quantity} x {line.price}" + ("" if line.per == 1 else f" / {line.per}")
        for line in lines
    ]
    rounded = "" if found.exact else f", rounded {found.rounding}"
    total = exact_text(found.total)
    return f"{' + '.join(terms) or '0'} = {total} {found.rate.asset}{rounded}, by {found.rate.id}"


def _show_results(results: Sequence[Result]) -> None:
    show_table(
        ("scenario", "title", ">steps", ">expected", "result"),
        [
            (
                result.scenario.name,
                result.scenario.file.title,
                len(result.scenario.file.steps),
                result.checks,
                state_text("ok" if result.difference is None else "problem", _state(result)),
            )
            for result in results
        ],
    )


def _state(result: Result) -> str:
    return "as expected" if result.difference is None else "differs"


def _passed(results: Sequence[Result], *, on_kafka: bool) -> str:
    checks = sum(result.checks for result in results)
    end = "; every entry and row the same to the byte as on the ledger alone" if on_kafka else ""
    return f"\n{counted(checks, 'expectation')} met{end}"
