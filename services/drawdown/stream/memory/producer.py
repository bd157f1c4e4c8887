"""The producer of the in-memory log: its calls, and the way of a record into the log.

A record is in the log as soon as `produce` returns, as if every record were sent at once; a real
one is there at the latest after `flush` or `commit_transaction`. Only while the broker is away do
records wait here. What a transaction makes of all that is the `transactions`'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from drawdown.stream.partition import partition_of

from . import errors
from .client import Client, Process
from .faults import AnswerLost, Fault, MarkersDelayed, MustAbort, RequestDelayed
from .log import RECORD_OVERHEAD_BYTES, PartitionLog, Topic
from .transactions import ABORTABLE, IN_TRANSACTION, INIT, READY, Transactions

Headers = list[tuple[str, bytes | None]]
Report = Callable[[KafkaError | None, Message], None]
Record = tuple[str, int, bytes | None, bytes | None, Headers | None, int, Report | None]

_MESSAGE_BYTES_MAX = 1_000_000
_QUEUE_MAX = 100_000
_TRANSACTION_TIMEOUT_MS = 60_000
_MESSAGE_TIMEOUT_MS = 300_000


class MemoryProducer(Client):
    """See `stream.ports.Producer`."""

    def __init__(self, process: Process, config: Mapping[str, Any]) -> None:
        super().__init__(process, config)
        name: str | None = config.get("transactional.id")
        timeout_ms = int(config.get("transaction.timeout.ms", _TRANSACTION_TIMEOUT_MS))
        self._transactions = Transactions(self._broker, name, timeout_ms) if name else None
        self._bytes_max = int(config.get("message.max.bytes", _MESSAGE_BYTES_MAX))
        self._queue_max = int(config.get("queue.buffering.max.messages", _QUEUE_MAX))
        # librdkafka gives a transaction's records no longer than the transaction.
        self._message_timeout_ms = (
            timeout_ms if name else int(config.get("message.timeout.ms", _MESSAGE_TIMEOUT_MS))
        )
        self._murmur2 = str(config.get("partitioner", "")).startswith("murmur2")
        self._keyless = 0
        self._unsent: list[Record] = []
        self._unsent_since_ms = 0
        self._reports: list[tuple[Report, KafkaError | None, Message]] = []
        self._topics_seen: set[str] = set()
        self._topics_missing: set[str] = set()

    # Transactions

    def init_transactions(self, timeout: float = -1) -> None:
        """Take the next epoch of the transactional id."""
        transactions, fault = self._begin("init_transactions", INIT)
        self._ask("init_transactions", transactions, fault, timeout, transactions.init)
        transactions.state = READY
        self._leave("init_transactions")

    def begin_transaction(self) -> None:
        """Only a note to ourselves: the broker hears of it with the first record."""
        transactions, _ = self._begin("begin_transaction", READY)
        transactions.begin()

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float = -1
    ) -> None:
        """Make these the group's offsets when the transaction commits. Offsets below 0 are passed
        over; with none left nothing is asked, not even whether the member is one."""
        call = "send_offsets_to_transaction"
        transactions, fault = self._begin(call, IN_TRANSACTION)
        offsets = {(p.topic, p.partition): p.offset for p in positions if p.offset >= 0}
        if offsets:
            self._ask(
                call,
                transactions,
                fault,
                timeout,
                lambda: transactions.send_offsets(group_metadata, offsets),
            )
        self._leave(call)

    def commit_transaction(self, timeout: float = -1) -> None:
        """Send what waits, then end the transaction. Nothing is asked if nothing was sent."""
        transactions, fault = self._begin("commit_transaction", IN_TRANSACTION)

        def commit() -> None:
            self._send()
            if transactions.error is not None:
                raise KafkaException(transactions.error)
            transactions.commit()

        try:
            if self._unsent or transactions.txn is not None or fault is not None:
                self._ask("commit_transaction", transactions, fault, timeout, commit)
        finally:
            self._tell_reports()
        transactions.finish()
        self._leave("commit_transaction")

    def abort_transaction(self, timeout: float = -1) -> None:
        """Drop what waits, and end the transaction."""
        transactions, fault = self._begin("abort_transaction", IN_TRANSACTION, ABORTABLE)
        self._drop_unsent(KafkaError._PURGE_QUEUE)
        self._tell_reports()
        if transactions.txn is not None or fault is not None:
            self._ask("abort_transaction", transactions, fault, timeout, transactions.abort)
        transactions.finish()
        self._leave("abort_transaction")

    def _begin(self, call: str, *states: str) -> tuple[Transactions, Fault | None]:
        """Begin a transactional call: refuse it where it makes no sense now."""
        fault = self._enter(call)
        if self._transactions is None:
            raise errors.failed(
                KafkaError._NOT_CONFIGURED,
                "The Transactional API requires transactional.id to be configured",
            )
        self._transactions.check(call, *states)
        return self._transactions, fault

    def _ask(
        self,
        call: str,
        transactions: Transactions,
        fault: Fault | None,
        timeout: float,
        request: Callable[[], None],
    ) -> None:
        """Have the broker carry something out, or time out. After a time-out only the same call may
        be made again, except for offsets, which are forgotten."""
        if type(fault) is MustAbort:
            raise transactions.spoilt(_injected(fault))
        transactions.markers_ms, transactions.offsets_first = 0, False
        if type(fault) is MarkersDelayed:
            transactions.markers_ms = fault.delay_ms
            transactions.offsets_first = fault.offsets_first
            fault = None
        if not self.process.reachable:
            self._wait(transactions.timeout_ms / 1000 if timeout < 0 else timeout)
        if fault is None or type(fault) is AnswerLost:
            if self.process.reachable:
                transactions.awaited = None
                request()
            if fault is None and self.process.reachable:
                return
        elif type(fault) is RequestDelayed and transactions.coordinated is not None:
            self._broker.at(
                self._broker.now + fault.delay_ms,
                self._broker.end_late,
                transactions.coordinated,
                transactions.epoch,
                call == "commit_transaction",
            )
        self._send()  # gives up what has waited too long
        if transactions.error is not None:
            transactions.awaited = None
            raise KafkaException(transactions.error)
        if call != "send_offsets_to_transaction":
            transactions.awaited = call
        raise errors.unanswered()

    # Records

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        *,
        headers: Headers | None = None,
        timestamp: int = 0,
        on_delivery: Report | None = None,
    ) -> None:
        """Add a record. `timestamp` (ms) counts on a CreateTime topic; 0 is now. What became of it
        is told to `on_delivery` in a later poll, flush, commit or abort."""
        fault = self._enter("produce")
        code = self._queue(topic, value, key, partition, headers, timestamp, on_delivery, fault)
        if code is not None:
            if code == KafkaError._QUEUE_FULL:
                raise BufferError("Local: Queue full")
            raise errors.failed(code, f"Unable to produce message: {KafkaError(code).str()}")
        self._leave("produce")

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int = -1) -> int:
        """Add records, all to the partition of the call: a `partition` or `headers` of a message is
        passed over in silence, as the real one does."""
        fault = self._enter("produce_batch")
        queued = 0
        for message in messages:
            code = self._queue(
                topic,
                message.get("value"),
                message.get("key"),
                partition,
                None,
                0,
                message.get("callback"),
                fault,
            )
            if code is None:
                queued += 1
            else:
                message["_error"] = KafkaError(code, f"Message failed: {KafkaError(code).str()}")
        self._leave("produce_batch")
        return queued

    def _queue(
        self,
        name: str,
        value: bytes | None,
        key: bytes | None,
        partition: int,
        headers: Headers | None,
        timestamp: int,
        report: Report | None,
        fault: Fault | None,
    ) -> int | None:
        """Take one record. Returns the code of the error if it is not taken."""
        if self._transactions is not None:
            code = self._transactions.refuses_records()
            if code is not None:
                return code
        size = (0 if value is None else len(value)) + (0 if key is None else len(key))
        if size > self._bytes_max:
            return KafkaError.MSG_SIZE_TOO_LARGE
        topic = self._broker.topics.get(name)
        if topic is None:
            if name in self._topics_missing:
                return KafkaError._UNKNOWN_TOPIC
            partition = max(partition, 0)
        elif partition < 0:
            partition = self._partition(topic, key)
        elif partition >= len(topic.logs) and name in self._topics_seen:
            return KafkaError._UNKNOWN_PARTITION
        record = (name, partition, value, key, headers, timestamp, report)
        if not self.process.reachable:
            if len(self._unsent) >= self._queue_max:
                return KafkaError._QUEUE_FULL
            if not self._unsent:
                self._unsent_since_ms = self._broker.now
            self._unsent.append(record)
            return None
        if self._unsent:
            self._send()
        if fault is None:
            self._deliver(*record)
        else:
            self._harm(fault, record)
        return None

    def _partition(self, topic: Topic, key: bytes | None) -> int:
        count = len(topic.logs)
        if key is None:
            self._keyless += 1
            return self._keyless % count
        return partition_of(key, count) if self._murmur2 else crc32(key) % count

    def _deliver(
        self,
        name: str,
        partition: int,
        value: bytes | None,
        key: bytes | None,
        headers: Headers | None,
        timestamp: int,
        report: Report | None,
    ) -> None:
        """The record reaches the broker. What the broker refuses spoils the transaction; without
        one, only the report tells."""
        topic = self._broker.topics.get(name)
        code: int | None
        if topic is None:
            self._topics_missing.add(name)
            code = KafkaError._UNKNOWN_TOPIC
            self._spoil(errors.undelivered())
        else:
            if name not in self._topics_seen:
                self._topics_seen.add(name)
                self._topics_missing.discard(name)
            if partition < len(topic.logs):
                log = topic.logs[partition]
                transactions = self._transactions
                code = None if transactions is None else transactions.admits(log)
                if code is None:
                    code = self._refusal(topic, log, value, key, headers)
                if code is None:
                    stamp = (
                        (TIMESTAMP_LOG_APPEND_TIME, self._broker.stamp_ms)
                        if topic.append_time
                        else (TIMESTAMP_CREATE_TIME, timestamp or self._broker.stamp_ms)
                    )
                    txn = None if transactions is None else transactions.open()
                    entry = log.append(txn, value, key, headers or None, stamp)
                    if report is not None:
                        self._reports.append((report, None, log.message(entry)))
                    return
            else:
                code = KafkaError._UNKNOWN_PARTITION
                self._spoil(errors.undelivered())
        self._report((name, partition, value, key, headers, timestamp, report), code)

    def _refusal(
        self,
        topic: Topic,
        log: PartitionLog,
        value: bytes | None,
        key: bytes | None,
        headers: Headers | None,
    ) -> int | None:
        """Why the broker does not take a record, as a code."""
        size = RECORD_OVERHEAD_BYTES
        size += (0 if value is None else len(value)) + (0 if key is None else len(key))
        if headers:
            size += sum(len(name) + len(content or b"") for name, content in headers)
        if size > topic.bytes_max:
            code = KafkaError.MSG_SIZE_TOO_LARGE
        elif topic.compacted and key is None:
            code = KafkaError.INVALID_RECORD
        else:
            return None
        if self._transactions is not None:
            self._transactions.refuse(code, log)
        return code

    def _harm(self, fault: Fault, record: Record) -> None:
        """What befalls a record on its way. Told or not, it is in the log or not."""
        if type(fault) is MustAbort:
            self._deliver(*record)
            self._spoil(_injected(fault))
            return
        if type(fault) is AnswerLost:
            self._deliver(*record[:-1], None)
        self._report(record, KafkaError._MSG_TIMED_OUT)
        self._spoil(errors.undelivered())

    def _spoil(self, error: KafkaError) -> None:
        if self._transactions is not None:
            self._transactions.spoil(error)

    # What waits

    def poll(self, timeout: float = -1) -> int:
        """Serve events: delivery reports, and a fatal error, raised once. Never waits."""
        del timeout
        self._enter("poll")
        self._tell_fatal()
        self._send()
        return self._tell_reports()

    def flush(self, timeout: float = -1) -> int:
        """Send what waits. Returns how many still do. Raises a fatal error, once."""
        self._enter("flush")
        self._send()
        if self._unsent and self._wait(timeout):
            self._send()
        self._tell_reports()
        self._tell_fatal()
        self._leave("flush")
        return len(self._unsent)

    def purge(self, in_queue: bool = True, in_flight: bool = True) -> None:
        """Drop what waits; the transaction it was part of can only be aborted. Nothing here is ever
        in flight."""
        del in_flight
        self._enter("purge")
        if self._unsent and in_queue:
            self._drop_unsent(KafkaError._PURGE_QUEUE)
            self._spoil(errors.undelivered())

    def __len__(self) -> int:
        """How many records and reports wait."""
        return len(self._unsent) + len(self._reports)

    def __bool__(self) -> bool:
        """A producer is one even when nothing waits."""
        return True

    def _send(self) -> None:
        """Send what waited for the broker, or give up what waited too long."""
        if not self._unsent:
            return
        if self._broker.now - self._unsent_since_ms >= self._message_timeout_ms:
            name, partition = self._unsent[0][:2]
            reason = f"{len(self._unsent)} message(s) timed out on {name} [{partition}]"
            self._drop_unsent(KafkaError._MSG_TIMED_OUT)
            if self._transactions is not None and self._transactions.txn is not None:
                self._spoil(errors.must_abort(KafkaError._TIMED_OUT, reason))
            else:
                self._spoil(errors.undelivered())
        elif self.process.reachable:
            unsent, self._unsent = self._unsent, []
            for record in unsent:
                self._deliver(*record)

    def _drop_unsent(self, code: int) -> None:
        unsent, self._unsent = self._unsent, []
        for record in unsent:
            self._report(record, code)

    def _report(self, record: Record, code: int) -> None:
        name, partition, value, key, _, _, report = record
        if report is not None:
            error = KafkaError(code)
            message = Message(topic=name, partition=partition, key=key, value=value, error=error)
            self._reports.append((report, error, message))

    def _tell_reports(self) -> int:
        reports, self._reports = self._reports, []
        for report, error, message in reports:
            report(error, message)
        return len(reports)

    def _tell_fatal(self) -> None:
        if self._transactions is not None:
            self._transactions.tell_fatal()


def _injected(fault: MustAbort) -> KafkaError:
    return errors.must_abort(fault.code, KafkaError(fault.code).str())
