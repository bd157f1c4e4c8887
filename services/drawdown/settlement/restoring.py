"""The mark of a restore: while it stands on `settings`, the environment is half written.

A restore begins with topics that are empty, and its mark is the first record it writes; the last is
the mark's tombstone. So a restore that was killed anywhere in between leaves the mark, and
settlement, which would decide on what is missing, does not start there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from drawdown.access import write_setting
from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import SETTINGS, Environment
from drawdown.events.settings import Restore
from drawdown.events.structs import struct_of
from drawdown.stream.partition_log import PartitionLog, bounds_of
from drawdown.stream.ports import Cluster

KIND: Final = "restore"
ID: Final = "environment"
KEY: Final = f"{KIND}{KEY_SEPARATOR}{ID}".encode()

_Restore = struct_of(Restore)


class HalfWrittenError(Exception):
    """A restore did not end: one line that says what to do."""


def mark(cluster: Cluster, environment: Environment, origin: str, now: datetime) -> None:
    """Say that a restore has begun; `origin` is where its records are from. Blocks up to 10 s.
    Raises AccessError."""
    record = _Restore(id=ID, origin=origin, begun_at=now)
    write_setting(cluster, environment, KIND, ID, record)


def unmark(cluster: Cluster, environment: Environment) -> None:
    """Say that it has ended. Blocks up to 10 s. Raises AccessError."""
    write_setting(cluster, environment, KIND, ID, None)


def require_whole(cluster: Cluster, environment: Environment) -> None:
    """Raises HalfWrittenError where the mark of a restore stands; LogError, KafkaException. Blocks
    for the broker: one record is read of an environment that was never restored into."""
    topic = environment.topic(SETTINGS)
    low, end = bounds_of(cluster, topic, 0)
    marked = False
    log = PartitionLog(cluster, topic, 0, low, end)
    try:
        for message in log:
            if message.key() == KEY:
                marked = message.value() is not None
            elif not marked:  # the mark is the first, whatever was compacted
                break
    finally:
        log.close()
    if marked:
        raise HalfWrittenError(
            f"a restore into {environment.name!r} did not end, and it is half written: delete its"
            " topics, run `drawdown topics create`, and restore again; nothing was decided"
        )
