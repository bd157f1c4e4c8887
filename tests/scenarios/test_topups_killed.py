"""Wallets fall below their threshold while whoever pays for it is killed between the charge and the
settlement, the provider answers twice, and settlement is killed: each request is one grant.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, _now, seed, until
from tests.support import judge

from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    USAGE_EVENTS,
)
from drawdown.notify.payments import key_of
from drawdown.notify.sandbox import Sandbox

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CUSTOMERS = [f"low-{number}" for number in range(6)]
KILLS = 3


class Notifier:
    """`drawdown notify` in a process of its own."""

    def __init__(self, world: World, provider: str, home: Path) -> None:
        home.mkdir(exist_ok=True)
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": world.broker.bootstrap,
            "DRAWDOWN_ENVIRONMENT": world.environment.name,
            "DRAWDOWN_HOME": str(home),
            "DRAWDOWN_NOTIFY_PORT": "0",
            "DRAWDOWN_PAYMENT_URL": provider,
            "DRAWDOWN_PAYMENT_KEY": "sk_never_told",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.log = home / "log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "drawdown.cli.main", "notify"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | environment,
            )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def low_wallets(broker: LocalKafka, tmp_path: Path) -> Iterator[World]:
    """Wallets with an auto top-up, and enough to be above it."""
    with World(broker, tmp_path, partitions=2, load=Load(seed(), customers=1)) as world:
        for customer in CUSTOMERS:
            send(world, customer, "grant", asset="USD", amount="5")
            terms = {"below": {"amount": "2"}, "top_up": {"amount": "50"}}
            caps = {"per": "month", "requests": 3}
            send(world, customer, "set_auto_topup", asset="USD", caps=caps, **terms)
        yield world


def send(world: World, customer: str, kind: str, **fields: Any) -> None:
    content = {"type": kind, "id": f"{kind}-{customer}", "customer": customer, "time": _now()}
    world._send(COMMANDS, customer, json.dumps({**content, **fields}).encode())
    world._producer.flush(10.0)


def use(world: World, customer: str) -> None:
    """Two million tokens: 4 USD, which leaves 1."""
    event = {"specversion": "1.0", "id": "e", "source": "scenario", "type": "llm.completion"}
    data = {"model": "gpt-5", "input": 2_000_000}
    value = json.dumps({**event, "subject": customer, "time": _now(), "data": data}).encode()
    world._send(USAGE_EVENTS, customer, value)
    world._producer.flush(10.0)


def entries(world: World) -> list[dict[str, Any]]:
    found = world.follower(BALANCE_CHANGES).read_to_the_end()
    return [json.loads(message.value() or b"") for message in found]


def requests(world: World) -> dict[str, list[str]]:
    """Ids of requested top-ups by customer."""
    found: dict[str, list[str]] = {customer: [] for customer in CUSTOMERS}
    for entry in entries(world):
        facts = entry["data"].get("topup", {})
        if facts.get("change") == "request":
            found[entry["subject"]].append(facts["request"])
    return found


def granted(world: World) -> dict[str, list[str]]:
    """Ids of grants that top-ups became, by customer."""
    found: dict[str, list[str]] = {customer: [] for customer in CUSTOMERS}
    for entry in entries(world):
        if entry["type"].endswith(".grant") and "topup" in entry["data"]:
            found[entry["subject"]].append(entry["data"]["grant"]["id"])
    return found


def test_each_request_is_charged_once_and_becomes_one_grant(
    broker: LocalKafka, tmp_path: Path
) -> None:
    with low_wallets(broker, tmp_path) as world:
        running: dict[str, Any] = {"settler": world.start()}
        world.ready(running["settler"])
        kills: list[int] = []
        armed: list[int] = []
        killing = threading.Lock()

        def kill_both(_: str) -> None:
            """A charge is made and not answered: the notify service is killed, and settlement. It
            is told when both are gone, because others are started then."""
            charges = sum(sandbox.asked.values())
            with killing:  # charges are answered by several threads
                if armed and charges > armed[0]:
                    armed.clear()
                    running["notifier"].kill()
                    running["settler"].kill()
                    kills.append(charges)

        with Sandbox(before_answer=kill_both) as sandbox:
            sandbox.silent["low-2"] = 1  # charged, and the answer is lost
            for customer in CUSTOMERS:
                use(world, customer)
            until(lambda: all(requests(world).values()), what="not every request is made")
            for killed in range(KILLS):
                running["notifier"] = Notifier(world, sandbox.url, tmp_path / "notify")
                armed.append(sum(sandbox.asked.values()))
                until(lambda: len(kills) > killed, what="nobody was killed")  # noqa: B023
                running["settler"] = world.start()
            running["notifier"] = Notifier(world, sandbox.url, tmp_path / "notify")
            until(lambda: all(granted(world).values()), what="not every request is a grant")
            for customer, (request,) in requests(world).items():
                # The provider's second answer, through another door.
                send(world, customer, "settle_topup", request_id=request, outcome="paid")
            world.ready(running["settler"])
            decisions = world.follower(DECISIONS)
            wanted = {f"settle_topup-{customer}" for customer in CUSTOMERS}
            until(lambda: wanted <= ids(decisions.read_to_the_end()), what="not all is decided")
            assert running["notifier"].stop() == 0
            log = running["notifier"].log.read_text()
            asked = requests(world)

        assert granted(world) == asked
        assert all(len(each) == 1 for each in asked.values())
        keys = {key_of(world.environment.name, who, one) for who, (one,) in asked.items()}
        assert set(sandbox.charges) == keys
        assert max(Counter(sandbox.asked).values()) > 1, "one at least is charged again"
        refused = [said for said in map(load, decisions.messages) if said["id"] in wanted]
        assert {said["reason"] for said in refused} == {"topup_settled"}
        assert "sk_never_told" not in log
        journal = world.follower(BALANCE_CHANGES).messages
        rows = world.follower(BALANCES).read_to_the_end()
        assert (
            judge.wrongs(
                [(m.key() or b"", m.value() or b"") for m in journal],
                [(m.key() or b"", m.value()) for m in rows],
            )
            == []
        )
        assert world.follower(DEAD_LETTERS).read_to_the_end() == []


def load(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.value() or b"")
    return found


def ids(messages: list[Any]) -> set[str]:
    return {load(message)["id"] for message in messages}
