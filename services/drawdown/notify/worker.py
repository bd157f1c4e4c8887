"""The loop of the notify service: notices in, charges made, commands out.

1. take notices while there is room;
2. charge in threads, some at a time; what nobody knows is tried again later;
3. send the command that settles a charge, and wait until Kafka has it;
4. commit the offset below which everything is done.

At least once, and every step the same again: a provider knows a key, settlement knows a command's
id. Nothing here is on the way of money that is spent; a service that is down delays top-ups.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from drawdown.events.catalogue import COMMANDS, NOTIFICATIONS, Environment
from drawdown.events.codec import RecordError
from drawdown.notify.metrics import FAULTS, OUTCOMES, PENDING, RETRIES
from drawdown.notify.payments import Failed, Nothing, Outcome, Paid, Payments
from drawdown.notify.topups import Request, attempt, command_of, is_given_up, request_of
from drawdown.stream import kafka, ports
from drawdown.stream.clock import Clock

log = logging.getLogger("drawdown.notify")

GROUP: Final = "notify"
ACTOR: Final = b"notify"
THREADS: Final = 8
PENDING_MAX: Final = 256
POLL_S: Final = 0.1
RETRY_S: Final = 1.0
RETRY_S_MAX: Final = 300.0
FLUSH_S: Final = 5.0

Partition = int


@dataclass(slots=True)
class Task:
    """A request under way."""

    partition: Partition
    offset: int
    request: Request
    attempts: int = 0


class Worker:
    """One member of the group. `turn` is called over and over, by one thread."""

    def __init__(
        self,
        cluster: ports.Cluster,
        environment: Environment,
        instance: str,
        payments: Payments,
        clock: Clock,
    ) -> None:
        self._environment = environment
        self._payments = payments
        self._clock = clock
        self._topic = environment.topic(NOTIFICATIONS)
        self._producer = cluster.producer(kafka.plain_producer())
        group = f"{environment.name}.{GROUP}"
        self._consumer = cluster.consumer(kafka.notice_consumer(group, f"{GROUP}-{instance}"))
        self._consumer.subscribe(
            [self._topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="charge")
        self._open: dict[Partition, set[int]] = {}
        """Offsets of what is not done yet, of the partitions this member has."""
        self._next: dict[Partition, int] = {}
        """Behind the last notice read."""
        self._committed: dict[Partition, int] = {}
        self._charging: dict[Future[Outcome | Nothing], Task] = {}
        self._retries: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._paused = False
        self.joined = False
        """Whether the group has said which partitions this member has."""

    @property
    def pending(self) -> int:
        """Requests under way."""
        return sum(len(offsets) for offsets in self._open.values())

    @property
    def partitions(self) -> list[Partition]:
        return sorted(self._open)

    def turn(self) -> None:
        """One round; waits at most 0.1 s for something to do. Raises KafkaException where the
        member was put out for good."""
        self._read()
        self._charge_again()
        self._settle()
        self._producer.poll(0.0)
        self._commit()
        PENDING.set(self.pending)

    def close(self) -> None:
        """Give up what is not done: the next member does it again. Waits for charges under way, as
        long as a provider may take, and for commands under way."""
        self._pool.shutdown(cancel_futures=True)
        self._settle()
        self._producer.flush(FLUSH_S)
        self._commit()
        self._consumer.close()

    # Reading

    def _read(self) -> None:
        full = self.pending >= PENDING_MAX
        if full != self._paused:
            places = [TopicPartition(self._topic, number) for number in self._open]
            (self._consumer.pause if full else self._consumer.resume)(places)
            self._paused = full
        for message in self._consumer.consume(PENDING_MAX, POLL_S):
            error = message.error()
            if error is None:
                self._take(message)
            elif error.fatal() or error.code() == KafkaError._FATAL:
                raise KafkaException(error)
            elif not error.retriable():
                log.warning("notifications: %s", error.str())

    def _take(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if partition not in self._open:
            return  # of one that was taken away meanwhile
        self._next[partition] = offset + 1
        try:
            request = request_of(message.value() or b"", self._environment.name)
        except RecordError as error:
            FAULTS.labels("unreadable").inc()
            log.error("%s[%d]@%d is no notice: %s", self._topic, partition, offset, error)
            return
        if request is not None:
            self._open[partition].add(offset)
            self._start(Task(partition, offset, request))

    # Charging

    def _start(self, task: Task) -> None:
        now_ms = self._clock.now_ms()
        future = self._pool.submit(attempt, self._payments, task.request, now_ms)
        self._charging[future] = task

    def _charge_again(self) -> None:
        while self._retries and self._retries[0][0] <= self._clock.monotonic():
            _, _, task = heapq.heappop(self._retries)
            if self._is_ours(task):
                self._start(task)

    def _settle(self) -> None:
        for future in [each for each in self._charging if each.done()]:
            task = self._charging.pop(future)
            if future.cancelled() or not self._is_ours(task):
                continue
            error = future.exception()
            if error is not None:
                # An adapter raises nothing; one that does knows nothing either.
                log.error("top-up %s: the adapter failed", task.request.id, exc_info=error)
                FAULTS.labels("adapter").inc()
                self._later(task, type(error).__name__)
                continue
            outcome = future.result()
            if isinstance(outcome, Paid | Failed):
                self._send(task, outcome)
            elif isinstance(outcome, Nothing):
                self._without_payment(task)
            else:
                self._later(task, outcome.detail)

    def _without_payment(self, task: Task) -> None:
        """The provider knows of none. A charge that went unanswered may still be on its way there,
        until the deadline: none is made in the minute before it."""
        if self._clock.now_ms() < task.request.deadline_ms:
            self._later(task, "no payment is known yet")
            return
        OUTCOMES.labels("nothing").inc()
        self._done(task)

    def _later(self, task: Task, why: str) -> None:
        request = task.request
        if is_given_up(request, self._clock.now_ms()):
            OUTCOMES.labels("given_up").inc()
            log.error(
                "top-up %s of %s: nobody says whether it was paid (%s): look at the provider for"
                " %s, and settle it by hand if it was",
                request.id,
                request.charge.customer,
                why,
                request.charge.key,
            )
            self._done(task)
            return
        wait_s = min(RETRY_S * 2 ** min(task.attempts, 16), RETRY_S_MAX)
        task.attempts += 1
        RETRIES.inc()
        log.warning("top-up %s: %s; again in %.0f s", request.id, why, wait_s)
        place = (self._clock.monotonic() + wait_s, next(self._numbers), task)
        heapq.heappush(self._retries, place)

    # Settling

    def _send(self, task: Task, outcome: Paid | Failed) -> None:
        def landed(error: KafkaError | None, _: Message) -> None:
            if not self._is_ours(task):
                return
            if error is not None:
                self._later(task, f"its command is not sent: {error.str()}")
                return
            OUTCOMES.labels("paid" if isinstance(outcome, Paid) else "failed").inc()
            self._done(task)

        value = command_of(task.request, outcome)
        key = task.request.charge.customer.encode()
        topic = self._environment.topic(COMMANDS)
        try:
            self._producer.produce(
                topic, value, key, headers=[("actor", ACTOR)], on_delivery=landed
            )
        except BufferError as error:
            self._later(task, f"its command is not sent: {error}")

    def _done(self, task: Task) -> None:
        self._open[task.partition].discard(task.offset)

    def _is_ours(self, task: Task) -> bool:
        return task.offset in self._open.get(task.partition, ())

    # Positions

    def _commit(self) -> None:
        """The offsets below which everything is done. One that could not be committed is, with the
        next; what is read twice is done twice, to the same effect."""
        done = {
            number: min(self._open[number], default=offset) for number, offset in self._next.items()
        }
        new = {n: offset for n, offset in done.items() if offset > self._committed.get(n, -1)}
        if not new:
            return
        offsets = [TopicPartition(self._topic, n, offset) for n, offset in new.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("offsets are not committed: %s", error.args[0].str())
            return
        self._committed.update(new)

    def _assigned(self, _: Any, partitions: list[TopicPartition]) -> None:
        self.joined = True
        for each in partitions:
            self._open.setdefault(each.partition, set())
        self._paused = False

    def _revoked(self, _: Any, partitions: list[TopicPartition]) -> None:
        """What is under way is the next owner's: a charge that ends now is known by its key."""
        self._commit()
        for each in partitions:
            for known in (self._open, self._next, self._committed):
                cast(dict[Partition, Any], known).pop(each.partition, None)
