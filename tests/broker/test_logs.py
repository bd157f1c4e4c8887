"""The one line that says why a broker did not start."""

from __future__ import annotations

from pathlib import Path

from drawdown.broker.logs import reason, size_bytes

AT = "2026-11-21T15:14:40,313+00:00"


def _reason(tmp_path: Path, log: str, console: str = "", since_bytes: int = 0) -> str:
    (tmp_path / "server.log").write_text(log, encoding="utf-8")
    (tmp_path / "console.log").write_text(console, encoding="utf-8")
    return reason(tmp_path / "server.log", tmp_path / "console.log", since_bytes)


def test_the_innermost_exception_of_the_last_error_is_told(tmp_path: Path) -> None:
    log = (
        f"{AT} INFO  KafkaRaftServer: starting\n"
        f"{AT} ERROR BrokerServer: [BrokerServer id=1] Fatal error during startup\n"
        "org.apache.kafka.common.KafkaException: Socket server failed to bind\n"
        "\tat kafka.network.Acceptor.openServerSocket(SocketServer.scala)\n"
        "Caused by: java.net.BindException: Address already in use\n"
        "\tat java.base/sun.nio.ch.Net.bind0(Native Method)\n"
        f"{AT} INFO  KafkaRaftServer: shut down\n"
    )
    assert _reason(tmp_path, log) == "Address already in use"


def test_an_error_without_an_exception_is_told(tmp_path: Path) -> None:
    assert _reason(tmp_path, f"{AT} ERROR LogManager: the disk is gone\n") == (
        "LogManager: the disk is gone"
    )


def test_errors_of_an_earlier_run_are_not(tmp_path: Path) -> None:
    earlier = f"{AT} ERROR LogManager: long ago\n"
    log = f"{earlier}{AT} INFO  KafkaRaftServer: starting\n"
    console = "[0.1s][warning][aot] never mind\nError: no room for the heap\nWARNING: and so on\n"
    assert _reason(tmp_path, log, console, len(earlier)) == "Error: no room for the heap"


def test_a_log_that_was_rolled_over_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = f"{AT} ERROR LogManager: the disk is gone\n"
    assert "the disk is gone" in _reason(tmp_path, log, since_bytes=10_000)


def test_silence_is_told_too(tmp_path: Path) -> None:
    assert reason(tmp_path / "none", tmp_path / "none", 0) == "it said nothing"
    assert _reason(tmp_path, "", "[0.1s][warning][aot] never mind\n") == "it said nothing"
    assert size_bytes(tmp_path / "none") == 0
