"""What the notify service counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

OUTCOMES: Final = Counter(
    "drawdown_topups",
    "Requested top-ups by how they ended: paid, failed, nothing (too late to be charged),"
    " given_up (nobody says whether it was paid: look).",
    ["outcome"],
)
RETRIES: Final = Counter(
    "drawdown_topup_retries", "Attempts after which nobody knew whether it was paid."
)
PENDING: Final = Gauge("drawdown_topups_pending", "Requested top-ups under way.")
FAULTS: Final = Counter(
    "drawdown_notify_faults", "Notices that cannot be read, adapters that raised.", ["what"]
)
