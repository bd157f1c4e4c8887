"""Where a command works: its configuration, its Kafka, its doors over HTTP.

What is configured wins; without it the stack that `drawdown up` started on this machine is found;
without that a command ends with exit code 4 and says what to do.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from drawdown.cli.local import Home
from drawdown.cli.outcome import UNREACHABLE, USAGE, CommandError
from drawdown.config import Config, ConfigError, load

if TYPE_CHECKING:
    from drawdown.cli.doors import Door
    from drawdown.stream.kafka import KafkaCluster

CONNECT_S: Final = 3.0
LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Context:
    """What the commands share. Everything is looked up when it is asked for."""

    def __init__(self) -> None:
        self.config: Config = load()
        self.home = Home(self.config.home)

    def configured_kafka(self) -> KafkaCluster | None:
        """The operator's own Kafka, or None. Raises ConfigError."""
        if not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
            return None
        return _cluster(os.environ["KAFKA_BOOTSTRAP_SERVERS"])

    def kafka(self) -> KafkaCluster:
        """Kafka, configured or local, that something listens on. Raises CommandError 4."""
        cluster = self.configured_kafka()
        if cluster is None:
            bootstrap = self.home.bootstrap()
            if bootstrap is None:
                raise CommandError(
                    f"no Kafka runs in {self.home.path}: run `drawdown up` or set"
                    " KAFKA_BOOTSTRAP_SERVERS",
                    UNREACHABLE,
                )
            cluster = _cluster(bootstrap)
        _knock(cluster.bootstrap)
        return cluster

    def gateway(self, url: str | None) -> Door:
        """The gateway's HTTP door: as given, as configured, or the local one."""
        return self._door("gateway", url or self.config.gateway, self.config.gateway_port)

    def query(self, url: str | None) -> Door:
        """The query service's HTTP door."""
        return self._door("query", url or self.config.query, self.config.query_port)

    def _door(self, name: str, url: str | None, port: int) -> Door:
        from drawdown.cli.doors import Door

        if not url:
            service = self.home.service(name)
            if service is None and self.config.key is None and self.home.key() is None:
                raise CommandError(
                    f"no {name} runs in {self.home.path}: run `drawdown up` or set"
                    f" DRAWDOWN_{name.upper()} and DRAWDOWN_KEY",
                    UNREACHABLE,
                )
            url = service.url if service else f"http://{self.config.host}:{port}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is no URL of the {name}: give http://host:port")
        return Door(name, url, self._key(parts.hostname))

    def _key(self, host: str) -> str:
        if self.config.key is not None and self.config.key.get_secret_value():
            return self.config.key.get_secret_value()
        key = self.home.key()
        if key is None:
            raise CommandError(
                "no API key: run `drawdown up`, which makes one, or set DRAWDOWN_KEY"
                " (`drawdown keys create`)",
                USAGE,
            )
        if host not in LOCAL_HOSTS:
            raise CommandError(
                f"set DRAWDOWN_KEY: the key in {self.home.key_path} is not sent to {host}", USAGE
            )
        return key


def _cluster(bootstrap: str) -> KafkaCluster:
    from drawdown.stream.kafka import KafkaCluster, overrides_from

    try:
        return KafkaCluster(bootstrap, overrides_from(os.environ))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _knock(bootstrap: str) -> None:
    """Find out at once that nobody is there: Kafka's own client keeps trying for long."""
    reasons = []
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition("://")[2].rpartition(":")
        if not port.isdigit() or not host:
            raise ConfigError(f"KAFKA_BOOTSTRAP_SERVERS: {address.strip()!r} is not host:port")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        except (OSError, OverflowError) as error:
            reasons.append(f"{host}:{port} ({getattr(error, 'strerror', None) or error})")
        else:
            return
    raise CommandError(
        f"Kafka does not answer at {', '.join(reasons)}: run `drawdown up` or set"
        " KAFKA_BOOTSTRAP_SERVERS",
        UNREACHABLE,
    )
