"""`drawdown dead-letters`: what was set aside, why, and sending it again."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.outcome import USAGE, CommandError
from drawdown.cli.render import (
    Json,
    Quiet,
    counted,
    short_time,
    show,
    show_json,
    show_table,
    tell,
    time_text,
)
from drawdown.deadletters.letters import (
    Letter,
    Position,
    Whole,
    newest_letters,
    position_of,
    read_letters,
    read_whole,
)
from drawdown.deadletters.redrive import Outcome, redrive
from drawdown.deadletters.verdict import INPUTS, advice
from drawdown.events.base import at_text, milliseconds, timestamp_text
from drawdown.events.codec import RecordError, decode_any, encode
from drawdown.events.reasons import Reason

app = typer.Typer(rich_markup_mode=None)
letters = typer.Typer(
    name="dead-letters",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="See what was set aside and why, and send it again.\n\nA record that settlement cannot"
    " count lies whole on the topic `dead-letters`, for 180 days. Its position there, such as"
    " 2@17, is partition@offset.",
)
app.add_typer(letters)

SHOWN: Final = 50
SKIPPED_SHOWN: Final = 20
DETAIL_SHOWN: Final = 80
VALUE_SHOWN: Final = 4_000

PositionArgument = Annotated[str, typer.Argument(metavar="POSITION", help="Such as 2@17.")]
ReasonOption = Annotated[str | None, typer.Option(help="Of this reason, such as unknown_meter.")]
CustomerOption = Annotated[str | None, typer.Option(help="Of this customer: of this key.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Set aside at or after it.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Set aside before it.")]
Input = Annotated[
    str | None, typer.Option("--topic", help="From this input: usage-events or commands.")
]


@letters.command(
    "list",
    epilog="""\b
Examples:
  drawdown dead-letters list
  drawdown dead-letters list --reason unknown_meter --since 2026-11-01T00:00:00Z
  drawdown dead-letters list --all --json | jq .letters""",
)
def list_(
    reason: ReasonOption = None,
    customer: CustomerOption = None,
    since: Since = None,
    until: Until = None,
    topic: Input = None,
    redriven_too: Annotated[
        bool, typer.Option("--all", help="Also those that were sent again.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="At most so many.")] = SHOWN,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List what was set aside and not sent again, newest first, and how many of each reason."""
    choose, since_ms = _filter(reason, customer, since, until, topic)
    context = Context()
    found = newest_letters(
        context.kafka(),
        context.config.topics,
        choose,
        limit,
        redriven_too=redriven_too,
        since_ms=since_ms,
    )
    chosen, reasons = found.letters, found.reasons
    if as_json:
        listed = [_as_json(letter) for letter in chosen]
        show_json({"total": reasons.total(), "reasons": dict(reasons), "letters": listed})
        return
    if not reasons:
        tell("no dead letters" if redriven_too else "no dead letters to look at", quiet=quiet)
        return
    show_table(
        ("position", "set aside", "customer", "reason", "what is wrong", *REDRIVEN[redriven_too]),
        [_row(letter, redriven_too) for letter in chosen],
    )
    show()
    show_table((">letters", "reason"), [(count, name) for name, count in reasons.most_common()])
    if reasons.total() > len(chosen):
        tell(f"{reasons.total()} in all; --limit shows more", quiet=quiet)


REDRIVEN: Final[Mapping[bool, tuple[str, ...]]] = {True: ("sent again",), False: ()}
"""The column that only a list of all has."""


def _row(letter: Letter, redriven_too: bool) -> tuple[object, ...]:
    about = ": ".join(filter(None, (letter.said.get("field"), letter.said.get("detail"))))
    redriven = letter.redriven
    again = "-" if redriven is None else short_time(timestamp_text(redriven.at))
    if letter.came_back_as is not None:
        again = f"{again}, back as {letter.came_back_as}"
    return (
        letter.position,
        short_time(at_text(letter.at_ms)),
        _clean(letter.customer) or "-",
        _clean(letter.reason),
        _clean(about if len(about) <= DETAIL_SHOWN else about[:DETAIL_SHOWN] + " ..."),
        *((again,) if redriven_too else ()),
    )


@letters.command("show")
def show_(position: PositionArgument, as_json: Json = False) -> None:
    """Show a dead letter whole: the record as it was, why it is here, and what to do about it."""
    wanted = _position(position)
    context = Context()
    cluster, environment = context.kafka(), context.config.topics
    found = read_letters(cluster, environment, lambda letter: letter.position == wanted)
    whole = list(read_whole(cluster, environment, [wanted])) if found else []
    if not whole:
        raise CommandError(f"no dead letter at {wanted}: see `drawdown dead-letters list`")
    letter, record = found[0], whole[0]
    if as_json:
        show_json({**_as_json(letter), **_whole_as_json(record), "advice": advice(letter)})
        return
    said = letter.said
    origin = f"{said.get('topic')}[{said.get('partition')}]@{said.get('offset')}"
    about = ": ".join(filter(None, (said.get("field"), said.get("detail"))))
    show(f"dead letter {wanted}  {letter.reason}", "bold")
    for name, text in (
        ("what", about),
        ("was", f"{origin}, appended {time_text(said.get('appended_at'))}"),
        ("set aside", time_text(at_text(letter.at_ms))),
        ("sent again", _again(letter)),
        ("key", "none" if record.key is None else repr(record.key.decode("utf-8", "replace"))),
        *(("header", f"{name}: {_text(value)}") for name, value in record.headers),
        ("value", _value(record)),
        ("to do", advice(letter) if letter.open else "Nothing: it was sent again."),
    ):
        show(f"{name:<12}{_clean(text)}")


def _again(letter: Letter) -> str:
    redriven = letter.redriven
    if redriven is None:
        former = letter.redriven_from
        return "no" if former is None else f"no; it is {former}, sent again and refused again"
    late = ", to be booked however old" if redriven.accept_late else ""
    back = "" if letter.came_back_as is None else f"; came back as {letter.came_back_as}"
    return f"{time_text(timestamp_text(redriven.at))}, by {redriven.by}{late}{back}"


@letters.command(
    "redrive",
    epilog="""\b
Examples:
  drawdown dead-letters redrive 2@17
  drawdown dead-letters redrive --reason unknown_meter --dry-run
  drawdown dead-letters redrive --reason too_late --customer acme --accept-late""",
)
def redrive_(
    positions: Annotated[
        list[str] | None, typer.Argument(metavar="[POSITION]...", help="Such as 2@17.")
    ] = None,
    reason: ReasonOption = None,
    customer: CustomerOption = None,
    since: Since = None,
    until: Until = None,
    topic: Input = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    accept_late: Annotated[
        bool,
        typer.Option("--accept-late", help="Book usage older than the lateness window as well."),
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who does it; default the user's name.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send dead letters again, each once, as they were.

    What cannot count, or was sent again already, is skipped and told. Run again after a failure, it
    sends what was not sent.
    """
    narrowed = (reason, customer, since, until, topic) != (None,) * 5
    if sum((bool(positions), narrowed, everything)) != 1:
        raise CommandError("give POSITIONs, or --reason, --customer, ..., or --all", USAGE)
    choose, since_ms = _filter(reason, customer, since, until, topic)
    wanted = {_position(text) for text in positions or ()}
    who = given.identifier("--by", by if by is not None else _user())
    context = Context()
    cluster, environment = context.kafka(), context.config.topics

    def chosen(letter: Letter) -> bool:
        # Of those that were sent again already nothing is told, unless they were asked for.
        return letter.position in wanted if wanted else choose(letter) and letter.open

    with _progress(quiet=quiet or as_json or dry_run) as progress:
        task = progress.add_task("sending", total=None)
        outcome = redrive(
            cluster,
            environment,
            chosen,
            by=who,
            now_ms=milliseconds(datetime.now(UTC)),
            accept_late=accept_late,
            dry_run=dry_run,
            since_ms=since_ms,
            told=lambda sent, of: progress.update(task, completed=sent, total=of),
        )
    for position in sorted(wanted - outcome.sent.keys() - outcome.skipped.keys()):
        outcome.skipped[position] = "there is no dead letter at this position"
    _show_outcome(outcome, dry_run=dry_run, as_json=as_json, quiet=quiet)
    if wanted and not outcome.sent:
        raise typer.Exit(1)


def _show_outcome(outcome: Outcome, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    if as_json:
        sent = [
            {
                "position": str(position),
                "topic": send.topic.name,
                "partition": send.partition,
                "accept_late": send.late is not None,
            }
            for position, send in sorted(outcome.sent.items())
        ]
        skipped = [
            {"position": str(position), "why": why}
            for position, why in sorted(outcome.skipped.items())
        ]
        show_json({"dry_run": dry_run, "sent": sent, "skipped": skipped})
        return
    done = "would be sent" if dry_run else "sent"
    show(f"{counted(len(outcome.sent), 'dead letter')} {done}, {len(outcome.skipped)} skipped")
    if outcome.skipped:
        shown = sorted(outcome.skipped.items())[:SKIPPED_SHOWN]
        show_table(("position", "skipped because"), [(at, _clean(why)) for at, why in shown])
        if len(outcome.skipped) > SKIPPED_SHOWN:
            tell(f"{len(outcome.skipped) - SKIPPED_SHOWN} more; --json has them all", quiet=quiet)


# What was given


def _filter(
    reason: str | None,
    customer: str | None,
    since: str | None,
    until: str | None,
    topic: str | None,
) -> tuple[Callable[[Letter], bool], int | None]:
    """Which letters are meant, and since when."""
    if reason is not None and reason not in {str(each) for each in Reason}:
        raise CommandError(f"--reason: {reason!r} is none; see `drawdown dead-letters list`", USAGE)
    if topic is not None and topic not in INPUTS:
        raise CommandError(f"--topic: {topic!r} is none of {', '.join(INPUTS)}", USAGE)
    since_ms = None if since is None else milliseconds(given.time("--since", since))
    until_ms = None if until is None else milliseconds(given.time("--until", until))

    def meant(letter: Letter) -> bool:
        return (
            reason in (None, letter.reason)
            and customer in (None, letter.customer)
            and topic in (None, letter.topic)
            and (since_ms is None or letter.at_ms >= since_ms)
            and (until_ms is None or letter.at_ms < until_ms)
        )

    return meant, since_ms


def _position(text: str) -> Position:
    try:
        return position_of(text)
    except ValueError as error:
        raise CommandError(f"POSITION: {error}", USAGE) from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise CommandError("--by: say who you are; this machine does not", USAGE) from None


def _progress(*, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not Console(stderr=True).is_terminal,
    )


# How a letter is written


def _as_json(letter: Letter) -> dict[str, Any]:
    redriven = letter.redriven
    return {
        "position": str(letter.position),
        "set_aside_at": at_text(letter.at_ms),
        "customer": None if letter.key is None else letter.customer,
        "rejected": letter.said,
        "size_bytes": letter.size_bytes,
        "redriven": None
        if redriven is None
        else {
            "at": timestamp_text(redriven.at),
            "by": redriven.by,
            "accept_late": redriven.accept_late,
        },
        "redriven_from": None if letter.redriven_from is None else str(letter.redriven_from),
        "came_back_as": None if letter.came_back_as is None else str(letter.came_back_as),
    }


def _whole_as_json(whole: Whole) -> dict[str, Any]:
    """The record; bytes that are no UTF-8 also as hexadecimal, so that nothing is lost."""
    answer: dict[str, Any] = {
        "key": _text(whole.key),
        "headers": [[name, _text(value)] for name, value in whole.headers],
        "value": _text(whole.value),
    }
    for name, content in (("key_hex", whole.key), ("value_hex", whole.value)):
        if content is not None and not _is_utf8(content):
            answer[name] = content.hex()
    return answer


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def _value(whole: Whole) -> str:
    """As JSON where it is, else as it is; not more than fits a screen."""
    if whole.value is None:
        return "none"
    try:
        text = encode(decode_any(whole.value)).decode()
    except RecordError:
        text = whole.value.decode("utf-8", "replace")
    if len(text) <= VALUE_SHOWN:
        return text
    return f"{text[:VALUE_SHOWN]} ... ({len(whole.value)} bytes; --json has it whole)"


def _clean(text: str) -> str:
    """Without control characters: what a producer sends must not drive a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)
