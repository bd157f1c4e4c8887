"""A process that is not our child: started, found again from another process, signalled, awaited.

A pid alone names whatever has that number now. Here a process is its pid, the time it started and
the boot of the machine, and every signal goes through a pidfd that is opened first and checked
second, so that a recycled pid is never hit.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BrokerError

GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True)
class Process:
    """One run of one program. Two are equal only if they are the same run."""

    pid: int
    start_ticks: int
    """When it started, in clock ticks since boot."""
    boot_id: str

    def alive(self) -> bool:
        """Whether it runs, also when it is stopped by SIGSTOP."""
        return self._stat() is not None

    def paused(self) -> bool:
        """Whether SIGSTOP holds it."""
        stat = self._stat()
        return stat is not None and stat[0] == "T"

    def rss_bytes(self) -> int | None:
        """The memory it has resident; None when it does not run."""
        stat = self._stat()
        return None if stat is None else int(stat[21]) * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal. False, and nothing sent, when it does not run any more."""
        with self._opened() as pidfd:
            if pidfd is None:
                return False
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                return False
            return True

    def wait(self, timeout_s: float) -> bool:
        """Wait for it to end, at most this long. True when it has ended."""
        with self._opened() as pidfd:
            if pidfd is None:
                return True
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            return bool(ended.poll(max(0.0, timeout_s) * 1000))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield pidfd if self.alive() else None
        finally:
            os.close(pidfd)

    def _stat(self) -> list[str] | None:
        """The fields of /proc/pid/stat from the state on; None when it is another's or a zombie."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name in parentheses may contain anything, a parenthesis too.
        fields = text.rpartition(")")[2].split()
        if fields[0] in "ZX" or int(fields[19]) != self.start_ticks or boot_id() != self.boot_id:
            return None
        return fields


def boot_id() -> str:
    """Names this boot of the machine: start times are counted from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def spawn(
    command: Sequence[str],
    *,
    folder: Path,
    console: Path,
    environment: Mapping[str, str],
    owned: bool,
) -> Process:
    """Start a program in a session of its own, its output in the file `console`. `owned`: it is
    killed when this process ends, however that happens; otherwise it stays. Takes about 0.05 s; a
    program that cannot be run says so in `console`."""
    spec = {
        "owner_pid": os.getpid() if owned else 0,
        "command": list(command),
        "environment": dict(environment),
        "folder": str(folder),
        "console": str(console),
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(GUARD)],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        check=False,
    )
    numbers = done.stdout.split()
    if len(numbers) != 2:
        reason = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise BrokerError(f"cannot start a background process ({reason}): Linux 5.3 is needed")
    return Process(int(numbers[0]), int(numbers[1]), boot_id())
