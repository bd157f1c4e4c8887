"""What a campaign plays on: broker behind a relay, topics, prices, services and the load.

Whatever is started here is stopped when the stage is left, however that comes about.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.faults.book import FIRST
from tests.faults.children import ROOT, CampaignError, Child, Service, Talker, get, until

from drawdown import topics
from drawdown.access import new_key, write_setting
from drawdown.broker.local import LocalKafka
from drawdown.broker.ports import HeldPorts
from drawdown.events.catalogue import Environment
from drawdown.events.pricebook import PriceBook
from drawdown.settlement.publish import publish
from drawdown.stream.kafka import KafkaCluster

Answer = TypeVar("Answer")
HERE = Path(__file__).parent
PARTITIONS = 4
READY_S = 90.0
BROKER = {
    # Compaction by force, and soon.
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "5000",
}


def free_ports(count: int) -> list[int]:
    """So many free ports of the loopback."""
    held = HeldPorts()
    found = [held.take_free(None) for _ in range(count)]
    held.release()
    return found


def answered(question: Callable[[], Answer], limit_s: float = READY_S) -> Answer:
    """The broker's answer: it may be busy, or just have come back. Raises CampaignError."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return question()
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise CampaignError(f"the broker does not answer: {error}") from error


class Stage:
    """Everything that runs. `say` gets a line for whoever watches."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        say: Callable[[str], None],
        *,
        brokers: int = 1,
        rate: int = 150,
        agents: int = 64,
        kafka_home: Path | None = None,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.say = say
        self.environment = Environment(f"faults-{os.getpid()}")
        self.rate, self.agents = rate, agents
        self._kafka_home = kafka_home or folder / "kafka"
        self._brokers = brokers
        self._stack = ExitStack()
        self.settlers: dict[str, Service] = {}
        self.gateways: dict[str, Service] = {}
        self.books: list[dict[str, Any]] = []
        self.history = folder / "history.jsonl"

    # Up and down

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in [*self.settlers.values(), *self.gateways.values()]:
            if service.running:
                service.kill()
        self._stack.close()

    def _start(self) -> None:
        outside = free_ports(self._brokers)
        self.kafka = LocalKafka(
            self._kafka_home,
            self._brokers,
            advertised=dict(enumerate(outside, 1)),
            server_properties=BROKER,
            disk_free_bytes_min=0,
            train_later=False,
        )
        self._stack.callback(self.kafka.stop)
        self.kafka.start()
        self.relays = [
            self._talker("relay.py", str(port), str(self.kafka.broker(number).port))
            for number, port in enumerate(outside, 1)
        ]
        for relay in self.relays:
            relay.heard(20.0)
        self.cluster = KafkaCluster(self.kafka.bootstrap)
        topics.create(self.cluster.admin(), self.environment, PARTITIONS)
        self.publish(FIRST, datetime.fromtimestamp(0, UTC))
        secret, record = new_key(("admin",), datetime.now(UTC))
        write_setting(self.cluster, self.environment, "api_key", record.id, record)
        self.headers = {"Authorization": f"Bearer {secret}"}
        for instance in ("0", "1"):
            self.gateway(instance)
            self.settler(instance)
        self.serving()
        self.load = self._load(secret)
        self.load.tell(120.0, do="grants")

    def _talker(self, script: str, *arguments: str) -> Talker:
        name = f"{script.removesuffix('.py')}-{arguments[0].rpartition('/')[2]}.log"
        child = Talker([sys.executable, str(HERE / script), *arguments], self.folder / name, {})
        self._stack.callback(child.kill)
        return child

    def _load(self, secret: str) -> Talker:
        trace = files("drawdown.data") / "azure-llm-2023" / "AzureLLMInferenceTrace_code.csv"
        config = {
            "seed": self.seed,
            "run": f"{self.seed}",
            "bootstrap": self.kafka.bootstrap,
            "environment": self.environment.name,
            "gateways": [gateway.address for gateway in self.gateways.values()],
            "key": secret,
            "trace": str(trace),
            "history": str(self.history),
            "customers": 24,
            "rate": self.rate,
            "agents": self.agents,
            "agent_pause_s": self.agents / 30,
        }
        path = self.folder / "load.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
        return self._talker("load.py", str(path))

    # Services

    def env(self, name: str, instance: str, **more: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA_CLIENT_ID": f"{name}-{instance}",  # by which a relay knows whose it is
            "DRAWDOWN_ENVIRONMENT": self.environment.name,
            "DRAWDOWN_INSTANCE": instance,
            **more,
        }

    def settler(self, instance: str, crash_at: str | None = None, folder: Any = None) -> Service:
        """A settlement process, started; it takes the place of one of that name."""
        before = self.settlers.get(instance)
        if before is not None and before.running:
            before.kill()
        env = self.env(
            "settlement", instance, **({"DRAWDOWN_CRASH_AT": crash_at} if crash_at else {})
        )
        service = Service("settlement", folder or self.folder, free_ports(1)[0], env)
        self.settlers[instance] = service
        return service

    def gateway(self, instance: str) -> Service:
        """A gateway; started again it has the port it had."""
        before = self.gateways.get(instance)
        port = int(before.address.rpartition(":")[2]) if before else free_ports(1)[0]
        service = Service("gateway", self.folder, port, self.env("gateway", instance))
        self.gateways[instance] = service
        return service

    def mend(self) -> None:
        """Everything runs again that a fault that went wrong may have left hurt."""
        for relay in self.relays:
            relay.tell(do="heal")
        for broker in self.kafka.brokers:
            if broker.pid is None:
                broker.restart(timeout_s=READY_S)
            else:
                broker.resume()
        for services, start in ((self.settlers, self.settler), (self.gateways, self.gateway)):
            for instance in ("0", "1"):
                if instance in services and services[instance].running:
                    services[instance].resume()
                else:
                    start(instance)

    def publish(self, content: dict[str, Any], effective_at: datetime) -> None:
        """A price book, which the judge is told as well."""
        book = PriceBook.model_validate(content)
        publish(
            self.cluster,
            self.environment,
            book,
            now=datetime.now(UTC),
            **({"effective_at": effective_at, "force": True} if self.books else {}),
        )
        prices = {}
        for rate in content["rates"]:
            price = rate["price"]
            prices[rate["meter"]] = (
                {name: f"{amount}e-6" for name, amount in price["prices"].items()}
                if price["model"] == "token_map"
                else {price["quantity"]: price["price"]}
            )
        self.books.append(
            {
                "version": book.version,
                "effective_at": effective_at.isoformat(),
                "prices": prices,
            }
        )

    def serving(self, limit_s: float = READY_S) -> float:
        """Wait until every partition is served and both gateways are ready; how long it took."""

        def all_() -> bool:
            for service in [*self.settlers.values(), *self.gateways.values()]:
                if not service.running:
                    raise CampaignError(
                        f"{service.log_path.name} ended ({service.code}): {service.log()[-3000:]}"
                    )
            numbers = [n for service in self.settlers.values() for n in service.serving()]
            return sorted(numbers) == list(range(PARTITIONS)) and all(
                gateway.ready() for gateway in self.gateways.values()
            )

        try:
            return until(all_, limit_s, "not everything is served")
        except CampaignError as error:
            stands = {name: service.status() for name, service in self.settlers.items()}
            raise CampaignError(f"{error}: {stands}") from None

    # What is there

    def ends(self, topic: str, *, stable: bool = True) -> dict[int, int]:
        """Behind the last record of each partition; `stable`: of no open transaction."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "group.id": "faults.suite",
                "client.id": "suite",
                "isolation.level": "read_committed" if stable else "read_uncommitted",
            }
        )
        try:
            name = f"{self.environment.name}.{topic}"
            wheres = [TopicPartition(name, number) for number in range(PARTITIONS)]
            return answered(
                lambda: {
                    where.partition: consumer.get_watermark_offsets(where, 5.0)[1]
                    for where in wheres
                }
            )
        finally:
            consumer.close()

    def taken(self) -> bool:
        """Whether settlement has all of its inputs behind it."""
        group = f"{self.environment.name}.settlement"
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": group, "client.id": "suite"}
        )
        try:
            for topic in ("usage-events", "commands"):
                ends = self.ends(topic)
                name = f"{self.environment.name}.{topic}"
                asked = [TopicPartition(name, number) for number in ends]
                for found in answered(lambda asked=asked: consumer.committed(asked, 5.0)):
                    if max(found.offset, 0) < ends[found.partition]:
                        return False
        finally:
            consumer.close()
        return True

    def quiet(self, limit_s: float = READY_S) -> None:
        """Wait until all that was sent is decided."""
        self.serving(limit_s)
        until(self.taken, limit_s, "not everything is taken")

    def dump_stores(self) -> dict[str, str]:
        """Stop settlement and dump each partition's store, at who served it last."""
        serving = {service: service.serving() for service in self.settlers.values()}
        dumped: dict[str, str] = {}
        for service in serving:  # all at once: what one leaves, another would take
            service.terminate()
        for service in serving:
            code = service.stop()
            if code != 0:
                raise CampaignError(f"settlement ended with {code}: {service.log()[-2000:]}")
        for service, numbers in serving.items():
            for number in numbers:
                out = self.folder / f"store-{number}.json"
                store = self.store(service.instance, number)
                child = Child(
                    [sys.executable, str(HERE / "dump.py"), str(store), str(out)],
                    self.folder / "dump.log",
                    {},
                )
                if child.wait(60.0) != 0:
                    child.kill()
                    raise CampaignError(f"{store} cannot be dumped: {child.log()[-1000:]}")
                dumped[str(number)] = str(out)
        return dumped

    def store(self, instance: str, partition: int) -> Path:
        """A partition's store on the disk of a process."""
        stores = self.folder / "stores" / self.environment.name / instance
        return stores / f"{self.environment.name}.balance-changes-{partition}"

    def asked_balances(self) -> dict[str, list[dict[str, Any]]]:
        """What a query service says that never read anything before: by customer."""
        env = self.env("query", "0")
        service = Service("query", self.folder / "query", free_ports(1)[0], env)
        try:
            until(service.ready, READY_S, "the query service is not ready")
            found: dict[str, list[dict[str, Any]]] = {}
            cursor = ""
            while True:
                url = f"{service.address}/v1/customers?limit=100&cursor={cursor}"
                code, body = get(url, self.headers, 10.0)
                if code != 200:
                    raise CampaignError(f"{url}: {code}")
                page = json.loads(body)
                found.update({row["customer"]: row["accounts"] for row in page["data"]})
                if not page["has_more"]:
                    return found
                cursor = page["next_cursor"]
        finally:
            service.kill()

    def judge(self, **more: Any) -> dict[str, Any]:
        """The verdict, by a process that has nothing of the engine in it."""
        facts = {
            "bootstrap": self.kafka.bootstrap,
            "environment": self.environment.name,
            "history": str(self.history),
            "books": self.books,
            **more,
        }
        path = self.folder / "facts.json"
        path.write_text(json.dumps(facts), encoding="utf-8")
        return self.ask("judge", "tests.faults.judge", str(path), PYTHONPATH=str(ROOT))

    def ask(self, name: str, module: str, *arguments: str, **env: str) -> dict[str, Any]:
        """Run a module of ours to its end; what it printed. Raises CampaignError."""
        command = [sys.executable, "-m", module, *arguments]
        child = Talker(command, self.folder / f"{name}.log", env)
        try:
            return child.heard(300.0)
        finally:
            child.kill()

    def pause(self, seconds: float) -> None:
        """Let the load run."""
        time.sleep(seconds)
