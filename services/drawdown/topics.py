"""Topics on a cluster: made from the catalogue, and checked against it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from drawdown.events.catalogue import PARTITIONS_DEFAULT, TOPICS, Environment, Topic

TIMEOUT_S: Final = 15.0


class TopicsError(Exception):
    """The cluster did not do what was asked; says which topic and why."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is not as the catalogue has it."""

    topic: str
    what: str
    """Property or `missing`, `partitions`."""
    is_: str
    should_be: str
    fix: str
    """The command that mends it."""


def create(
    admin: AdminClient,
    environment: Environment,
    partitions: int = PARTITIONS_DEFAULT,
    replication: int | None = None,
) -> list[str]:
    """Create the topics that are missing; returns their names. Blocks up to 15 s.

    `replication` None takes the cluster's default. An existing customer topic decides the number
    of partitions for those that are still missing: it is fixed for life.
    """
    existing = partition_counts(admin)
    partitions = _customer_partitions(environment, existing) or partitions
    wanted = [topic for topic in TOPICS if environment.topic(topic) not in existing]
    if not wanted:
        return []
    futures = admin.create_topics(
        [
            NewTopic(
                environment.topic(topic),
                partitions if topic.by_customer else 1,
                -1 if replication is None else replication,
                config=topic.config(environment),
            )
            for topic in wanted
        ],
        request_timeout=TIMEOUT_S,
    )
    created: list[str] = []
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(f"{name}: {error.args[0].str()}") from None
        else:
            created.append(name)
    _await(admin, {environment.topic(topic) for topic in TOPICS})
    return created


def _await(admin: AdminClient, names: set[str]) -> None:
    """A broker says a topic is made a moment before all of it answers for the topic."""
    deadline = time.monotonic() + TIMEOUT_S
    while missing := names - partition_counts(admin).keys():
        if time.monotonic() > deadline:
            raise TopicsError(f"{min(missing)}: created, but not there after {TIMEOUT_S:.0f} s")
        time.sleep(0.05)


def delete(admin: AdminClient, environment: Environment) -> None:
    """Delete a scenario's topics, with all that is in them. Blocks up to 15 s. Raises ValueError
    for another environment: nobody deletes money."""
    if not environment.is_scenario:
        raise ValueError(f"{environment.name!r} is no scenario: its topics are not deleted")
    names = [environment.topic(topic) for topic in TOPICS]
    for name, future in admin.delete_topics(names, request_timeout=TIMEOUT_S).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicsError(f"{name}: {error.args[0].str()}") from None


def check(admin: AdminClient, environment: Environment) -> list[Difference]:
    """What differs from the catalogue. Blocks up to 15 s."""
    existing = partition_counts(admin)
    found: list[Difference] = []
    there: list[Topic] = []
    for topic in TOPICS:
        name = environment.topic(topic)
        if name not in existing:
            found.append(Difference(name, "missing", "-", "there", "drawdown topics create"))
        else:
            there.append(topic)
    found.extend(_partitions(environment, there, existing))
    found.extend(_configs(admin, environment, there))
    return found


def mend(admin: AdminClient, environment: Environment) -> list[str]:
    """Set the configuration of existing topics to the catalogue's; returns what was changed."""
    differences = [d for d in check(admin, environment) if "." in d.what]
    resources: dict[str, ConfigResource] = {}
    for difference in differences:
        resource = resources.setdefault(
            difference.topic, ConfigResource(ConfigResource.Type.TOPIC, difference.topic)
        )
        resource.add_incremental_config(
            ConfigEntry(
                difference.what,
                difference.should_be,
                incremental_operation=AlterConfigOpType.SET,
            )
        )
    if resources:
        for future in admin.incremental_alter_configs(list(resources.values())).values():
            future.result(TIMEOUT_S)
    return [f"{d.topic}: {d.what}={d.should_be}" for d in differences]


def customer_partitions(admin: AdminClient, environment: Environment) -> int | None:
    """The partitions of the customer topics, as far as any of them exists."""
    return _customer_partitions(environment, partition_counts(admin))


def _customer_partitions(environment: Environment, existing: Mapping[str, int]) -> int | None:
    counts = (existing.get(environment.topic(topic)) for topic in TOPICS if topic.by_customer)
    return next((count for count in counts if count), None)


def partition_counts(admin: AdminClient) -> dict[str, int]:
    """Partitions of every topic on the cluster."""
    try:
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise TopicsError(f"the cluster does not answer: {error.args[0].str()}") from None
    return {name: len(topic.partitions) for name, topic in topics.items() if topic.partitions}


def _partitions(
    environment: Environment, there: Sequence[Topic], existing: dict[str, int]
) -> list[Difference]:
    by_customer = [environment.topic(topic) for topic in there if topic.by_customer]
    counts = [existing[name] for name in by_customer]
    found: list[Difference] = []
    if counts:
        usual = max(set(counts), key=counts.count)
        found.extend(
            Difference(
                name,
                "partitions",
                str(existing[name]),
                str(usual),
                "never change a count in place: move to a new environment",
            )
            for name in by_customer
            if existing[name] != usual
        )
    for topic in there:
        name = environment.topic(topic)
        if not topic.by_customer and existing[name] != 1:
            found.append(
                Difference(name, "partitions", str(existing[name]), "1", "recreate the topic")
            )
    return found


def _configs(
    admin: AdminClient, environment: Environment, there: Sequence[Topic]
) -> list[Difference]:
    if not there:
        return []
    resources = {
        environment.topic(topic): ConfigResource(
            ConfigResource.Type.TOPIC, environment.topic(topic)
        )
        for topic in there
    }
    described = {
        resource.name: future.result(TIMEOUT_S)
        for resource, future in admin.describe_configs(list(resources.values())).items()
    }
    found: list[Difference] = []
    for topic in there:
        name = environment.topic(topic)
        for key, value in topic.config(environment).items():
            entry = described[name].get(key)
            if entry is None or entry.value != value:
                is_ = "?" if entry is None else str(entry.value)
                found.append(Difference(name, key, is_, value, "drawdown topics create --mend"))
    return found
