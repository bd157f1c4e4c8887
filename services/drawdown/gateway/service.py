"""Running the gateway."""

from __future__ import annotations

from drawdown.config import Config
from drawdown.gateway.app import create_app
from drawdown.stream.ports import Cluster
from drawdown.web.server import serve


def run(config: Config, cluster: Cluster) -> None:
    """Run until SIGTERM or SIGINT."""
    serve(create_app(cluster, config.topics, config.instance), config.host, config.gateway_port)
