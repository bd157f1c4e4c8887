"""The settings of one local broker: what differs from Kafka's defaults, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import BrokerError
from .ports import LOOPBACK
from .state import Node

MIB = 1 << 20
RECORD_BYTES_MAX = 20 * MIB
_BATCH_BYTES_MAX = RECORD_BYTES_MAX + MIB  # the limit is on the batch around the record
_YEAR_MINUTES = 365 * 24 * 60
_DAY_MS = 24 * 60 * 60 * 1000

CLIENT, INTERNAL, CONTROLLER = "CLIENT", "INTERNAL", "CONTROLLER"


def server_properties(
    node: Node, nodes: Sequence[Node], data: Path, overrides: Mapping[str, str]
) -> dict[str, str]:
    """The settings of `node` in the cluster of `nodes`. `overrides` win over everything."""
    if "," in str(data):
        raise BrokerError(f"{data} has a comma, which Kafka takes for two folders: choose another")
    voters = ",".join(f"{n.id}@{LOOPBACK}:{n.controller_port}" for n in nodes)
    replicas = min(3, len(nodes))
    in_sync_min = max(1, replicas - 1)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": voters,
        # Brokers talk to each other past what a test puts between a broker and its clients.
        "listeners": (
            f"{CLIENT}://{LOOPBACK}:{node.port},"
            f"{INTERNAL}://{LOOPBACK}:{node.internal_port},"
            f"{CONTROLLER}://{LOOPBACK}:{node.controller_port}"
        ),
        "advertised.listeners": (
            f"{CLIENT}://{LOOPBACK}:{node.client_port},{INTERNAL}://{LOOPBACK}:{node.internal_port}"
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in (CLIENT, INTERNAL, CONTROLLER)
        ),
        "inter.broker.listener.name": INTERNAL,
        "controller.listener.names": CONTROLLER,
        "log.dirs": str(data),
        # A mistyped topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync_min),
        # Each partition of the internal topics is a file set to open at start: few suffice here.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync_min),
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync_min),
        # A dead producer's transaction is found after 1 s, not 10: readers wait for its end.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "message.max.bytes": str(_BATCH_BYTES_MAX),
        "replica.fetch.max.bytes": str(_BATCH_BYTES_MAX),
        "replica.fetch.response.max.bytes": str(2 * _BATCH_BYTES_MAX),
        # Topics set their own retention; what sets none is kept. Offsets outlive a long holiday:
        # after a week without members they would be gone, and a reader would not know where it was.
        "log.retention.ms": "-1",
        "offsets.retention.minutes": str(_YEAR_MINUTES),
        # So long a silent broker counts as alive: of three, before another one leads its partitions
        # (9 s by default). A lone one that is taken for dead, because it stood still, would lead
        # nothing for a moment and lose the markers of transactions; see `fence` for its restart.
        "broker.session.timeout.ms": "5000" if len(nodes) > 1 else str(_DAY_MS),
        "broker.heartbeat.interval.ms": "500",
        # Sized for a machine that the broker shares with what it serves.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(16 * MIB),
        **overrides,
    }


def dumps(properties: Mapping[str, str]) -> str:
    """As a Java properties file, which is Latin-1 with escapes."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(value: str) -> str:
    units = value.encode("utf-16-be")
    characters = (units[at : at + 2] for at in range(0, len(units), 2))
    return "".join(
        chr(unit[1])
        if unit[0] == 0 and 0x20 < unit[1] < 0x7F and unit[1] != 0x5C
        else f"\\u{unit.hex()}"
        for unit in characters
    )
