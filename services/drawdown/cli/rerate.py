"""`drawdown rerate`: usage of a period priced anew by another version of the price book."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from drawdown.cli import given
from drawdown.cli.commands import sent
from drawdown.cli.context import Context
from drawdown.cli.doors import Door, ProblemError, in_path
from drawdown.cli.given import GatewayUrl
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, counted, show, show_json, show_table, tell
from drawdown.cli.replay import Bar, expected
from drawdown.events.base import milliseconds
from drawdown.events.codec import decode_decision
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.replay.rerating import Candidate, Wanted, candidates, decided
from drawdown.settlement.publish import read_topic
from drawdown.settlement.service import partitions_of
from drawdown.stream.partition import partition_of

app = typer.Typer(rich_markup_mode=None)

RUN_LENGTH_MAX: Final = 200
REFUSED_SHOWN: Final = 10
CUSTOMERS_SHOWN: Final = 50


@dataclass(frozen=True)
class Priced:
    """What became of an entry."""

    entry: Candidate
    allowed: bool
    reason: str
    detail: str | None
    asset: str | None
    amount: str | None


@app.command(
    epilog="""\b
Examples:
  drawdown rerate june --from 2026-06-01T00:00:00Z --to 2026-07-01T00:00:00Z --book 2 --dry-run
  drawdown rerate new-model --meter llm --from 2026-06-28T00:00:00Z   usage that had no price too
  drawdown rerate june-back --undo june
The same run again does nothing more: what it did has its name."""
)
def rerate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Names the run; is in its entries.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Of the usage, RFC 3339.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TIME", help="Before this; default now.")
    ] = None,
    meter: Annotated[str | None, typer.Option(help="Only of this meter.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only of this customer.")] = None,
    book: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Default: the one in effect now.")
    ] = None,
    undo: Annotated[
        str | None, typer.Option(metavar="RUN", help="As it was priced before this run.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Is kept in the entries.")] = "priced anew",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would come to.")
    ] = False,
    gateway: GatewayUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Price usage of a period anew: also what had no price.

    What was charged is reversed and the new price debited, as entries; where the price is the same
    nothing happens. Exit code 1 where something was refused.
    """
    wanted = _wanted(run, from_, to, meter, customer, book, undo)
    given.free_text("--reason", reason)
    context = Context()
    reader = read_topic(context.kafka(), context.config.topics)
    if book is not None and reader.books.named(book) is None:
        raise CommandError(f"--book: no version {book!r}: see `drawdown price-book list`")
    if dry_run:
        found = list(_tried(context, wanted, reason, quiet=quiet))
    else:
        with context.gateway(gateway) as door:
            found = list(_done(context, door, wanted, reason, quiet=quiet))
    _show(found, wanted, dry_run=dry_run, as_json=as_json, quiet=quiet)
    raise typer.Exit(FAILED if _refused(found) else 0)


def _wanted(
    run: str,
    from_: str | None,
    to: str | None,
    meter: str | None,
    customer: str | None,
    book: str | None,
    undo: str | None,
) -> Wanted:
    if len(given.identifier("RUN", run)) > RUN_LENGTH_MAX:
        raise CommandError(f"RUN: at most {RUN_LENGTH_MAX} characters", USAGE)
    if undo is not None and (book is not None or undo == run):
        what = "--book: --undo prices as it was before" if book else "RUN: give the undoing a name"
        raise CommandError(what, USAGE)
    if undo is None and from_ is None:
        raise CommandError("--from: say from when the usage is, or --undo RUN", USAGE)
    until = datetime.now(UTC) if to is None else given.time("--to", to)
    since_ms = 0 if from_ is None else milliseconds(given.time("--from", from_))
    if milliseconds(until) <= since_ms:
        raise CommandError("--to: is not after --from", USAGE)
    return Wanted(
        run=run,
        from_ms=since_ms,
        to_ms=milliseconds(until),
        meter=None if meter is None else given.name("--meter", meter),
        customer=None if customer is None else given.customer_id(customer),
        book=None if book is None else given.name("--book", book),
        undo=undo,
    )


def _found(context: Context, wanted: Wanted, bar: Bar) -> Iterator[list[Candidate]]:
    """The entries of each partition."""
    cluster, environment = context.kafka(), context.config.topics
    count, _ = partitions_of(cluster, environment)
    numbers: Iterable[int] = range(count)
    if wanted.customer is not None:
        numbers = [partition_of(wanted.customer.encode(), count)]
    for number in numbers:
        yield candidates(cluster, environment, number, wanted, bar.told)


def _tried(context: Context, wanted: Wanted, reason: str, *, quiet: bool) -> Iterator[Priced]:
    books = read_topic(context.kafka(), context.config.topics).books
    now_ms = milliseconds(datetime.now(UTC))
    with expected(), Bar("dry run", quiet=quiet) as bar:
        for entries in _found(context, wanted, bar):
            for entry, answer in decided(
                *(context.kafka(), context.config.topics, books, wanted, reason, entries, now_ms),
                bar.told,
            ):
                yield Priced(
                    entry,
                    answer.allowed,
                    str(answer.reason),
                    answer.detail,
                    answer.asset,
                    answer.amount,
                )


def _done(
    context: Context, door: Door, wanted: Wanted, reason: str, *, quiet: bool
) -> Iterator[Priced]:
    with expected(), Bar("entries read", quiet=quiet) as bar:
        found = [each for entries in _found(context, wanted, bar) for each in entries]
    with Bar("rerate", quiet=quiet) as bar:
        for number, entry in enumerate(found, 1):
            yield _sent(door, entry, wanted, reason)
            bar.told(0, number, len(found))


def _sent(door: Door, entry: Candidate, wanted: Wanted, reason: str) -> Priced:
    path = f"/v1/customers/{in_path(entry.customer)}/reratings"
    try:
        answer = decode_decision(sent(door, path, entry.command(wanted.run, reason)))
    except ProblemError as error:
        code = str(error.problem.get("code", ""))
        if code not in REFUSALS:
            raise
        return Priced(entry, False, code, str(error.problem.get("detail", error)), None, None)
    return Priced(
        entry, answer.allowed, str(answer.reason), answer.detail, answer.asset, answer.amount
    )


REFUSALS: Final = frozenset(
    {
        *(Reason.NOT_REVERSIBLE, Reason.ALREADY_REVERSED, Reason.INVALID, Reason.UNKNOWN_METER),
        *(Reason.BAD_QUANTITY, Reason.TOO_MANY_GRANTS, Reason.WALLET_CLOSED),
    }
)
"""What one entry can be refused for, and the others go on."""


def _refused(found: list[Priced]) -> list[Priced]:
    return [each for each in found if not each.allowed and each.reason != Reason.UNCHANGED]


def _differences(found: list[Priced]) -> list[dict[str, Any]]:
    """Per customer and asset: what was charged before and after."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in found:
        if not each.allowed:
            continue
        for place, asset, amount in (
            (1, each.entry.asset, each.entry.amount),
            (2, each.asset, each.amount),
        ):
            if asset is not None:
                sums[each.entry.customer, asset][place] += amount_of(amount or "0")
        sums[each.entry.customer, each.asset or each.entry.asset or ""][0] += 1
    return [
        {
            "customer": customer,
            "asset": asset,
            "entries": count,
            "before": amount_text(before),
            "after": amount_text(after),
            "difference": amount_text(after - before),
        }
        for (customer, asset), (count, before, after) in sorted(sums.items())
    ]


def _show(
    found: list[Priced], wanted: Wanted, *, dry_run: bool, as_json: bool, quiet: bool
) -> None:
    differences, refused = _differences(found), _refused(found)
    done = sum(each.allowed for each in found)
    unchanged = len(found) - done - len(refused)
    if as_json:
        show_json(
            {
                "run": wanted.run,
                "dry_run": dry_run,
                "entries": done,
                "unchanged": unchanged,
                "customers": differences,
                "refused": [
                    {
                        "customer": each.entry.customer,
                        "sequence": each.entry.sequence,
                        "reason": each.reason,
                        "detail": each.detail,
                    }
                    for each in refused
                ],
            }
        )
        return
    if differences:
        show_table(
            ("customer", ">entries", ">before", ">after", ">difference", "asset"),
            [
                tuple(
                    line[name]
                    for name in ("customer", "entries", "before", "after", "difference", "asset")
                )
                for line in differences[:CUSTOMERS_SHOWN]
            ],
        )
    if len(differences) > CUSTOMERS_SHOWN:
        show(f"and {len(differences) - CUSTOMERS_SHOWN} more: see --json")
    for each in refused[:REFUSED_SHOWN]:
        show(f"refused: {each.entry.customer} entry {each.entry.sequence}: {each.detail}", "red")
    if len(refused) > REFUSED_SHOWN:
        show(f"and {len(refused) - REFUSED_SHOWN} more: see --json", "red")
    would = "would be" if dry_run else "are" if done != 1 else "is"
    tell(
        f"{counted(done, 'use')} {would} priced anew, {unchanged} at the same price",
        quiet=quiet,
    )
