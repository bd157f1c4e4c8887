"""The errors of the in-memory log: codes, flags and wording as librdkafka 2.16 gives them.

What the loop does next hangs on three flags, so each error is made here, once, as it was seen on a
real broker. The contract suite compares them.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException


class KilledError(BaseException):
    """The process that made this call is dead: unwind to whoever runs it. Not an `Exception`, so
    that no handler of the code under test outlives its own death."""


def state(reason: str) -> KafkaException:
    """A call that makes no sense now. Nothing has changed."""
    return KafkaException(KafkaError(KafkaError._STATE, reason))


def fenced(what: str) -> KafkaError:
    """Another producer has taken the transactional id, or the broker has ended the transaction by
    its timeout, which looks the same. Fatal."""
    return KafkaError(
        KafkaError._FENCED,
        f"Failed to {what}: Local: This instance has been fenced by a newer instance",
        fatal=True,
    )


def must_abort(code: int, reason: str) -> KafkaError:
    """The transaction cannot be committed; after an abort the producer goes on."""
    return KafkaError(code, reason, txn_requires_abort=True)


def undelivered() -> KafkaError:
    """Records of the transaction were dropped before they reached the broker."""
    return must_abort(
        KafkaError._INCONSISTENT, "1 message(s) failed delivery (see individual delivery reports)"
    )


def invalid_txn_state(what: str) -> KafkaError:
    """The coordinator knows no such open transaction. Fatal."""
    return KafkaError(
        KafkaError.INVALID_TXN_STATE,
        f"Failed to {what}: Broker: Producer attempted a transactional operation in an invalid"
        " state",
        fatal=True,
    )


def unanswered(
    reason: str = "Timed out waiting for operation to finish, retry call to resume",
) -> KafkaException:
    """A transactional call without an answer: it may or may not have taken effect."""
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, reason, retriable=True))


def conflict(name: str) -> KafkaException:
    """Another call's answer is still awaited; only that call may be made again. Says retriable."""
    return KafkaException(
        KafkaError(
            KafkaError._CONFLICT,
            f"Conflicting {name} API call is already in progress",
            retriable=True,
        )
    )


def failed(code: int, reason: str) -> KafkaException:
    """An error of a consumer's call: no flags are ever set there, not even on a time-out."""
    return KafkaException(KafkaError(code, reason))
