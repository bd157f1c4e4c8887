"""`up`, `down` and `status`: what runs, and that data is kept."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest
from tests.cli.commands import Drawdown, free_port, until

from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE

pytestmark = pytest.mark.kafka


@pytest.fixture
def another(nothing: Drawdown) -> Iterator[Drawdown]:
    """A home that this test alone brings up."""
    yield nothing
    nothing("down")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_all_of_it_is_ready(stack: Drawdown) -> None:
    status = stack.json("status")

    assert status["ready"]
    assert status["environment"] == "dev"
    names = [process["name"] for process in status["processes"]]
    assert names == ["kafka", "settlement", "gateway", "query"]
    assert all(process["address"].count("127.0.0.1:") for process in status["processes"])
    table = stack.ok("status").rows
    assert [row[3] for row in table[1:]] == ["ready"] * 4


def test_up_again_leaves_it_running(stack: Drawdown) -> None:
    before = stack.json("status")["processes"]

    assert "all of it runs already" in stack.ok("up").err
    after = stack.json("status")["processes"]
    assert [process["pid"] for process in after] == [process["pid"] for process in before]


def test_a_paused_process_is_shown(stack: Drawdown) -> None:
    pid = next(p["pid"] for p in stack.json("status")["processes"] if p["name"] == "query")
    os.kill(pid, signal.SIGSTOP)
    try:
        ended = stack("status", "--json")
        assert ended.code == FAILED
        assert {p["name"]: p["health"] for p in ended.json["processes"]}["query"] == "paused"
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: stack("status").code == 0)


def test_the_command_as_a_process_of_its_own(stack: Drawdown) -> None:
    with stack.process("wallet", "nobody here") as done:
        out, err = done.communicate(timeout=20)

    assert (done.returncode, out) == (FAILED, "")
    assert err.startswith("error: CUSTOMER: no wallet of 'nobody here' is known")
    assert err.count("\n") == 1


def test_data_is_kept(stack: Drawdown) -> None:
    # The stack was up before, and down, since this key was made.
    assert "of a former life" in {key["title"] for key in stack.json("keys", "list")}


def test_afresh_is_without_what_was_there(stack: Drawdown, another: Drawdown) -> None:
    running = stack("up", "--fresh")
    assert running.code == FAILED
    assert running.error.endswith("still run: `drawdown down` before --fresh")
    for folder in ("stores", "query", "logs"):
        (another.home / folder / "dev").mkdir(parents=True)
    (another.home / "key").write_text("drw_sk_old_key")
    port = free_port()

    another.ok("up", "--broker-only", "--fresh", "--port", port)

    assert another("status", "--json").json["processes"][0]["address"] == f"127.0.0.1:{port}"
    assert not (another.home / "stores").exists()
    (made,) = another.json("keys", "list")
    assert (another.home / "key").read_text().startswith(f"drw_sk_{made['id']}_")
    said = another.ok("down")
    assert "its data stays in" in said.err
    assert another("status").code == UNREACHABLE
    assert "nothing of" in another.ok("down").err


def test_a_service_whose_port_is_taken_leaves_nothing_running(
    stack: Drawdown, another: Drawdown, taken: int
) -> None:
    kafka = next(p for p in stack.json("status")["processes"] if p["name"] == "kafka")
    configured = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka["address"],
        "DRAWDOWN_ENVIRONMENT": "ports",
        "DRAWDOWN_GATEWAY_PORT": str(taken),
    }

    ended = another("up", **configured)

    assert ended.code == FAILED
    assert "gateway (DRAWDOWN_GATEWAY_PORT)" in ended.error
    assert str(taken) in ended.error
    parts = another("status", "--json", **configured).json["processes"]
    assert {part["name"]: part["health"] for part in parts} == {
        "kafka": "ready",
        "settlement": "stopped",
    }
    local = another("up", "--brokers", 1, **configured)
    assert local.code == USAGE
    assert local.error.endswith("unset KAFKA_BOOTSTRAP_SERVERS to have one")


def test_a_kafka_port_that_is_taken(another: Drawdown, taken: int) -> None:
    ended = another("up", "--port", taken)

    assert ended.code == FAILED
    assert str(taken) in ended.error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--brokers", 2), "--brokers: choose 1 or 3"),
        (("--brokers", "many"), None),
    ],
)
def test_bad_arguments(nothing: Drawdown, arguments: tuple[object, ...], says: str | None) -> None:
    ended = nothing("up", *arguments)

    assert ended.code == USAGE
    if says is not None:
        assert ended.error == says
