"""Processes that are not children: found, signalled, and never mistaken for others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drawdown.broker.errors import BrokerError
from drawdown.broker.process import Process, boot_id, spawn

if TYPE_CHECKING:
    from conftest import RunPython

LONG_S = 30.0


def _start(tmp_path: Path, *command: str, owned: bool = True) -> Process:
    console = tmp_path / "console.log"
    return spawn(
        command, folder=tmp_path, console=console, environment=dict(os.environ), owned=owned
    )


def test_a_process_runs_is_stopped_and_ends(tmp_path: Path) -> None:
    process = _start(tmp_path, "/bin/sleep", "600")
    assert process.alive()
    assert not process.wait(0)
    assert (process.rss_bytes() or 0) > 0
    assert process.signal(signal.SIGTERM)
    assert process.wait(LONG_S)
    assert not process.alive()
    assert not process.signal(signal.SIGTERM)
    assert process.rss_bytes() is None


def test_its_output_its_folder_and_its_variables_are_what_was_asked(tmp_path: Path) -> None:
    process = spawn(
        ["/bin/sh", "-c", 'pwd; echo "$COLOUR"; echo oops >&2'],
        folder=tmp_path,
        console=tmp_path / "console.log",
        environment={"COLOUR": "grün"},
        owned=True,
    )
    assert process.wait(LONG_S)
    assert (tmp_path / "console.log").read_text("utf-8").splitlines() == [
        str(tmp_path),
        "grün",
        "oops",
    ]


def test_a_program_that_cannot_be_run_says_so(tmp_path: Path) -> None:
    assert _start(tmp_path, "/no/such/java").wait(LONG_S)
    said = (tmp_path / "console.log").read_text("utf-8")
    assert said == "cannot run /no/such/java: No such file or directory\n"


def test_a_pid_that_belongs_to_another_run_is_left_alone(
    bystander: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ours = _start(tmp_path, "/bin/sleep", "600")
    for recycled in (
        replace(ours, pid=bystander.pid),
        Process(bystander.pid, _start_ticks(bystander.pid), "another boot"),
    ):
        assert not recycled.alive()
        assert not recycled.signal(signal.SIGKILL)
        assert recycled.wait(0)
    same = Process(bystander.pid, _start_ticks(bystander.pid), boot_id())
    assert same.alive()
    assert bystander.poll() is None
    ours.signal(signal.SIGKILL)


def _start_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19])


def test_a_child_that_ended_and_was_not_reaped_counts_as_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        process = Process(child.pid, _start_ticks(child.pid), boot_id())
        assert child.stdout is not None
        assert child.stdout.read() == b""
        assert process.wait(LONG_S)
        assert not process.alive()


SPAWN_AND_SAY = """
import os, sys, pathlib
from drawdown.broker.process import spawn
folder = pathlib.Path(sys.argv[1])
process = spawn(["/bin/sleep", "600"], folder=folder, console=folder / "console.log",
                environment=dict(os.environ), owned=sys.argv[2] == "owned")
print(process.pid, process.start_ticks, flush=True)
if sys.argv[3] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("end", ["killed", "left"])
def test_an_owned_process_dies_with_its_owner(
    tmp_path: Path, run_python: RunPython, end: str
) -> None:
    said = run_python(SPAWN_AND_SAY, tmp_path, "owned", end, killed=end == "killed").stdout
    assert _said_by(said).wait(LONG_S)


def test_a_process_that_is_not_owned_stays(tmp_path: Path, run_python: RunPython) -> None:
    process = _said_by(run_python(SPAWN_AND_SAY, tmp_path, "free", "killed", killed=True).stdout)
    assert not process.wait(0.5)
    assert process.signal(signal.SIGKILL)
    assert process.wait(LONG_S)


def _said_by(stdout: str) -> Process:
    pid, start_ticks = map(int, stdout.split())
    return Process(pid, start_ticks, boot_id())


def test_a_guard_that_cannot_run_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drawdown.broker.process.GUARD", tmp_path / "gone.py")
    with pytest.raises(BrokerError, match=r"^cannot start a background process \(.*gone\.py"):
        _start(tmp_path, "/bin/sleep", "600")
