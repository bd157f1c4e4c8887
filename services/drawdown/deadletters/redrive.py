"""Sending dead letters again, each once.

What is sent is the record as it was - key, value, headers - with a header that names its dead
letter, and in the same Kafka transaction goes a `Redriven` to `dead-letters` that says so: neither
is there without the other, whatever is killed. Who sends has the environment's one transactional
id, taken before the letters are read: another one's open transaction is ended by that and can no
longer commit, so nobody sends what somebody else has just sent. Settlement counts a record once
besides, by its identity.

Identities are forgotten after the lateness window, so late usage needs more: before it is sent, the
journal, which is kept for ever, is asked whether the event was debited. From then on its identity
is remembered like any other, from the time it was appended. What remains: an event that was debited
under the same id but another, earlier `time` is not looked for further back than its own time; and
whoever may write `usage-events` may write the header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException

from drawdown.deadletters.errors import DeadLettersError
from drawdown.deadletters.letters import Letter, Position, Whole, read_letters, read_whole
from drawdown.deadletters.scan import scan
from drawdown.deadletters.verdict import OURS, Identity, Send, Skip, Verdict, judge
from drawdown.events.base import moment
from drawdown.events.catalogue import BALANCE_CHANGES, DEAD_LETTERS, Environment
from drawdown.events.codec import encode
from drawdown.events.deadletters import ACCEPT_LATE, REDRIVEN, REDRIVEN_FROM, Redriven
from drawdown.events.structs import struct_of
from drawdown.settlement.publish import read_topic
from drawdown.settlement.service import PartitionsError, partitions_of
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster, Headers, Producer

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 8 << 20
"""Of one transaction: while it is open, settlement reads no further on the partitions it is in."""
TRANSACTION_S: Final = 10.0
TRIES: Final = 10
CLOCKS_MS: Final = 86_400_000
"""How far brokers' clocks may differ: the journal is looked at from that much earlier on."""
FENCED: Final = (
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError._FATAL,
)

_Redriven = struct_of(Redriven)


@dataclass(slots=True)
class Outcome:
    """What was done, or with `dry_run` would be; by position."""

    sent: dict[Position, Send] = field(default_factory=dict)
    skipped: dict[Position, str] = field(default_factory=dict)
    """And why."""


def redrive(
    cluster: Cluster,
    environment: Environment,
    chosen: Callable[[Letter], bool],
    *,
    by: str,
    now_ms: int,
    accept_late: bool = False,
    dry_run: bool = False,
    since_ms: int | None = None,
    told: Callable[[int, int], None] = lambda _sent, _of: None,
) -> Outcome:
    """Send the chosen letters again, those that may count now; the others are skipped, with why.

    `by` is the operator, an identifier. `told` hears how many of how many are sent. Run again after
    a failure, it sends what was not sent. Blocks. Raises DeadLettersError, KafkaException.
    """
    producer = None if dry_run else _producer(cluster, environment)
    letters = [
        letter for letter in read_letters(cluster, environment, since_ms=since_ms) if chosen(letter)
    ]
    verdicts = _judged(cluster, environment, letters, now_ms, accept_late)
    _ask_the_journal(cluster, environment, verdicts)
    outcome = Outcome(
        skipped={at: found.why for at, found in verdicts.items() if isinstance(found, Skip)}
    )
    may = {at: found for at, found in verdicts.items() if isinstance(found, Send)}
    if producer is None:
        outcome.sent = may
        return outcome
    for batch in _batches(read_whole(cluster, environment, may)):
        _send(producer, environment, batch, may, by, now_ms)
        outcome.sent.update({whole.position: may[whole.position] for whole in batch})
        told(len(outcome.sent), len(may))
    return outcome


# --- which ---------------------------------------------------------------------------------------


def _judged(
    cluster: Cluster,
    environment: Environment,
    letters: Sequence[Letter],
    now_ms: int,
    accept_late: bool,
) -> dict[Position, Verdict]:
    if not letters:
        return {}
    try:
        partitions, _ = partitions_of(cluster, environment)
    except PartitionsError as error:
        raise DeadLettersError(str(error)) from None
    books = read_topic(cluster, environment).books
    by_position = {letter.position: letter for letter in letters}
    verdicts: dict[Position, Verdict] = dict.fromkeys(by_position, Skip("it is there no more"))
    for whole in read_whole(cluster, environment, by_position):
        letter = by_position[whole.position]
        verdicts[whole.position] = judge(
            letter, whole, books, now_ms, partitions, accept_late=accept_late
        )
    return verdicts


class _Data(msgspec.Struct):
    sequence: int
    source: str | None = None
    id: str | None = None


class _Entry(msgspec.Struct):
    subject: str
    data: _Data


_decode_entry = msgspec.json.Decoder(_Entry).decode


def _ask_the_journal(
    cluster: Cluster, environment: Environment, verdicts: dict[Position, Verdict]
) -> None:
    """Skip the late ones that were debited before."""
    late: dict[Identity, list[Position]] = {}
    since_ms: dict[int, int] = {}
    for position, verdict in verdicts.items():
        if isinstance(verdict, Send) and verdict.late is not None:
            late.setdefault(verdict.late, []).append(position)
            earlier_ms = since_ms.get(verdict.partition, verdict.late_since_ms)
            since_ms[verdict.partition] = min(earlier_ms, verdict.late_since_ms)
    customers = {identity.customer.encode() for identity in late}
    for identity, sequence in _debited(cluster, environment, since_ms, customers):
        for position in late.get(identity, ()):
            verdicts[position] = Skip(
                f"it was debited before: entry {sequence} of {identity.customer}"
            )


def _debited(
    cluster: Cluster, environment: Environment, since_ms: Mapping[int, int], customers: set[bytes]
) -> Iterator[tuple[Identity, int]]:
    """The usage events of these customers in the journal, since a time per partition."""
    if not since_ms:
        return
    topic = environment.topic(BALANCE_CHANGES)
    for message in scan(cluster, topic, since_ms=min(since_ms.values()) - CLOCKS_MS):
        if message.key() not in customers:
            continue
        entry = _decode_entry(message.value() or b"")
        if entry.data.source is not None and entry.data.id is not None:
            identity = Identity(entry.subject, entry.data.source, entry.data.id)
            yield identity, entry.data.sequence


# --- sending -------------------------------------------------------------------------------------


def _producer(cluster: Cluster, environment: Environment) -> Producer:
    """The one producer that may redrive: it ends whatever another one has open."""
    producer = cluster.producer(kafka.money_producer(f"{environment.name}.redrive"))
    for attempt in range(1, TRIES + 1):
        try:
            producer.init_transactions(TRANSACTION_S)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if not cause.retriable() or attempt == TRIES:
                raise
        else:
            break
    return producer


def _batches(found: Iterable[Whole]) -> Iterator[list[Whole]]:
    batch: list[Whole] = []
    size_bytes = 0
    for whole in found:
        batch.append(whole)
        size_bytes += len(whole.value or b"")
        if len(batch) >= BATCH_RECORDS or size_bytes >= BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _send(
    producer: Producer,
    environment: Environment,
    batch: Sequence[Whole],
    may: Mapping[Position, Send],
    by: str,
    now_ms: int,
) -> None:
    """One transaction: the records, and beside each that it was sent. Raises DeadLettersError."""
    try:
        producer.begin_transaction()
        for whole in batch:
            send = may[whole.position]
            producer.produce(
                environment.topic(send.topic),
                whole.value,
                whole.key,
                send.partition,
                headers=_headers(whole, send, by),
            )
            producer.produce(
                environment.topic(DEAD_LETTERS),
                encode(_said(whole.position, send, by, now_ms)),
                whole.key,
                whole.position.partition,
                headers=[(REDRIVEN, whole.position.header)],
            )
        producer.commit_transaction(TRANSACTION_S)
    except (KafkaException, BufferError) as error:
        raise DeadLettersError(_told(error)) from error


def _headers(whole: Whole, send: Send, by: str) -> Headers:
    headers = [(name, text) for name, text in whole.headers if name not in OURS]
    headers.append((REDRIVEN_FROM, whole.position.header))
    if send.late is not None:
        headers.append((ACCEPT_LATE, by.encode()))
    return headers


def _said(position: Position, send: Send, by: str, now_ms: int) -> Redriven:
    return _Redriven(
        partition=position.partition,
        offset=position.offset,
        topic=send.topic.name,
        sent_to=send.partition,
        at=moment(now_ms),
        by=by,
        accept_late=send.late is not None,
    )


def _told(error: Exception) -> str:
    cause = error.args[0]
    if isinstance(cause, KafkaError) and cause.code() in FENCED:
        return (
            "another redrive has begun and this one gave way: nothing more was sent by it; look at"
            " `drawdown dead-letters list` when the other has ended"
        )
    said = cause.str() if isinstance(cause, KafkaError) else str(error)
    return (
        f"Kafka did not confirm the last step ({said}): run the same again; what was sent is marked"
        " as sent and is not sent twice"
    )
