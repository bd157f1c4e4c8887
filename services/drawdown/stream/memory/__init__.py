"""A Kafka cluster in memory, for tests and the simulator: deterministic, with an injected clock.

What it claims of Kafka is held by `tests/stream/contract/`, which runs over a real broker as well.
"""

from .client import Client
from .cluster import MemoryCluster, MemoryProcess
from .consumer import MemoryConsumer
from .errors import KilledError
from .faults import (
    AnswerLost,
    Fault,
    Faults,
    MarkersDelayed,
    MustAbort,
    RequestDelayed,
    RequestLost,
)
from .producer import MemoryProducer

__all__ = [
    "AnswerLost",
    "Client",
    "Fault",
    "Faults",
    "KilledError",
    "MarkersDelayed",
    "MemoryCluster",
    "MemoryConsumer",
    "MemoryProcess",
    "MemoryProducer",
    "MustAbort",
    "RequestDelayed",
    "RequestLost",
]
