"""Whether a broker serves clients, and what makes it serve the first ones quickly."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from .errors import BrokerError
from .ports import LOOPBACK


def answers(port: int, node_id: int, timeout_s: float) -> bool:
    """Whether the broker that listens on `port` answers a metadata request and counts `node_id`,
    itself, among the brokers in service (a fenced one does not). Waits at most `timeout_s`; a port
    on which nothing listens is known at once."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=timeout_s).close()
    except OSError:
        return False
    # A new client each time: it knows no broker but this one, and a client that was refused would
    # wait before it tries again. The log level keeps its complaints off the terminal.
    client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
    try:
        return node_id in client.list_topics(timeout=timeout_s).brokers
    except KafkaException:
        return False


def create_internal_topics(bootstrap: str, settings: Mapping[str, str], timeout_s: float) -> None:
    """Create the topics in which Kafka keeps offsets and transactions, as it would itself when the
    first client asks for them: that client would wait 2 s. Takes 0.1 s. `settings` are a broker's.
    Raises `BrokerError` if Kafka refuses."""
    offsets, transactions = "offsets.topic", "transaction.state.log"
    both = {"cleanup.policy": "compact", "segment.bytes": str(100 << 20)}
    in_sync_min = settings["transaction.state.log.min.isr"]
    topics = [
        NewTopic(
            name,
            num_partitions=int(settings[f"{prefix}.num.partitions"]),
            replication_factor=int(settings[f"{prefix}.replication.factor"]),
            config=both | config,
        )
        for name, prefix, config in (
            ("__consumer_offsets", offsets, {"compression.type": "producer"}),
            (
                "__transaction_state",
                transactions,
                {
                    "compression.type": "uncompressed",
                    "min.insync.replicas": in_sync_min,
                    "unclean.leader.election.enable": "false",
                },
            ),
        )
    ]
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for name, created in client.create_topics(topics, request_timeout=timeout_s).items():
        try:
            created.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                reason = error.args[0].str()
                raise BrokerError(
                    f"Kafka did not create {name} ({reason}): look at server_properties"
                ) from error
