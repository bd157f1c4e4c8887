"""Kafka for the tests of the local Kafka, and processes to compare it with."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from drawdown.broker.local import LocalKafka


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One broker, shared by the tests of a module that leave it running."""
    with LocalKafka(tmp_path_factory.mktemp("kafka") / "home") as running:
        yield running


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any of this."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


class RunPython(Protocol):
    def __call__(
        self, code: str, *arguments: object, killed: bool = False
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def run_python() -> RunPython:
    """Runs code in a Python process of its own, to its end: in order, or `killed` by SIGKILL."""

    def run(
        code: str, *arguments: object, killed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=Path(__file__).parents[2] / "services",
        )
        assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
        return done

    return run
