"""Faults that would spoil a campaign: each has topics, or a broker, of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from tests.faults.book import FIRST
from tests.faults.children import CampaignError, CannotError, Service, until
from tests.faults.clock import shifted_classes
from tests.faults.faults import RESTART_S, TAKEOVER_S, Fault
from tests.faults.judge.reading import Read, read_topic
from tests.faults.stage import free_ports

from drawdown import topics
from drawdown.broker.errors import BrokerError
from drawdown.broker.jvm import Runtime
from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import Environment
from drawdown.events.pricebook import PriceBook
from drawdown.settlement.publish import publish
from drawdown.stream.kafka import KafkaCluster

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

SHIFTED_S = 120.0
AHEAD, BEHIND = timedelta(days=30), timedelta(hours=1)
STAND_STILL = "timers stand still"


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

    def grant(
        self,
        who: str,
        id: str,
        amount: str,
        expires_at: datetime | None,
        at: datetime | None = None,
    ) -> None:
        """`at` is the time its producer gives it, now unless said otherwise."""
        content = {
            "type": "grant",
            "id": id,
            "customer": who,
            "time": _text(at or datetime.now(UTC)),
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
    shows: Mapping[int, int] = {21: 1}

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


class ClockShifted(Fault):
    """A broker whose clock is 30 days ahead for a while, then an hour behind, then right again.

    What is appended then bears that time. Ahead, no grant that ends in ten days may lapse. Behind,
    timers stop and say so, and what has lapsed does not come back. Right again, what was due
    meanwhile lapses, once.
    """

    name = "clock of the broker shifted"
    rows = (19,)
    lasts_s = 0.0
    takes_s = 90.0
    shows: Mapping[int, int] = {19: 3}

    def faults(self) -> Counter[int]:
        return Counter({19: 3})  # shifts

    def inject(self, campaign: Campaign) -> None:
        folder = campaign.stage.folder / f"clock{campaign.faults[19]}"
        try:
            with _broker(folder) as kafka, _served(kafka, folder) as served:
                self._played(campaign, kafka, served)
        except CannotError:
            raise
        except CampaignError as error:  # of a world of its own: the campaign goes on
            campaign.note(19, violation=str(error))

    def _played(self, campaign: Campaign, kafka: LocalKafka, served: Served) -> None:
        apart, now = served.apart, datetime.now(UTC)
        apart.grant("ada", "soon", "5", now + timedelta(days=10))
        apart.grant("ada", "gone", "3", now + timedelta(seconds=4))
        apart.grant("ada", "never", "5", None)
        served.until(lambda: "gone" in _lapsed(apart), "the grant did not lapse")

        _shift(kafka, AHEAD)
        served.until(served.ready, "not ready with the clock ahead")
        apart.use("ada", "ahead", datetime.now(UTC) + AHEAD)
        served.until(lambda: apart.booked("ahead"), "nothing is booked with the clock ahead")
        if _lapsed(apart) != ["gone"]:
            campaign.note(19, violation=f"lapsed 30 days ahead: {_lapsed(apart)}")
        campaign.note(19, events=1)

        _shift(kafka, -BEHIND)
        served.until(served.ready, "not ready with the clock behind")
        told = served.log().count(STAND_STILL)
        now = datetime.now(UTC)
        apart.grant("ada", "brief", "5", now + timedelta(seconds=2), now - BEHIND)
        apart.use("ada", "behind", datetime.now(UTC) - BEHIND)
        served.until(lambda: apart.booked("behind"), "nothing is booked with the clock behind")
        served.until(
            lambda: served.log().count(STAND_STILL) > told, "timers did not say that they stopped"
        )
        if _lapsed(apart) != ["gone"]:
            campaign.note(19, violation=f"lapsed an hour behind: {_lapsed(apart)}")
        campaign.note(19, events=1)

        _shift(kafka, timedelta())
        served.until(lambda: "brief" in _lapsed(apart), "timers did not go on")
        apart.use("ada", "after", datetime.now(UTC))
        served.until(lambda: apart.booked("after"), "nothing is booked with the clock right again")
        if sorted(_lapsed(apart)) != ["brief", "gone"]:
            campaign.note(19, violation=f"lapsed in the end: {_lapsed(apart)}")
        for id in ("behind", "after"):
            if "gone" in _drawn(apart, id):
                campaign.note(19, violation=f"a lapsed grant was drawn by {id!r}")
        campaign.note(19, events=1)


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


def _lapsed(apart: Apart) -> list[str]:
    """The grants that have lapsed, once for each time that they did."""
    return [
        part["grant"]
        for entry in apart.entries()
        if entry["type"].endswith(".lapse")
        for part in entry["data"]["allocations"]
    ]


def _drawn(apart: Apart, id: str) -> set[str]:
    """The grants that an event was paid from."""
    return {
        part["grant"]
        for entry in apart.entries()
        if entry["data"].get("id") == id
        for part in entry["data"].get("allocations", ())
    }


def _shift(kafka: LocalKafka, by: timedelta) -> None:
    """Start the broker again with another clock."""
    by_ms = by // timedelta(milliseconds=1)
    classes = shifted_classes(Runtime.ready().class_path, kafka.home / f"clock{by_ms}", by_ms)
    try:
        kafka.broker(1).restart(classes=classes, timeout_s=RESTART_S)
    except BrokerError as error:
        raise CannotError(f"a broker does not run with another clock here: {error}") from error


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
