"""The `drawdown` command as people run it, in a home of its own."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from drawdown.cli.main import app
from drawdown.events.codec import decode_any

BOOK = """\
version: "v1"
assets: [{code: USD, scale: 12}, {code: credit, scale: 0}]
thresholds: {USD: [1]}
meters:
  - {id: llm, event_types: [llm.request], fields: [input, cached_input, output]}
  - {id: responses, event_types: [response.sent], fields: [responses]}
rates:
  - id: gpt-5
    meter: llm
    match: {model: gpt-5}
    asset: USD
    price: {model: token_map, per: 1000000, prices: {input: 1.25, cached_input: 0.125, output: 10}}
  - id: thirds
    meter: llm
    match: {model: thirds}
    asset: USD
    price: {model: per_unit, quantity: input, price: 1, per: 3}
    rounding: {mode: half_up, places: 4}
  - id: response
    meter: responses
    asset: credit
    price: {model: per_unit, quantity: responses, price: 12}
costs:
  - id: gpt-5-cost
    meter: llm
    match: {model: gpt-5}
    asset: USD
    price: {model: token_map, per: 1000000, prices: {input: 1, cached_input: 0.1, output: 8}}
plans:
  - id: team
    fees:
      - {id: seats, asset: USD, amount: 19, per: seat}
    grants:
      - {id: pool, asset: credit, amount: 1900, per: seat}
    entitlements:
      - {id: sso}
      - {id: replies, meter: responses, limit: 10}
"""
"""gpt-5 as in the domain's eighth example, a price without end, and credits."""

NOT_OURS = {
    name: None for name in os.environ if name.startswith(("DRAWDOWN_", "KAFKA_", "NO_COLOR"))
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return decode_any(self.out.encode())

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line of the output."""
        return [line.split() for line in self.out.splitlines()]

    @property
    def errors(self) -> list[str]:
        """What is wrong, a line for each."""
        found = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return [line.removeprefix("error: ") for line in found]

    @property
    def error(self) -> str:
        """The one line that a failed command ends with."""
        (line,) = self.errors
        return line


class Drawdown:
    """The `drawdown` command in a home of its own, on ports that are free."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment: dict[str, str | None] = {
            **NOT_OURS,
            "DRAWDOWN_HOME": str(home),
            "DRAWDOWN_SETTLEMENT_PORT": "0",
            "DRAWDOWN_GATEWAY_PORT": "0",
            "DRAWDOWN_QUERY_PORT": "0",
        }

    def __call__(self, *arguments: object, stdin: str | None = None, **changes: str) -> Ended:
        root = logging.getLogger()
        handlers = root.handlers[:]
        try:
            result = CliRunner().invoke(
                app,
                [str(argument) for argument in arguments],
                stdin,
                {**self.environment, **changes},
            )
        finally:
            root.handlers[:] = handlers  # one that writes to this run's output would outlive it
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: object, **changes: Any) -> Ended:
        """Run a command that must succeed."""
        ended = self(*arguments, **changes)
        assert ended.code == 0, ended.err
        return ended

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The command as a process of its own; ended at the end."""
        others = {k: v for k, v in os.environ.items() if k not in self.environment}
        ours = {k: v for k, v in self.environment.items() if v is not None}
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "drawdown.cli.main", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**others, **ours},
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: object) -> Any:
        return self.ok(*arguments, "--json").json

    def settled(self, customer: str, sequence: int) -> Any:
        """The wallet as it stands after an entry, once both are there: rows and entries are
        followed one beside the other."""

        def there() -> Any:
            ended = self("wallet", customer, "--json")
            if ended.code or ended.json["wallet"]["sequence"] < sequence:
                return None
            newest = max((each["data"]["sequence"] for each in ended.json["entries"]), default=0)
            return ended.json if newest >= sequence else None

        return until(there)


def until(found: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """Wait for what is found to be something. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s"
        time.sleep(0.05)
    return result


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
