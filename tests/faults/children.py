"""Programs the suite starts: services, the relay, the load. Each is stopped, whatever happens."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class CampaignError(Exception):
    """The campaign cannot go on; says why."""


class CannotError(CampaignError):
    """This machine cannot do a fault: the row is not shown, and the campaign goes on."""


def until(true: Callable[[], object], limit_s: float, what: str) -> float:
    """Wait for something to come true; returns how long it took. Raises CampaignError."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > limit_s:
            raise CampaignError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.05)
    return time.monotonic() - began


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In a child, before it runs its program: the kernel kills it when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A program with its output in a file."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], *, talks: bool = False
    ) -> None:
        self.log_path = log
        self._log_start = log.stat().st_size if log.exists() else 0
        pipe = subprocess.PIPE if talks else None
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=pipe or subprocess.DEVNULL,
                stdout=pipe or output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
                cwd=ROOT,
                preexec_fn=_die_with_parent,  # the suite may be killed itself
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """None while it runs; below zero where a signal ended it."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        return self.code is None

    def log(self) -> str:
        """What this run of it has said."""
        return self.log_path.read_bytes()[self._log_start :].decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, and no wait."""
        self._process.terminate()

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; returns the exit code. What does not end in time is killed, and raises."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise CampaignError(f"{self.log_path.name}: no end within {timeout_s:.0f} s") from None

    def wait(self, timeout_s: float) -> int | None:
        """Until it ends by itself; None if it does not."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it does not run."""
        try:
            fields = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Service(Child):
    """A service of Drawdown, started by its command."""

    def __init__(self, name: str, folder: Path, port: int, env: Mapping[str, str]) -> None:
        self.name = name
        self.instance = env["DRAWDOWN_INSTANCE"]
        self.address = f"http://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = {f"DRAWDOWN_{name.upper()}_PORT": str(port), "DRAWDOWN_HOME": str(folder)}
        command = [sys.executable, "-P", "-m", "drawdown.cli.main", name]
        super().__init__(command, folder / f"{name}-{self.instance}.log", {**settings, **env})

    def status(self) -> dict[str, Any]:
        """What `/readyz` says; nothing where it does not answer."""
        code, body = get(f"{self.address}/readyz")
        try:
            return {**json.loads(body), "code": code}
        except ValueError:
            return {"code": code}

    def ready(self) -> bool:
        return self.status()["code"] == 200

    def serving(self) -> set[int]:
        return set(self.status().get("serving", ()))


class Talker(Child):
    """A child that is told what to do by JSON lines, and answers each by one."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        super().__init__(command, log, env, talks=True)
        self._said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, name=log.name, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(line.decode())

    def heard(self, timeout_s: float) -> dict[str, Any]:
        """The next line. Raises CampaignError where none comes."""
        try:
            answer: dict[str, Any] = json.loads(self._said.get(timeout=timeout_s))
        except queue.Empty:
            raise CampaignError(
                f"{self.log_path.name}: no answer in {timeout_s:.0f} s: {self.log()[-2000:]}"
            ) from None
        return answer

    def tell(self, timeout_s: float = 10.0, **line: Any) -> dict[str, Any]:
        """Say something and wait for the answer."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(line).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise CampaignError(f"{self.log_path.name} ended: {self.log()[-2000:]}") from None
        return self.heard(timeout_s)


def get(url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 2.0) -> Any:
    """Status and body; status 0 where nobody answers."""
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""
