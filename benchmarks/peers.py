"""Peers of the authorize benchmark: Postgres and Redis doing check-and-hold, each fsynced.

Both from Debian's packages, each a child process in a folder of its own, reached over a Unix
socket, stopped and deleted afterwards; as root they run as `nobody`. Nothing is installed: what is
missing raises `Skipped`. Postgres does a guarded UPDATE and the hold's INSERT in one statement, so
in one transaction and one round trip, with fsync and synchronous_commit on. Redis does it in a Lua
script with appendonly yes and appendfsync always.

They do less than Drawdown does: no price, no reason, no proof, no journal, and nothing expires. And
they do more: their answer is on the disk, that of the benchmark's one broker in its page cache.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

CONNECTIONS = 32
OPENING, AMOUNT = 1_000_000_000, 7_500
"""Of each wallet and of each hold, in millionths of a USD."""
HOLD_S = 900
START_S = 60
ORDINARY_USER = "nobody"


class Skipped(Exception):  # noqa: N818 - not an error: the benchmark goes on without
    """A peer cannot be measured here; one line that says what to do."""


class Client(Protocol):
    """One connection to a peer."""

    def fill(self, customers: Sequence[str]) -> None:
        """Open a wallet each."""

    def hold(self, identity: str, customer: str) -> bool:
        """Check and hold; whether it was allowed."""


class Postgres:
    """Over psycopg, which is not among Drawdown's requirements."""

    _TABLES = """
        CREATE TABLE wallets (customer text PRIMARY KEY, available bigint NOT NULL);
        CREATE TABLE holds (
            id text PRIMARY KEY, customer text NOT NULL, amount bigint NOT NULL,
            deadline_at timestamptz NOT NULL
        )"""
    _HOLD = """
        WITH taken AS (
            UPDATE wallets SET available = available - %(amount)s::bigint
            WHERE customer = %(customer)s::text AND available >= %(amount)s::bigint
            RETURNING customer
        )
        INSERT INTO holds (id, customer, amount, deadline_at)
        SELECT %(id)s::text, customer, %(amount)s::bigint, now() + %(seconds)s * interval '1 second'
        FROM taken RETURNING id"""

    def __init__(self, folder: Path) -> None:
        psycopg: Any = importlib.import_module("psycopg")
        self._connection = psycopg.connect(
            host=str(folder), user="bench", dbname="postgres", autocommit=True
        )

    def fill(self, customers: Sequence[str]) -> None:
        self._connection.execute(self._TABLES)
        self._connection.execute(
            "INSERT INTO wallets SELECT unnest(%s::text[]), %s", (list(customers), OPENING)
        )
        self._connection.execute("ANALYZE wallets")

    def hold(self, identity: str, customer: str) -> bool:
        values = {"id": identity, "customer": customer, "amount": AMOUNT, "seconds": HOLD_S}
        return bool(self._connection.execute(self._HOLD, values, prepare=True).rowcount == 1)


class Redis:
    """As much of its protocol as this takes."""

    _FILL = """
        for _, name in ipairs(ARGV) do
            redis.call('HSET', 'wallet:' .. name, 'available', KEYS[1])
        end
        return #ARGV"""
    _HOLD = """
        if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
        local available = tonumber(redis.call('HGET', KEYS[1], 'available') or '0')
        if available < tonumber(ARGV[1]) then return 0 end
        redis.call('HINCRBY', KEYS[1], 'available', '-' .. ARGV[1])
        redis.call('HSET', KEYS[2], 'wallet', KEYS[1], 'amount', ARGV[1], 'deadline_at', ARGV[2])
        return 1"""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(folder / "redis.sock"))
        self._answers = self._socket.makefile("rb")
        self._script = hashlib.sha1(self._HOLD.encode(), usedforsecurity=False).hexdigest()
        self._call("PING")

    def fill(self, customers: Sequence[str]) -> None:
        self._call("EVAL", self._FILL, 1, OPENING, *customers)
        self._call("SCRIPT", "LOAD", self._HOLD)

    def hold(self, identity: str, customer: str) -> bool:
        keys = (f"wallet:{customer}", f"hold:{identity}")
        deadline = int(time.time()) + HOLD_S
        return self._call("EVALSHA", self._script, 2, *keys, AMOUNT, deadline) == b"1"

    def _call(self, *parts: str | int) -> bytes:
        encoded = [str(part).encode() for part in parts]
        body = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded)
        self._socket.sendall(b"*%d\r\n%b" % (len(encoded), body))
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, said = line[:1], line[1:-2]
        if kind == b"-":
            raise ConnectionError(f"Redis: {said.decode(errors='replace')}")
        if kind == b"$":
            return self._answers.read(int(said) + 2)[:-2]
        return said


CLIENTS: dict[str, Callable[[Path], Client]] = {"postgres": Postgres, "redis": Redis}


@contextmanager
def running(name: str, customers: Sequence[str]) -> Iterator[Path]:
    """Start a peer with a wallet for each; gives the folder of its socket. Raises Skipped."""
    command = {"postgres": _postgres, "redis": _redis}[name]
    with tempfile.TemporaryDirectory(prefix=f"drawdown-bench-{name}-") as made:
        folder = Path(made)
        ordinary: dict[str, Any] = {"cwd": folder}
        if os.geteuid() == 0:
            user = pwd.getpwnam(ORDINARY_USER)
            os.chown(folder, user.pw_uid, user.pw_gid)
            ordinary |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with (folder / "log").open("wb") as log:
            told = {**ordinary, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            with _child(command(folder, told), told) as child:
                try:
                    _first(name, folder, child).fill(customers)
                except Exception as error:
                    raise _failed(name, folder, error) from error
                yield folder


@contextmanager
def _child(command: list[str], told: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(command, **told)
    try:
        yield child
    finally:
        child.send_signal(2)  # SIGINT: Postgres then ends without waiting for its clients
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _first(name: str, folder: Path, child: subprocess.Popen[bytes]) -> Client:
    """The first connection, as soon as there is one."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return CLIENTS[name](folder)
        except Exception:
            if child.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _failed(name: str, folder: Path, error: Exception) -> Skipped:
    log = (folder / "log").read_text(errors="replace").strip()
    return Skipped(f"{name} did not start: {error}: {' '.join(log[-300:].split())}")


def _postgres(folder: Path, told: dict[str, Any]) -> list[str]:
    """Make its data folder; the command that runs it."""
    found = [p for p in Path("/usr/lib/postgresql").glob("*/bin") if (p / "initdb").exists()]
    if not found:
        raise Skipped("Postgres is not installed: apt-get install postgresql")
    if importlib.util.find_spec("psycopg") is None:
        raise Skipped("its Python client is not installed: pip install 'psycopg[binary]'")
    newest = max(found, key=lambda p: [int(n) for n in p.parent.name.split(".") if n.isdigit()])
    data = str(folder / "data")
    made = [str(newest / "initdb"), "-D", data, "-U", "bench", "-A", "trust"]
    try:
        subprocess.run([*made, "--locale=C", "--encoding=UTF8"], check=True, **told)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _failed("postgres", folder, error) from error
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "on",
        "synchronous_commit": "on",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(newest / "postgres"), "-D", data, *options]


def _redis(folder: Path, _: dict[str, Any]) -> list[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise Skipped("Redis is not installed: apt-get install redis-server")
    return [
        *(program, "--port", "0", "--unixsocket", str(folder / "redis.sock")),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    ]
