"""A client process of the contract: does on its own consumers and producers what it is told."""

from __future__ import annotations

import pickle
import sys
from typing import Any

from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, Message, TopicPartition


def encoded(value: Any) -> Any:
    """With confluent-kafka's objects, which cannot be pickled, taken apart."""
    if isinstance(value, Message):
        error = value.error()
        fields = {
            "topic": value.topic(),
            "partition": value.partition(),
            "offset": OFFSET_INVALID if value.offset() is None else value.offset(),
            "key": value.key(),
            "value": value.value(),
            "error": encoded(error) if error is not None else None,
        }
        return ("message", fields)
    if isinstance(value, TopicPartition):
        return ("partition", (value.topic, value.partition, value.offset))
    if isinstance(value, KafkaException):
        return ("exception", encoded(value.args[0]))
    if isinstance(value, KafkaError):
        flags = (value.fatal(), value.retriable(), value.txn_requires_abort())
        return ("error", (value.code(), value.str(), *flags))
    if isinstance(value, list | tuple):
        return ("list" if isinstance(value, list) else "tuple", [encoded(item) for item in value])
    return ("plain", value)


def decoded(value: Any) -> Any:
    """The inverse of `encoded`."""
    kind, content = value
    if kind == "message":
        error = content["error"]
        return Message(**content | {"error": decoded(error) if error is not None else None})
    if kind == "partition":
        return TopicPartition(*content)
    if kind == "exception":
        return KafkaException(decoded(content))
    if kind == "error":
        return KafkaError(*content)
    if kind in ("list", "tuple"):
        items = [decoded(item) for item in content]
        return items if kind == "list" else tuple(items)
    return content


def main(bootstrap: str) -> None:
    from drawdown.stream.kafka import KafkaCluster

    cluster = KafkaCluster(bootstrap)
    clients: list[Any] = []
    calls: list[tuple[str, list[TopicPartition]]] = []
    callbacks = {
        name: lambda _, partitions, name=name: calls.append((name, list(partitions)))
        for name in ("on_assign", "on_revoke", "on_lost")
    }
    while True:
        try:
            target, method, arguments, named = decoded(pickle.load(sys.stdin.buffer))
        except EOFError:
            return
        result: Any
        if target is None:
            clients.append(getattr(cluster, method)(*arguments))
            result = len(clients) - 1
        else:
            try:
                if method == "subscribe":
                    named = callbacks
                result = getattr(clients[target], method)(*arguments, **named)
            except KafkaException as error:
                result = error
        pickle.dump(encoded((result, calls)), sys.stdout.buffer)
        sys.stdout.buffer.flush()
        calls.clear()


if __name__ == "__main__":
    main(sys.argv[1])
