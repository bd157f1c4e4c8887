"""The notify service: it pays for top-ups that settlement requested."""

from __future__ import annotations

import logging
import signal
import threading

from drawdown.config import Config
from drawdown.health import HealthServer
from drawdown.notify.http_payments import HttpPayments
from drawdown.notify.payments import Payments
from drawdown.notify.worker import Worker
from drawdown.stream.clock import SystemClock
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.notify")


class NoProviderError(Exception):
    """Nobody was named who takes money."""


def payments_of(config: Config) -> HttpPayments:
    """The provider that is configured. Raises NoProviderError."""
    if config.payment_url is None:
        raise NoProviderError(
            "DRAWDOWN_PAYMENT_URL: say where the payment provider is; `python -m"
            " drawdown.notify.sandbox` is one that takes no money"
        )
    secret = None if config.payment_key is None else config.payment_key.get_secret_value()
    return HttpPayments(config.payment_url, secret)


def run(config: Config, cluster: Cluster, payments: Payments | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises NoProviderError, KafkaException."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    provider = payments or payments_of(config)
    worker = Worker(cluster, config.topics, config.instance, provider, SystemClock())
    health = HealthServer(
        config.host,
        config.notify_port,
        ready=lambda: worker.joined and not stop.is_set(),
        status=lambda: {"partitions": worker.partitions, "pending": worker.pending},
    )
    health.start()
    log.info("notify %s: http://%s:%d/metrics", config.instance, config.host, health.port)
    try:
        while not stop.is_set():
            worker.turn()
    finally:
        worker.close()
        health.stop()
