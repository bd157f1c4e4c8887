"""The demo as a stranger runs it, settlement killed in the middle, on a real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

KEYS = {
    "events",
    "customers",
    "events_per_second",
    "lag_ms_p50",
    "lag_ms_p99",
    "mismatches",
    "duplicates_ignored",
    "denials",
    "low_balance_alerts",
    "debited",
}


def test_every_balance_is_proved_though_settlement_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "drawdown.cli.main", "demo", "--json", "--kill"],
        env={**os.environ, "DRAWDOWN_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result.keys() >= KEYS
    assert result["settlement_killed"]
    assert (result["events"], result["customers"]) == (8_819, 20)
    assert (result["mismatches"], result["differences"]) == (0, {})
    assert result["duplicates_ignored"] == 8_819
    assert result["dead_letters"] == 0
    # The trace and the prices decide these, whatever the machine does.
    assert result["debited"] == "21.54025465"
    assert result["denials"] > 0
    assert result["low_balance_alerts"] > 0
    # Holds: work that was authorized against a hold cannot overshoot; what was not, did.
    assert result["holds"] > 500
    assert result["subscription"] == {
        "fee": "20",
        "included": "5",
        "overage": "3",
        "shortfall": "1",
        "left": "7",
    }
    over = {how: Decimal(amount) for how, amount in result["prepay_over"].items()}
    assert over["held"] == 0
    assert over["checked"] > 0
    assert over["late"] > 1_000
    assert "costs more than it pays" in done.stderr
    assert "0 mismatches" in done.stderr


def test_a_proof_that_finds_a_difference_says_whose(tmp_path: Path) -> None:
    """The proof can fail: a digit more in one wallet is found."""
    from importlib.resources import files

    from drawdown.demo import proof, traffic

    data = files("drawdown.data")
    run = {
        "trace": str(data.joinpath(*traffic.TRACE)),
        "catalogue": str(data / "litellm-prices" / "model_prices_and_context_window.json"),
        "seconds": 20,
        "change_ms": 10_000,
        "grants": [[name, "100"] for name in traffic.CUSTOMERS],
    }
    wallets = {
        name: {total: format(value, "f") for total, value in totals.items()}
        for name, totals in proof.recomputed(run).items()
    }
    assert _proved(run | {"wallets": wallets}) == (0, 0)
    wallets["oak"]["balance"] += "1"
    assert _proved(run | {"wallets": wallets}) == (1, 1)
    del wallets["elm"]
    assert _proved(run | {"wallets": wallets}) == (1, 2)


def _proved(run: dict[str, object]) -> tuple[int, int]:
    """Exit code and mismatches of the proof, run as the demo runs it."""
    from drawdown.demo import proof

    done = subprocess.run(
        [sys.executable, "-I", proof.__file__],
        input=json.dumps(run),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)["mismatches"]
