"""Which files make up Kafka: in `kafka.lock`, every jar of its runtime closure, by sha256 and size.

What runs is decided here and nowhere else: `jars` takes a file only if its sha256 is the locked
one, so the repository it comes from need not be trusted. `python -m drawdown.broker.lock` writes
the lock anew with jgo's resolver; it is run when `ROOTS` changes, and its result is checked in.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import BrokerError
from .java import find_java

KAFKA_VERSION = "4.3.1"

ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka's own dependencies end at the slf4j interface: without a binding it logs nothing. The
    # version is that of the log4j-core in its closure.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)

LOCK_PATH = Path(__file__).with_name("kafka.lock")


@dataclass(frozen=True)
class Jar:
    """One file of the closure."""

    coordinate: str
    """`group:artifact:version`, as Maven names it."""
    sha256: str
    """Lower-case hexadecimal."""
    size_bytes: int

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def repository_path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's root."""
        group, artifact, version = self.coordinate.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{self.file_name}"


@dataclass(frozen=True)
class Lock:
    """What `kafka.lock` says."""

    kafka_version: str
    jars: tuple[Jar, ...]
    """Sorted by coordinate, which is also the order on the class path."""
    bootstrap_checkpoint: bytes
    """The feature levels a new cluster begins with: the file that Kafka's own storage tool writes
    next to `meta.properties`. It is the same for every cluster of this version, so it is made once,
    here, and formatting a broker costs no JVM."""

    @property
    def size_bytes(self) -> int:
        return sum(jar.size_bytes for jar in self.jars)


def maven_url() -> str:
    """The root of the Maven repository, without a trailing slash: `DRAWDOWN_MAVEN_URL` if set, else
    the central one as jgo knows it."""
    configured = os.environ.get("DRAWDOWN_MAVEN_URL")
    if configured:
        return configured.rstrip("/")
    # Imported late: jgo takes 0.3 s to import, and a start with all jars in place never needs it.
    from jgo.constants import MAVEN_CENTRAL_URL

    return MAVEN_CENTRAL_URL


@functools.cache
def read_lock() -> Lock:
    """The checked-in lock."""
    return loads(LOCK_PATH.read_text(encoding="utf-8"))


def loads(text: str) -> Lock:
    """A lock from its JSON text."""
    document = json.loads(text)
    return Lock(
        kafka_version=document["kafka"],
        jars=tuple(
            Jar(coordinate, entry["sha256"], entry["size_bytes"])
            for coordinate, entry in document["jars"].items()
        ),
        bootstrap_checkpoint=bytes.fromhex(document["bootstrap_checkpoint"]),
    )


def dumps(lock: Lock) -> str:
    """A lock as JSON text, one line per jar, so that a changed jar is a changed line."""
    rows = ",\n".join(
        f"    {json.dumps(jar.coordinate)}: "
        + json.dumps({"sha256": jar.sha256, "size_bytes": jar.size_bytes})
        for jar in lock.jars
    )
    return (
        "{\n"
        f'  "kafka": {json.dumps(lock.kafka_version)},\n'
        f'  "jars": {{\n{rows}\n  }},\n'
        f'  "bootstrap_checkpoint": "{lock.bootstrap_checkpoint.hex()}"\n'
        "}\n"
    )


def resolve() -> Lock:
    """The lock as the Maven repository gives it now. Downloads every file, into a scratch folder
    and never from a local Maven cache, so that what is locked is what the repository serves."""
    with tempfile.TemporaryDirectory(prefix="drawdown-lock-") as scratch:
        files = {
            coordinate: Path(artifact.resolve())
            for coordinate, artifact in closure(Path(scratch) / "repository").items()
        }
        jars = tuple(
            Jar(coordinate, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
            for coordinate, path in files.items()
        )
        checkpoint = format_with_kafka(find_java().path, list(files.values()), Path(scratch))
        return Lock(KAFKA_VERSION, jars, checkpoint)


def closure(repository: Path) -> dict[str, Any]:
    """What `ROOTS` need at run time: jgo's artifacts by coordinate, sorted. Downloads the
    descriptions (POMs) into `repository`, no jars. Raises `BrokerError` if the roots do not agree
    on a version."""
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=repository, remote_repos={"central": maven_url()})
    found: dict[str, Any] = {}
    for root in ROOTS:
        # One at a time: jgo takes every input for a list of managed versions, and that of log4j
        # names another kafka-clients.
        inputs, transitive = context.resolver.resolve([context.create_dependency(root)])
        for needed in (*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))):
            found[f"{needed.groupId}:{needed.artifactId}:{needed.version}"] = needed.artifact
    _refuse_two_versions(found)
    return dict(sorted(found.items()))


def _refuse_two_versions(coordinates: Iterable[str]) -> None:
    versions: dict[str, str] = {}
    for coordinate in coordinates:
        name, _, version = coordinate.rpartition(":")
        if versions.setdefault(name, version) != version:
            raise BrokerError(
                f"{name} is wanted as {versions[name]} and as {version}: choose other versions in"
                " ROOTS"
            )


def format_with_kafka(java: Path, class_path: Sequence[Path], scratch: Path) -> bytes:
    """The `bootstrap.checkpoint` that Kafka's storage tool writes for a new cluster. Runs a JVM,
    about 2 s. Raises `BrokerError` with the tool's first line if it refuses."""
    data, properties = scratch / "data", scratch / "format.properties"
    properties.write_text(
        "process.roles=broker,controller\n"
        "node.id=1\n"
        "controller.quorum.voters=1@localhost:1\n"
        "listeners=PLAINTEXT://localhost:2,CONTROLLER://localhost:1\n"
        "controller.listener.names=CONTROLLER\n"
        f"log.dirs={data}\n",
        encoding="utf-8",
    )
    command = [str(java), "-cp", os.pathsep.join(map(str, class_path)), "kafka.tools.StorageTool"]
    arguments = ["format", "--cluster-id", "AAAAAAAAAAAAAAAAAAAAAQ", "--config", str(properties)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        first = (done.stderr or done.stdout).strip().splitlines()[:1]
        raise BrokerError(f"Kafka's storage tool refused to format: {''.join(first)}")
    return (data / "bootstrap.checkpoint").read_bytes()


def main() -> None:
    """Write `kafka.lock` anew."""
    lock = resolve()
    LOCK_PATH.write_text(dumps(lock), encoding="utf-8")
    print(f"{LOCK_PATH}: {len(lock.jars)} jars, {lock.size_bytes:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
