"""The topic catalogue: every topic, what it holds, and how it must be configured.

`drawdown topics create|check`, `doctor`, the schemas and the services all read this one list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

DAY_MS: Final = 86_400_000
LATENESS_DAYS_DEFAULT: Final = 35
"""How late an event may arrive, unless the price book says otherwise."""
INPUT_RETENTION_MS: Final = (LATENESS_DAYS_DEFAULT + 7) * DAY_MS
"""Inputs and decisions outlive the lateness window by a week, so that what is in doubt can still
be decided again."""
MIB: Final = 1 << 20
PARTITIONS_DEFAULT: Final = 4
"""A transaction's cost grows with the partitions it touches: few on one machine."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the catalogue; `name` is without the environment's prefix."""

    name: str
    holds: str
    cleanup: Literal["delete", "compact"]
    retention_ms: int | None
    """None keeps everything."""
    by_customer: bool
    """Keyed by customer, with the environment's number of partitions; else one partition."""
    max_message_bytes: int = 2 * MIB

    def config(self, environment: Environment) -> dict[str, str]:
        """The topic configuration Kafka must have, as property -> value."""
        config = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": environment.timestamp_type,
            "max.message.bytes": str(self.max_message_bytes),
        }
        if self.cleanup == "delete":
            config["retention.ms"] = str(-1 if self.retention_ms is None else self.retention_ms)
            config["retention.bytes"] = "-1"
            if environment.is_scenario:
                # By times that somebody made up, all of it would be over, or never.
                config["retention.ms"] = "-1"
        else:
            config["min.cleanable.dirty.ratio"] = "0.2"
        if environment.is_scenario:
            # Since Kafka 4.0 a producer's time may be an hour ahead, no more, unless said.
            config["message.timestamp.after.max.ms"] = str(2**63 - 1)
        return config


USAGE_EVENTS: Final = Topic(
    "usage-events", "usage events (CloudEvents 1.0)", "delete", INPUT_RETENTION_MS, True, 12 * MIB
)
COMMANDS: Final = Topic(
    "commands", "authorize, grant, set_terms, ...", "delete", INPUT_RETENTION_MS, True, 12 * MIB
)
PRICE_BOOK: Final = Topic(
    "price-book", "versions of prices, costs and meters", "delete", None, False
)
SETTINGS: Final = Topic("settings", "API-key hashes and other settings", "compact", None, False)
BALANCE_CHANGES: Final = Topic(
    "balance-changes", "the journal: one entry per change", "delete", None, True
)
BALANCES: Final = Topic("balances", "rows as they stand: wallets and more", "compact", None, True)
DECISIONS: Final = Topic(
    "decisions", "the answer to each command", "delete", INPUT_RETENTION_MS, True
)
LOW_BALANCE: Final = Topic(
    "low-balance", "threshold crossings, once each", "delete", INPUT_RETENTION_MS, True
)
NOTIFICATIONS: Final = Topic("notifications", "other notices", "delete", INPUT_RETENTION_MS, True)
DEAD_LETTERS: Final = Topic(
    "dead-letters",
    "rejected records whole, with the reason",
    "delete",
    180 * DAY_MS,
    True,
    20 * MIB,
)

TOPICS: Final = (
    USAGE_EVENTS,
    COMMANDS,
    PRICE_BOOK,
    SETTINGS,
    BALANCE_CHANGES,
    BALANCES,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    DEAD_LETTERS,
)

SCENARIO: Final = "scenario"


@dataclass(frozen=True, slots=True)
class Environment:
    """A set of topics side by side with others on one cluster: `live`, `test`, ..."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", self.name):
            raise ValueError(
                f"environment {self.name!r}: use a-z, 0-9 and '-', starting with a letter,"
                " at most 31 characters"
            )

    @property
    def is_scenario(self) -> bool:
        """Only a scenario plays through months with times of its own making: `scenario`, or
        `scenario-` and more, so that several have topics of their own."""
        return self.name == SCENARIO or self.name.startswith(f"{SCENARIO}-")

    @property
    def timestamp_type(self) -> str:
        """Who dates records: the broker, except in a scenario."""
        return "CreateTime" if self.is_scenario else "LogAppendTime"

    def topic(self, topic: Topic) -> str:
        """The topic's name on the cluster."""
        return f"{self.name}.{topic.name}"

    def known(self, name: str) -> Topic | None:
        """The topic of the catalogue that has this name on the cluster."""
        return next((topic for topic in TOPICS if self.topic(topic) == name), None)
