"""A broker's folder: formatting it, and what its formatted folder says.

Formatting is what Kafka's storage tool does, without the 2 s of its JVM: the two files it writes
are `meta.properties`, written here, and `bootstrap.checkpoint`, the tool's own bytes from the lock.
"""

from __future__ import annotations

import base64
import os
import uuid
from pathlib import Path

from .errors import BrokerError


def new_id() -> str:
    """A random id as Kafka writes them: a version 4 UUID in URL-safe base64, never with a leading
    dash (Kafka avoids it because command lines take it for an option)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def cluster_id_of(data: Path) -> str | None:
    """The cluster that a broker's data folder belongs to; None if it is not formatted."""
    try:
        text = (data / "meta.properties").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "cluster.id" not in lines:
        raise BrokerError(f"{data}/meta.properties names no cluster: start afresh")
    return lines["cluster.id"]


def format_data(data: Path, node_id: int, cluster_id: str, bootstrap_checkpoint: bytes) -> None:
    """Make `data` a formatted, empty data folder. `meta.properties` comes last and whole: a format
    that was interrupted counts as none."""
    data.mkdir(parents=True, exist_ok=True)
    (data / "bootstrap.checkpoint").write_bytes(bootstrap_checkpoint)
    write_whole(
        data / "meta.properties",
        f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={new_id()}\n",
    )


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
