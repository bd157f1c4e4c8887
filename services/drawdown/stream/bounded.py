"""A transactional producer whose calls end in their time, whatever its client library waits for.

librdkafka 2.16 may wait for ever in `send_offsets_to_transaction`, two known faults of it together:
a broker that leaves the metadata, as a lone one does while it restarts, is given up for good, and a
group coordinator that was given up is still the one that is waited for; and the timeout of the call
is not looked at. A settlement process that was idle while its broker restarted would never commit
again. So the call is made by a thread of its own, and one that takes too long is left behind: the
caller is told that its outcome is not known, and makes a new producer, which fences this one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

MARGIN_S: Final = 0.5
"""After the timeout, for the library to say itself that it is over."""

Calls = SimpleQueue[Callable[[], None] | None]


class BoundedProducer(Producer):
    """Otherwise as confluent-kafka's. One that was left waiting must not be used any more."""

    def __init__(self, config: Mapping[str, Any], **more: Any) -> None:
        super().__init__(dict(config), **more)
        self._calls: Calls | None = None

    def send_offsets_to_transaction(
        self, positions: list[TopicPartition], group_metadata: Any, timeout: float = 60.0
    ) -> None:
        """Raises KafkaException, that of a retriable timeout where nothing was heard in time."""
        answer: Future[None] = Future()
        send = super().send_offsets_to_transaction

        def call() -> None:
            try:
                send(positions, group_metadata, timeout)
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                answer.set_exception(error)
            else:
                answer.set_result(None)

        self._thread().put(call)
        try:
            answer.result(timeout + MARGIN_S)
        except TimeoutError:
            raise KafkaException(
                KafkaError(
                    KafkaError._TIMED_OUT,
                    f"the offsets were not taken within {timeout:.1f} s",
                    retriable=True,
                )
            ) from None

    def _thread(self) -> Calls:
        """What the thread takes its calls from. It keeps nothing of the producer alive but while it
        calls, and ends with it; a process may end without it."""
        if self._calls is None:
            self._calls = SimpleQueue()
            weakref.finalize(self, self._calls.put, None).atexit = False
            threading.Thread(
                target=_work, args=(self._calls,), name="send-offsets", daemon=True
            ).start()
        return self._calls


def _work(calls: Calls) -> None:
    while (call := calls.get()) is not None:
        call()
        del call
