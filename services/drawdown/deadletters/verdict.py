"""What comes of a dead letter if it is sent again as it is: whether it may count now, and where.

A letter that cannot become right - bytes that are no record, a key that is not the customer, an id
that was used with other content - is never sent again: it would only be set aside once more. The
rules are settlement's own: the same decoders, the same books.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drawdown.deadletters.letters import Letter, Whole
from drawdown.events.base import at_text, milliseconds
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS, Topic
from drawdown.events.codec import RecordError, decode_command, decode_usage
from drawdown.events.deadletters import ACCEPT_LATE, REDRIVEN, REDRIVEN_FROM
from drawdown.events.reasons import Reason
from drawdown.ledger.book import Books
from drawdown.ledger.usage import EARLY_MS_MAX, lateness_of
from drawdown.stream.partition import partition_of

INPUTS: Final = {topic.name: topic for topic in (USAGE_EVENTS, COMMANDS)}
OURS: Final = frozenset({REDRIVEN, REDRIVEN_FROM, ACCEPT_LATE})
"""Headers of a former time it was sent again: what was accepted late then is not so for ever."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which usage event it is."""

    customer: str
    source: str
    id: str


@dataclass(frozen=True, slots=True)
class Send:
    """It may be sent again, to there."""

    topic: Topic
    partition: int
    late: Identity | None = None
    """Of usage that is older than the lateness window: it must not be in the journal yet, and is
    then sent to be booked however old it is."""
    late_since_ms: int = 0
    """No entry of it can be older."""


@dataclass(frozen=True, slots=True)
class Skip:
    """It is not sent again, for this reason; in words, with what to do."""

    why: str


Verdict = Send | Skip


def judge(
    letter: Letter, whole: Whole, books: Books, now_ms: int, partitions: int, *, accept_late: bool
) -> Verdict:
    """What is to be done with a letter, decided by what is true now."""
    skipped = _known(letter)
    if skipped is not None:
        return Skip(skipped)
    if whole.value is None or whole.key is None:
        what = "value" if whole.value is None else "key: its key is the customer"
        return Skip(f"it has no {what}; have it sent anew")
    try:
        if letter.topic == USAGE_EVENTS.name:
            return _usage(whole.key, whole.value, books, now_ms, partitions, accept_late)
        return _command(whole.key, whole.value, books, now_ms, partitions)
    except RecordError as error:
        return Skip(f"{error}; it cannot become right as it is: have a corrected one sent")


def _known(letter: Letter) -> str | None:
    """Why a letter is not sent again, where its headers alone say so."""
    redriven = letter.redriven
    if redriven is not None:
        back = "" if letter.came_back_as is None else f", and came back as {letter.came_back_as}"
        at = at_text(milliseconds(redriven.at))
        return f"it was sent again already, at {at} by {redriven.by}{back}"
    if letter.topic not in INPUTS:
        return f"it says it is from {letter.topic!r}, which is no input"
    if letter.reason == Reason.CONFLICT:
        return "its id was used before with other content; have it sent with an id of its own"
    return None


def _usage(
    key: bytes, value: bytes, books: Books, now_ms: int, partitions: int, accept_late: bool
) -> Verdict:
    event = decode_usage(value)
    if event.subject.encode() != key:
        return _not_the_key("subject")
    event_ms = now_ms if event.time is None else milliseconds(event.time)
    if event_ms - now_ms > EARLY_MS_MAX:
        return Skip(f"its time, {at_text(event_ms)}, is still ahead; send it again when it is not")
    book = books.at(event_ms)
    if book is None:
        return Skip(
            f"no price book was in effect at its time, {at_text(event_ms)}: publish one with"
            " --effective-at no later than that, and --force"
        )
    if book.meter(event.type) is None:
        return Skip(
            f"price book {book.version!r}, in effect at its time, has no meter for {event.type!r}:"
            f" publish one that has, with --effective-at no later than {at_text(event_ms)}, and"
            " --force"
        )
    where = partition_of(key, partitions)
    lateness_ms = lateness_of(books, now_ms)
    if now_ms - event_ms <= lateness_ms:
        return Send(USAGE_EVENTS, where)
    if not accept_late:
        return Skip(
            f"its time, {at_text(event_ms)}, is more than {lateness_ms // 86_400_000} days back:"
            " --accept-late has it booked all the same"
        )
    late = Identity(event.subject, event.source, event.id)
    return Send(USAGE_EVENTS, where, late, event_ms - EARLY_MS_MAX)


def _command(key: bytes, value: bytes, books: Books, now_ms: int, partitions: int) -> Verdict:
    command = decode_command(value)
    if command.customer.encode() != key:
        return _not_the_key("customer")
    if command.deadline_at is not None and milliseconds(command.deadline_at) < now_ms:
        return Skip("its `deadline_at` has passed: it would be refused; have it issued anew")
    if now_ms - milliseconds(command.time) > lateness_of(books, now_ms):
        return Skip("its `time` is too far back: it would be refused; have it issued anew")
    return Send(COMMANDS, partition_of(key, partitions))


def _not_the_key(field: str) -> Skip:
    return Skip(f"its key is not its {field}; have it sent with the {field} as key")


ADVICE: Final = {
    Reason.UNKNOWN_METER: "Publish a price book with a meter for its type, in effect at the event's"
    " time (--effective-at, --force), then redrive it.",
    Reason.NO_PRICE_BOOK: "Publish a price book in effect at the event's time (--effective-at,"
    " --force), then redrive it.",
    Reason.TOO_LATE: "Redrive it with --accept-late to book it all the same.",
    Reason.TOO_EARLY: "Redrive it once its time has come; mend the producer's clock.",
    Reason.WRONG_PARTITION: "Redrive it: it goes to its key's partition. Set the producer's"
    " partitioner to murmur2.",
    Reason.CONFLICT: "Compare it with the entry of that id (`drawdown explain`). Where both"
    " happened, have it sent with an id of its own; redriving never helps.",
    Reason.KEY_MISSING: "Have it sent with the customer as key; redriving does not help.",
    Reason.KEY_NOT_SUBJECT: "Have it sent with the customer as key; redriving does not help.",
    Reason.BAD_QUANTITY: "Have a corrected event sent, with an id of its own or this one's: nothing"
    " was booked under it. Redrive it only where the price book was at fault.",
    Reason.BAD_DIMENSION: "Have a corrected event sent; nothing was booked under its id.",
    Reason.INVALID: "Have a corrected record sent; nothing was booked under its id.",
    Reason.MALFORMED: "Have a corrected record sent; nothing was booked under its id.",
    Reason.OVERSIZED: "Have it sent without what is not counted; nothing was booked under its id.",
}
"""What to do about a letter, by its reason."""


def advice(letter: Letter) -> str:
    """What to do about a letter."""
    found = {str(reason): text for reason, text in ADVICE.items()}
    return found.get(letter.reason, "Look at what it says.")
