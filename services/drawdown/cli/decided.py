"""Decisions about commands that changed nothing: they are in no entry, only on `decisions`.

A denial, a refusal and a plain check are kept there as long as the topic keeps its records. What
changed something is explained by its entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from drawdown.cli.outcome import UNREACHABLE, CommandError
from drawdown.cli.render import pairs, time_text
from drawdown.cli.said import left_about
from drawdown.events.catalogue import DECISIONS, Environment
from drawdown.events.codec import RecordError, decode_any
from drawdown.events.reasons import MEANINGS, Reason
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of
from drawdown.stream.ports import Cluster

TIMEOUT_S: Final = 10.0

Decision = Mapping[str, Any]


def decision_about(
    cluster: Cluster, environment: Environment, customer: str, decided_id: str
) -> Decision | None:
    """The last decision about a customer's command or event. Reads the customer's partition to its
    end. Raises CommandError, KafkaException."""
    name = environment.topic(DECISIONS)
    consumer = cluster.consumer(kafka.reader())
    try:
        described = consumer.list_topics(name, TIMEOUT_S).topics[name]
        if described.error is not None:
            raise KafkaException(described.error)
        partition = partition_of(customer.encode(), len(described.partitions))
        consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING)])
        found = None
        for key, value in _records(consumer):
            # Most are of others: only what may be it is decoded.
            if key == customer.encode():
                decision = _read(value)
                if decision.get("id") == decided_id:
                    found = decision
        return found
    finally:
        consumer.close()


def _records(consumer: Any) -> Iterator[tuple[bytes, bytes]]:
    while True:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise CommandError("the decisions cannot be read: no answer in time", UNREACHABLE)
        error = message.error()
        if error is None:
            yield message.key() or b"", message.value() or b""
        elif error.code() == KafkaError._PARTITION_EOF:
            return
        elif not error.retriable():
            raise KafkaException(error)


def _read(value: bytes) -> Decision:
    try:
        decision = decode_any(value)
    except RecordError:
        return {}
    return decision if isinstance(decision, dict) else {}


def story(decision: Decision) -> Iterator[str]:
    """A decision in words, line by line: what was asked, what was read, and why it came so."""
    asset = decision.get("asset") or ""
    yield (
        f"decision {decision['id']} of {decision['customer']}: {decision['command']},"
        f" {verdict(decision)}"
    )
    yield f"time        {time_text(decision['at'])}"
    yield f"because     {decision['reason']}: {_meaning(decision['reason'])}"
    if decision.get("detail"):
        field = f"{decision['field']}: " if decision.get("field") else ""
        yield f"in detail   {field}{decision['detail']}"
    if decision.get("amount"):
        yield f"asked for   {decision['amount']} {asset}"
    if decision.get("available"):
        yield f"available   {pairs(decision['available'])}, in scope and in effect, with credit"
    if decision.get("shortfall"):
        yield f"short by    {decision['shortfall']} {asset}"
    for each in decision.get("limits", ()):
        denies = f"; {each['wanted']} wanted: denies" if each.get("wanted") else ""
        of = f" of {each['scope']}" if each.get("scope") else ""
        yield f"budget      {each['budget']}{of}: {left_about(each)}{denies}"
    if decision.get("book"):
        rate = f"rate {decision['rate']} of " if decision.get("rate") else ""
        yield f"priced by   {rate}book {decision['book']} (price-book@{decision['book_offset']})"
    if decision.get("sequence"):
        digest = f" (digest {decision['digest'][:12]}...)" if decision.get("digest") else ""
        yield f"read        entry {decision['sequence']}{digest}, {behind(decision)}"
    if decision["kind"] == "authorization" or not decision["allowed"]:
        yield "changed     nothing; asked again, it is decided again"


def verdict(decision: Decision) -> str:
    """One word for what came of it."""
    if decision["kind"] == "authorization":
        return "allowed" if decision["allowed"] else "denied"
    return "done" if decision["allowed"] else "refused"


def behind(read: Mapping[str, Any]) -> str:
    """How far usage was behind what was read."""
    records = read.get("usage_lag_records") or 0
    if not records:
        return "with no usage waiting"
    return f"with {records} records of usage waiting, for {read.get('usage_lag_ms') or 0} ms"


def _meaning(reason: str) -> str:
    try:
        return MEANINGS[Reason(reason)]
    except ValueError:
        return "a newer version knows what it means"
