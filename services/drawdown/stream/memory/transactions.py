"""The transactional side of a producer: which call makes sense, and what each does at the broker.

States are librdkafka's. An error that spoils the transaction stays until it is aborted, a fatal one
for good; a call without an answer leaves only itself to be repeated.
"""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from . import errors
from .broker import Broker, TransactionalId
from .group import Partition
from .log import COMMITTED, OPEN, PartitionLog, Txn

INIT: Final = "Init"
READY: Final = "Ready"
IN_TRANSACTION: Final = "InTransaction"
ABORTABLE: Final = "AbortableError"
FATAL: Final = "FatalError"


class Transactions:
    """Those of one transactional producer."""

    def __init__(self, broker: Broker, name: str, timeout_ms: int) -> None:
        self.name = name
        self.timeout_ms = timeout_ms
        self.state: str = INIT
        self.error: KafkaError | None = None
        self.awaited: str | None = None  # the call whose answer did not come
        self.txn: Txn | None = None
        self.coordinated: TransactionalId | None = None
        self.epoch = -1
        self.markers_ms = 0  # how late readers are to see the next end
        self.offsets_first = False  # and whether its offsets are not
        self._broker = broker
        self._tells_fatal = False
        self._ended: set[PartitionLog] = set()  # partitions of what a late commit has ended
        self._out_of_order: set[PartitionLog] = set()  # partitions with a gap in our sequence

    # Order of calls

    def check(self, call: str, *states: str) -> None:
        """Raise where a call makes no sense now."""
        if self.awaited is not None and self.awaited != call:
            raise errors.conflict(self.awaited)
        if self.error is not None and (self.state is FATAL or ABORTABLE not in states):
            self.awaited = None
            raise KafkaException(self.error)
        if self.state not in states:
            raise errors.state(f"Operation not valid in state {self.state}")

    def refuses_records(self) -> int | None:
        """The code with which a record is not taken now."""
        if self.state is IN_TRANSACTION and self.awaited is None:
            return None
        return KafkaError._FATAL if self.state is FATAL else KafkaError._STATE

    def begin(self) -> None:
        """Only a note to ourselves: the broker hears of it with the first record."""
        self.state, self.txn = IN_TRANSACTION, None

    def finish(self) -> None:
        """The transaction is over."""
        self.state, self.error, self.txn = READY, None, None
        self._ended.clear()

    # At the broker

    def init(self) -> None:
        """Take the next epoch."""
        self.coordinated = self._broker.init_producer(self.name, self.timeout_ms)
        self.epoch = self.coordinated.epoch

    def send_offsets(self, metadata: bytes, offsets: dict[Partition, int]) -> None:
        """Hold offsets of a group until the end."""
        generation, group_id, member_id, instance = decoded(metadata)
        self._refuse_if_fenced("add offsets to transaction")
        group = self._broker.group(group_id)
        code = group.refusal(generation, member_id, instance)
        if code is not None:
            reason = f"Failed to commit offsets to transaction: {KafkaError(code).str()}"
            raise self.spoilt(errors.must_abort(code, reason))
        group.pend(self.open(), offsets)

    def commit(self) -> None:
        """End the transaction for good; what a late commit has ended already is well."""
        self._end(committed=True)

    def abort(self) -> None:
        """Take the transaction back; what a late commit has ended cannot be."""
        self._end(committed=False)

    def _end(self, committed: bool) -> None:
        txn = self.txn
        if txn is None:
            return
        self._refuse_if_fenced("end transaction")
        if txn.status == OPEN:
            assert self.coordinated is not None
            self._broker.end_transaction(
                self.coordinated, committed, self.markers_ms, self.offsets_first
            )
        elif (txn.status == COMMITTED) != committed:
            raise self.died(errors.invalid_txn_state("end transaction"))

    def open(self) -> Txn:
        """The broker's transaction that we write to; a late commit may have ended the one before,
        and then, without a word, another one begins."""
        txn = self.txn
        if txn is None or txn.status != OPEN:
            if txn is not None:
                self._ended.update(txn.logs)
            assert self.coordinated is not None
            txn = self.txn = self._broker.open_transaction(self.coordinated)
        return txn

    def admits(self, log: PartitionLog) -> int | None:
        """Whether the broker looks at a record for this partition at all; if not, the code."""
        assert self.coordinated is not None
        if self.error is not None:
            return KafkaError._PURGE_QUEUE
        if self.coordinated.epoch != self.epoch:
            self.died(errors.fenced("add partitions to transaction"))
            return KafkaError._PURGE_QUEUE
        if self._out_of_order and log in self._out_of_order:
            # It misses a record of ours here, one that it refused. It says so once.
            self._out_of_order.discard(log)
            self.refuse(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, log)
            return KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
        txn = self.txn
        ended = txn is not None and txn.status != OPEN and log in txn.logs
        if ended or (self._ended and log in self._ended):
            # It takes the transaction for ended, and we have not announced the partition again.
            self.died(errors.invalid_txn_state("produce"))
            return KafkaError.INVALID_TXN_STATE
        return None

    def refuse(self, code: int, log: PartitionLog) -> None:
        """The broker does not take a record. Its number in the sequence will be missing."""
        self.open()
        if code != KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER:
            self._out_of_order.add(log)
        self.spoil(
            errors.must_abort(
                code,
                f"ProduceRequest for {log.topic} [{log.partition}] with 1 message(s) failed:"
                f" {KafkaError(code).str()}: current transaction must be aborted",
            )
        )

    # Errors

    def spoil(self, error: KafkaError) -> None:
        """The transaction can only be aborted, for the first of its errors."""
        if self.state is IN_TRANSACTION:
            self.state, self.error = ABORTABLE, error

    def spoilt(self, error: KafkaError) -> KafkaException:
        """The same, to be raised."""
        self.spoil(error)
        return KafkaException(self.error)

    def died(self, error: KafkaError) -> KafkaException:
        """No call helps any more. The next one says so, and one `poll` or `flush`."""
        if self.state is not FATAL:
            self.state, self.error, self._tells_fatal = FATAL, error, True
        return KafkaException(self.error)

    def tell_fatal(self) -> None:
        """Raise a fatal error that has not been raised here yet."""
        if self._tells_fatal:
            self._tells_fatal = False
            raise KafkaException(self.error)

    def _refuse_if_fenced(self, doing: str) -> None:
        assert self.coordinated is not None
        if self.coordinated.epoch != self.epoch:
            raise self.died(errors.fenced(doing))


def decoded(metadata: Any) -> tuple[int, str, str, str | None]:
    """Generation, group, member, instance: what `consumer_group_metadata` gave."""
    generation = int.from_bytes(metadata[7:11], "little", signed=True)
    group, member, rest = metadata[11:].split(b"\0", 2)
    instance = rest[1:-1].decode() if rest[:1] == b"\0" else None
    return generation, group.decode(), member.decode(), instance
