"""`drawdown price-book`: prices as files, and as versions on their topic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from drawdown.book_file import located, read_book
from drawdown.cli import given
from drawdown.cli.book_diff import Side, changes, show_changes, side_of
from drawdown.cli.catalogue_file import catalogue_text
from drawdown.cli.context import Context
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.published import show_version, show_versions
from drawdown.cli.quoting import quoted, show_quote
from drawdown.cli.render import Json, Quiet, show_json, tell, tell_error, time_text
from drawdown.events.base import milliseconds, timestamp_text
from drawdown.events.codec import encode
from drawdown.events.pricebook import PriceBook
from drawdown.events.structs import to_struct
from drawdown.integrations.litellm import catalogue, import_catalogue
from drawdown.ledger.book import Book, BookError
from drawdown.settlement import publish as publishing

app = typer.Typer(
    name="price-book",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Validate, publish and show prices.\n\nA version never changes and is in effect from an"
    " instant on. What was debited before keeps its price.",
)

SKIPPED_SHOWN: Final = 3
File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON.")]
EffectiveAt = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="RFC 3339; default: the first version at once, others in 60 s."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Also less than 60 s ahead.")]


@app.command(
    epilog="""\b
Example of a file:
  version: "2026-09"
  assets: [{code: USD, scale: 12}]
  meters:
    - {id: llm, event_types: [llm], fields: [input, output]}
  rates:
    - id: gpt-5
      meter: llm
      match: {model: gpt-5}
      asset: USD
      price: {model: token_map, per: 1000000, prices: {input: 1.25, output: 10}}"""
)
def validate(file: File, as_json: Json = False, quiet: Quiet = False) -> None:
    """Check a price book; says file, line and field of what is wrong."""
    book, _ = _valid(file)
    if as_json:
        show_json({"version": book.version, "valid": True, **_counts(book)})
    tell(f"{file}: version {book.version} is valid: {_counted(book)}", quiet=quiet or as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown price-book publish prices.yaml
  drawdown price-book publish prices.yaml --effective-at 2026-10-01T00:00:00Z
  drawdown price-book publish fixed.yaml --supersede 2026-10"""
)
def publish(
    file: File,
    effective_at: EffectiveAt = None,
    force: Force = False,
    supersede: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="Scheduled for then or later: never takes effect."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a price book, checked first.

    Published ahead, so that every process knows it before it counts. The same file again changes
    nothing; another one under the name of a version is refused.
    """
    book, _ = _valid(file)
    _publish(book, effective_at, force, supersede or (), as_json=as_json, quiet=quiet)


@app.command(
    epilog="""\b
Examples:
  drawdown price-book rollback 2026-09
  drawdown price-book rollback 2026-09 --as 2026-11 --effective-at 2026-11-01T00:00:00Z"""
)
def rollback(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="To be in effect again.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Default: VERSION+2, or +3, ...")
    ] = None,
    effective_at: EffectiveAt = None,
    force: Force = False,
    keep_scheduled: Annotated[
        bool, typer.Option("--keep-scheduled", help="What is scheduled later takes effect.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish what a former version had as a new one.

    What was scheduled for its instant or later is superseded. What was debited stays as it is:
    `drawdown rerate` prices the past anew.
    """
    if name is not None:
        given.name("--as", name)
    context = Context()
    now = datetime.now(UTC)
    done = publishing.roll_back(
        context.kafka(),
        context.config.topics,
        version,
        now=now,
        name=name,
        effective_at=None if effective_at is None else given.time("--effective-at", effective_at),
        force=force,
        keep_scheduled=keep_scheduled,
    )
    if as_json:
        show_json(
            {
                "version": done.version,
                "restores": version,
                "effective_at": timestamp_text(done.effective_at),
                "offset": done.offset,
                "superseded": done.superseded,
            }
        )
    else:
        tell(_said_published(done.version, done.effective_at, now), quiet=quiet)
        for former in done.superseded:
            tell(f"version {former} is superseded and never takes effect", quiet=quiet)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the versions in order of effect: scheduled, in effect, over, superseded."""
    show(None, as_json)


@app.command()
def show(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="Default: list all versions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the versions, or show one with its rates.

    --json prints a version as a file that can be edited, renamed and published.
    """
    context = Context()
    reader = publishing.read_topic(context.kafka(), context.config.topics, keep=True)
    if version is None:
        show_versions(reader, datetime.now(UTC), as_json=as_json)
        return
    content = reader.contents.get(version)
    if content is None:
        raise CommandError(f"no version {version!r}: see `drawdown price-book show`")
    if as_json:
        show_json(publishing.document_of(content))
    else:
        show_version(reader, content)


@app.command(
    epilog="""\b
Examples:
  drawdown price-book quote prices.yaml --type llm model=gpt-5 input=2000 output=400
  drawdown price-book quote 2026-09 --type egress gb=50 --used 980
--used is how much of it the customer used before in the period."""
)
def quote(
    book: Annotated[str, typer.Argument(metavar="BOOK", help="A file, or a published version.")],
    data: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="The event's data.")
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="The event's type or meter.")
    ] = None,
    used: Annotated[
        str | None, typer.Option(metavar="QUANTITY", help="Used before in the period.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of the event, RFC 3339; default: now.")
    ] = None,
    customer: Annotated[str, typer.Option(help="By the customer's own rates, if any.")] = "",
    plan: Annotated[str | None, typer.Option(help="By the rates of a plan, if any.")] = None,
    as_json: Json = False,
) -> None:
    """Price an event without booking it: the rate that matches, line by line, and the cost.

    Exit code 1 where nothing prices it.
    """
    side, compiled = _side(book)
    if event_type is None:
        if len(side.meters) != 1:
            names = ", ".join(meter.id for meter in side.meters)
            raise CommandError(f"--type: the book has several meters: {names}", USAGE)
        event_type = side.meters[0].id
    moment = datetime.now(UTC) if at is None else given.time("--at", at)
    if used is not None and not re.fullmatch(r"[0-9]+([.][0-9]+)?", used):
        raise CommandError(f"--used: {used!r} is no quantity", USAGE)
    found = quoted(
        compiled,
        side.assets,
        (side.rates, side.costs),
        event_type,
        _event_data(data or []),
        milliseconds(moment),
        used,
        customer,
        plan,
    )
    if as_json:
        show_json(found.as_json())
    else:
        show_quote(found, side.reporting)
    if found.missing is not None:
        tell_error(f"no price: {found.missing}")
        raise typer.Exit(FAILED)


@app.command(
    epilog="""\b
Examples:
  drawdown price-book diff 2026-09 prices.yaml
  drawdown price-book diff old.yaml new.yaml --json"""
)
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A file, or a published version.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="A file, or a published version.")],
    as_json: Json = False,
) -> None:
    """Show what a version changes: rates, costs, meters and terms that come, go or differ."""
    before, _ = _side(old)
    after, _ = _side(new)
    _show_diff(before, after, as_json=as_json)


def _show_diff(before: Side, after: Side, *, as_json: bool) -> None:
    found = changes(before, after)
    if as_json:
        show_json(
            {
                "old": before.version,
                "new": after.version,
                "changes": [
                    {"part": c.part, "id": c.id, "old": c.old, "new": c.new} for c in found
                ],
            }
        )
        return
    show_changes(before, after, found)


def _side(name: str) -> tuple[Side, Book]:
    """A version by the name of its file, or as it was published; and compiled."""
    path = Path(name)
    if path.exists():
        book, compiled = _valid(path)
        return side_of(book), compiled
    if path.suffix in (".yaml", ".yml", ".json"):
        raise CommandError(f"{name}: no such file")
    context = Context()
    reader = publishing.read_topic(context.kafka(), context.config.topics, keep=True)
    found = reader.contents.get(name)
    if found is None:
        raise CommandError(f"no file and no version {name!r}: see `drawdown price-book show`")
    commit = found.commit
    side = Side(
        commit.version,
        commit.reporting,
        commit.lateness_seconds // 86_400,
        commit.thresholds,
        commit.drawdown,
        commit.conversions,
        found.assets,
        found.meters,
        found.prices,
        found.costs,
        found.plans,
    )
    return side, found.book


def _event_data(parts: list[str]) -> dict[str, str]:
    data: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise CommandError(f"{part!r}: expected NAME=VALUE, such as input=2000", USAGE)
        data[name] = value
    return data


@app.command(
    "import-litellm",
    epilog="""\b
Examples:
  drawdown price-book import-litellm --version v1 --markup 30% --publish
  drawdown price-book import-litellm --version v1 --output prices.json
  drawdown price-book import-litellm --version v2 --catalogue newer.json --diff v1""",
)
def import_litellm(
    version: Annotated[str, typer.Option(help="Name of the new version.")],
    catalogue_at: Annotated[
        str | None,
        typer.Option(
            "--catalogue", metavar="FILE|URL", help="A newer one; default: the one that is shipped."
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--diff", metavar="BOOK", help="Only show what differs from a file or a version."
        ),
    ] = None,
    markup: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Also prices: the costs and this much, e.g. 30%."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the book as JSON.")
    ] = None,
    publish_: Annotated[bool, typer.Option("--publish", help="Publish it.")] = False,
    effective_at: EffectiveAt = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Import LiteLLM's catalogue of models as costs.

    With --markup its prices too. Every number is taken as it is written there. A newer catalogue
    makes a new version; --diff shows first what it changes.
    """
    if [output is not None, publish_, against is not None].count(True) != 1:
        raise CommandError("say what to do with it: --output FILE, --publish or --diff BOOK", USAGE)
    share = None if markup is None else _share(markup)
    imported = import_catalogue(
        catalogue(None if catalogue_at is None else catalogue_text(catalogue_at)),
        version,
        markup=share,
        title=f"LiteLLM catalogue, markup {markup}" if markup else "LiteLLM catalogue, costs only",
    )
    book = imported.book
    hushed = quiet or as_json
    tell(f"{_counted(book)}; {len(imported.skipped)} models left out", quiet=hushed)
    for name, why in list(imported.skipped.items())[:SKIPPED_SHOWN]:
        tell(f"  left out  {name}: {why}", quiet=hushed)
    if against is not None:
        before, _ = _side(against)
        _show_diff(before, side_of(book), as_json=as_json)
        return
    if output is not None:
        _write(output, book)
        if as_json:
            show_json({"version": version, "file": str(output), **_counts(book)})
        tell(f"written to {output}", quiet=hushed)
        return
    _publish(book, effective_at, force, (), as_json=as_json, quiet=quiet)


def _valid(file: Path) -> tuple[PriceBook, Book]:
    """The book of a file that contradicts neither the rules nor itself."""
    book, lines = read_book(file)
    now = datetime.now(UTC)
    try:
        _, compiled = publishing.records_of(book, now, now)
    except BookError as error:
        raise located(file, lines, book, error) from None
    return book, compiled


def _publish(
    book: PriceBook,
    effective_at: str | None,
    force: bool,
    supersede: Sequence[str],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    context = Context()
    now = datetime.now(UTC)
    at, offset = publishing.publish(
        context.kafka(),
        context.config.topics,
        book,
        now=now,
        effective_at=None if effective_at is None else given.time("--effective-at", effective_at),
        force=force,
        supersedes=supersede,
    )
    if as_json:
        show_json(
            {"version": book.version, "effective_at": timestamp_text(at), "offset": offset}
            | _counts(book)
        )
        return
    tell(_said_published(book.version, at, now), quiet=quiet)


def _said_published(version: str, at: datetime, now: datetime) -> str:
    when = "from the beginning" if at.year == 1970 else f"from {time_text(timestamp_text(at))}"
    if at > now:
        when += f", in {(at - now).total_seconds():.0f} s"
    return f"version {version} is published, in effect {when}"


def _counts(book: PriceBook) -> dict[str, int]:
    counts = {"meters": len(book.meters), "rates": len(book.rates), "costs": len(book.costs)}
    return {**counts, "plans": len(book.plans)} if book.plans else counts


def _counted(book: PriceBook) -> str:
    return ", ".join(
        f"{count} {name[:-1] if count == 1 else name}" for name, count in _counts(book).items()
    )


def _share(markup: str) -> Decimal:
    """`30%` as 0.3."""
    try:
        share = Decimal(markup.removesuffix("%").strip()) / 100
    except InvalidOperation:
        share = Decimal("NaN")
    if not markup.strip().endswith("%") or not share.is_finite() or not -1 < share <= 100:
        raise CommandError(f"--markup: {markup!r} is no percentage such as 30%", USAGE)
    return share


def _write(file: Path, book: PriceBook) -> None:
    """One rate to a line: two versions can be compared."""
    parts = msgspec.to_builtins(to_struct(book))  # with the models' names, without defaults
    lines = []
    for name, value in parts.items():
        if isinstance(value, list):
            items = ",\n".join(f"  {encode(item).decode()}" for item in value)
            lines.append(f'"{name}": [\n{items}\n]')
        else:
            lines.append(f'"{name}": {encode(value).decode()}')
    try:
        file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from None
