"""What `drawdown doctor` looks at: each check says what is so, and the command that mends it.

A check only looks; the one record it writes is a tombstone for a setting that never was, because
the broker's clock is known by the time it gives a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from drawdown import access, topics
from drawdown.cli.context import Context
from drawdown.cli.failures import told
from drawdown.cli.local import READY, health
from drawdown.cli.render import counted
from drawdown.events.base import KEY_SEPARATOR, milliseconds
from drawdown.events.catalogue import DEAD_LETTERS, SETTINGS, TOPICS
from drawdown.settlement.publish import read_topic
from drawdown.settlement.service import layout_of
from drawdown.stream import kafka
from drawdown.stream.kafka import SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS, KafkaCluster

State = Literal["ok", "note", "problem"]

TIMEOUT_S: Final = 10.0
CLOCK_OK_S: Final = 1.0
CLOCK_MAX_S: Final = 60.0
LAG_MAX: Final = 10_000
OFFSETS_KEPT_MINUTES: Final = 7 * 24 * 60
REPLICAS_WANTED: Final = 3
TRANSACTION_STATE: Final = "__transaction_state"
VERSIONS: Final = (
    ("transaction.two.phase.commit.enable", "4.1"),
    ("group.coordinator.append.linger.ms", "4.0"),
    ("group.consumer.assignors", "3.7"),
    ("transaction.partition.verification.enable", "3.6"),
)
"""A setting of a broker, and the version that it came with: clients are not told the version."""
VERIFIED: Final = "transaction.partition.verification.enable"
NEEDED: Final = (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE)
ANY_ACL: Final[Any] = (
    ResourceType.ANY,
    None,
    ResourcePatternType.ANY,
    None,
    None,
    AclOperation.ANY,
    AclPermissionType.ANY,
)
LOCAL: Final = ("127.", "localhost", "[::1]")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    detail: str
    fix: str | None = None
    """The command that mends it, or what to do."""


Findings = Iterator[Finding]
Checks = tuple[tuple[str, Callable[[], Findings]], ...]


class Checkup:
    """All checks of an environment. Kafka has been reached before."""

    def __init__(self, context: Context, cluster: KafkaCluster) -> None:
        self._context = context
        self._cluster = cluster
        self._admin: AdminClient = cluster.admin()
        self._environment = context.config.topics
        self._broker: dict[str, str] = {}
        self._brokers = 0
        self._complete = False
        """Whether every topic is there."""

    def findings(self) -> Findings:
        """Every finding, as it is made. One check that fails does not stop the others."""
        checks: Checks = (
            ("kafka", self._kafka),
            ("timeouts", self._timeouts),
            ("replication", self._replication),
            ("access to kafka", self._acls),
            ("topics", self._topics),
        )
        yield from self._all_of(checks)
        if not self._complete:
            return  # what follows would wait for topics that are not there
        checks = (
            ("clock", self._clock),
            ("price book", self._price_book),
            ("settlement", self._settlement),
            ("services", self._services),
            ("keys", self._keys),
            ("dead letters", self._dead_letters),
        )
        yield from self._all_of(checks)

    def _all_of(self, checks: Checks) -> Findings:
        for name, check in checks:
            try:
                yield from check()
            except Exception as error:
                known = told(error)
                if known is None:
                    raise
                yield Finding(name, "problem", f"could not be looked at: {known.line}")

    # Kafka itself

    def _kafka(self) -> Findings:
        described = self._admin.describe_cluster(request_timeout=TIMEOUT_S).result(TIMEOUT_S)
        self._brokers = len(described.nodes)
        node = described.nodes[0]
        resource = ConfigResource(ConfigResource.Type.BROKER, str(node.id))
        try:
            (future,) = self._admin.describe_configs([resource]).values()
            entries = future.result(TIMEOUT_S)
            self._broker = {name: str(entry.value) for name, entry in entries.items()}
        except KafkaException as error:
            yield Finding("kafka", "note", f"its settings may not be seen: {error.args[0].str()}")
            return
        version = next((text for name, text in VERSIONS if name in self._broker), None)
        brokers = counted(self._brokers, "broker")
        what = f"{self._cluster.bootstrap}: {brokers}, cluster {described.cluster_id}"
        if version is None:
            yield Finding(
                "kafka",
                "problem",
                f"{what}; older than 3.6, where a late write may end up in another transaction",
                "use Kafka 3.6 or later; tested with 4.3",
            )
        elif self._broker.get(VERIFIED) == "false":
            yield Finding(
                "kafka",
                "problem",
                f"{what}; a late write may end up in another transaction",
                _alter(f"{VERIFIED}=true"),
            )
        else:
            yield Finding("kafka", "ok", f"{what}, version {version} or later")

    def _timeouts(self) -> Findings:
        yield from self._bound(
            "transaction.max.timeout.ms", TRANSACTION_TIMEOUT_MS, least=True, why="a transaction"
        )
        yield from self._bound(
            "group.min.session.timeout.ms", SESSION_TIMEOUT_MS, least=False, why="the lease"
        )
        yield from self._bound(
            "group.max.session.timeout.ms", SESSION_TIMEOUT_MS, least=True, why="the lease"
        )
        kept = self._broker.get("offsets.retention.minutes")
        if kept is not None and int(kept) < OFFSETS_KEPT_MINUTES:
            yield Finding(
                "timeouts",
                "note",
                f"offsets.retention.minutes is {kept}: after so long without settlement it has to"
                " find its place in the journal",
                _alter(f"offsets.retention.minutes={OFFSETS_KEPT_MINUTES}"),
            )

    def _bound(self, name: str, ours: int, *, least: bool, why: str) -> Findings:
        value = self._broker.get(name)
        if value is None:
            return
        if (int(value) >= ours) if least else (int(value) <= ours):
            yield Finding("timeouts", "ok", f"{name} is {value}; {why} needs {ours}")
        else:
            bound = "at least" if least else "at most"
            yield Finding(
                "timeouts",
                "problem",
                f"{name} is {value}; {why} needs it to be {bound} {ours}",
                f"set {name}={ours} on the brokers and restart them",
            )

    def _replication(self) -> Findings:
        if self._brokers < REPLICAS_WANTED:
            yield Finding(
                "replication",
                "note",
                f"{counted(self._brokers, 'broker')}: what is acknowledged survives a crash of the"
                " process, not the loss of the machine",
                "for real money, three brokers (`drawdown up --brokers 3` to try it)",
            )
        names = [self._environment.topic(topic) for topic in TOPICS]
        existing = topics.partition_counts(self._admin)
        watched = [name for name in (*names, TRANSACTION_STATE) if name in existing]
        described = self._admin.describe_topics(TopicCollection(watched))
        few: list[str] = []
        for name, future in described.items():
            parts = future.result(TIMEOUT_S).partitions
            behind = [part.id for part in parts if len(part.isr) < len(part.replicas)]
            lost = [part.id for part in parts if part.leader is None or not part.isr]
            if lost or behind:
                what = "no leader" if lost else "fewer replicas in sync than there are"
                yield Finding(
                    "replication",
                    "problem",
                    f"{name}: partitions {lost or behind} have {what}",
                    "see that all brokers run: `drawdown status`",
                )
            if len(parts[0].replicas) < min(REPLICAS_WANTED, self._brokers):
                few.append(f"{name} ({len(parts[0].replicas)})")
        if few:
            yield Finding(
                "replication",
                "problem",
                f"fewer than {REPLICAS_WANTED} replicas: {', '.join(few)}",
                "reassign them with kafka-reassign-partitions.sh",
            )
        yield from self._in_sync()

    def _in_sync(self) -> Findings:
        if self._brokers >= REPLICAS_WANTED:
            for name in ("min.insync.replicas", "transaction.state.log.min.isr"):
                value = self._broker.get(name)
                if value is not None and int(value) < 2:
                    yield Finding(
                        "replication",
                        "problem",
                        f"{name} is {value}: one broker's word would be enough",
                        _alter(f"{name}=2"),
                    )
        if self._broker.get("unclean.leader.election.enable") == "true":
            yield Finding(
                "replication",
                "problem",
                "unclean.leader.election.enable is true: what was acknowledged may be lost",
                _alter("unclean.leader.election.enable=false"),
            )

    def _acls(self) -> Findings:
        authorizer = self._broker.get("authorizer.class.name")
        if authorizer is not None and not authorizer.strip():
            local = self._cluster.bootstrap.startswith(LOCAL)
            yield Finding(
                "access to kafka",
                "ok" if local else "note",
                "nobody is kept out: no authorizer"
                + (", and it listens on this machine only" if local else ""),
                None if local else "only settlement should write balances: set an authorizer",
            )
            return
        try:
            acls = self._admin.describe_acls(
                AclBindingFilter(*ANY_ACL),
                request_timeout=TIMEOUT_S,
            ).result(TIMEOUT_S)
        except KafkaException as error:
            yield Finding("access to kafka", "note", f"ACLs not seen: {error.args[0].str()}")
        else:
            yield Finding("access to kafka", "ok", f"{len(acls)} ACLs")
        names = [self._environment.topic(topic) for topic in TOPICS]
        existing = topics.partition_counts(self._admin)
        described = self._admin.describe_topics(
            TopicCollection([name for name in names if name in existing]),
            include_authorized_operations=True,
        )
        for name, future in described.items():
            may = set(future.result(TIMEOUT_S).authorized_operations or ())
            missing = [operation.name for operation in NEEDED if operation not in may]
            if missing:
                yield Finding(
                    "access to kafka",
                    "note",
                    f"{name}: this client may not {', '.join(missing)}; a service of its own"
                    " principal may",
                    f"kafka-acls.sh --add --topic {name} --operation {missing[0].title()} ...",
                )

    # What is Drawdown's

    def _topics(self) -> Findings:
        found = topics.check(self._admin, self._environment)
        self._complete = not any(difference.what == "missing" for difference in found)
        for difference in found:
            what = (
                "is missing"
                if difference.what == "missing"
                else (f"{difference.what} is {difference.is_}, should be {difference.should_be}")
            )
            yield Finding("topics", "problem", f"{difference.topic}: {what}", difference.fix)
        if not found:
            partitions = topics.customer_partitions(self._admin, self._environment)
            yield Finding(
                "topics",
                "ok",
                f"{len(TOPICS)} topics of {self._environment.name!r} are as they should be,"
                f" {partitions} partitions",
            )
        if self._broker.get("auto.create.topics.enable") == "true":
            yield Finding(
                "topics",
                "note",
                "auto.create.topics.enable is true: a mistyped topic is made, not refused",
                _alter("auto.create.topics.enable=false"),
            )

    def _clock(self) -> Findings:
        """The broker dates what is money, so its clock is the one that counts."""
        landed: list[Message] = []
        failed: list[KafkaError] = []

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                landed.append(message)
            else:
                failed.append(error)

        producer = self._cluster.producer(kafka.plain_producer())
        topic = self._environment.topic(SETTINGS)
        # The first record of a producer waits for its connections: only the second one is timed.
        for _ in range(2):
            sent_at = time.time()
            producer.produce(
                topic, None, f"probe{KEY_SEPARATOR}doctor".encode(), 0, on_delivery=report
            )
            producer.flush(TIMEOUT_S)
        answered_at = time.time()
        if failed or len(landed) < 2:
            why = failed[0].str() if failed else f"no answer within {TIMEOUT_S:.0f} s"
            yield Finding("clock", "problem", f"{topic} takes no record: {why}")
            return
        kind, at_ms = landed[-1].timestamp()
        if kind != TIMESTAMP_LOG_APPEND_TIME:
            yield Finding("clock", "note", f"{topic} is not dated by the broker")
            return
        ahead_s = at_ms / 1000 - (sent_at + answered_at) / 2
        side = "ahead of" if ahead_s > 0 else "behind"
        detail = f"the broker's clock is {abs(ahead_s):.3f} s {side} this one"
        if abs(ahead_s) <= CLOCK_OK_S:
            yield Finding("clock", "ok", detail)
        else:
            yield Finding(
                "clock",
                "note" if abs(ahead_s) <= CLOCK_MAX_S else "problem",
                detail,
                "set both by NTP: `timedatectl set-ntp true`",
            )

    def _price_book(self) -> Findings:
        reader = read_topic(self._cluster, self._environment)
        now = datetime.now(UTC)
        current = reader.books.at(milliseconds(now))
        if current is not None:
            yield Finding("price book", "ok", f"{current.version!r} is in effect")
        elif len(reader.books):
            first = next(iter(reader.books))
            yield Finding(
                "price book",
                "problem",
                f"none is in effect yet; {first.version!r} is the first",
                "drawdown price-book show",
            )
        else:
            yield Finding(
                "price book",
                "problem",
                "there is none: nothing can be priced",
                "drawdown price-book publish FILE, or `drawdown price-book import-litellm"
                " --version v1 --markup 30% --publish`",
            )
        for problem in reader.problems:
            yield Finding("price book", "note", problem, "drawdown price-book validate FILE")

    def _settlement(self) -> Findings:
        group = layout_of(self._environment, 0, "0").group
        (future,) = self._admin.describe_consumer_groups([group]).values()
        described = future.result(TIMEOUT_S)
        owned = {
            part.partition: member.group_instance_id or member.client_id
            for member in described.members
            for part in (member.assignment.topic_partitions if member.assignment else ())
        }
        partitions = topics.customer_partitions(self._admin, self._environment) or 0
        missing = sorted(set(range(partitions)) - owned.keys())
        if not described.members:
            yield Finding(
                "settlement",
                "problem",
                f"nobody is in the group {group}: nothing is decided",
                "drawdown up (or `drawdown settlement`)",
            )
        elif missing:
            yield Finding(
                "settlement",
                "problem",
                f"partitions {missing} have no owner; the group is {described.state.name.lower()}",
                "look again in 10 s, then at its log: `drawdown status`",
            )
        else:
            yield Finding(
                "settlement",
                "ok",
                f"{counted(len(described.members), 'process')} in {group}; each partition has its"
                " owner",
            )
        yield from self._lag(group, partitions)

    def _lag(self, group: str, partitions: int) -> Findings:
        layout = layout_of(self._environment, partitions, "0")
        consumer = self._cluster.consumer(kafka.reader(group))
        unread = 0
        try:
            for name in (layout.commands, layout.usage):
                wanted = [TopicPartition(name, partition) for partition in range(partitions)]
                for part in consumer.committed(wanted, TIMEOUT_S):
                    low, end = consumer.get_watermark_offsets(part, TIMEOUT_S, cached=False)
                    unread += end - max(part.offset, low)
        finally:
            consumer.close()
        if unread <= LAG_MAX:
            yield Finding("settlement", "ok", f"{counted(unread, 'record')} to be decided")
        else:
            yield Finding(
                "settlement",
                "note",
                f"{counted(unread, 'record')} to be decided",
                "look again; if it grows, run more of `drawdown settlement`",
            )

    def _services(self) -> Findings:
        config = self._context.config
        urls: Mapping[str, str | None] = {"gateway": config.gateway, "query": config.query}
        for name, configured in urls.items():
            local = self._context.home.service(name)
            url = configured or (local.url if local else None)
            if url is None:
                yield Finding(
                    "services",
                    "note",
                    f"no {name} is known here",
                    f"drawdown up, or set DRAWDOWN_{name.upper()}",
                )
                continue
            said = health(url)
            if said == READY:
                yield Finding("services", "ok", f"{name} at {url} is ready")
            else:
                yield Finding("services", "problem", f"{name} at {url}: {said}", "drawdown status")

    def _keys(self) -> Findings:
        settings = access.read_settings(self._cluster, self._environment)
        settings.stop()
        keys = settings.keys()
        if keys:
            yield Finding("keys", "ok", counted(len(keys), "API key"))
        else:
            yield Finding(
                "keys",
                "problem",
                "there is no API key: no door opens",
                "drawdown keys create --permission admin",
            )
        configured = config_key(self._context)
        if configured is not None and settings.caller(configured, datetime.now(UTC)) is None:
            yield Finding(
                "keys",
                "problem",
                "the key of this machine (DRAWDOWN_KEY, or the one in the home) is not known",
                "drawdown up makes one; `drawdown keys create` another",
            )

    def _dead_letters(self) -> Findings:
        consumer = self._cluster.consumer(kafka.reader())
        name = self._environment.topic(DEAD_LETTERS)
        there = 0
        try:
            for partition in consumer.list_topics(name, TIMEOUT_S).topics[name].partitions:
                where = TopicPartition(name, partition)
                low, end = consumer.get_watermark_offsets(where, TIMEOUT_S, cached=False)
                there += end > low
        finally:
            consumer.close()
        if there:
            yield Finding(
                "dead letters",
                "note",
                "some records could not be counted",
                "drawdown tail dead-letters --from-beginning --no-follow",
            )
        else:
            yield Finding("dead letters", "ok", "none")


def config_key(context: Context) -> str | None:
    """The key that commands use here."""
    key: Any = context.config.key
    return key.get_secret_value() if key is not None else context.home.key()


def _alter(setting: str) -> str:
    """Kafka's own command for a setting of all brokers."""
    return (
        "kafka-configs.sh --alter --entity-type brokers --entity-default --add-config"
        f" {setting} (or in server.properties)"
    )
