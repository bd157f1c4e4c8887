"""Which Java is chosen, and what is said of one that will not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawdown.broker.errors import BrokerError
from drawdown.broker.java import FEATURE_MIN, find_java


def _java_that_says(path: Path, text: str, status: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_packaged_java_is_used_and_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRAWDOWN_JAVA", raising=False)
    monkeypatch.setenv("JAVA_HOME", "/set/for/other/programs")
    java = find_java()
    assert java.path.is_file()
    assert java.feature >= FEATURE_MIN


def test_a_configured_java_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _java_that_says(tmp_path / "bin" / "java", 'openjdk version "21.0.4" 2024-07-16')
    for configured in (path, tmp_path):
        monkeypatch.setenv("DRAWDOWN_JAVA", str(configured))
        assert (find_java().path, find_java().feature) == (path, 21)


def test_an_early_access_version_has_a_feature_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _java_that_says(tmp_path / "java", 'openjdk version "27-ea" 2027-03-16')
    monkeypatch.setenv("DRAWDOWN_JAVA", str(path))
    assert find_java().feature == 27


def test_a_java_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _java_that_says(tmp_path / "java", 'openjdk version "11.0.2" 2019-01-15')
    monkeypatch.setenv("DRAWDOWN_JAVA", str(path))
    with pytest.raises(BrokerError, match=r"is Java 11\.0\.2: Kafka needs 17 or newer"):
        find_java()


@pytest.mark.parametrize("broken", ["missing", "fails", "mute"])
def test_a_java_that_does_not_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "java"
    if broken != "missing":
        _java_that_says(path, "hello", status=1 if broken == "fails" else 0)
    monkeypatch.setenv("DRAWDOWN_JAVA", str(path))
    with pytest.raises(BrokerError, match=r"does not run|not a Java") as refusal:
        find_java()
    assert "\n" not in str(refusal.value)
