"""The class that shifts a broker's clock: Kafka's own, with a constant added and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.faults.clock import CLASS, shifted, shifted_classes

from drawdown import topics
from drawdown.broker.jvm import Runtime
from drawdown.broker.local import LocalKafka
from drawdown.events.base import moment
from drawdown.events.catalogue import USAGE_EVENTS, Environment
from drawdown.stream.kafka import KafkaCluster, plain_producer


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime.ready()


def own(runtime: Runtime) -> bytes:
    """Kafka's own class."""
    (jar,) = [path for path in runtime.class_path if path.name.startswith("kafka-clients-")]
    with ZipFile(jar) as packed:
        return packed.read(CLASS)


def test_one_constant_is_added(runtime: Runtime) -> None:
    before, after = own(runtime), shifted(own(runtime), -3_600_000)
    assert after[:8] == before[:8]
    assert (-3_600_000).to_bytes(8, "big", signed=True) in after
    assert shifted(before, 5) != shifted(before, 6)


def test_what_is_no_such_class_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ValueError, match=r"no milliseconds\(\)"):
        shifted(own(runtime).replace(b"milliseconds", b"millisecunds"), 5)
    with pytest.raises(ValueError, match="not the time as it is"):
        shifted(shifted(own(runtime), 5), 5)


@pytest.mark.kafka
def test_a_broker_dates_records_by_it(runtime: Runtime, tmp_path: Path) -> None:
    ahead = timedelta(days=30)
    by_ms = ahead // timedelta(milliseconds=1)
    classes = shifted_classes(runtime.class_path, tmp_path / "ahead", by_ms)
    appended: list[datetime] = []
    with LocalKafka(tmp_path / "kafka", disk_free_bytes_min=0, train_later=False) as kafka:
        kafka.broker(1).restart(classes=classes)
        cluster, environment = KafkaCluster(kafka.bootstrap), Environment("faults")
        topics.create(cluster.admin(), environment, 1)
        producer = cluster.producer(plain_producer())
        producer.produce(
            environment.topic(USAGE_EVENTS),
            b"{}",
            b"ada",
            on_delivery=lambda _, message: appended.append(moment(message.timestamp()[1])),
        )
        assert producer.flush(30.0) == 0
    assert abs(appended[0] - datetime.now(UTC) - ahead) < timedelta(hours=1)
