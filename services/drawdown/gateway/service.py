"""Running the gateway."""

from __future__ import annotations

from typing import Final

from drawdown.config import Config
from drawdown.gateway.app import create_app
from drawdown.gateway.commands import WAIT_S_MAX
from drawdown.stream.ports import Cluster
from drawdown.web.server import serve

DRAIN_SPARE_S: Final = 2.0


def run(config: Config, cluster: Cluster) -> None:
    """Run until SIGTERM or SIGINT; who waits for a decision then still gets it, in their time."""
    app = create_app(cluster, config.topics, config.instance)
    serve(app, config.host, config.gateway_port, drain_s=WAIT_S_MAX + DRAIN_SPARE_S)
