#!/usr/bin/env python3
"""Write the locks anew: `python3 deploy/lock.py`, which needs `uv` on the PATH.

Versions and hashes for every platform, no addresses. The number of bytes in each lock's head is
what pip fetches for this machine's Python; `deploy/with.py` tells it to whoever waits.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ["hatchling>=1.27", "editables>=0.5"]
"""What builds Drawdown from this folder, so that nothing unpinned is fetched for it."""


def compiled(extra, constraint=None):
    """The text of a lock."""
    command = ["uv", "pip", "compile", "pyproject.toml", "-", "--universal", "--generate-hashes"]
    command += ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--only-binary", ":all:", "--upgrade", "--quiet"]
    for name in extra:
        command += ["--extra", name]
    if constraint:
        command += ["--constraint", str(constraint)]
    done = subprocess.run(
        command, cwd=ROOT, input="\n".join(BUILD), capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("--", "#"))]
    return "\n".join(lines) + "\n"


def sized(text):
    """The lock with its head: packages and bytes, as pip fetches them here."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "lock")
        lock.write_text(text)
        wheels = Path(folder, "wheels")
        command = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "-r", lock]
        subprocess.run([*command, "--only-binary", ":all:", "-d", wheels], check=True)
        sizes = [wheel.stat().st_size for wheel in wheels.iterdir()]
    head = "# Written by deploy/lock.py: do not edit.\n"
    return f"{head}# {len(sizes)} packages, {sum(sizes)} bytes\n{text}"


def main():
    run = ROOT / "deploy" / "requirements.lock"
    tests = ROOT / "deploy" / "requirements-test.lock"
    run.write_text(sized(compiled([])))
    tests.write_text(sized(compiled(["test"], constraint=run)))
    for path in (run, tests):
        print(re.search(r"^# \d.*$", path.read_text(), re.MULTILINE)[0], path.name)


if __name__ == "__main__":
    main()
