"""The command line that runs a broker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .aot import archive_args
from .jars import fetch
from .java import Java, find_java
from .state import Options

_LOG_CONFIGURATION = Path(__file__).with_name("log4j2.properties")

HEAP_LAYOUT = ("-XX:+UseSerialGC",)
"""Against G1, on two cores: 60 MB less resident, and no slower. ZGC: 2 s more to start."""


@dataclass(frozen=True)
class Runtime:
    """What it takes to run Kafka, all of it checked."""

    java: Java
    class_path: tuple[Path, ...]

    @classmethod
    def ready(cls) -> Runtime:
        """The Java and the jars. Downloads what is missing; see `jars.fetch`."""
        return cls(find_java(), fetch())


def command(runtime: Runtime, options: Options, folder: Path, name: str = "server") -> list[str]:
    """Run the broker of `folder`, whose settings are written to `name`.properties; it logs to
    `name`.log."""
    return [
        str(runtime.java.path),
        f"-Xms{min(256, options.heap_mib)}m",
        f"-Xmx{options.heap_mib}m",
        *HEAP_LAYOUT,
        "-XX:-UsePerfData",  # a file in /tmp, which every killed JVM leaves there
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={folder / 'hs_err.log'}",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={scratch(folder)}",
        f"-Dlog4j2.configurationFile={_LOG_CONFIGURATION}",
        f"-Ddrawdown.log={folder / f'{name}.log'}",
        *archive_args(runtime.java, runtime.class_path, options.jvm_args),
        *options.jvm_args,
        "-cp",
        os.pathsep.join(map(str, runtime.class_path)),
        "kafka.Kafka",
        str(folder / f"{name}.properties"),
    ]


def scratch(folder: Path) -> Path:
    """Where Java unpacks native libraries: a killed JVM leaves them, and here they can be found."""
    return folder / "tmp"


def environment(options: Options, env: Mapping[str, str] | None) -> dict[str, str]:
    """The broker's variables: ours, the cluster's, then those of this one run."""
    # Java names files in the locale's encoding; without one, a home in Zürich is not found.
    return {"LC_ALL": "C.UTF-8", **os.environ, **options.env, **(env or {})}
