"""What a campaign leaves behind of a broker whose disk is unmounted."""

from __future__ import annotations

from pathlib import Path

from tests.faults.suite import keep_brokers


def test_of_a_broker_its_logs_and_internal_topics_are_kept(tmp_path: Path) -> None:
    for name in (
        "broker-1/server.log",
        "broker-1/server.log.1",
        "broker-1/data/__consumer_offsets-2/00000000000000000000.log",
        "broker-1/data/__transaction_state-0/00000000000000000000.log",
        "broker-1/data/faults-1.balances-0/00000000000000000000.log",
        "broker-1/tmp/what-a-jvm-left",
    ):
        path = tmp_path / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")

    keep_brokers(tmp_path / "home", tmp_path / "kept")

    kept = tmp_path / "kept"
    assert sorted(str(p.relative_to(kept)) for p in kept.rglob("*") if p.is_file()) == [
        "broker-1/data/__consumer_offsets-2/00000000000000000000.log",
        "broker-1/data/__transaction_state-0/00000000000000000000.log",
        "broker-1/server.log",
        "broker-1/server.log.1",
    ]
