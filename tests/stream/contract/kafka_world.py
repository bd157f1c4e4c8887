"""The contract's world on a real broker, with client processes that can be killed and stopped."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.stream.contract.child import decoded, encoded
from tests.stream.contract.world import LIMIT_S, SEGMENT_MS, Process, World, new_id

from drawdown.broker.local import LocalKafka
from drawdown.stream.kafka import KafkaCluster, logger, plain_producer, reader

CHILD = Path(__file__).with_name("child.py")


class KafkaWorld(World):
    """A broker, and nothing else."""

    def __init__(self, kafka: LocalKafka) -> None:
        super().__init__(KafkaCluster(kafka.bootstrap))
        self.kafka = kafka
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap}, logger=logger)
        self._children: list[Child] = []

    def create(self, topic: str, partitions: int, settings: Mapping[str, str]) -> None:
        self._admin.create_topics([NewTopic(topic, partitions, 1, config=dict(settings))])[
            topic
        ].result()
        self.until(lambda: len(self._partitions(topic)) == partitions)

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result()
        self.until(lambda: not self._partitions(topic))

    def _partitions(self, topic: str) -> Mapping[int, Any]:
        described = self._admin.list_topics(topic, LIMIT_S).topics[topic]
        return {} if described.error else described.partitions

    def trim(self, topic: str, partition: int, offset: int) -> None:
        until = TopicPartition(topic, partition, offset)
        self._admin.delete_records([until])[until].result()

    def compact(self, topic: str, until_gone: int) -> None:
        producer = self.cluster.producer(plain_producer())

        def gone() -> bool:
            # The cleaner leaves the active segment alone: one more record starts a new one.
            producer.produce(topic, b"", b"filler", 0)
            producer.flush(LIMIT_S)
            consumer = self.cluster.consumer(reader(new_id()))
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
            while True:
                message = consumer.poll(LIMIT_S)
                assert message is not None
                if message.error() is not None or (message.offset() or 0) > until_gone:
                    consumer.close()
                    return True
                if message.offset() == until_gone:
                    consumer.close()
                    return False

        self.until(gone)

    def end_segment(self) -> None:
        time.sleep(1.5 * SEGMENT_MS / 1000)

    def process(self) -> Child:
        child = Child(self.kafka.bootstrap)
        self._children.append(child)
        return child

    def stop_broker(self) -> None:
        self.kafka.broker(1).pause()

    def start_broker(self) -> None:
        self.kafka.broker(1).resume()

    def elapse(self, seconds: float) -> None:
        time.sleep(seconds)

    def now_s(self) -> float:
        return time.monotonic()

    def __enter__(self) -> KafkaWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for child in self._children:
            child.kill()


class Child(Process):
    """A process of its own whose clients are used from here, one call at a time."""

    def __init__(self, bootstrap: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), bootstrap],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def consumer(self, config: Mapping[str, Any]) -> Any:
        return Distant(self, self.call(None, "consumer", dict(config)))

    def producer(self, config: Mapping[str, Any]) -> Any:
        return Distant(self, self.call(None, "producer", dict(config)))

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def call(self, target: int | None, method: str, *arguments: Any, **named: Any) -> Any:
        """Have it done there. Returns what came of it and the callbacks that ran."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        pickle.dump(encoded((target, method, arguments, named)), stdin)
        stdin.flush()
        return decoded(pickle.load(stdout))


class Distant:
    """A client in another process. Its callbacks run here, after the call they happened in."""

    def __init__(self, child: Child, created: tuple[int, list[Any]]) -> None:
        self._child = child
        self._number = created[0]
        self._callbacks: dict[str, Callable[..., None]] = {}

    def subscribe(self, topics: list[str], **callbacks: Callable[..., None]) -> None:
        self._callbacks = callbacks
        self._call("subscribe", topics)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return lambda *arguments, **named: self._call(method, *arguments, **named)

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        result, calls = self._child.call(self._number, method, *arguments, **named)
        for name, partitions in calls:
            self._callbacks[name](self, partitions)
        if isinstance(result, BaseException):
            raise result
        return result
