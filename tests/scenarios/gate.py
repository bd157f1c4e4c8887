"""A gateway in a process of its own, so that a kill is a kill."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx


class Gate:
    """`instance` is its name; its port stays the same when it is started again."""

    def __init__(self, bootstrap: str, environment: str, instance: str, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = home / f"gateway-{instance}.log"
        self._arguments = [bootstrap, environment, instance, str(self.port)]
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *self._arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        try:
            return httpx.get(f"{self.address}/readyz", timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()


def main(bootstrap: str, environment: str, instance: str, port: str) -> None:
    from drawdown.config import Config
    from drawdown.gateway import service
    from drawdown.stream.kafka import KafkaCluster

    config = Config(environment=environment, instance=instance, gateway_port=int(port))
    service.run(config, KafkaCluster(bootstrap))


if __name__ == "__main__":
    main(*sys.argv[1:])
