"""A settlement process that was told to end."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import os, signal, threading
from drawdown.settlement import service
service.END_S = 0.2
service._stop_on_signals(lambda: print("told", flush=True))
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait()
"""


def test_an_end_that_hangs_is_forced_and_says_where_it_stood() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stdout == "told\n"
    assert "Timeout" in ended.stderr
    assert 'File "<string>", line 7 in <module>' in ended.stderr
