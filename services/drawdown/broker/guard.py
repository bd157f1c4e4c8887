"""Starts one process in the background; run as a script, and it imports nothing of ours.

Reads from stdin what to run, as JSON, and prints `pid start_ticks` of the process that will run it.
That process has a session of its own and no parent that could wait for it, so it lives as long as
it likes - or, if an owner is named, no longer than the owner: a second process watches both and
kills it when the owner is gone, however the owner ended. (PR_SET_PDEATHSIG would do that when the
owner's *thread* ends, which is not what a test that restarts a broker from a thread wants.)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import Any, NoReturn


def main() -> None:
    """Start what stdin says."""
    spec = json.load(sys.stdin)
    owner_pid = spec["owner_pid"]
    owner = os.pidfd_open(owner_pid) if owner_pid else None
    if owner_pid and os.getppid() != owner_pid:
        return  # the owner is gone already
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        _run(spec, go_read)
    os.close(go_read)
    # Not reaped before this process ends, so the number cannot have become another's.
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:  # noqa: PTH123
        start_ticks = int(stat.read().rpartition(")")[2].split()[19])
    if owner is None:
        os.write(go_write, b"1")
    else:
        child = os.pidfd_open(pid)
        if os.fork() == 0:
            _watch(owner, child, go_write)
    print(pid, start_ticks)


def _run(spec: dict[str, Any], go_read: int) -> NoReturn:
    """Wait for the go, then become the command. Without a go (the guard was killed): end."""
    os.setsid()
    if not os.read(go_read, 1):
        os._exit(1)
    console = os.open(spec["console"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(console, 1)
    os.dup2(console, 2)
    try:
        os.chdir(spec["folder"])
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that is inherited
        os.execve(spec["command"][0], spec["command"], spec["environment"])
    except OSError as error:
        os.write(2, f"cannot run {spec['command'][0]}: {error.strerror}\n".encode())
        os._exit(127)


def _watch(owner: int, child: int, go_write: int) -> NoReturn:
    """Kill the child when the owner ends; end when the child does."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.write(go_write, b"1")
    os.close(go_write)
    either = select.poll()
    either.register(owner, select.POLLIN)
    either.register(child, select.POLLIN)
    if owner in dict(either.poll()):
        with contextlib.suppress(ProcessLookupError):  # it may end at the same time
            signal.pidfd_send_signal(child, signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
