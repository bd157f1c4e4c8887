"""Fetches Kafka's jars into a cache that all projects of a user share.

A file counts as fetched only if its sha256 is the one in `kafka.lock`; it appears under its name in
one rename, after it was checked, so that neither a broken download nor another process that
fetches at the same time can leave half a jar behind. What is already there, or in the local Maven
cache with the right sha256, is not fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from .errors import BrokerError
from .lock import Jar, Lock, maven_url, read_lock

DOWNLOADS_AT_ONCE = 4
ATTEMPTS_MAX = 3
BACKOFF_S = 0.5
"""Doubled after each failed attempt."""
TIMEOUT = httpx.Timeout(30.0, connect=10.0)

Advance = Callable[[int], None]
"""Told how many bytes more have arrived; a negative number takes back those of a failed attempt."""


def cache_home() -> Path:
    """Where downloaded and derived files are kept: `$DRAWDOWN_CACHE`, else `drawdown` in
    `$XDG_CACHE_HOME` or `~/.cache`. Everything in it can be deleted at any time."""
    configured = os.environ.get("DRAWDOWN_CACHE")
    if configured:
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "drawdown"


def kafka_cache(lock: Lock) -> Path:
    """The part of the cache that belongs to this version of Kafka."""
    return cache_home() / "kafka" / lock.kafka_version


def fetch(lock: Lock | None = None, *, console: Console | None = None) -> tuple[Path, ...]:
    """The jars' paths in class path order, every one checked against the lock (0.05 s when all are
    there). Downloads what is missing, with a progress bar on stderr if that is a terminal and one
    line otherwise; waits for another process that is downloading already. Raises `BrokerError` when
    there is no network, no room, or a file that is not the locked one."""
    lock = lock or read_lock()
    folder = kafka_cache(lock)
    paths = tuple(folder / jar.file_name for jar in lock.jars)
    with _named_errors(folder):
        if not _missing(lock, folder):
            return paths
        console = console or Console(stderr=True)
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder, console):
            for leftover in folder.glob("*.part"):  # of a download that was killed
                leftover.unlink()
            wanted = [jar for jar in _missing(lock, folder) if not _copied_from_maven(jar, folder)]
            if wanted:
                _download(wanted, folder, console, f"Kafka {lock.kafka_version}")
    return paths


def _missing(lock: Lock, folder: Path) -> list[Jar]:
    return [jar for jar in lock.jars if not _is_right(folder / jar.file_name, jar)]


def _is_right(path: Path, jar: Jar) -> bool:
    try:
        if path.stat().st_size != jar.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _copied_from_maven(jar: Jar, folder: Path) -> bool:
    from jgo.constants import default_maven_repo

    source = Path(default_maven_repo()) / jar.repository_path
    if not _is_right(source, jar):
        return False
    with source.open("rb") as file:
        _store(jar, folder, iter(lambda: file.read(1 << 20), b""))
    return True


def _download(wanted: Sequence[Jar], folder: Path, console: Console, what: str) -> None:
    size_bytes = sum(jar.size_bytes for jar in wanted)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < size_bytes:
        raise BrokerError(
            f"{what} needs {size_bytes / 1e6:.1f} MB in {folder}, which has"
            f" {free_bytes / 1e6:.1f} MB free: make room, or set DRAWDOWN_CACHE to another disk"
        )
    url, stopped = maven_url(), threading.Event()
    with (
        _progress(console, what, len(wanted), size_bytes) as advance,
        httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client,
        ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="jars") as pool,
    ):
        try:
            for _ in pool.map(
                lambda jar: _download_one(client, url, jar, folder, advance, stopped), wanted
            ):
                pass
        except BaseException:
            stopped.set()  # the other downloads end at their next chunk, not at their last
            pool.shutdown(cancel_futures=True)
            raise


def _download_one(
    client: httpx.Client,
    url: str,
    jar: Jar,
    folder: Path,
    advance: Advance,
    stopped: threading.Event,
) -> None:
    for attempt in range(1, ATTEMPTS_MAX + 1):
        arrived_bytes = 0

        def chunks(response: httpx.Response) -> Iterator[bytes]:
            nonlocal arrived_bytes
            for chunk in response.iter_bytes(1 << 16):
                if stopped.is_set():
                    raise BrokerError(f"the download of {jar.file_name} was given up")
                arrived_bytes += len(chunk)
                advance(len(chunk))
                yield chunk

        try:
            with client.stream("GET", f"{url}/{jar.repository_path}") as response:
                response.raise_for_status()
                _store(jar, folder, chunks(response))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            advance(-arrived_bytes)
            if attempt == ATTEMPTS_MAX or not _may_pass(error):
                raise _refusal(error, jar, url) from error
            stopped.wait(BACKOFF_S * 2 ** (attempt - 1))
        else:
            return


def _may_pass(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def _refusal(error: Exception, jar: Jar, url: str) -> BrokerError:
    if isinstance(error, httpx.HTTPStatusError):
        return BrokerError(
            f"the Maven repository {url} answered {error.response.status_code} for"
            f" {jar.file_name}: set DRAWDOWN_MAVEN_URL to a mirror of Maven Central"
        )
    return BrokerError(
        f"no answer from the Maven repository {url} ({error}): connect to the network, or set"
        " DRAWDOWN_MAVEN_URL to a mirror of Maven Central"
    )


def _store(jar: Jar, folder: Path, chunks: Iterator[bytes]) -> None:
    """Write the chunks under the jar's name, if they are the locked bytes; else nothing is left."""
    digest, size_bytes = hashlib.sha256(), 0
    with _new_file(folder, jar.file_name) as file:
        for chunk in chunks:
            digest.update(chunk)
            size_bytes += len(chunk)
            if size_bytes > jar.size_bytes:
                break  # whatever it is, it is not the jar: do not fill the disk with it
            file.write(chunk)
        if digest.hexdigest() != jar.sha256:
            raise BrokerError(
                f"{jar.file_name} is not the locked file (sha256 {digest.hexdigest()[:12]}... where"
                f" {jar.sha256[:12]}... is expected): a proxy or mirror changed it; set"
                " DRAWDOWN_MAVEN_URL to one that does not"
            )
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(folder / jar.file_name)


@contextlib.contextmanager
def _new_file(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """A file of our own beside `name`; removed at the end unless it was renamed."""
    with tempfile.NamedTemporaryFile(
        dir=folder, prefix=f"{name}.", suffix=".part", delete=False
    ) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone_in(folder: Path, console: Console) -> Iterator[None]:
    """Hold the folder's lock file; waits for a process that holds it, and says so. The kernel lets
    go of it when its holder dies."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(console, f"Another process is fetching Kafka into {folder}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Say what to do about a disk that is full or not ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BrokerError(
                f"the disk of {folder} is full: make room, or set DRAWDOWN_CACHE to another disk"
            ) from error
        raise BrokerError(
            f"cannot use {folder} ({error.strerror}): set DRAWDOWN_CACHE to a folder of yours"
        ) from error


@contextlib.contextmanager
def _progress(console: Console, what: str, file_count: int, size_bytes: int) -> Iterator[Advance]:
    if not console.is_terminal:
        _say(console, f"Fetching {what}: {file_count} jars, {size_bytes / 1e6:.1f} MB")
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"Fetching {what}", total=size_bytes)
        yield lambda step_bytes: progress.advance(task, step_bytes)


def _say(console: Console, line: str) -> None:
    """One line, as it is: a folder may have brackets, and a log no edge to wrap at."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)
