"""Makes the archive of `aot`: runs a throw-away broker through what Drawdown does with one.

`python -m drawdown.broker.train` does it now, in about 20 s; worth it before a test run on a new
machine. A detached `LocalKafka` does it by itself after its first start, in the background and only
with time the machine has left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from . import jvm
from .aot import archive_path
from .errors import BrokerError
from .jvm import Runtime
from .local import LocalKafka

TIMEOUT_S = 120.0
TRANSACTIONS = 300
ARCHIVES_KEPT = 2
"""The newest ones: each Java and each set of jars has its own, and each is 73 MB."""


def train(runtime: Runtime) -> Path | None:
    """Make the archive unless it is there. Its path; None if this Java knows no such thing or
    another process is making it. Raises `BrokerError` if the broker or the JVM refuses."""
    path = archive_path(runtime.java, runtime.class_path)
    if path is None or path.is_file():
        return path
    with _only_one(path.parent / "train.lock") as alone, contextlib.ExitStack() as stack:
        if not alone:
            return None
        for leftover in path.parent.glob("train-*"):  # of one that was killed
            shutil.rmtree(leftover)
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="train-", dir=path.parent))
        )
        recording = scratch / "recording"
        record = ("-XX:AOTMode=record", f"-XX:AOTConfiguration={recording}")
        with LocalKafka(
            scratch / "home", jvm_args=record, start_timeout_s=TIMEOUT_S, stop_timeout_s=TIMEOUT_S
        ) as kafka:
            _exercise(kafka.bootstrap)
        _assemble(runtime, recording, scratch / "archive")
        (scratch / "archive").replace(path)
        _forget_old(path.parent)
    return path


def _exercise(bootstrap: str) -> None:
    """Transactions over two topics with a consumer group between them, as settlement does."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = [NewTopic(name, num_partitions=4, replication_factor=1) for name in ("in", "out")]
    for created in admin.create_topics(topics).values():
        created.result(TIMEOUT_S)
    client = {"bootstrap.servers": bootstrap, "log_level": 0}
    producer = Producer({**client, "transactional.id": "train", "retry.backoff.ms": 1})
    consumer = Consumer(
        {
            **client,
            "group.id": "train",
            "group.instance.id": "train",
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["in"])
    producer.init_transactions(TIMEOUT_S)
    for number in range(TRANSACTIONS):
        producer.begin_transaction()
        for partition in range(4):
            for topic in ("in", "out"):
                producer.produce(topic, b"%0200d" % number, b"%d" % number, partition)
        if consumer.poll(0.001) is not None:
            producer.send_offsets_to_transaction(
                consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
            )
        producer.commit_transaction(TIMEOUT_S)
    consumer.close()


def _assemble(runtime: Runtime, recording: Path, archive: Path) -> None:
    done = subprocess.run(
        [
            str(runtime.java.path),
            *jvm.HEAP_LAYOUT,
            "-XX:AOTMode=create",
            f"-XX:AOTConfiguration={recording}",
            f"-XX:AOTCache={archive}",
            "-cp",
            os.pathsep.join(map(str, runtime.class_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or not archive.is_file():
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise BrokerError(f"Java made no archive ({said[-1]}): starts stay slower, nothing else")


def _forget_old(folder: Path) -> None:
    archives = sorted(folder.glob("*.aot"), key=lambda path: path.stat().st_mtime_ns)
    for archive in archives[:-ARCHIVES_KEPT]:
        archive.unlink()


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[bool]:
    """Whether no other process is at it. Does not wait."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def main() -> None:
    """Make the archive; with `--idle`, only with time that nothing else wants."""
    if "--idle" in sys.argv[1:]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        path = train(Runtime.ready())
    except BrokerError as error:
        sys.exit(str(error))
    print(path or "no archive was made", file=sys.stderr)


if __name__ == "__main__":
    main()
