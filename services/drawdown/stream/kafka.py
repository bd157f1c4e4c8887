"""The real cluster behind `stream.ports`, and the one place for client settings on the money path.

A configuration is built from three layers: what a role needs (`money_consumer` and its siblings
below, plain dicts that the in-memory log takes as well), what the operator says in the environment
(`KAFKA_A_B` is the property `a.b`), and where the cluster is. The operator may tune and secure
anything except the properties that carry guarantees: those are locked, and an attempt is an error.
librdkafka logs to the logger `drawdown.kafka` as the clients are polled.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, cast

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from . import ports
from .bounded import BoundedProducer

MIB: Final = 1 << 20
RECORD_BYTES_MAX: Final = 20 * MIB
TRANSACTION_TIMEOUT_MS: Final = 5_000
SESSION_TIMEOUT_MS: Final = 6_000
HEARTBEAT_MS: Final = 1_000

Config = dict[str, Any]

logger = logging.getLogger("drawdown.kafka")

_FENCES_OUT = "it decides who owns the partitions and whose transactions count"
_COUNTED_ONCE = "it is part of counting each record exactly once"
LOCKED: Final[Mapping[str, str]] = {
    "transactional.id": _FENCES_OUT,
    "group.id": _FENCES_OUT,
    "group.instance.id": _FENCES_OUT,
    "group.protocol": _FENCES_OUT,
    "group.remote.assignor": _FENCES_OUT,
    "partition.assignment.strategy": _FENCES_OUT,
    "enable.idempotence": _COUNTED_ONCE,
    "enable.gapless.guarantee": _COUNTED_ONCE,
    "acks": _COUNTED_ONCE,
    "request.required.acks": _COUNTED_ONCE,
    "retries": _COUNTED_ONCE,
    "message.send.max.retries": _COUNTED_ONCE,
    "max.in.flight": _COUNTED_ONCE,
    "max.in.flight.requests.per.connection": _COUNTED_ONCE,
    "isolation.level": "a reader of uncommitted records sees money that never moved",
    "enable.auto.commit": "offsets are committed in the transaction, and nowhere else",
    "auto.commit.enable": "offsets are committed in the transaction, and nowhere else",
    "enable.auto.offset.store": "offsets are committed in the transaction, and nowhere else",
    "auto.offset.reset": "a silent reset is lost money",
    "enable.partition.eof": "timers run on knowing that an input was read to its end",
    "partitioner": "every producer must agree on the partition of a customer",
    "check.crcs": "a damaged record must not be billed",
    "metadata.broker.list": "use KAFKA_BOOTSTRAP_SERVERS",
    "bootstrap.servers": "it is given beside the overrides",
}
"""What an operator cannot change, and why."""

# Kafka's own scripts and images, and Kubernetes beside a Service named `kafka`, set variables that
# look like properties.
_NOT_OURS: Final = frozenset(
    {
        "KAFKA_CLUSTER_ID",
        "KAFKA_GC_LOG_OPTS",
        "KAFKA_HEAP_OPTS",
        "KAFKA_HOME",
        "KAFKA_JMX_OPTS",
        "KAFKA_JMX_PORT",
        "KAFKA_JVM_PERFORMANCE_OPTS",
        "KAFKA_LOG4J_OPTS",
        "KAFKA_OPTS",
        "KAFKA_VERSION",
    }
)
_NOT_OURS_PREFIXES: Final = ("KAFKA_PORT", "KAFKA_SERVICE_")
_UNDERSCORED: Final = {"log.level": "log_level"}
_SECRETS: Final = frozenset({"sasl.username", "sasl.oauthbearer.config", "ssl_key"})
_SECRET_MARKS: Final = ("password", "passphrase", "secret", "token", "pem")


# Roles


def money_consumer(group: str, instance: str) -> Config:
    """The consumer whose membership is the lease on partitions, and which reads to decide.

    `instance` names the place in the group, not the process: one that is restarted within its
    session gets its partitions back and nobody else notices.
    """
    return {
        **reader(group),
        "group.instance.id": instance,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "heartbeat.interval.ms": HEARTBEAT_MS,
        # A loop that has not turned for a minute is stuck; the others wait for it in a rebalance.
        "max.poll.interval.ms": 60_000,
    }


def notice_consumer(group: str, instance: str) -> Config:
    """A consumer that acts on what settlement has told, and commits by itself what it has done.

    Only committed notices: one of a transaction that was aborted tells of nothing. A new group
    begins with the oldest there is, and one whose offset retention took away likewise.
    """
    return {
        **reader(group),
        "group.instance.id": instance,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": False,
        "max.poll.interval.ms": 60_000,
        "queued.min.messages": 1_000,
    }


def reader(group: str = "drawdown.reader") -> Config:
    """A consumer that is told what to read, never subscribes, and leaves no trace. `group` is whose
    offsets `committed` tells; it must be one whose topics the client may read."""
    return {
        "group.id": group,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "check.crcs": True,
        # How long the broker holds a fetch that finds nothing, and how long the client does when
        # its queue is full. The default of the latter, 1 s, stalls a consumer under load.
        "fetch.wait.max.ms": 50,
        "fetch.queue.backoff.ms": 1,
        "fetch.error.backoff.ms": 50,
        # Asking again for offsets that were still pending: a takeover waits for them.
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 100,
        "message.max.bytes": RECORD_BYTES_MAX,
        # Soft bounds on what is fetched ahead: a second or so of work, and a few large records.
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32 * 1024,
    }


def money_producer(transactional_id: str) -> Config:
    """The producer of the settlement loop: one transaction at a time, back to back.

    It needs no delivery reports, which cost 1 us a record: the commit tells what failed.
    """
    return {
        **_producer(),
        "transactional.id": transactional_id,
        # Also bounds how long readers wait for a dead producer, and what its requests may take.
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        # The broker refuses the next transaction for a moment after each; with the default retry
        # of 100 ms a transaction took 108 ms, so it takes 3.4.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 20,
    }


def plain_producer() -> Config:
    """A producer without transactions, idempotent: of the gateway, and of all that is not money."""
    return {
        **_producer(),
        # Records of a cluster that is away are given up rather than piled up. Whether one that was
        # given up arrived nevertheless is unknown.
        "message.timeout.ms": 30_000,
    }


def _producer() -> Config:
    return {
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        # Measured: no slower, 1 us of a background thread a record; a journal that is kept for ever
        # takes 210 bytes an entry instead of 574 (batches of 500).
        "compression.type": "lz4",
        "message.max.bytes": RECORD_BYTES_MAX,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 256 * 1024,
    }


def _client() -> Config:
    return {
        "client.id": "drawdown",
        # A broker that comes back is found within a second, not ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "socket.keepalive.enable": True,
        # Idle connections are closed by the broker as a matter of course.
        "log.connection.close": False,
    }


# The environment


def overrides_from(environment: Mapping[str, str]) -> dict[str, str]:
    """The properties that `KAFKA_A_B` variables set, `KAFKA_BOOTSTRAP_SERVERS` excepted. Raises
    ValueError for a locked one."""
    overrides = {}
    for variable, value in environment.items():
        if not variable.startswith("KAFKA_") or variable == "KAFKA_BOOTSTRAP_SERVERS":
            continue
        if variable in _NOT_OURS or variable.startswith(_NOT_OURS_PREFIXES):
            continue
        name = variable.removeprefix("KAFKA_").lower().replace("_", ".")
        name = _UNDERSCORED.get(name, name)
        _refuse_locked(name, f"{variable} sets {name}")
        overrides[name] = value
    return overrides


def masked(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration that may be shown: secrets are three asterisks."""
    return {name: "***" if _is_secret(name) else value for name, value in config.items()}


def _is_secret(name: str) -> bool:
    return name in _SECRETS or any(mark in name for mark in _SECRET_MARKS)


def _refuse_locked(name: str, attempt: str) -> None:
    reason = LOCKED.get(name)
    if reason is not None:
        raise ValueError(f"{attempt}, which is locked: {reason}")


# The cluster


class KafkaCluster:
    """A Kafka cluster; see `stream.ports.Cluster`.

    `bootstrap` is `host:port,...`. `overrides` are the operator's properties and win over a role's;
    a locked one raises ValueError. A property that librdkafka does not know, or a value that it
    does not take, raises ValueError when the first client is made.
    """

    def __init__(self, bootstrap: str, overrides: Mapping[str, str] | None = None) -> None:
        if not bootstrap.strip():
            raise ValueError("bootstrap is empty: give host:port, or several with commas")
        for name in overrides or {}:
            _refuse_locked(name, f"overrides set {name}")
        self.bootstrap = bootstrap
        self._overrides = dict(overrides or {})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> KafkaCluster:
        """The cluster of `KAFKA_BOOTSTRAP_SERVERS`, with the other `KAFKA_` variables as overrides.
        Raises ValueError if it is not set."""
        bootstrap = environment.get("KAFKA_BOOTSTRAP_SERVERS", "")
        if not bootstrap:
            raise ValueError("KAFKA_BOOTSTRAP_SERVERS is not set")
        return cls(bootstrap, overrides_from(environment))

    def config(self, role: Mapping[str, Any]) -> Config:
        """What a client of this role is made with. Not to be shown: see `masked`."""
        config = {
            **_client(),
            **role,
            **self._overrides,
            "bootstrap.servers": self.bootstrap,
        }
        if "client.id" in role and "client.id" in self._overrides:
            # A member of the group knows itself by what it is called: the operator's name for all
            # of a process's clients goes before it, not in its place.
            config["client.id"] = f"{self._overrides['client.id']}.{role['client.id']}"
        return config

    def consumer(self, config: Mapping[str, Any]) -> ports.Consumer:
        """A consumer. Connects in the background; does not wait. Close it: one that is a member and
        is collected unclosed spins in its destructor for ever (confluent-kafka 2.16)."""
        with _explaining():
            return Consumer(self.config(config), logger=logger)

    def producer(self, config: Mapping[str, Any]) -> ports.Producer:
        """A producer. Connects in the background; does not wait."""
        with _explaining():
            kind = BoundedProducer if "transactional.id" in config else Producer
            # The only difference is that it takes more kinds of headers.
            return cast(ports.Producer, kind(self.config(config), logger=logger))

    def admin(self) -> AdminClient:
        """An admin client, for topics and what the cluster says of itself."""
        with _explaining():
            return AdminClient(self.config({}), logger=logger)

    def group(self, name: str) -> Future[ports.GroupState]:
        """What a group's coordinator says of it, within 5 s. Does not wait."""
        answer: Future[ports.GroupState] = Future()
        threading.Thread(target=self._ask, args=(name, answer), name="group", daemon=True).start()
        return answer

    def _ask(self, name: str, answer: Future[ports.GroupState]) -> None:
        """By a client of its own, which is gone when the answer is there: one whose question timed
        out because the broker went away ends the process when the broker comes back, or asks in
        vain ever after (seen with librdkafka 2.16, in one of three times)."""
        try:
            described = _described(self.admin(), name)
        except Exception as error:  # noqa: BLE001 - it is told to whoever asked
            answer.set_exception(error.with_traceback(None))  # which would keep the client
        else:
            answer.set_result(_state_of(described))

    def __repr__(self) -> str:
        return f"KafkaCluster({self.bootstrap!r}, {masked(self._overrides)!r})"


def _described(admin: AdminClient, name: str) -> Any:
    """What the client says of the group. Waits; raises KafkaException."""
    return admin.describe_consumer_groups([name], request_timeout=5.0)[name].result()


def _state_of(described: Any) -> ports.GroupState:
    members = {member.group_instance_id or member.member_id: member for member in described.members}
    return ports.GroupState(
        described.state == ConsumerGroupState.STABLE,
        {
            name: frozenset(
                (where.topic, where.partition)
                for where in (member.assignment.topic_partitions if member.assignment else ())
            )
            for name, member in members.items()
        },
        {name: member.client_id for name, member in members.items()},
    )


@contextmanager
def _explaining() -> Iterator[None]:
    """A refused setting becomes a ValueError."""
    try:
        yield
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.code() != KafkaError._INVALID_ARG:
            raise
        raise ValueError(f"{cause.str()} (properties are also set by KAFKA_* variables)") from error
