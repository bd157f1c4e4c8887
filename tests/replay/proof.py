"""Replays of a desk: what is found on its topics, and ways to spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Message
from tests.support.desk import ENVIRONMENT, Desk

from drawdown.events.catalogue import Environment, Topic
from drawdown.replay import whole
from drawdown.replay.differences import Difference
from drawdown.stream.partition import partition_of


def verified(desk: Desk) -> whole.VerifyReport:
    return whole.verify(desk.cluster, ENVIRONMENT, on_disk=False)


def replayed(desk: Desk, *stores: Path) -> whole.ReplayReport:
    return whole.replay(desk.cluster, ENVIRONMENT, stores=stores, on_disk=False)


def told(report: whole.VerifyReport | whole.ReplayReport) -> list[str]:
    return [difference.detail for difference in report.first]


def the_only(report: whole.VerifyReport | whole.ReplayReport) -> Difference:
    assert report.differences == 1, told(report)
    return report.first[0]


def rewrite(
    desk: Desk,
    topic: Topic,
    found: Callable[[dict[str, Any]], bool],
    change: Callable[[bytes], bytes],
    environment: Environment = ENVIRONMENT,
) -> Message:
    """Change the first committed record of a topic whose JSON is `found`, in place, as nobody can
    on a broker; returns it as it was."""
    for partition in range(desk.partitions):
        log = desk.cluster._log(environment.topic(topic), partition)
        committed = {m.offset() for m in log.records(True)}
        for entry in log.entries:
            if entry.offset in committed and entry.value and found(_read(entry.value)):
                before = log.message(entry)
                entry.value, entry.message = change(entry.value), None
                return before
    raise AssertionError("no such record")


def remove(desk: Desk, topic: Topic, found: Callable[[dict[str, Any]], bool]) -> Message:
    """Take such a record out of its topic, as nobody can on a broker; returns it."""
    for partition in range(desk.partitions):
        log = desk.cluster._log(ENVIRONMENT.topic(topic), partition)
        for entry in log.entries:
            if entry.value and not entry.marker and found(_read(entry.value)):
                log.entries.remove(entry)
                log._gaps = True
                return log.message(entry)
    raise AssertionError("no such record")


def put(desk: Desk, topic: Topic, customer: str, value: bytes) -> None:
    """Append what settlement never wrote."""
    partition = partition_of(customer.encode(), desk.partitions)
    desk.produce(topic, customer.encode(), value, partition=partition)


def _read(value: bytes) -> dict[str, Any]:
    """The record's JSON; empty for what is no object."""
    try:
        record = json.loads(value)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
