"""`drawdown settlement`, `gateway` and `query`: one service in the foreground.

What must be so before a service can work is looked at first - Kafka answers, the topics are there,
the port is free - so that what is wrong is one line, and not the middle of a traceback.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

import typer
from confluent_kafka import KafkaException

from drawdown import topics
from drawdown.cli.context import Context
from drawdown.cli.failures import of_kafka
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.config import Config
from drawdown.stream.kafka import KafkaCluster

app = typer.Typer(rich_markup_mode=None)

LOG_FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
log = logging.getLogger("drawdown.cli")


@app.command()
def settlement() -> None:
    """The only writer of balances.

    Decides usage and commands of the partitions it owns. Run as many as there are partitions, each
    with its own DRAWDOWN_INSTANCE, which it keeps over restarts.
    """
    from drawdown.settlement.restoring import HalfWrittenError
    from drawdown.settlement.service import PartitionsError, run
    from drawdown.stream.loop import FencedError
    from drawdown.stream.partition_log import LogError

    def serve(config: Config, cluster: KafkaCluster) -> None:
        _refuse_made_up_times(config, cluster)
        try:
            run(config, cluster)
        except (PartitionsError, HalfWrittenError, LogError) as error:
            raise CommandError(str(error)) from None
        except FencedError as error:
            raise CommandError(
                f"another settlement process has the name {config.instance!r}, and this one gave"
                f" way ({error}): set another DRAWDOWN_INSTANCE"
            ) from None

    _run("settlement", serve)


@app.command()
def gateway() -> None:
    """HTTP in: usage, authorizations, grants.

    Holds no balance; run as many as you like.
    """
    from drawdown.gateway.service import run

    _run("gateway", run)


@app.command()
def query() -> None:
    """HTTP out: wallets, entries, the wallet page.

    Follows balances into a local copy, which it can always make anew.
    """
    from drawdown.query.service import run

    _run("query", run)


@app.command()
def notify() -> None:
    """Pays for requested top-ups, by the provider at DRAWDOWN_PAYMENT_URL.

    Charges once per request and tells settlement how it went. Run more than one with a
    DRAWDOWN_INSTANCE each.
    """
    from drawdown.notify.service import NoProviderError, run

    def serve(config: Config, cluster: KafkaCluster) -> None:
        try:
            run(config, cluster)
        except NoProviderError as error:
            raise CommandError(str(error), USAGE) from None

    _run("notify", serve)


def _run(name: str, serve: Callable[[Config, KafkaCluster], None]) -> None:
    context = Context()
    config = context.config
    _log_to_stderr(config.log_level)
    try:
        cluster = context.kafka()
        _require_topics(config, cluster)
        _require_port(name, config)
        log.info("%s of environment %s, Kafka at %s", name, config.environment, cluster.bootstrap)
        serve(config, cluster)
    except KafkaException as error:
        raise of_kafka(error.args[0]) from None
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}") from None
    except SystemExit as error:
        if error.code:  # uvicorn has said why
            raise CommandError(f"{name} did not start: see above", FAILED) from None
        raise
    log.info("%s: stopped", name)


def _require_topics(config: Config, cluster: KafkaCluster) -> None:
    from drawdown.settlement.service import PartitionsError, partitions_of

    try:
        partitions_of(cluster, config.topics)
    except PartitionsError as error:
        raise CommandError(str(error)) from None


def _refuse_made_up_times(config: Config, cluster: KafkaCluster) -> None:
    """Only the broker's clock may date what is money."""
    if config.topics.is_scenario:
        raise CommandError(
            f"DRAWDOWN_ENVIRONMENT: {config.environment!r} takes its times from the"
            " producers and is not for real money; choose another name",
            USAGE,
        )
    for difference in topics.check(cluster.admin(), config.topics):
        if difference.what == "message.timestamp.type":
            raise CommandError(
                f"{difference.topic}: message.timestamp.type is {difference.is_}, so that producers"
                f" would date the money: run `{difference.fix}`",
                USAGE,
            )


def _require_port(name: str, config: Config) -> None:
    port: int = getattr(config, f"{name}_port")
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((config.host, port))
            trial.listen()
        except OSError as error:
            raise CommandError(
                f"cannot listen on {config.host}:{port} ({error.strerror}): set"
                f" DRAWDOWN_{name.upper()}_PORT or DRAWDOWN_HOST",
                USAGE,
            ) from None


def _log_to_stderr(level: str) -> None:
    """Logs go to stderr, times in UTC; no library says more than warnings."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(LOG_FORMAT, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = __import__("time").gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("drawdown").setLevel(level)
    logging.getLogger("uvicorn.error").addFilter(_last_line_only)
    os.environ.setdefault("PYTHONUNBUFFERED", "1")


def _last_line_only(record: logging.LogRecord) -> bool:
    """Of a failure that uvicorn tells as a whole traceback, its last line is what matters."""
    text = record.getMessage()
    if text.startswith("Traceback"):
        record.msg, record.args = text.strip().splitlines()[-1], None
    return True
