"""What can go wrong with one call, for a simulator to choose.

`before` sees every call that would reach the broker, by method name and client, before anything
happens: it may advance the clock, kill or pause processes, raise, or return a fault. `after` sees
those that ended well, with their effect in place: killing the process there is a crash between the
commit and all that should follow it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The call takes effect, and the caller is told that it timed out. Of `produce`: the record is
    in the log, its report says otherwise, and its transaction can only be aborted."""


@dataclass(frozen=True, slots=True)
class RequestLost:
    """Nothing happens, and the caller is told that it timed out. Of `produce`: the record is gone,
    and its transaction can only be aborted; without one only its report tells."""


@dataclass(frozen=True, slots=True)
class RequestDelayed:
    """Of a commit or an abort: the caller is told that it timed out, and `delay_ms` later the
    broker carries it out on whatever transaction that producer (same epoch) then has open. It can
    tell them apart only with transactions v2 (KIP-890), which librdkafka does not speak."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class MarkersDelayed:
    """Of a commit or an abort: it is answered and settled, but readers see it, and who asks for its
    offsets is told them, only `delay_ms` later, or when its producer begins the next. A broker
    always answers before it has written the markers. Each partition has its own: with
    `offsets_first` who asks for the offsets is told them at once."""

    delay_ms: int
    offsets_first: bool = False


@dataclass(frozen=True, slots=True)
class MustAbort:
    """The transaction can only be aborted; `code` is a KafkaError's. Raised by a transactional call
    at once, by the next one after a `produce`."""

    code: int


Fault = AnswerLost | RequestLost | RequestDelayed | MarkersDelayed | MustAbort


@dataclass(slots=True)
class Faults:
    """The two hooks; None while nothing is to go wrong."""

    before: Callable[[str, Any], Fault | None] | None = field(default=None)
    after: Callable[[str, Any], None] | None = field(default=None)
