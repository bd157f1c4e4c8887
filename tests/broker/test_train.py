"""The archive for quick starts: made once, used, and never in the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drawdown.broker import aot, jars
from drawdown.broker.java import Java
from drawdown.broker.jvm import Runtime
from drawdown.broker.local import LocalKafka
from drawdown.broker.lock import read_lock
from drawdown.broker.train import train


@pytest.fixture
def class_path(tmp_path: Path) -> list[Path]:
    jar = tmp_path / "kafka.jar"
    jar.write_bytes(b"jar")
    return [jar]


JAVA = Java(Path("/java"), "25.0.2")


def test_an_archive_belongs_to_one_java_and_one_set_of_jars(class_path: list[Path]) -> None:
    first = aot.archive_path(JAVA, class_path)
    assert first == aot.archive_path(JAVA, class_path)
    assert first != aot.archive_path(Java(JAVA.path, "25.0.3"), class_path)
    class_path[0].write_bytes(b"another jar")
    assert first != aot.archive_path(JAVA, class_path)


def test_an_older_java_has_none(class_path: list[Path]) -> None:
    assert aot.archive_path(Java(JAVA.path, "21.0.4"), class_path) is None
    assert aot.archive_args(Java(JAVA.path, "21.0.4"), class_path, []) == []


def test_an_archive_is_used_if_it_is_there_and_nobody_names_another(
    class_path: list[Path],
) -> None:
    path = aot.archive_path(JAVA, class_path)
    assert path is not None
    assert aot.archive_args(JAVA, class_path, []) == []
    path.touch()
    assert aot.archive_args(JAVA, class_path, []) == [f"-XX:AOTCache={path}"]
    assert aot.archive_args(JAVA, class_path, ["-XX:AOTMode=off"]) == []


def test_training_later_is_a_process_of_its_own_that_leaves_word(
    class_path: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAWDOWN_JAVA", "/no/such/java")  # so that it ends where it begins
    process = aot.train_later(JAVA, class_path)
    assert process is not None
    assert process.wait(60)
    said = (class_path[0].parent / "train.log").read_text(encoding="utf-8")
    assert said.startswith("DRAWDOWN_JAVA=/no/such/java does not run")


def test_nothing_is_trained_that_is_there_or_cannot_be(class_path: list[Path]) -> None:
    assert aot.train_later(Java(JAVA.path, "21.0.4"), class_path) is None
    path = aot.archive_path(JAVA, class_path)
    assert path is not None
    path.touch()
    assert aot.train_later(JAVA, class_path) is None


@pytest.mark.kafka
@pytest.mark.slow
def test_a_trained_kafka_starts_from_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = jars.fetch()
    monkeypatch.setenv("DRAWDOWN_CACHE", str(tmp_path / "cache"))
    mine = jars.kafka_cache(read_lock())
    mine.mkdir(parents=True)
    for jar in fetched:
        shutil.copy2(jar, mine)
    runtime = Runtime.ready()
    if runtime.java.feature < aot.FEATURE_MIN:
        pytest.skip(f"Java {runtime.java.version} knows no such archive")

    path = train(runtime)

    assert path is not None
    assert train(runtime) == path
    assert {p.name for p in mine.iterdir()} - {jar.file_name for jar in read_lock().jars} == {
        path.name,
        "train.lock",
    }
    # Java refuses to start if it cannot use what it is told to use.
    with LocalKafka(tmp_path / "home", jvm_args=[f"-XX:AOTCache={path}", "-XX:AOTMode=on"]):
        pass
    with LocalKafka(tmp_path / "home") as kafka:
        command = Path(f"/proc/{kafka.broker(1).pid}/cmdline").read_bytes()
        assert f"-XX:AOTCache={path}".encode() in command
