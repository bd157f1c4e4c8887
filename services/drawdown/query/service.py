"""Running the query service."""

from __future__ import annotations

from drawdown.config import Config
from drawdown.portal.page import add_pages
from drawdown.query.app import create_app
from drawdown.stream.ports import Cluster
from drawdown.web.server import serve


def run(config: Config, cluster: Cluster) -> None:
    """Run until SIGTERM or SIGINT."""
    directory = config.home / "query" / config.environment / config.instance
    app = create_app(cluster, config.topics, directory)
    add_pages(app)
    serve(app, config.host, config.query_port)
