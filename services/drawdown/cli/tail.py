"""`drawdown tail`: a topic's records as they come, a readable line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from rich.text import Text

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.outcome import USAGE, CommandError
from drawdown.cli.render import Json, Quiet, counted, pairs, show, show_json, tell, time_text
from drawdown.cli.said import (
    blocked_about,
    entry_about,
    entry_kind,
    limit_about,
    signed_amount,
)
from drawdown.events.base import EPOCH, KEY_SEPARATOR, timestamp_text
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    TOPICS,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.events.codec import RecordError, decode_any, encode
from drawdown.events.deadletters import HEADER_PREFIX, REDRIVEN
from drawdown.events.limit_words import scope_words
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of
from drawdown.stream.ports import Consumer

app = typer.Typer(rich_markup_mode=None)

TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.2
VALUE_SHOWN: Final = 200
"""Characters of a value that cannot be read."""
READABLE: Final = tuple(topic.name for topic in TOPICS if topic.by_customer)
ELSEWHERE: Final = {
    "price-book": "`drawdown price-book show`",
    "settings": "`drawdown keys list`",
}

Record = Mapping[str, Any]


@app.command(
    epilog=f"""\b
Examples:
  drawdown tail balance-changes                     the journal, from now on
  drawdown tail dead-letters --from-beginning --no-follow
  drawdown tail decisions --customer acme --limit 5
  drawdown tail usage-events --json | jq .value.data

\b
Topics:
  {", ".join(READABLE[:4])},
  {", ".join(READABLE[4:])}"""
)
def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="With or without its prefix.")],
    customer: Annotated[str | None, typer.Option(help="Of this customer only.")] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Also what is there already.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="End after so many.")
    ] = None,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="End at the end, with --from-beginning.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Follow a topic, a readable line per record, until interrupted.

    Only what is committed is shown. Order holds within a partition, and so for each customer.
    """
    context = Context()
    found = _topic(context.config.topics, topic)
    if customer is not None:
        given.customer_id(customer)
    if no_follow and not from_beginning:
        raise CommandError("--no-follow: shows nothing without --from-beginning", USAGE)
    name = context.config.topics.topic(found)
    consumer = context.kafka().consumer(kafka.reader())
    try:
        starts = _starts(consumer, name, customer, from_beginning=from_beginning)
        consumer.assign(starts)
        tell(
            f"{name}, {counted(len(starts), 'partition')}; end with ctrl-c",
            quiet=quiet or no_follow,
        )
        shown = 0
        for message in _messages(consumer, len(starts), to_end=no_follow):
            if customer is not None and _customer_of(message) != customer:
                continue
            if as_json:
                show_json(_as_json(found, message))
            else:
                show(_line(found, message))
            shown += 1
            if shown == limit:
                return
    except KeyboardInterrupt:
        return
    finally:
        consumer.close()


def _topic(environment: Environment, text: str) -> Topic:
    name = text.removeprefix(f"{environment.name}.")
    if name in ELSEWHERE:
        raise CommandError(
            f"TOPIC: {name} holds no customers' records; see {ELSEWHERE[name]}", USAGE
        )
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise CommandError(f"TOPIC: {text!r} is none of {', '.join(READABLE)}", USAGE)


def _starts(
    consumer: Consumer, name: str, customer: str | None, *, from_beginning: bool
) -> list[TopicPartition]:
    """Where to read from: all partitions, or the one of a customer - but a dead letter lies where
    the rejected record lay, right or wrong."""
    described = consumer.list_topics(name, TIMEOUT_S).topics[name]
    if described.error is not None:
        raise KafkaException(described.error)
    partitions = sorted(described.partitions)
    if customer is not None and not name.endswith(f".{DEAD_LETTERS.name}"):
        partitions = [partition_of(customer.encode(), len(partitions))]
    starts = []
    for partition in partitions:
        where = TopicPartition(name, partition, OFFSET_BEGINNING)
        if not from_beginning:
            _, where.offset = consumer.get_watermark_offsets(where, TIMEOUT_S, cached=False)
        starts.append(where)
    return starts


def _messages(consumer: Consumer, partitions: int, *, to_end: bool) -> Iterator[Message]:
    """The records; with `to_end` as far as the ends of all partitions. Raises KafkaException."""
    at_end: set[int] = set()
    while not (to_end and len(at_end) == partitions):
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            at_end.add(message.partition() or 0)
        elif not error.retriable():
            raise KafkaException(error)


def _customer_of(message: Message) -> str:
    key = message.key()
    text = key.decode("utf-8", "replace") if isinstance(key, bytes) else ""
    return text.partition(KEY_SEPARATOR)[0]


def _at(message: Message) -> datetime:
    _, at_ms = message.timestamp()
    return EPOCH + timedelta(milliseconds=at_ms)


def _value(message: Message) -> Any:
    """The value as JSON; None for a tombstone, text for what is no JSON."""
    value = message.value()
    if not isinstance(value, bytes):
        return None
    try:
        return decode_any(value)
    except RecordError:
        return value.decode("utf-8", "replace")


def _headers(message: Message) -> dict[str, str]:
    """Its headers as text; of a name that is there twice, the last."""
    found: dict[str, str] = {}
    headers: Any = message.headers()
    for name, value in headers or ():
        found[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
    return found


def _as_json(topic: Topic, message: Message) -> dict[str, Any]:
    headers = _headers(message)
    answer: dict[str, Any] = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "appended_at": timestamp_text(_at(message).astimezone(UTC)),
        "key": _key_text(message),
        "headers": headers,
        "value": _value(message),
    }
    if topic is DEAD_LETTERS:
        answer["rejected"] = _rejected(headers)
    return answer


def _key_text(message: Message) -> str | None:
    key = message.key()
    return key.decode("utf-8", "replace") if isinstance(key, bytes) else None


def _rejected(headers: Mapping[str, str]) -> dict[str, str]:
    """What is said of a dead letter."""
    return {
        name.removeprefix(HEADER_PREFIX): value
        for name, value in headers.items()
        if name.startswith(HEADER_PREFIX)
    }


# A line per record


def _line(topic: Topic, message: Message) -> Text:
    """`time  partition@offset  customer  what it says`."""
    value = _value(message)
    if topic is DEAD_LETTERS:
        said = _dead_letter(message, value)
    elif value is None:
        said = Text("gone", style="dim")  # a tombstone
    elif not isinstance(value, dict):
        said = Text(_shortened(value), style="red")
    else:
        try:
            said = SAID[topic](value)
        except (KeyError, TypeError, AttributeError):
            said = Text(_shortened(value), style="red")  # not as we write it
    where = f"{message.partition()}@{message.offset()}"
    line = Text(f"{time_text(timestamp_text(_at(message)))}  {where:<10} ", style="dim")
    line.append(f"{_clean(_customer_of(message)) or '-':<12} ", style="not dim bold")
    line.append(_clean_text(said))
    return line


def _shortened(value: Any) -> str:
    """What cannot be told in words, as JSON."""
    if value is None:
        return "no value"
    text = value if isinstance(value, str) else encode(value).decode()
    return text if len(text) <= VALUE_SHOWN else text[:VALUE_SHOWN] + " ..."


def _clean(text: str) -> str:
    """Without control characters: what a producer sends must not drive a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _clean_text(said: Text) -> Text:
    clean = Text(_clean(said.plain), style=said.style)
    clean.spans = said.spans
    return clean


def _words(*parts: object) -> str:
    return "  ".join(str(part) for part in parts if part not in (None, ""))


def _usage(event: Record) -> Text:
    data = event.get("data", {})
    return Text(_words(event["type"], pairs(data), f"({event['source']} {event['id']})"))


def _command(command: Record) -> Text:
    kind = command["type"]
    if kind == "authorize":
        estimate = command.get("estimate", {})
        amount = _words(estimate.get("amount"), estimate.get("asset"))
        quantities = pairs(estimate.get("quantities"))
        about = (command["meter"], pairs(command.get("dimensions")), quantities, amount)
    elif kind == "grant":
        about = (f"{command['amount']} {command['asset']}", command.get("category", "paid"), "", "")
    elif kind in LIMITS:
        said = limit_about(LIMITS[kind](command)) or ""
        about = (said, command.get("reason") or "", "", "")
    elif "hold_id" in command:
        quantities = pairs(command.get("quantities"))
        about = (f"hold {command['hold_id']}", command.get("amount") or "", quantities, "")
    else:
        limits, thresholds = command.get("credit_limits"), command.get("thresholds")
        amounts = {name: "|".join(texts) for name, texts in (thresholds or {}).items()}
        about = (
            f"credit limit {pairs(limits)}" if limits else "",
            f"tells below {pairs(amounts)}" if amounts else "",
            "",
            "",
        )
    return Text(_words(kind, *about, f"({command['id']})"))


def _entry(entry: Record) -> Text:
    data = entry["data"]
    amount = signed_amount(entry)
    left = f"{amount} -> {data['after']}" if amount is not None else ""
    return Text(_words(f"#{data['sequence']}", entry_kind(entry), left, entry_about(entry)))


def _row(row: Record) -> Text:
    if row["row"] == "hold":
        held = f"{row['held']} of {row['amount']} {row['asset']} held"
        ends = f"until {time_text(row['expires_at'])}"
        return Text(_words(f"#{row['sequence']}", "hold", row["id"], held, ends))
    if row["row"] == "budget":
        said = limit_about({"budget": row}) or ""
        return Text(_words(f"#{row['sequence']}", "budget", said))
    if row["row"] == "spent":
        held = f"{row['held']} held" if row.get("held", "0") != "0" else ""
        used = f"{row.get('used', '0')} of {row['cap']} used"
        return Text(_words(f"#{row['sequence']}", "spent", row["budget"], row["scope"], used, held))
    if row["row"] == "scope":
        blocked = f"blocked: {blocked_about(row)}" if row.get("block") else ""
        budgets = f"budgets {', '.join(row['budgets'])}" if row.get("budgets") else ""
        return Text(
            _words(f"#{row['sequence']}", "scope", scope_words(row["scope"]), budgets, blocked)
        )
    if "accounts" not in row:
        return Text(_words(f"#{row.get('sequence', 0)}", row["row"], _shortened(row)))
    accounts = [
        f"{account['balance']} {account['asset']}"
        + (f" ({account['held']} held)" if account.get("held", "0") != "0" else "")
        for account in row["accounts"]
    ]
    return Text(_words(f"#{row['sequence']}", row["row"], ", ".join(accounts)))


def _decision(decision: Record) -> Text:
    allowed = decision["allowed"]
    kind = decision["kind"]
    verdict = (
        ("allowed" if allowed else "denied")
        if kind == "authorization"
        else ("done" if allowed else "refused")
    )
    said = Text(f"{decision['command']}  ")
    said.append(verdict, style="green" if allowed else "red")
    amount = decision.get("amount")
    rest = [
        "" if decision["reason"] == "ok" else decision["reason"],
        f"{amount} {decision.get('asset')}" if amount is not None else "",
        f"short by {decision['shortfall']}" if decision.get("shortfall") else "",
        f"available {pairs(decision['available'])}" if decision.get("available") else "",
        ": ".join(filter(None, (decision.get("field"), decision.get("detail")))),
        "again" if decision.get("duplicate") else "",
        f"({decision['id']})",
    ]
    said.append("  " + _words(*rest))
    return said


def _low_balance(notice: Record) -> Text:
    data = notice["data"]
    return Text(
        f"below {data['threshold']} {data['asset']}: {data['before']} -> {data['available']}"
        f" available  #{data['sequence']}",
        style="yellow",
    )


def _notice(notice: Record) -> Text:
    data = notice["data"]
    amount = f"{data['amount']} {data['asset']}" if data.get("amount") else ""
    kind = str(notice["type"]).removeprefix("drawdown.")
    return Text(_words(kind, data.get("meter"), amount, data["detail"], f"#{data['sequence']}"))


def _dead_letter(message: Message, value: Any) -> Text:
    headers = _headers(message)
    said = _rejected(headers)
    if REDRIVEN in headers and "reason" not in said:
        again = value if isinstance(value, dict) else {}
        return Text(f"{headers[REDRIVEN].replace(':', '@')} was sent again by {again.get('by')}")
    line = Text(said.get("reason", "?"), style="red")
    position = f"{said.get('topic', '?')}[{said.get('partition', '?')}]@{said.get('offset', '?')}"
    field, detail = said.get("field"), said.get("detail", "")
    plain = f"  {field}: {detail}" if field else f"  {detail}"
    line.append(f"{plain}  ({position})", style="not red default")
    line.append(f"  {_shortened(value)}", style="dim default")
    return line


LIMITS: Final[Mapping[str, Callable[[Record], Record]]] = {
    "set_budget": lambda said: {"budget": {"id": said["budget_id"], "terms": said["budget"]}},
    "remove_budget": lambda said: {"budget": {"id": said["budget_id"]}},
    "block": lambda said: {"block": {**said, "blocked": True}},
    "unblock": lambda said: {"block": {**said, "blocked": False}},
}
"""What the entry of each command about limits will say, as far as the command does."""

SAID: Final[Mapping[Topic, Callable[[Record], Text]]] = {
    USAGE_EVENTS: _usage,
    COMMANDS: _command,
    BALANCE_CHANGES: _entry,
    BALANCES: _row,
    DECISIONS: _decision,
    LOW_BALANCE: _low_balance,
    NOTIFICATIONS: _notice,
}
