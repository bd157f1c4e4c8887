"""Faults that would spoil a campaign: each has topics, or a broker, of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from tests.faults.book import FIRST
from tests.faults.children import CampaignError, CannotError, Service, until
from tests.faults.faults import RESTART_S, TAKEOVER_S, Fault
from tests.faults.judge.reading import Read, read_topic
from tests.faults.stage import free_ports

from drawdown import topics
from drawdown.broker.errors import BrokerError
from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import Environment
from drawdown.events.pricebook import PriceBook
from drawdown.settlement.publish import publish
from drawdown.stream.kafka import KafkaCluster

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

SHIFTED_S = 120.0
FAKETIME = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime")


class Apart:
    """Topics of their own, a settlement process, and what is sent by hand."""

    def __init__(self, bootstrap: str, name: str, folder: Path) -> None:
        self.bootstrap, self.name, self.folder = bootstrap, name, folder
        environment = Environment(name)
        cluster = KafkaCluster(bootstrap)
        topics.create(cluster.admin(), environment, 2)
        publish(cluster, environment, PriceBook.model_validate(FIRST), now=datetime.now(UTC))
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "client.id": "suite",
                "message.timeout.ms": 60_000,
            }
        )

    def settler(self) -> Service:
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "DRAWDOWN_ENVIRONMENT": self.name,
            "DRAWDOWN_INSTANCE": "0",
        }
        return Service("settlement", self.folder, free_ports(1)[0], env)

    def grant(self, who: str, id: str, amount: str, expires_at: datetime | None) -> None:
        content = {
            "type": "grant",
            "id": id,
            "customer": who,
            "time": _text(datetime.now(UTC)),
            "asset": "USD",
            "amount": amount,
            **({"expires_at": _text(expires_at)} if expires_at else {}),
        }
        self._send("commands", who, content)

    def use(self, who: str, id: str, at: datetime) -> None:
        """A dollar's worth: 100,000 tokens out."""
        data = {"model": "gpt-5", "input": 0, "output": 100_000}
        event = {
            "specversion": "1.0",
            "id": id,
            "source": "apart",
            "type": "llm.completion",
            "subject": who,
            "time": _text(at),
            "data": data,
        }
        self._send("usage-events", who, event)

    def _send(self, topic: str, who: str, content: dict[str, Any]) -> None:
        self._producer.produce(f"{self.name}.{topic}", json.dumps(content).encode(), who.encode())
        if self._producer.flush(60.0):
            raise CampaignError(f"{topic}: the broker takes nothing")

    def read(self, topic: str) -> list[Read]:
        return list(read_topic(self.bootstrap, f"{self.name}.{topic}"))

    def entries(self) -> list[dict[str, Any]]:
        return [record.json for record in self.read("balance-changes")]

    def booked(self, id: str) -> bool:
        return any(entry["data"].get("id") == id for entry in self.entries())

    def group_began(self) -> bool:
        """Whether anything was ever decided: the group has offsets."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": f"{self.name}.settlement"}
        )
        try:
            asked = [TopicPartition(f"{self.name}.usage-events", number) for number in range(2)]
            return any(found.offset >= 0 for found in consumer.committed(asked, 10.0))
        finally:
            consumer.close()


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class PartitionsAdded(Fault):
    """Somebody adds partitions to one topic: while settlement is down, it must not start."""

    name = "partitions added to usage-events"
    rows = (21,)
    lasts_s = 0.0

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        name = f"{stage.environment.name}p{campaign.faults[21]}"
        apart = Apart(stage.kafka.bootstrap, name, stage.folder / "partitions")
        apart.use("ada", "e1", datetime.now(UTC))
        admin = AdminClient({"bootstrap.servers": stage.kafka.bootstrap})
        topic = f"{name}.usage-events"
        for added in admin.create_partitions([NewPartitions(topic, 3)]).values():
            added.result(30.0)
        until(
            lambda: len(admin.list_topics(topic, 10.0).topics[topic].partitions) == 3,
            TAKEOVER_S,
            "no partition was added",
        )
        service = apart.settler()
        try:
            code = service.wait(TAKEOVER_S)
            if code in (None, 0) or "same number of partitions" not in service.log():
                campaign.note(21, violation=f"started on changed partitions: {code}")
            elif apart.group_began() or apart.entries():
                campaign.note(21, violation="a record was decided on changed partitions")
            else:
                campaign.note(21, events=1)
        finally:
            service.kill()


def faketime() -> str | None:
    """libfaketime for programs with threads; None where it is not installed."""
    found = (Path(folder) / "libfaketimeMT.so.1" for folder in FAKETIME)
    return next((str(path) for path in found if path.exists()), None)


class ClockShifted(Fault):
    """A broker whose clock is 30 days ahead for a while, then an hour behind.

    What is appended then bears that time. No grant that ends in ten days may lapse, none that has
    lapsed may come back, and timers stop and say so.
    """

    name = "clock of the broker shifted"
    rows = (19,)
    lasts_s = 0.0

    def inject(self, campaign: Campaign) -> None:
        library = faketime()
        if library is None:
            raise CannotError("libfaketime is not installed: apt-get install faketime")
        folder = campaign.stage.folder / "clock"
        try:
            with _broker(folder) as kafka, _served(kafka, folder) as served:
                self._played(campaign, kafka, served, library)
        except CannotError:
            raise
        except CampaignError as error:  # of a world of its own: the campaign goes on
            campaign.note(19, violation=str(error))

    def _played(self, campaign: Campaign, kafka: LocalKafka, served: Served, library: str) -> None:
        apart, now = served.apart, datetime.now(UTC)
        apart.grant("ada", "soon", "5", now + timedelta(days=10))
        apart.grant("ada", "gone", "3", now + timedelta(seconds=4))
        apart.grant("ada", "never", "5", None)
        served.until(lambda: "lapse" in _kinds(apart), "the grant did not lapse")
        lapsed = _kinds(apart).count("lapse")
        _shift(kafka, library, "+30d")
        served.until(served.ready, "not ready with the clock ahead")
        apart.use("ada", "ahead", datetime.now(UTC) + timedelta(days=30))
        served.until(lambda: apart.booked("ahead"), "nothing is booked with the clock ahead")
        served.until(
            lambda: "timers stand still" in served.log(), "timers did not say that they stopped"
        )
        if _kinds(apart).count("lapse") != lapsed:
            campaign.note(19, violation="a grant lapsed early: the clock was 30 days ahead")
        campaign.note(19, events=1)
        _shift(kafka, library, "-1h")
        served.until(served.ready, "not ready with the clock behind")
        apart.use("ada", "behind", datetime.now(UTC) - timedelta(hours=1))
        served.until(lambda: apart.booked("behind"), "nothing is booked with the clock behind")
        for entry in apart.entries():
            drawn = {part["grant"] for part in entry["data"].get("allocations", [])}
            if entry["data"].get("id") == "behind" and "gone" in drawn:
                campaign.note(19, violation="a lapsed grant was drawn: the clock was behind")
        campaign.note(19, events=1)
        campaign.faults[19] += 1


class Served:
    """A settlement process that is started again where it has ended, as a supervisor does."""

    def __init__(self, apart: Apart) -> None:
        self.apart = apart
        self.service = apart.settler()

    def ready(self) -> bool:
        if not self.service.running:
            self.service = self.apart.settler()
        return self.service.ready()

    def log(self) -> str:
        """Of all its lives."""
        return self.service.log_path.read_text(errors="replace")

    def until(self, true: Callable[[], object], what: str) -> None:
        """Wait for something. Raises CampaignError that says how things stand."""
        try:
            until(lambda: self.ready() is not None and true(), SHIFTED_S, what)
        except CampaignError as error:
            letters = [r.headers.get("drawdown-detail") for r in self.apart.read("dead-letters")]
            raise CampaignError(f"{error}: {self.service.status()}, letters {letters}") from None


def _kinds(apart: Apart) -> list[str]:
    return [entry["type"].rpartition(".")[2] for entry in apart.entries()]


def _shift(kafka: LocalKafka, library: str, by: str) -> None:
    """Start the broker again with another clock; its monotonic one goes on as it did."""
    env = {
        "LD_PRELOAD": library,
        "FAKETIME": by,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Without these two the JVM stands still in its first timed wait and finds other jars.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
    try:
        kafka.broker(1).restart(env=env, timeout_s=RESTART_S)
    except BrokerError as error:
        raise CannotError(f"a broker does not run with another clock here: {error}") from error
    time.sleep(1.0)


@contextmanager
def _broker(folder: Path) -> Iterator[LocalKafka]:
    with LocalKafka(folder / "kafka", disk_free_bytes_min=0, train_later=False) as kafka:
        yield kafka


@contextmanager
def _served(kafka: LocalKafka, folder: Path) -> Iterator[Served]:
    served = Served(Apart(kafka.bootstrap, "faults-clock", folder))
    try:
        served.until(served.ready, "not ready")
        yield served
    finally:
        served.service.kill()
