"""A real Kafka, started, stopped, found again, hurt and healed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from drawdown.broker.errors import BrokerError
from drawdown.broker.local import LocalKafka
from drawdown.broker.ports import HeldPorts
from drawdown.broker.process import Process, boot_id
from drawdown.settlement.service import UNKNOWN_AFTER_REPLICATED_S, unknown_after_s

if TYPE_CHECKING:
    from conftest import RunPython

pytestmark = pytest.mark.kafka

LONG_S = 60.0
MIB = 1 << 20


# What a client does


def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create_topic(bootstrap: str, name: str, replicas: int = 1, **config: str) -> None:
    topic = NewTopic(name, num_partitions=1, replication_factor=replicas, config=config)
    client = admin(bootstrap)
    client.create_topics([topic])[name].result(LONG_S)


def write(bootstrap: str, topic: str, *values: bytes, timeout_s: float = LONG_S) -> None:
    """Write with acks=all; returns when all are acknowledged."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "acks": "all",
            "enable.idempotence": True,
            "message.max.bytes": 32 * MIB,
            "message.timeout.ms": int(timeout_s * 1000),
        }
    )
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(timeout_s) == 0
    if failed:
        raise KafkaException(failed[0])


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first `count` values, in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 32 * MIB,
        }
    )
    with contextlib.closing(consumer):
        consumer.subscribe([topic])
        values: list[bytes] = []
        while len(values) < count:
            message = consumer.poll(LONG_S)
            assert message is not None, "nothing arrived"
            if message.error() is not None:
                raise KafkaException(message.error())
            values.append(message.value() or b"")
    return values


# One broker, as it comes


def test_a_client_writes_and_reads(kafka: LocalKafka) -> None:
    create_topic(kafka.bootstrap, "greetings")
    write(kafka.bootstrap, "greetings", b"hello", b"again")
    assert read(kafka.bootstrap, "greetings", 2) == [b"hello", b"again"]


def test_a_record_of_20_mib_passes(kafka: LocalKafka) -> None:
    create_topic(kafka.bootstrap, "large")
    record = os.urandom(20 * MIB)
    write(kafka.bootstrap, "large", record)
    assert read(kafka.bootstrap, "large", 1) == [record]


def test_asking_for_a_topic_does_not_create_it(kafka: LocalKafka) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    asked = producer.list_topics("mistyped", timeout=LONG_S).topics["mistyped"]
    assert asked.error is not None
    assert asked.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert "mistyped" not in producer.list_topics(timeout=LONG_S).topics


def test_a_transaction_and_a_group_work_at_once(kafka: LocalKafka) -> None:
    create_topic(kafka.bootstrap, "settled")
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "log_level": 0, "transactional.id": "settler"}
    )
    producer.init_transactions(LONG_S)
    producer.begin_transaction()
    producer.produce("settled", b"once")
    producer.commit_transaction(LONG_S)
    assert read(kafka.bootstrap, "settled", 1) == [b"once"]


def test_kafkas_own_topics_are_there_before_the_first_client(kafka: LocalKafka) -> None:
    topics = admin(kafka.bootstrap).list_topics(timeout=LONG_S).topics
    assert len(topics["__consumer_offsets"].partitions) == 4
    assert len(topics["__transaction_state"].partitions) == 4


def test_the_status_says_what_runs(kafka: LocalKafka) -> None:
    status = kafka.status()
    assert status.running
    assert status.bootstrap == kafka.bootstrap == f"127.0.0.1:{kafka.broker(1).port}"
    metadata = admin(kafka.bootstrap).list_topics(timeout=LONG_S)
    assert status.cluster_id == str(metadata.cluster_id)
    (broker,) = status.brokers
    assert (broker.state, broker.pid) == ("running", kafka.broker(1).pid)
    assert (broker.rss_bytes or 0) > 100 * MIB


def test_the_log_is_readable_and_not_a_dump_of_settings(kafka: LocalKafka) -> None:
    log = kafka.broker(1).log_path.read_text(encoding="utf-8")
    assert re.search(r"^\d{4}-\d\d-\d\dT\S+ INFO  KafkaRaftServer: .*started$", log, re.M)
    assert "log.cleaner.dedupe.buffer.size" not in log


def test_nothing_listens_beyond_this_machine(kafka: LocalKafka) -> None:
    listeners = listeners_of(kafka.broker(1).pid)
    assert len(listeners) == 3
    assert {address.split(":")[0] for address in listeners} == {"0100007F"}


def listeners_of(pid: int | None) -> set[str]:
    """`address:port` of every socket on which a process listens, as /proc has them."""
    inodes = {
        str(fd.readlink())[8:-1]
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if str(fd.readlink()).startswith("socket:[")
    }
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.add(fields[1])
    return listening


def test_a_second_start_of_a_running_home_changes_nothing(kafka: LocalKafka) -> None:
    before = kafka.status()
    second = LocalKafka(kafka.home)
    assert second.start() is False
    assert second.bootstrap == kafka.bootstrap
    with LocalKafka(kafka.home):
        pass  # found running, so it is not stopped at the end
    assert [b.pid for b in kafka.status().brokers] == [b.pid for b in before.brokers]


def test_a_running_home_is_not_started_afresh_nor_otherwise(kafka: LocalKafka) -> None:
    with pytest.raises(BrokerError, match="stop it before a fresh start"):
        LocalKafka(kafka.home).start(fresh=True)
    with pytest.raises(BrokerError, match=r"runs on port \d+, not 1234: stop it first"):
        LocalKafka(kafka.home, port=1234).start()
    with pytest.raises(BrokerError, match=r"holds a cluster of 1 broker\(s\), not 3"):
        LocalKafka(kafka.home, 3).start()
    assert kafka.status().running


def test_another_process_finds_it(kafka: LocalKafka, run_python: RunPython) -> None:
    said = run_python(
        "import sys, pathlib; from drawdown.broker.local import LocalKafka;"
        "kafka = LocalKafka.attach(pathlib.Path(sys.argv[1]));"
        "print(kafka.bootstrap, kafka.broker(1).pid, kafka.status().running)",
        kafka.home,
    ).stdout
    assert said.split() == [kafka.bootstrap, str(kafka.broker(1).pid), "True"]


def test_a_paused_broker_answers_nothing_and_a_resumed_one_does(kafka: LocalKafka) -> None:
    broker = kafka.broker(1)
    broker.pause()
    try:
        assert kafka.status().brokers[0].state == "paused"
        assert kafka.status().running
        with pytest.raises(BrokerError, match="does not serve after"):
            broker.wait_ready(timeout_s=0.5)
    finally:
        broker.resume()
    broker.wait_ready(LONG_S)


def test_a_killed_broker_comes_back_with_its_data(kafka: LocalKafka) -> None:
    broker = kafka.broker(1)
    create_topic(kafka.bootstrap, "survivors")
    write(kafka.bootstrap, "survivors", b"acknowledged")
    port, pid = broker.port, broker.pid
    assert broker.kill()
    assert not broker.kill()
    assert [b.pid for b in kafka.status().brokers] == [None]
    assert not kafka.status().running
    with pytest.raises(BrokerError, match="is not running"):
        broker.wait_ready()
    with pytest.raises(BrokerError, match="does not run: restart it first"):
        broker.pause()
    broker.restart(env={"RUN": "second"})
    assert broker.port == port
    assert broker.pid not in (None, pid)
    assert b"RUN=second" in Path(f"/proc/{broker.pid}/environ").read_bytes()
    assert read(kafka.bootstrap, "survivors", 1) == [b"acknowledged"]


def test_a_killed_broker_that_comes_back_leads_once_and_not_as_it_was(kafka: LocalKafka) -> None:
    """Twice, it would load groups' offsets twice, and answer from a part of them."""
    broker = kafka.broker(1)
    broker.kill()
    before = len(broker.log_path.read_text(encoding="utf-8"))
    broker.restart()
    group = {"bootstrap.servers": kafka.bootstrap, "group.id": "any", "log_level": 0}
    consumer = Consumer(group)
    try:  # answered when they are loaded
        consumer.committed([TopicPartition("survivors", 0)], LONG_S)
    finally:
        consumer.close()
    said = broker.log_path.read_text(encoding="utf-8")[before:]
    loading = [
        said.count(f"Scheduling loading of metadata from __consumer_offsets-{number} ")
        for number in range(4)
    ]
    assert max(loading) == 1
    assert "DUPLICATE_BROKER_REGISTRATION" not in said


def test_there_is_no_broker_2_of_1(kafka: LocalKafka) -> None:
    with pytest.raises(BrokerError, match="there is no broker 2: ids go from 1 to 1"):
        kafka.broker(2)


# Homes


def test_data_and_ports_are_kept_unless_it_starts_afresh(tmp_path: Path) -> None:
    # Also: a folder that Java and the shell would take apart.
    kafka = LocalKafka(tmp_path / "zoë's kafka 🙂")
    with kafka:
        first = kafka.status()
        create_topic(kafka.bootstrap, "kept")
        write(kafka.bootstrap, "kept", b"yesterday")
    assert not kafka.status().running
    assert not kafka.stop()
    with kafka:
        assert kafka.status().cluster_id == first.cluster_id
        assert kafka.bootstrap == first.bootstrap
        assert read(kafka.bootstrap, "kept", 1) == [b"yesterday"]
        assert kafka.stop()
        assert kafka.start(fresh=True)
        assert kafka.status().cluster_id != first.cluster_id
        assert "kept" not in admin(kafka.bootstrap).list_topics(timeout=LONG_S).topics


def test_a_wanted_port_is_used_and_a_taken_one_is_named(tmp_path: Path) -> None:
    held = HeldPorts()
    port = held.take_free()
    held.release()
    kafka = LocalKafka(tmp_path / "home", port=port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(BrokerError, match=rf"^port {port} is not available for broker 1"):
            kafka.start()
    with kafka:
        assert kafka.bootstrap == f"127.0.0.1:{port}"
        create_topic(kafka.bootstrap, "moves")
        write(kafka.bootstrap, "moves", b"along")
        other_port = held.take_free()
        held.release()
    with LocalKafka(kafka.home, port=other_port) as moved:
        assert moved.bootstrap == f"127.0.0.1:{other_port}"
        assert read(moved.bootstrap, "moves", 1) == [b"along"]


def test_of_two_starts_at_once_one_starts_and_the_other_finds_it_running(tmp_path: Path) -> None:
    started: list[bool] = []
    both = [LocalKafka(tmp_path / "home"), LocalKafka(tmp_path / "home")]
    threads = [threading.Thread(target=lambda k=k: started.append(k.start())) for k in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert both[0].status().running
    assert both[0].bootstrap == both[1].bootstrap
    for kafka in both:
        kafka.stop()
    assert sorted(started) == [False, True]


def test_too_little_room_is_refused_before_anything_runs(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "home", disk_free_bytes_min=1 << 60)
    with pytest.raises(BrokerError, match=r"GiB free, Kafka is not started .* make room"):
        kafka.start()
    assert not list(kafka.home.glob("broker-*"))


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"^cannot write to .*: choose a folder of yours"):
        LocalKafka(tmp_path / "file" / "home").start()


def test_a_home_where_nothing_was_started_cannot_be_attached(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no Kafka was started in"):
        LocalKafka.attach(tmp_path)
    assert LocalKafka(tmp_path).stop() is False


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"server_properties": {"num.io.threads": "many"}}, "num.io.threads"),
        ({"jvm_args": ["-XX:NoSuchFlag=1"]}, "NoSuchFlag"),
    ],
    ids=["a setting Kafka refuses", "a flag Java refuses"],
)
def test_a_start_that_fails_says_why_and_leaves_nothing_running(
    tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    kafka = LocalKafka(tmp_path / "home", **options)  # type: ignore[arg-type]
    with pytest.raises(BrokerError, match=rf"broker 1 is not running: .*{reason}.*server\.log\)$"):
        kafka.start()
    assert [broker.state for broker in kafka.status().brokers] == ["stopped"]


def test_a_cluster_that_cannot_keep_offsets_is_not_left_running(tmp_path: Path) -> None:
    too_many = {"offsets.topic.replication.factor": "2"}
    kafka = LocalKafka(tmp_path / "home", server_properties=too_many)
    with pytest.raises(BrokerError, match=r"^Kafka did not create __consumer_offsets .*replic"):
        kafka.start()
    assert not kafka.status().running


def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path / "home", start_timeout_s=0.2)
    with pytest.raises(BrokerError, match="does not serve after 0 s"):
        kafka.start()
    assert [broker.state for broker in kafka.status().brokers] == ["stopped"]


# Processes


START_AND_SAY = """
import os, sys, pathlib
from drawdown.broker.local import LocalKafka
kafka = LocalKafka(pathlib.Path(sys.argv[1]), detached=sys.argv[2] == "detached",
                   train_later=False)
kafka.start()
print(kafka.broker(1).pid, flush=True)
if sys.argv[2] != "detached":
    os.kill(os.getpid(), 9)
"""


def test_a_detached_cluster_outlives_its_starter_and_is_stopped_by_another(
    tmp_path: Path, run_python: RunPython
) -> None:
    home = tmp_path / "home"
    pid = int(run_python(START_AND_SAY, home, "detached").stdout)
    kafka = LocalKafka.attach(home)
    try:
        assert kafka.broker(1).pid == pid
        assert os.getsid(pid) == pid
        create_topic(kafka.bootstrap, "still-here")
    finally:
        assert kafka.stop()
    assert kafka.broker(1).pid is None
    assert not LocalKafka.attach(home).stop()


def test_the_plain_form_dies_with_the_process_that_started_it(
    tmp_path: Path, run_python: RunPython
) -> None:
    home = tmp_path / "home"
    pid = int(run_python(START_AND_SAY, home, "plain", killed=True).stdout)
    state = json.loads((home / "state.json").read_text("utf-8"))
    process = Process(**state["processes"]["1"])
    assert process.pid == pid
    assert process.wait(LONG_S)
    assert not LocalKafka.attach(home).status().running


def test_a_recycled_pid_is_not_killed(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    home = tmp_path / "home"
    kafka = LocalKafka(home)
    with kafka:
        pass
    state = json.loads((home / "state.json").read_text("utf-8"))
    assert state["processes"]["1"]["boot_id"] == boot_id()
    state["processes"]["1"]["pid"] = bystander.pid
    (home / "state.json").write_text(json.dumps(state), encoding="utf-8")
    found = LocalKafka.attach(home)
    assert found.status().brokers[0].pid is None
    assert not found.stop()
    assert not found.broker(1).kill()
    with pytest.raises(BrokerError):
        found.broker(1).pause()
    assert bystander.poll() is None


def test_a_broker_that_does_not_end_is_killed_in_time(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "home", stop_timeout_s=0.0) as kafka:
        assert kafka.stop()
        assert kafka.broker(1).pid is None


def test_a_paused_broker_is_stopped_all_the_same(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "home") as kafka:
        kafka.broker(1).pause()
        assert kafka.stop()
    assert (kafka.folder(1) / "data" / ".kafka_cleanshutdown").exists()


# Relays


class Relay:
    """Passes connections on to a port, and counts them."""

    def __init__(self) -> None:
        self.connections = 0
        self.target_port = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.target_port:
                client.close()
                continue
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self.target_port))
            self._open += [client, server]
            for pair in ((client, server), (server, client)):
                thread = threading.Thread(target=_pump, args=pair)
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for end in (self._listener, *self._open):
            _shut(end)
        for thread in self._threads[1:]:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side may have been first
        end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay() -> Iterator[Relay]:
    between = Relay()
    yield between
    between.close()


def test_clients_go_through_what_is_advertised(tmp_path: Path, relay: Relay) -> None:
    with LocalKafka(tmp_path / "home", advertised={1: relay.port}) as kafka:
        assert kafka.bootstrap == f"127.0.0.1:{relay.port}"
        assert kafka.broker(1).port != relay.port
        relay.target_port = kafka.broker(1).port
        metadata = admin(kafka.bootstrap).list_topics(timeout=LONG_S)
        assert metadata.brokers[1].port == relay.port
        before = relay.connections
        create_topic(f"127.0.0.1:{kafka.broker(1).port}", "relayed")
        write(f"127.0.0.1:{kafka.broker(1).port}", "relayed", b"through")
        assert relay.connections > before  # even who starts at the broker is sent to the relay


# Three brokers


def leader_of(bootstrap: str, topic: str) -> int:
    metadata = admin(bootstrap).list_topics(topic, timeout=LONG_S)
    return int(metadata.topics[topic].partitions[0].leader)


def until(condition: Callable[[], bool], cluster: LocalKafka, timeout_s: float = LONG_S) -> None:
    """Ask until it is so. Each question goes to Kafka and takes its time."""
    gave_up = threading.Event()
    timer = threading.Timer(timeout_s, gave_up.set)
    timer.start()
    try:
        while not condition():
            assert not gave_up.is_set(), cluster.status()
    finally:
        timer.cancel()
        timer.join()


@pytest.mark.slow
def test_three_brokers_take_writes_with_one_killed_and_with_it_back(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "home", 3) as kafka:
        assert len(kafka.bootstrap.split(",")) == 3
        create_topic(kafka.bootstrap, "safe", replicas=3, **{"min.insync.replicas": "2"})
        write(kafka.bootstrap, "safe", b"before")

        killed = kafka.broker(leader_of(kafka.bootstrap, "safe"))
        killed.kill()
        write(kafka.bootstrap, "safe", b"during")
        assert leader_of(kafka.bootstrap, "safe") != killed.id
        states = {broker.id: broker.state for broker in kafka.status().brokers}
        assert states[killed.id] == "stopped"
        assert sorted(states.values()) == ["running", "running", "stopped"]

        assert kafka.start()  # starts the one that is missing, and leaves the others alone

        def all_in_sync() -> bool:
            metadata = admin(kafka.bootstrap).list_topics("safe", timeout=LONG_S)
            return len(metadata.topics["safe"].partitions[0].isrs) == 3

        until(all_in_sync, kafka)
        write(kafka.bootstrap, "safe", b"after")
        assert read(kafka.bootstrap, "safe", 3) == [b"before", b"during", b"after"]
        # Where replicas are waited for, settlement believes an answer that took longer.
        metadata = admin(kafka.bootstrap).list_topics("safe", timeout=LONG_S)
        assert unknown_after_s(metadata, "safe") == UNKNOWN_AFTER_REPLICATED_S
    assert [broker.state for broker in kafka.status().brokers] == ["stopped"] * 3


@pytest.mark.slow
def test_three_brokers_end_cleanly_and_the_last_one_alone_ends_too(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "home", 3, heap_mib=256) as kafka:
        kafka.stop()
        for broker in kafka.brokers:
            assert (kafka.folder(broker.id) / "data" / ".kafka_cleanshutdown").exists()
        kafka.start()
        for broker in kafka.brokers[:2]:
            broker.kill()
        assert kafka.broker(3).pid is not None
        kafka.stop()
        assert not any(broker.pid for broker in kafka.brokers)


@pytest.mark.parametrize("brokers", [0, 2, 4])
def test_other_numbers_of_brokers_are_refused(tmp_path: Path, brokers: int) -> None:
    with pytest.raises(BrokerError, match=f"{brokers} brokers are not supported: choose 1 or 3"):
        LocalKafka(tmp_path, brokers)


def test_an_advertised_broker_must_exist(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="advertised names broker 2: ids go from 1 to 1"):
        LocalKafka(tmp_path, advertised={2: 5})
