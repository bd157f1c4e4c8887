#!/usr/bin/env python3
"""Run a command with Drawdown installed: `python3 deploy/with.py [--tests] COMMAND ...`.

Installs, if it is not there yet, exactly what the lock beside this file names, checked by hash, and
Drawdown itself from this folder, into the active virtual environment or else into `.venv`, which is
made if need be. `--tests` installs what the tests and benchmarks need as well. Then it becomes the
command. Needs Python 3.11 or later, and pip; no Docker, no Java, no compiler.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    "run": ROOT / "deploy" / "requirements.lock",
    "tests": ROOT / "deploy" / "requirements-test.lock",
}
PYTHON_MIN = (3, 11)


def main(arguments):
    tests = arguments[:1] == ["--tests"]
    command = arguments[1:] if tests else arguments
    if not command or command[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0 if command else 2
    if sys.version_info < PYTHON_MIN:
        newer = [shutil.which(f"python3.{minor}") for minor in (13, 12, 11)]
        better = next(filter(None, newer), None)
        if better is None:
            return fail(f"Python 3.11 or later is needed; this is {sys.version.split()[0]}")
        os.execv(better, [better, __file__, *arguments])
    python = environment()
    if python is None:
        return 1
    done = install(python, "tests" if tests else "run")
    if done:
        return done
    folder = str(Path(python).parent)
    os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
    if command[0] in ("python", "python3"):
        command = [python, *command[1:]]
    program = shutil.which(command[0])
    if program is None:
        return fail(f"no command {command[0]!r}")
    sys.stdout.flush()
    os.chdir(ROOT)
    return os.execv(program, command)  # does not come back


def environment():
    """The Python of the active virtual environment, or of `.venv`, which is made if need be."""
    active = os.environ.get("VIRTUAL_ENV")
    folder = Path(active) if active else ROOT / ".venv"
    python = folder / "bin" / "python"
    if python.exists():
        return str(python)
    if active:
        fail(f"VIRTUAL_ENV is {active}, which has no bin/python: `deactivate` first")
        return None
    say(f"making {folder.name}")
    # Debian keeps ensurepip in a package of its own: the pip that is there installs into it.
    made = subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=False)
    if made.returncode:
        fail(f"python -m venv {folder.name} failed")
        return None
    return str(python)


def install(python, kind):
    """Install what the lock names, unless it is there already. Returns an exit code."""
    lock = LOCKS[kind]
    project = (ROOT / "pyproject.toml").read_bytes()
    wanted = {
        name: hashlib.sha256(path.read_bytes() + project + str(ROOT).encode()).hexdigest()
        for name, path in LOCKS.items()
    }
    marker = Path(python).parent.parent / "drawdown-installed"
    there = marker.read_text().split() if marker.exists() else []
    if wanted[kind] in there:
        return 0
    pip = pip_of(python)
    if pip is None:
        return fail("pip is missing: install it (Debian: python3-pip) and try again")
    text = lock.read_text()
    size = re.search(r"^# (\d+) packages, (\d+) bytes", text, re.MULTILINE)
    if size:
        say(
            f"installing {size[1]} packages, {int(size[2]) / 1e6:.0f} MB at most,"
            f" into {Path(python).parent.parent}"
        )
    began = time.monotonic()
    bar = [] if sys.stderr.isatty() else ["--progress-bar", "off"]
    quiet = ["--disable-pip-version-check", "--no-input", "--no-warn-script-location"]
    steps = (
        ["--require-hashes", "--only-binary", ":all:", "-r", str(lock)],
        # What builds Drawdown is in the lock too: nothing unpinned is fetched.
        ["-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
    )
    for step in steps:
        # To standard error: the command's output is all that standard output has.
        done = subprocess.run([*pip, "install", *quiet, *bar, *step], stdout=2, check=False)
        if done.returncode:
            return fail("pip could not install it: see above")
    # What the tests need contains what running needs, version for version.
    done_now = wanted.values() if kind == "tests" else [wanted[kind]]
    marker.write_text("\n".join({*there, *done_now} & set(wanted.values())) + "\n")
    say(f"installed in {time.monotonic() - began:.0f} s")
    return 0


def pip_of(python):
    """How to run a pip that installs for this Python."""
    own = [python, "-m", "pip"]
    if works([*own, "--version"]):
        return own
    for other in (sys.executable, shutil.which("python3")):
        if other and works([other, "-m", "pip", "--version"]):
            return [other, "-m", "pip", "--python", python]
    found = shutil.which("pip3") or shutil.which("pip")
    return [found, "--python", python] if found else None


def works(command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def say(text):
    print(text, file=sys.stderr, flush=True)


def fail(text):
    say(f"error: {text}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
