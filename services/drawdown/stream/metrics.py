"""What a worker counts and times: one typed list, with what each means and what to do about it."""

from __future__ import annotations

from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
AGES: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3600.0)


class StreamMetrics:
    """Metrics of one worker. Partitions are a label; customers never are."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.records = Counter(
            "drawdown_records",
            "Records taken from an input and decided, by what came of them: decided, rejected"
            " (dead letter) or forwarded to the partition of their key.",
            ["input", "result"],
            registry=registry,
        )
        self.entries = Counter(
            "drawdown_journal_entries", "Entries appended to the journal.", registry=registry
        )
        self.transaction_s = Histogram(
            "drawdown_transaction_duration_seconds",
            "From the first record of a transaction to its commit.",
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_s = Counter(
            "drawdown_stage_seconds",
            "Time spent per stage of the settlement loop; divided by records it is what one costs.",
            ["stage"],
            registry=registry,
        )
        self.aborted = Counter(
            "drawdown_transactions_aborted",
            "Transactions that were dropped and begun again, by cause. Rebalances cause a few; a"
            " steady rate means an unstable group or broker.",
            ["cause"],
            registry=registry,
        )
        self.event_age_s = Histogram(
            "drawdown_event_age_seconds",
            "Age of a usage record when its debit was committed: the window without control.",
            buckets=AGES,
            registry=registry,
        )
        self.lag = Gauge(
            "drawdown_consumer_lag_records",
            "Usage records that stand undecided on a partition, as far as known.",
            ["partition"],
            registry=registry,
        )
        self.restore_remaining = Gauge(
            "drawdown_restore_remaining_records",
            "Records a partition must still read before it is served.",
            ["partition"],
            registry=registry,
        )
        self.identities_remaining = Gauge(
            "drawdown_identities_remaining_records",
            "Offsets of the journal still to be read for the identities of a partition that is"
            " served already. While above 0, what may repeat an older record waits.",
            ["partition"],
            registry=registry,
        )
        self.held = Gauge(
            "drawdown_held_records",
            "Records known to wait until the identities they may repeat are restored, with those"
            " behind them.",
            registry=registry,
        )
        self.waited = Counter(
            "drawdown_waits",
            "How often an input came to a record that had to wait for restored identities.",
            ["input"],
            registry=registry,
        )
        self.owned = Gauge(
            "drawdown_partitions",
            "Partitions of this process by state: serving, recovering, stopped. A stopped one needs"
            " an operator: see the log and the runbook.",
            ["state"],
            registry=registry,
        )
        self.ownerless = Gauge(
            "drawdown_partitions_ownerless",
            "Partitions that no process of the group owns, though the group is at rest. The"
            " processes see to it themselves within half a minute; if not, restart one.",
            registry=registry,
        )
        self.misplaced = Counter(
            "drawdown_misplaced_records",
            "Records found on a partition their key does not belong to: a producer with another"
            " partitioner. Set it to murmur2.",
            registry=registry,
        )
        self.timers_held = Gauge(
            "drawdown_timers_held",
            "1 while timers do not fire because a clock jumped ahead.",
            registry=registry,
        )
