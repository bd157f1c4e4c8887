"""Fetching jars, against a small Maven repository in this process that can be told to misbehave."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from drawdown.broker import jars
from drawdown.broker.errors import BrokerError
from drawdown.broker.lock import Jar, Lock, dumps
from drawdown.broker.ports import HeldPorts

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
CONTENT = {name: f"the bytes of {name} ".encode() * 5_000 for name in NAMES}


def _jar(name: str) -> Jar:
    body = CONTENT[name]
    return Jar(f"org.example:{name}:1.0", hashlib.sha256(body).hexdigest(), len(body))


LOCK = Lock("9.9.9", tuple(_jar(name) for name in NAMES), b"")


class Repository:
    """Serves `files` by path. `answers` overrides the status of a path, once per entry."""

    def __init__(self) -> None:
        self.files = {_jar(name).repository_path: CONTENT[name] for name in NAMES}
        self.answers: dict[str, list[int]] = {}
        self.asked: Counter[str] = Counter()
        self.cut_short: set[str] = set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/maven/")
                repository.asked[path] += 1
                repository.may_answer.wait(30)
                body = repository.files.get(path)
                status = 404 if body is None else 200
                if repository.answers.get(path):
                    status = repository.answers[path].pop(0)
                sent = body if status == 200 and body is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent[:1000] if path in repository.cut_short else sent)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/maven"

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def repository() -> Iterator[Repository]:
    server = Repository()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Repository) -> None:
    """No test here touches the user's caches, or asks a repository that is not its own."""
    monkeypatch.setenv("DRAWDOWN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(jars, "BACKOFF_S", 0.0)
    monkeypatch.setenv("DRAWDOWN_MAVEN_URL", repository.url)


def folder() -> Path:
    return jars.kafka_cache(LOCK)


def files_in_cache() -> set[str]:
    return {path.name for path in folder().iterdir()} - {"lock"}


def test_all_jars_arrive_in_class_path_order() -> None:
    paths = jars.fetch(LOCK)
    assert [path.read_bytes() for path in paths] == [CONTENT[name] for name in NAMES]
    assert files_in_cache() == {jar.file_name for jar in LOCK.jars}


def test_what_is_there_is_not_asked_for_again(repository: Repository) -> None:
    jars.fetch(LOCK)
    jars.fetch(LOCK)
    assert set(repository.asked.values()) == {1}


def test_a_jar_that_rotted_in_the_cache_is_fetched_again_and_only_that_one(
    repository: Repository,
) -> None:
    path = jars.fetch(LOCK)[1]
    path.write_bytes(b"X" + CONTENT["beta"][1:])  # the size is right, the bytes are not
    jars.fetch(LOCK)
    assert path.read_bytes() == CONTENT["beta"]
    assert repository.asked == Counter(
        {jar.repository_path: 2 if "beta" in jar.coordinate else 1 for jar in LOCK.jars}
    )


def test_a_download_that_was_interrupted_goes_on_with_the_rest(repository: Repository) -> None:
    gamma = _jar("gamma").repository_path
    body = repository.files.pop(gamma)
    with pytest.raises(BrokerError):
        jars.fetch(LOCK)
    arrived = files_in_cache()
    (folder() / "gamma-1.0.jar.abc.part").write_bytes(b"half")  # as a killed process leaves it
    repository.files[gamma], repository.asked = body, Counter()
    jars.fetch(LOCK)
    assert {Path(path).name for path in repository.asked}.isdisjoint(arrived)
    assert files_in_cache() == {jar.file_name for jar in LOCK.jars}


@pytest.mark.parametrize(
    "wrong",
    [b"Y" + CONTENT["delta"][1:], CONTENT["delta"] + b"more", b"<html>Please log in</html>"],
    ids=["other bytes", "longer", "a login page"],
)
def test_a_jar_that_is_not_the_locked_one_is_refused_by_name(
    repository: Repository, wrong: bytes
) -> None:
    repository.files[_jar("delta").repository_path] = wrong
    with pytest.raises(BrokerError, match=r"^delta-1\.0\.jar is not the locked file") as refusal:
        jars.fetch(LOCK)
    assert "\n" not in str(refusal.value)
    assert "DRAWDOWN_MAVEN_URL" in str(refusal.value)
    assert not any("delta" in name or name.endswith(".part") for name in files_in_cache())


def test_a_repository_without_the_jar_is_named(repository: Repository) -> None:
    del repository.files[_jar("alpha").repository_path]
    with pytest.raises(BrokerError, match=r"answered 404 for alpha-1\.0\.jar: set DRAWDOWN_MAVEN"):
        jars.fetch(LOCK)
    assert repository.asked[_jar("alpha").repository_path] == 1


def test_a_repository_that_stumbles_is_asked_again(repository: Repository) -> None:
    path = _jar("epsilon").repository_path
    repository.answers[path] = [503, 429]
    jars.fetch(LOCK)
    assert repository.asked[path] == 3


def test_a_connection_that_breaks_off_is_tried_three_times(repository: Repository) -> None:
    path = _jar("epsilon").repository_path
    repository.cut_short.add(path)
    with pytest.raises(BrokerError, match="no answer from the Maven repository"):
        jars.fetch(LOCK)
    assert repository.asked[path] == jars.ATTEMPTS_MAX


def test_no_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = HeldPorts()
    monkeypatch.setenv("DRAWDOWN_MAVEN_URL", f"http://127.0.0.1:{nobody.take_free()}")
    try:
        with pytest.raises(BrokerError, match="connect to the network, or set DRAWDOWN_MAVEN_URL"):
            jars.fetch(LOCK)
    finally:
        nobody.release()


@pytest.mark.parametrize("url", ["http://[", "no-scheme", "http://a b"])
def test_an_address_that_is_none_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DRAWDOWN_MAVEN_URL", url)
    with pytest.raises(BrokerError, match="set DRAWDOWN_MAVEN_URL"):
        jars.fetch(LOCK)


def test_too_small_a_disk_is_refused_before_the_download(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr("drawdown.broker.jars.shutil.disk_usage", lambda path: usage)
    with pytest.raises(BrokerError, match=r"needs 0\.\d MB in .* has 0\.0 MB free: make room"):
        jars.fetch(LOCK)
    assert not repository.asked


def test_a_disk_that_fills_up_meanwhile_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("drawdown.broker.jars.tempfile.NamedTemporaryFile", full)
    with pytest.raises(BrokerError, match=r"^the disk of .* is full: make room"):
        jars.fetch(LOCK)


def test_a_cache_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DRAWDOWN_CACHE", str(tmp_path / "file"))
    with pytest.raises(BrokerError, match=r"^cannot use .*: set DRAWDOWN_CACHE"):
        jars.fetch(LOCK)


def test_the_local_maven_cache_is_used_only_where_it_is_right(
    tmp_path: Path, repository: Repository
) -> None:
    for name, body in (("alpha", CONTENT["alpha"]), ("beta", b"Z" + CONTENT["beta"][1:])):
        path = tmp_path / "m2" / _jar(name).repository_path
        path.parent.mkdir(parents=True)
        path.write_bytes(body)
    paths = jars.fetch(LOCK)
    assert [path.read_bytes() for path in paths] == [CONTENT[name] for name in NAMES]
    assert _jar("alpha").repository_path not in repository.asked
    assert repository.asked[_jar("beta").repository_path] == 1


def test_two_processes_fetch_each_jar_once(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "lock.json").write_text(dumps(LOCK), encoding="utf-8")
    code = (
        "import sys, pathlib; from drawdown.broker import jars, lock;"
        "jars.fetch(lock.loads(pathlib.Path(sys.argv[1]).read_text()))"
    )
    repository.may_answer.clear()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "lock.json")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2] / "services",
        )
        for _ in range(2)
    ]
    try:
        # Whoever came second says that it waits; only then may the repository answer.
        said = _first_line_with(both, "waiting for it")
        repository.may_answer.set()
        rest = [process.communicate(timeout=60)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], (said, rest)
    assert set(repository.asked.values()) == {1}


def _first_line_with(processes: list[subprocess.Popen[str]], text: str) -> str:
    """Read the first line that each process says on stderr; `text` must be in one of them."""
    found: list[str] = []
    heard = threading.Event()

    def listen(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        line = process.stderr.readline()
        if text in line:
            found.append(line)
            heard.set()

    threads = [threading.Thread(target=listen, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    assert heard.wait(60), "nobody waits"
    for thread in threads:
        thread.join(60)
    return "".join(found)


def test_off_a_terminal_there_is_one_line_with_the_bytes() -> None:
    said = io.StringIO()
    jars.fetch(LOCK, console=Console(file=said, width=200))
    size_mb = sum(jar.size_bytes for jar in LOCK.jars) / 1e6
    assert said.getvalue() == f"Fetching Kafka 9.9.9: 5 jars, {size_mb:.1f} MB\n"
    jars.fetch(LOCK, console=Console(file=said, width=200))
    assert said.getvalue().count("\n") == 1


def test_on_a_terminal_there_is_a_bar_that_ends_full() -> None:
    said = io.StringIO()
    jars.fetch(LOCK, console=Console(file=said, force_terminal=True, width=200))
    assert "Fetching Kafka 9.9.9" in said.getvalue()


def test_the_cache_is_where_the_user_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jars.cache_home() == tmp_path / "cache"
    monkeypatch.delenv("DRAWDOWN_CACHE")
    assert jars.cache_home() == tmp_path / "xdg" / "drawdown"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jars.cache_home() == Path.home() / ".cache" / "drawdown"
