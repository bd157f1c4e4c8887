"""A settlement service in a process of its own, so that a kill is a kill."""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx


class Settler:
    """`home` is its disk, which outlives it; `instance` its name in the group."""

    def __init__(self, bootstrap: str, environment: str, instance: str, home: Path) -> None:
        self.instance = instance
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.log_path = home / "log"
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, __file__, bootstrap, environment, instance, str(home)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._port: int | None = None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM; returns the exit code. Kills what does not end in time, and raises."""
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself."""
        return self._process.wait(timeout_s)

    def log(self) -> str:
        """What this process has logged."""
        return self.log_path.read_bytes()[self._log_start :].decode()

    def status(self) -> dict[str, Any]:
        """What it says of itself; nothing while it does not answer yet."""
        if self._port is None:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", self.log())
            if found is None:
                return {"ready": False, "serving": []}
            self._port = int(found[1])
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/readyz", timeout=2.0)
        except httpx.HTTPError:
            return {"ready": False, "serving": []}
        return dict(answer.json())

    def serving(self) -> set[int]:
        return set(self.status()["serving"])


def main(bootstrap: str, environment: str, instance: str, home: str) -> None:
    from drawdown.config import Config
    from drawdown.settlement import service
    from drawdown.stream.kafka import KafkaCluster

    faulthandler.register(signal.SIGUSR1)  # where it stands, into its log
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = Config(environment=environment, instance=instance, home=Path(home), settlement_port=0)
    service.run(config, KafkaCluster(bootstrap))


if __name__ == "__main__":
    main(*sys.argv[1:])
