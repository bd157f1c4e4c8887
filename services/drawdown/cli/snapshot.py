"""`drawdown snapshot`: copies of settlement's stores, from which an empty store is restored.

Settlement takes and restores them by itself where DRAWDOWN_SNAPSHOT_URL is set; what is here is for
an operator: stores of a process that is stopped, and what lies at the URL.
"""

from __future__ import annotations

import shutil
from typing import Annotated, Any

import typer

from drawdown.cli.context import Context
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.render import Json, Quiet, show_json, show_table, tell
from drawdown.config import Config, load
from drawdown.stream.snapshots import Snapshot, Snapshots
from drawdown.stream.store import Owner, RocksStores, StoreUnusableError

app = typer.Typer(
    name="snapshot",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Take, list, verify, restore and prune snapshots of settlement's stores.\n\nWith"
    " DRAWDOWN_SNAPSHOT_URL set, settlement takes them every DRAWDOWN_SNAPSHOT_EVERY_S seconds and"
    " restores an empty store from the newest good one by itself.",
)

Url = Annotated[
    str | None,
    typer.Option("--url", help="A path or fsspec URL; default DRAWDOWN_SNAPSHOT_URL."),
]
Name = Annotated[str | None, typer.Argument(help="A snapshot as `list` names it; default all.")]


@app.command()
def create(url: Url = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Take a snapshot of each store of this DRAWDOWN_INSTANCE, whose settlement is stopped."""
    config = load()
    snapshots = _snapshots(config, url)
    stores = _stores(config)
    try:
        owners = stores.found()
    except StoreUnusableError as error:
        raise CommandError(f"no snapshot was taken: {error}") from None
    if not owners:
        raise CommandError(f"no stores in {_directory(config)}: nothing to take")
    taken = [_take(snapshots, stores, config, owner) for owner in owners]
    if as_json:
        show_json(taken)
    for name in taken:
        tell(f"taken  {name}", quiet=quiet or as_json)


def _take(snapshots: Snapshots, stores: RocksStores, config: Config, owner: Owner) -> str:
    checkpoint = _directory(config) / "checkpoints" / f"{owner.partition}"
    try:
        store = stores.open(owner)
    except Exception as error:  # noqa: BLE001 - rocksdict raises bare exceptions
        raise CommandError(
            f"partition {owner.partition}: {error}: while settlement {config.instance!r} runs, it"
            " takes snapshots itself where DRAWDOWN_SNAPSHOT_URL is set"
        ) from None
    try:
        shutil.rmtree(checkpoint, ignore_errors=True)
        checkpoint.parent.mkdir(exist_ok=True)
        store.checkpoint(checkpoint)
        return snapshots.create(checkpoint, owner, store.positions)
    finally:
        store.close()
        shutil.rmtree(checkpoint, ignore_errors=True)


@app.command("list")
def list_(url: Url = None, as_json: Json = False) -> None:
    """List what is there: how far each goes, and how large it is."""
    found = _snapshots(load(), url).listed()
    if as_json:
        show_json([_json(snapshot) for snapshot in found])
        return
    show_table(
        ("snapshot", ">position", ">MB", "created", ""),
        [
            (
                snapshot.name,
                "" if manifest is None else manifest.positions.journal,
                "" if manifest is None else f"{manifest.bytes / 1e6:.1f}",
                "" if manifest is None else f"{manifest.created_at:%Y-%m-%dT%H:%M:%SZ}",
                snapshot.problem or "",
            )
            for snapshot in found
            for manifest in [snapshot.manifest]
        ],
    )


@app.command()
def verify(name: Name = None, url: Url = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare every byte with what was written; exit code 1 where any differs."""
    snapshots = _snapshots(load(), url)
    found = _named(snapshots, name)
    wrong = {snapshot.name: snapshots.verify(snapshot) for snapshot in found}
    if as_json:
        show_json(wrong)
    for which, problems in wrong.items():
        for problem in problems or ["as it was written"]:
            tell(f"{which}: {problem}", quiet=quiet or as_json)
    if any(wrong.values()):
        raise typer.Exit(FAILED)


@app.command()
def restore(
    name: Name = None, url: Url = None, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Make the stores of this DRAWDOWN_INSTANCE from snapshots, before settlement is started.

    Of each partition the newest that is good, or the one named. Every byte is compared first; what
    is of another cluster, topic or number of partitions is refused, and nothing is written. A store
    that is there is left as it is.
    """
    from drawdown.settlement.service import layout_of, partitions_of
    from drawdown.stream import kafka
    from drawdown.stream.reading import Reader

    context = Context()
    config = context.config
    snapshots = _snapshots(config, url)
    cluster = context.kafka()
    partitions, cluster_id = partitions_of(cluster, config.topics)
    journal = layout_of(config.topics, partitions, config.instance).journal
    stores = _stores(config, snapshots)
    reader = Reader(cluster, kafka.reader())
    restored: list[str] = []
    wanted = _named(snapshots, name) if name else None
    owners = [Owner(cluster_id, journal, partition, partitions) for partition in range(partitions)]
    if wanted is not None:
        owners = [owner for owner in owners if _is_of(wanted[0], owner)]
    for owner in owners:
        if stores.has(owner):
            raise CommandError(
                f"partition {owner.partition}: there is a store in {_directory(config)}: move it"
                " away first; nothing was written"
            )
    try:
        for owner in owners:
            partition = owner.partition
            low, end = reader.stable_end(journal, partition)
            into = stores.fetched_path(owner)
            found: str | None
            if wanted is not None:
                snapshots.fetch_one(wanted[0], owner, range(low, end + 1), into)
                found = wanted[0].name
            else:
                found = snapshots.fetch(owner, range(low, end + 1), into)
            if found is not None:
                stores.install(owner, into)
                restored.append(found)
    finally:
        reader.close()
    if as_json:
        show_json(restored)
    for which in restored:
        tell(f"restored  {which}", quiet=quiet or as_json)
    if not restored:
        raise CommandError(
            "no snapshot could be used, nothing was written: see `drawdown snapshot verify`"
        )


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="Of each partition.")] = 3,
    url: Url = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete all but the newest of each partition."""
    gone = _snapshots(load(), url).prune(keep)
    if as_json:
        show_json(gone)
    for name in gone:
        tell(f"deleted  {name}", quiet=quiet or as_json)


def _is_of(snapshot: Snapshot, owner: Owner) -> bool:
    """Whether a snapshot is meant for this partition, whatever else is wrong with it."""
    if snapshot.manifest is None:
        raise CommandError(f"{snapshot.name}: {snapshot.problem}; nothing was written")
    return snapshot.manifest.owner.partition == owner.partition


def _named(snapshots: Snapshots, name: str | None) -> list[Snapshot]:
    if name is None:
        return snapshots.listed()
    found = [snapshot for snapshot in snapshots.listed() if snapshot.name == name]
    if not found:
        raise CommandError(f"{name}: no such snapshot: see `drawdown snapshot list`", USAGE)
    return found


def _snapshots(config: Config, url: str | None) -> Snapshots:
    url = url or config.snapshot_url
    if not url:
        raise CommandError("give --url or set DRAWDOWN_SNAPSHOT_URL", USAGE)
    return Snapshots(url)


def _directory(config: Config) -> Any:
    from drawdown.settlement.service import store_directory

    return store_directory(config)


def _stores(config: Config, snapshots: Snapshots | None = None) -> RocksStores:
    directory = _directory(config)
    directory.mkdir(parents=True, exist_ok=True)
    return RocksStores(directory, snapshots=snapshots)


def _json(snapshot: Snapshot) -> dict[str, Any]:
    manifest = snapshot.manifest
    if manifest is None:
        return {"name": snapshot.name, "problem": snapshot.problem}
    return {
        "name": snapshot.name,
        "cluster": manifest.owner.cluster,
        "topic": manifest.owner.topic,
        "partition": manifest.owner.partition,
        "partitions": manifest.owner.partitions,
        "format": manifest.owner.format,
        "position": manifest.positions.journal,
        "inputs": dict(manifest.positions.inputs),
        "bytes": manifest.bytes,
        "created_at": manifest.created_at,
    }
