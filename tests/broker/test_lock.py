"""What `kafka.lock` promises: all of Kafka, pinned, and nothing about where it comes from."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drawdown.broker import lock
from drawdown.broker.errors import BrokerError
from drawdown.broker.jars import fetch
from drawdown.broker.java import find_java

if TYPE_CHECKING:
    from conftest import RunPython


def test_every_jar_is_pinned_by_sha256_and_size() -> None:
    jars = lock.read_lock().jars
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in jars)
    assert all(jar.size_bytes > 0 for jar in jars)
    assert len({jar.sha256 for jar in jars}) == len(jars)


def test_jars_share_one_folder_without_clashing() -> None:
    names = [jar.file_name for jar in lock.read_lock().jars]
    assert len(set(names)) == len(names)


def test_no_artifact_is_there_in_two_versions() -> None:
    names = [jar.coordinate.rpartition(":")[0] for jar in lock.read_lock().jars]
    assert len(set(names)) == len(names)


def test_the_roots_are_locked_and_of_one_log4j() -> None:
    locked = lock.read_lock()
    coordinates = {jar.coordinate for jar in locked.jars}
    assert set(lock.ROOTS) <= coordinates
    assert locked.kafka_version == lock.KAFKA_VERSION
    log4j = {c.rpartition(":")[2] for c in coordinates if c.startswith("org.apache.logging.log4j:")}
    assert len(log4j) == 1


def test_no_address_is_in_the_lock() -> None:
    assert not re.search(r"https?:|//|www\.|\.org/", lock.LOCK_PATH.read_text(encoding="utf-8"))


def test_the_file_is_what_writing_it_again_gives() -> None:
    text = lock.LOCK_PATH.read_text(encoding="utf-8")
    assert lock.dumps(lock.loads(text)) == text


def test_a_jar_knows_its_place_in_a_repository() -> None:
    jar = lock.Jar("org.example.deep:thing_2.13:1.0", "", 0)
    assert jar.repository_path == "org/example/deep/thing_2.13/1.0/thing_2.13-1.0.jar"


def test_roots_that_disagree_on_a_version_are_refused() -> None:
    with pytest.raises(BrokerError, match=r"g:a is wanted as 1 and as 2"):
        lock._refuse_two_versions(["g:a:1", "g:b:1", "g:a:2"])


def test_the_configured_repository_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWDOWN_MAVEN_URL", "file:///mirror/")
    assert lock.maven_url() == "file:///mirror"


@pytest.mark.slow
def test_the_lock_is_what_the_resolver_gives(tmp_path: Path, run_python: RunPython) -> None:
    """Asks the Maven repository, so it needs the network. In a process of its own, because jgo
    leaves its connections open."""
    code = (
        "import sys, pathlib; from drawdown.broker import lock;"
        "print(*lock.closure(pathlib.Path(sys.argv[1])), sep='\\n')"
    )
    said = run_python(code, tmp_path).stdout
    assert said.splitlines() == [jar.coordinate for jar in lock.read_lock().jars]


@pytest.mark.kafka
def test_the_locked_format_is_that_of_kafkas_own_tool(tmp_path: Path) -> None:
    made_now = lock.format_with_kafka(find_java().path, fetch(), tmp_path)
    assert _timeless(made_now) == _timeless(lock.read_lock().bootstrap_checkpoint)


def _timeless(checkpoint: bytes) -> list[bytes]:
    """Its record batches without what differs each time: checksum (17-21), timestamps (27-43)."""
    batches, at = [], 0
    while at < len(checkpoint):
        (length,) = struct.unpack_from(">i", checkpoint, at + 8)
        batch = checkpoint[at : at + 12 + length]
        batches.append(batch[:17] + batch[21:27] + batch[43:])
        at += 12 + length
    return batches
