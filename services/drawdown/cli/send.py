"""`drawdown send`: usage events to the gateway, one by hand or a file of them."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Context as Arithmetic
from decimal import Decimal
from shlex import quote
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.doors import Door, ProblemError
from drawdown.cli.event_file import Read, read_events, value_of
from drawdown.cli.given import GatewayUrl
from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, show, show_json, show_table, tell
from drawdown.events.base import timestamp_text
from drawdown.events.codec import decode_any, encode
from drawdown.events.numbers import plain_text

app = typer.Typer(rich_markup_mode=None)

BATCH_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 4 << 20
"""The gateway takes 1,000 events or 5 MiB at once."""
BUSY_TRIES: Final = 10
BUSY_WAIT_S: Final = 0.5
REJECTED_SHOWN: Final = 50
EXACT: Final = Arithmetic(prec=60)
"""More digits than amounts and any file's number of events have."""
SOURCE: Final = "cli"
COSTS: Final = "costs"
"""The field of data that states costs."""
BATCH_MEDIA: Final = "application/cloudevents-batch+json"


@app.command(
    epilog="""\b
Examples:
  drawdown send acme llm model=gpt-5 input=500 cached_input=1500 output=400
  drawdown send acme llm model=gpt-5 input=500 --id req-17 --time 2026-09-30T23:59:59Z
  drawdown send --file events.ndjson --wait
  zcat events.ndjson.gz | drawdown send --file -

\b
A file is a JSON array, one JSON object per line, or CSV with a header:
  {"id": "req-17", "type": "llm", "customer": "acme", "data": {"model": "gpt-5", ...}}

Sending again is safe: an event is counted once by its id and source."""
)
def send(
    customer: Annotated[
        str | None, typer.Argument(metavar="CUSTOMER", help="Your own id of the customer.")
    ] = None,
    event_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="The event type that a meter counts.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE", help="Quantities and dimensions."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Of events; - is stdin.")
    ] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="Names the event; default a new one.")
    ] = None,
    source: Annotated[str | None, typer.Option(help=f"Who reports; default {SOURCE}.")] = None,
    at: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="RFC 3339; default now.")
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(metavar="VENDOR=AMOUNT", help="What it cost; default by the cost rates."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until they are decided, and say what they came to.")
    ] = False,
    gateway: GatewayUrl = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Report usage: one event, or a file of them.

    Returns when Kafka has them. What they were debited, `drawdown wallet` shows; what could not be
    counted, `drawdown tail dead-letters`. With --wait this command says both.
    """
    if file is not None:
        if any(said is not None for said in (customer, event_id, source, at, cost)):
            raise CommandError("--file: its events say all there is; give nothing else", USAGE)
        with Context().gateway(gateway) as door:
            _send_file(door, file, wait=wait, as_json=as_json, quiet=quiet)
        return
    if customer is None or event_type is None:
        raise CommandError(
            "give CUSTOMER, TYPE and FIELD=VALUE ..., or --file FILE: see `drawdown send --help`",
            USAGE,
        )
    data = given.pairs("FIELD=VALUE", fields)
    if COSTS in data:
        raise CommandError("FIELD=VALUE: give costs as --cost VENDOR=AMOUNT", USAGE)
    event: dict[str, Any] = {"data": {field: value_of(text) for field, text in data.items()}}
    if cost:
        event["data"][COSTS] = {
            vendor: given.amount(f"--cost {vendor}", text)
            for vendor, text in given.pairs("--cost", cost).items()
        }
    new_id = f"cli-{secrets.token_hex(8)}"
    event["id"] = new_id if event_id is None else given.identifier("--id", event_id)
    event["source"] = given.identifier("--source", SOURCE if source is None else source)
    event["type"] = given.identifier("TYPE", event_type)
    event["subject"] = given.customer_id(customer)
    if at is not None:
        event["time"] = timestamp_text(given.time("--time", at))
    try:
        with Context().gateway(gateway) as door:
            answer = door.post_bytes(_door(wait), encode(event), "application/json")
    except CommandError as error:
        if event_id is not None or error.code != UNREACHABLE:
            raise
        raise CommandError(
            f"{error.line} (it may have been stored: repeat it with --id {event['id']})", error.code
        ) from None
    if as_json:
        show_json({"id": event["id"], "source": event["source"], **decode_any(answer)})
        return
    show(f"{_came_to(decode_any(answer)) if wait else 'accepted'}  {event['id']}")
    tell(
        f"see what it came to: drawdown explain {quote(customer)} {quote(event['id'])}", quiet=quiet
    )


def _door(wait: bool) -> str:
    return "/v1/events?wait=decided" if wait else "/v1/events"


def _came_to(answer: dict[str, Any]) -> str:
    """What the one event of an answer came to, in words."""
    decision = answer["outcomes"][0]["decision"]
    if decision is None:
        return "not decided yet"
    if decision.get("asset") is None:
        return "unpriced"
    what = "debited before" if decision.get("duplicate") else "debited"
    return f"{what}  {decision['amount']} {decision['asset']}"


# Files


@dataclass
class Sent:
    """What has become of a file so far."""

    read: int = 0
    accepted: int = 0
    rejected: list[dict[str, Any]] = field(default_factory=list)
    last: str | None = None
    """Where the last batch that the gateway has ends."""
    debited: dict[str, Decimal] = field(default_factory=dict)
    """By asset, of those that were decided and had not been before."""
    duplicates: int = 0
    undecided: int = 0

    def reject(self, place: str, id_: object, code: str, detail: str, at: object = None) -> None:
        self.rejected.append(
            {"place": place, "id": id_, "code": code, "field": at, "detail": detail}
        )

    def decided(self, decision: dict[str, Any] | None) -> None:
        if decision is None:
            self.undecided += 1
        elif decision.get("duplicate"):
            self.duplicates += 1
        elif (asset := decision.get("asset")) is not None:
            before = self.debited.get(asset, Decimal(0))
            self.debited[asset] = EXACT.add(before, Decimal(decision["amount"]))

    def outcomes(self) -> dict[str, Any]:
        """What those that were waited for came to."""
        return {
            "debited": {asset: plain_text(amount) for asset, amount in self.debited.items()},
            "duplicates": self.duplicates,
            "undecided": self.undecided,
        }


def _send_file(door: Door, file: str, *, wait: bool, as_json: bool, quiet: bool) -> None:
    sent = Sent()
    progress = _progress(quiet or as_json)
    try:
        with progress or nullcontext():
            task = None if progress is None else progress.add_task(file, total=None)
            for batch in _batches(_counted(read_events(file), sent)):
                _send_batch(door, batch, sent, wait)
                if progress is not None and task is not None:
                    progress.update(task, completed=sent.accepted)
    except CommandError as error:
        if sent.last is None:
            raise
        raise CommandError(
            f"{error.line} (up to {sent.last} all was sent; sending the file again is safe)",
            error.code,
        ) from None
    if as_json:
        said = {"read": sent.read, "accepted": sent.accepted, "rejected": sent.rejected}
        show_json({**said, **(sent.outcomes() if wait else {})})
    else:
        _show_sent(sent, wait)
    if sent.rejected:
        raise typer.Exit(FAILED)


def _progress(quiet: bool) -> Progress | None:
    """On a terminal only."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return None
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}  {task.completed:,.0f} sent"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _counted(events: Iterable[Read], sent: Sent) -> Iterator[Read]:
    """The events that can be sent; the others are rejected here."""
    for event in events:
        sent.read += 1
        if event.problem is None:
            yield event
        else:
            sent.reject(event.place, None, "malformed", event.problem)


def _batches(events: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    size = 0
    for event in events:
        if batch and (len(batch) == BATCH_MAX or size + len(event.value) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.value) + 1
    if batch:
        yield batch


def _send_batch(door: Door, batch: list[Read], sent: Sent, wait: bool) -> None:
    body = b"[" + b",".join(event.value for event in batch) + b"]"
    try:
        answer = decode_any(_post(door, _door(wait), body))
        for outcome in answer.get("outcomes", ()):
            sent.decided(outcome["decision"])
        accepted, rejected = answer["accepted"], answer["rejected"]
    except ProblemError as error:
        accepted, rejected = 0, error.problem.get("errors")
        if not rejected:
            raise
    sent.accepted += accepted
    for item in rejected:
        place = batch[item["index"]].place
        sent.reject(place, item.get("id"), item["code"], item["detail"], item.get("field"))
    sent.last = batch[-1].place


def _post(door: Door, path: str, body: bytes) -> bytes:
    """Send a batch; a gateway that has too much in flight gets it again a little later."""
    for tries in range(1, BUSY_TRIES + 1):
        try:
            return door.post_bytes(path, body, BATCH_MEDIA)
        except ProblemError as error:
            if error.problem.get("code") != "busy" or tries == BUSY_TRIES:
                raise
            time.sleep(BUSY_WAIT_S * tries)
    raise AssertionError("the last try answers or raises")


def _show_sent(sent: Sent, wait: bool) -> None:
    if sent.rejected:
        show_table(
            ("where", "id", "code", "what is wrong"),
            [
                (
                    item["place"],
                    item["id"],
                    item["code"],
                    f"{item['field']}: {item['detail']}" if item["field"] else item["detail"],
                )
                for item in sent.rejected[:REJECTED_SHOWN]
            ],
        )
        if len(sent.rejected) > REJECTED_SHOWN:
            show(f"and {len(sent.rejected) - REJECTED_SHOWN} more: see --json")
    show(f"{sent.accepted} of {sent.read} events accepted")
    if wait:
        amounts = [f"{plain_text(amount)} {asset}" for asset, amount in sent.debited.items()]
        show(f"debited {', '.join(amounts) or 'nothing'}")
        if sent.duplicates:
            show(f"{sent.duplicates} debited before")
        if sent.undecided:
            show(f"{sent.undecided} not decided yet")
    sys.stdout.flush()
