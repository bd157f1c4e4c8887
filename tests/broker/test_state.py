"""What is remembered of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawdown.broker import state
from drawdown.broker.errors import BrokerError
from drawdown.broker.process import Process

STATE = state.State(
    options=state.Options(
        brokers=3,
        port=19092,
        detached=True,
        advertised={2: 5},
        server_properties={"a": "b"},
        jvm_args=("-Da=b",),
        env={"C": "d"},
        heap_mib=300,
    ),
    cluster_id="id",
    nodes=(state.Node(1, 1, 2, 3), state.Node(2, 4, 5, 6, advertised_port=7)),
    processes={1: Process(10, 11, "boot")},
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state.save(tmp_path / "state.json", STATE)
    assert state.load(tmp_path / "state.json") == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_nothing_was_started(tmp_path: Path) -> None:
    assert state.load(tmp_path / "state.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"options": {"jvm_args": []}}'])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text, encoding="utf-8")
    with pytest.raises(BrokerError, match=r"is damaged .* remove it; the data beside it is kept"):
        state.load(tmp_path / "state.json")


def test_a_process_of_another_boot_does_not_run() -> None:
    assert STATE.running() == {}
