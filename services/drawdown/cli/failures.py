"""What an exception means to the person at the terminal: one line, and the exit code.

Imported when something has failed, because it knows the errors of every part.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError, KafkaException

from drawdown.access import AccessError
from drawdown.book_file import BookFileError
from drawdown.broker.errors import BrokerError
from drawdown.cli.local import StackError
from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE, CommandError
from drawdown.config import ConfigError
from drawdown.deadletters.errors import DeadLettersError
from drawdown.events.codec import RecordError
from drawdown.integrations.litellm import CatalogueError
from drawdown.ledger.book import BookError
from drawdown.scenarios.kafka_world import KafkaWorldError
from drawdown.scenarios.play import ScenarioError
from drawdown.settlement.backup import BackupError
from drawdown.settlement.publish import PublishError
from drawdown.stream.partition_log import LogError
from drawdown.stream.snapshots import SnapshotError
from drawdown.topics import TopicsError

ONE_LINE: Final = (
    AccessError,
    BackupError,
    BookError,
    BookFileError,
    BrokerError,
    CatalogueError,
    DeadLettersError,
    KafkaWorldError,
    LogError,
    PublishError,
    RecordError,
    ScenarioError,
    SnapshotError,
    StackError,
    TopicsError,
)
"""Errors whose text is the line."""

AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
    }
)


def told(error: BaseException) -> CommandError | None:
    """The line and the code for an expected failure; None for a fault of ours."""
    if isinstance(error, CommandError):
        return error
    if isinstance(error, ConfigError):
        return CommandError(str(error), USAGE)
    if isinstance(error, KafkaException):
        return of_kafka(error.args[0])
    if isinstance(error, TimeoutError):
        return CommandError(
            "Kafka did not answer in time: it is busy or away; see `drawdown status`", UNREACHABLE
        )
    if isinstance(error, ONE_LINE):
        code = UNREACHABLE if "does not answer" in str(error) else FAILED
        return CommandError(str(error), code)
    return None


def of_kafka(error: KafkaError) -> CommandError:
    """What Kafka refused, in words."""
    code, text = error.code(), error.str()
    if code in AWAY:
        return CommandError(
            f"Kafka does not answer ({text}): see `drawdown status` and KAFKA_BOOTSTRAP_SERVERS",
            UNREACHABLE,
        )
    if code in REFUSED:
        return CommandError(
            f"Kafka refuses this client ({text}): check its KAFKA_SASL_* and KAFKA_SSL_* settings"
            " and its ACLs; `drawdown doctor` says which are missing",
            USAGE,
        )
    if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return CommandError(f"{text}: run `drawdown topics create`")
    return CommandError(f"Kafka says: {text}")
