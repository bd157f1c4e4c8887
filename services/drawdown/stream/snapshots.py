"""Snapshots of stores in a directory or bucket: taken, listed, verified, fetched, pruned.

A snapshot is the files of one store's checkpoint and, written last, a manifest that says whose
store it is, how far it goes, and the SHA-256 of each MiB of each file: without its manifest a
snapshot was not finished and does not exist. Nothing of one is used before every byte of it was
compared, and then from a directory of its own; what does not agree is said with file and
position.

Where they are kept is an fsspec URL: a path, or `s3://`, `gs://`, ... with that file system's
package installed. Under it: `ENVIRONMENT.balance-changes-PARTITION/POSITION-CREATED/`.

A restore is a snapshot and the journal's tail behind its position; who has no good snapshot
rebuilds from `balances` and the journal instead.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import fsspec
import msgspec

from drawdown.stream.blocks import BLOCK_BYTES, DamagedError, File, Hashed, checked
from drawdown.stream.store import FORMAT, Owner, Positions
from drawdown.stream.upgrades import UPGRADES

log = logging.getLogger("drawdown.snapshots")

VERSION: Final = 1
"""Of the manifest."""
MANIFEST: Final = "manifest.json"


class SnapshotError(Exception):
    """A snapshot that cannot be used, or a place that cannot be reached: one line that says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is."""

    version: int = VERSION
    owner: Owner
    """Cluster, journal topic, partition, partitions and format of the store."""
    positions: Positions
    created_at: datetime
    files: list[File]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Snapshot(msgspec.Struct, frozen=True):
    """One that is there, with its manifest, or what is wrong with that."""

    name: str
    manifest: Manifest | None
    problem: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Manifest).decode


class Snapshots:
    """The snapshots under a URL. Every method blocks as long as the place takes; raises
    SnapshotError."""

    def __init__(self, url: str) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise SnapshotError(f"{url}: {error}") from None
        self.url = url

    # --- taking ----------------------------------------------------------------------------------

    def create(self, checkpoint: Path, owner: Owner, positions: Positions) -> str:
        """Put a store's checkpoint there; returns the snapshot's name."""
        now = datetime.now(UTC)
        name = f"{_place(owner)}/{positions.journal:020d}-{now:%Y%m%dT%H%M%S%fZ}"
        files = []
        with _told(name):
            self._fs.makedirs(f"{self._root}/{name}", exist_ok=True)
            for path in sorted(checkpoint.iterdir()):
                if path.name != "LOCK" and not path.name.startswith("LOG"):
                    with path.open("rb") as source, self._open(f"{name}/{path.name}", "wb") as to:
                        hashed = Hashed(to)
                        shutil.copyfileobj(source, hashed, BLOCK_BYTES)
                        files.append(hashed.file(path.name))
            manifest = Manifest(owner=owner, positions=positions, created_at=now, files=files)
            # Last: what has no manifest was not finished.
            with self._open(f"{name}/{MANIFEST}", "wb") as to:
                to.write(_encode(manifest))
        return name

    # --- looking ---------------------------------------------------------------------------------

    def listed(self, place: str | None = None) -> list[Snapshot]:
        """Those that are there, of one partition (`ENVIRONMENT.balance-changes-PARTITION`) or of
        all; newest position last."""
        with _told(self.url):
            if not self._fs.exists(self._root):
                return []
            places = [place] if place else sorted(self._names(""))
            return [
                self.one(f"{where}/{name}")
                for where in places
                if self._fs.exists(f"{self._root}/{where}")
                for name in sorted(self._names(where))
            ]

    def _names(self, where: str) -> Iterator[str]:
        for found in self._fs.ls(f"{self._root}/{where}".rstrip("/"), detail=True, refresh=True):
            if found["type"] == "directory":
                yield str(found["name"]).rstrip("/").rpartition("/")[2]

    def one(self, name: str) -> Snapshot:
        """A snapshot by its name."""
        try:
            with self._open(f"{name}/{MANIFEST}", "rb") as source:
                value = source.read()
        except FileNotFoundError:
            return Snapshot(name, None, f"{MANIFEST} is missing: it was not finished")
        try:
            manifest = _decode(value)
        except msgspec.MsgspecError as error:
            return Snapshot(name, None, f"{MANIFEST}: {error}")
        if manifest.version != VERSION:
            problem = f"{MANIFEST} is of version {manifest.version}; this program reads {VERSION}"
            return Snapshot(name, None, problem)
        return Snapshot(name, manifest)

    def verify(self, snapshot: Snapshot) -> list[str]:
        """What is wrong with it, byte by byte; empty where nothing is."""
        if snapshot.manifest is None:
            return [snapshot.problem or "no manifest"]
        wrong = []
        for file in snapshot.manifest.files:
            try:
                with self._open(f"{snapshot.name}/{file.name}", "rb") as source:
                    for _ in checked(file, source):
                        pass
            except (DamagedError, OSError) as error:
                wrong.append(_reason(file, error))
        return wrong

    # --- restoring -------------------------------------------------------------------------------

    def fetch(self, owner: Owner, journal: range, into: Path) -> str | None:
        """Put the newest good snapshot of a partition into a new directory; says which, None where
        there is none. `journal` are the positions that can be gone on from."""
        for snapshot in reversed(self.listed(_place(owner))):
            try:
                self.fetch_one(snapshot, owner, journal, into)
            except SnapshotError as error:
                log.error("snapshot %s is not used: %s", snapshot.name, error)
            else:
                log.info("snapshot %s is taken", snapshot.name)
                return snapshot.name
        return None

    def fetch_one(self, snapshot: Snapshot, owner: Owner, journal: range, into: Path) -> None:
        """Put this snapshot into a new directory, which is not there if it cannot be used."""
        manifest = snapshot.manifest
        if manifest is None:
            raise SnapshotError(snapshot.problem or "no manifest")
        refused = why_not(manifest, owner, journal)
        if refused is not None:
            raise SnapshotError(refused)
        into.mkdir(parents=True)
        try:
            for file in manifest.files:
                if file.name != Path(file.name).name:
                    raise SnapshotError(f"{file.name!r} is no name of a file")
                try:
                    with (
                        self._open(f"{snapshot.name}/{file.name}", "rb") as source,
                        (into / file.name).open("xb") as to,
                    ):
                        for block in checked(file, source):
                            to.write(block)
                except (DamagedError, OSError) as error:
                    raise SnapshotError(_reason(file, error)) from None
        except BaseException:
            shutil.rmtree(into)
            raise

    # --- pruning ---------------------------------------------------------------------------------

    def prune(self, keep: int, place: str | None = None) -> list[str]:
        """Delete all but the newest `keep` (at least 1) of each partition, with what was not
        finished and is older than one that was; returns their names."""
        gone: list[str] = []
        by_place: dict[str, list[Snapshot]] = {}
        for snapshot in self.listed(place):
            by_place.setdefault(snapshot.name.partition("/")[0], []).append(snapshot)
        with _told(self.url):
            for found in by_place.values():
                kept = [snapshot.name for snapshot in found if snapshot.manifest][-max(keep, 1) :]
                for snapshot in found:
                    if kept and snapshot.name < kept[0]:
                        self._fs.rm(f"{self._root}/{snapshot.name}", recursive=True)
                        gone.append(snapshot.name)
        return gone

    def _open(self, name: str, mode: str) -> Any:
        return self._fs.open(f"{self._root}/{name}", mode)


def why_not(manifest: Manifest, owner: Owner, journal: range) -> str | None:
    """Why a store with this owner cannot be made of the snapshot; None where it can."""
    of = manifest.owner
    for what, is_, wanted in (
        ("cluster", of.cluster, owner.cluster),
        ("topic", of.topic, owner.topic),
        ("partition", of.partition, owner.partition),
        ("number of partitions", of.partitions, owner.partitions),
    ):
        if is_ != wanted:
            return f"its {what} is {is_}, here it is {wanted}"
    known = sorted({*UPGRADES, FORMAT})
    if of.format not in known:
        return f"its store is of format {of.format}; formats {known} are known"
    position = manifest.positions.journal
    if position not in journal:
        return f"it goes to entry {position}, the journal is {journal.start} to {journal.stop - 1}"
    return None


def _place(owner: Owner) -> str:
    return f"{owner.topic}-{owner.partition}"


def _reason(file: File, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{file.name} is missing"
    return str(error) if isinstance(error, DamagedError) else f"{file.name}: {error}"


class _told:  # noqa: N801 - reads as a statement
    """What goes wrong at the place becomes a SnapshotError that names it."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise SnapshotError(f"{self._what}: {error}") from error
