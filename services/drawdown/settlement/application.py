"""Settlement as the stream's application: the ledger's rules, fed with records.

It reads a record, lets the ledger decide, applies the entries to the rows, and says what goes to
which topic. There is no rule about money here; those are in `ledger`.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from drawdown.events.base import KEY_SEPARATOR, SPECVERSION, milliseconds, moment
from drawdown.events.catalogue import (
    COMMANDS as COMMANDS_TOPIC,
)
from drawdown.events.catalogue import (
    LOW_BALANCE,
    NOTIFICATIONS,
    USAGE_EVENTS,
    Environment,
)
from drawdown.events.codec import (
    Command,
    RecordError,
    decode_command,
    decode_usage,
    encode,
)
from drawdown.events.deadletters import ACCEPT_LATE
from drawdown.events.notices import LowBalance, LowBalanceData, Notice, NoticeData
from drawdown.events.numbers import amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.events.usage import UsageEvent
from drawdown.ledger.authorize import is_check
from drawdown.ledger.book import HOLD, Books
from drawdown.ledger.counters import evolve_counters
from drawdown.ledger.decide import decide_command, decide_timer, refused
from drawdown.ledger.evolve import evolve, evolve_wallet, marked
from drawdown.ledger.held import evolve_hold
from drawdown.ledger.holds import ended, ended_key, hold_named
from drawdown.ledger.identity import command_key, usage_key, usage_result
from drawdown.ledger.journal import NOTHING_RARE, Origin, Sealed, unseal
from drawdown.ledger.outcome import Crossing, Decided, Moment
from drawdown.ledger.replay import identified, remembered
from drawdown.ledger.rows import Row, due_of, row_bytes, row_of
from drawdown.ledger.spent import evolve_limits
from drawdown.ledger.subscribed import evolve_subscriptions
from drawdown.ledger.topped_up import evolve_topups
from drawdown.ledger.usage import EARLY_MS_MAX, decide_usage, usage_answer, usage_refused
from drawdown.ledger.values import hold_key
from drawdown.settlement.limit_notices import limits_told
from drawdown.settlement.topup_notices import topup_notice
from drawdown.stream.application import (
    COMMANDS,
    USAGE,
    Effects,
    Folded,
    Item,
    Lag,
    Memory,
    Record,
    View,
)

TOPICS: Final = {USAGE: USAGE_EVENTS.name, COMMANDS: COMMANDS_TOPIC.name}
INPUTS: Final = {topic: name for name, topic in TOPICS.items()}
ACTOR: Final = "actor"
"""Header that names the API key a record came in by."""
REPLY_TO: Final = "reply_to"
IDENTIFIER_MAX: Final = 256
NEVER_MS: Final = 1 << 62
"""Of what repeats nothing."""
CONTROL: Final = re.compile(r"[\x00-\x1f]")

_LowBalance = struct_of(LowBalance)
_LowBalanceData = struct_of(LowBalanceData)
_Notice = struct_of(Notice)
_NoticeData = struct_of(NoticeData)


class Shelf(Protocol):
    """Where the price books are: a `BookShelf` that follows their topic, or those of a replay."""

    @property
    def books(self) -> Books: ...

    def confirmed(self) -> bool:
        """Whether these are known to be all."""


class Settlement:
    """The application of the settlement service; see `stream.application.Application`."""

    def __init__(self, environment: Environment, shelf: Shelf) -> None:
        self._shelf = shelf
        self._moment = Moment(0)
        self._low_balance = environment.topic(LOW_BALANCE)
        self._notifications = environment.topic(NOTIFICATIONS)

    def ready(self) -> bool:
        return self._shelf.confirmed()

    # --- reading -------------------------------------------------------------------------------

    def read(self, record: Record) -> Item:
        value = record.value
        if value is None:
            raise RecordError(
                Reason.MALFORMED, "the record has no value: nothing is deleted on this topic"
            )
        if record.input == USAGE:
            event = decode_usage(value)
            self._check_key(record, event.subject, "subject")
            row_keys: tuple[str, ...] = (event.subject,)
            named = event.data.get(HOLD)
            if type(named) is str:
                row_keys = (event.subject, hold_key(event.subject, named))
            first_at_ms = _first_at_ms(event)
            return Item(record, event, row_keys, (usage_key(event),), first_at_ms)
        command = decode_command(value)
        self._check_key(record, command.customer, "customer")
        customer = command.customer
        key = command_key(customer, command.id)
        hold = hold_named(command)
        first_at_ms = NEVER_MS if is_check(command) else _first_at_ms(command)
        if hold is None:
            return Item(record, command, (customer,), (key,), first_at_ms)
        row_keys = (customer, hold_key(customer, hold))
        return Item(record, command, row_keys, (key, ended_key(customer, hold)), first_at_ms)

    def _check_key(self, record: Record, customer: str, field: str) -> None:
        if record.key is None:
            raise RecordError(Reason.KEY_MISSING, f"give the {field} as the record's key", "key")
        if record.key != customer.encode():
            raise RecordError(
                Reason.KEY_NOT_SUBJECT,
                f"the key is {record.key[:64]!r}, the {field} is {customer[:64]!r}",
                "key",
            )

    # --- deciding ------------------------------------------------------------------------------

    def decide(self, item: Item, view: View, effects: Effects, lag: Lag) -> None:
        record = item.record
        actor = accepted_by = None
        if record.headers is not None:
            actor, accepted_by = record.header(ACTOR), record.header(ACCEPT_LATE)
        origin = Origin(
            TOPICS[record.input],
            record.partition,
            record.offset,
            None,
            0,
            _identifier(actor) if actor else None,
            _identifier(accepted_by) if accepted_by and record.input == USAGE else None,
        )
        if record.input == USAGE:
            self._decide_usage(item, origin, view, effects)
        else:
            self._decide_command(item, origin, view, effects, lag)

    def _decide_usage(self, item: Item, origin: Origin, view: View, effects: Effects) -> None:
        record = item.record
        event: UsageEvent = item.content
        (key,) = item.identity_keys
        now = self._moment
        if now.at_ms != record.at_ms:
            now = self._moment = Moment(record.at_ms)
        answered = record.headers is not None and record.header(REPLY_TO) is not None
        try:
            decided = decide_usage(view, event, key, origin, self._shelf.books, now)
        except RecordError as error:
            if answered:
                effects.answer(record, encode(usage_refused(event, error, now)))
            raise
        result = decided.repeated
        if result is None:
            self._apply(event.subject, key, decided, view, effects, now)
        if answered:
            repeated = result is not None
            if result is None:
                result = usage_result(decided.of_usage.entry)
            effects.answer(record, encode(usage_answer(event, result, now, repeated=repeated)))

    def _decide_command(
        self, item: Item, origin: Origin, view: View, effects: Effects, lag: Lag
    ) -> None:
        command: Command = item.content
        key = item.identity_keys[0]
        now = Moment(item.record.at_ms, lag.records, lag.age_ms, lag.taken_up_ms)
        try:
            decided = decide_command(view, command, key, origin, self._shelf.books, now)
        except RecordError as error:
            effects.answer(item.record, encode(refused(command, error, now)))
            if error.reason == Reason.CONFLICT:
                raise
            return
        self._apply(command.customer, key, decided, view, effects, now)
        if decided.answer is not None:
            effects.answer(item.record, encode(decided.answer))

    def fire(self, key: str, at_ms: int, view: View, effects: Effects) -> None:
        now = Moment(at_ms)
        decided = decide_timer(view, key, self._shelf.books, now)
        customer = key.partition(KEY_SEPARATOR)[0]
        self._apply(customer, b"", decided, view, effects, now)

    # --- what came of it -----------------------------------------------------------------------

    def _apply(
        self,
        customer: str,
        identity_key: bytes,
        decided: Decided,
        view: View,
        effects: Effects,
        now: Moment,
    ) -> None:
        key = customer.encode()
        wallet = decided.wallet
        for sealed in decided.entries:
            assert wallet is not None
            wallet = evolve_wallet(wallet, sealed)
            effects.journal(key, sealed.value)
            if sealed.entry.hold is not None:
                _apply_hold(sealed, sealed.entry.hold.id, view)
            elif sealed.entry.rare is not NOTHING_RARE:
                for row_key, row in marked(sealed).items():
                    view.put(row_key, row)
            if sealed.entry.rare is not NOTHING_RARE:
                for row_key, subscription in evolve_subscriptions(view, sealed).items():
                    view.put(row_key, subscription)
                for row_key, limit in evolve_limits(view, sealed).items():
                    view.put(row_key, limit)
                for told in limits_told(sealed):
                    effects.tell(self._notifications, key, told)
            if sealed.entry.running is not None:
                for row_key, counted in evolve_counters(view, sealed).items():
                    view.put(row_key, counted)
            if wallet.topups or sealed.entry.rare.topup is not None:
                for row_key, topup in evolve_topups(view, sealed, wallet).items():
                    view.put(row_key, topup)
                notice = topup_notice(sealed.entry)
                if notice is not None:
                    effects.tell(self._notifications, key, notice)
        if decided.entries:
            view.put(customer, wallet)
        if decided.identity is not None:
            view.remember(identity_key, decided.identity)
        for crossing in decided.crossed:
            effects.tell(self._low_balance, key, _low_balance(customer, crossing, now))
        if decided.unpriced is not None:
            sealed = decided.of_usage
            effects.tell(self._notifications, key, _unpriced(customer, sealed, decided, now))
        if decided.overdrawn:
            sealed = max(decided.entries, key=lambda each: each.entry.overdrawn)
            effects.tell(self._notifications, key, _overdrawn(customer, sealed, decided, now))

    # --- rows and recovery ---------------------------------------------------------------------

    def row_bytes(self, row: Row) -> bytes:
        return row_bytes(row)

    def row_of(self, value: bytes) -> Row:
        return row_of(value)

    def due_ms(self, row: Row) -> int | None:
        return row.due_ms

    def due_of(self, value: bytes) -> int | None:
        return due_of(value)

    def fold(self, value: bytes, view: View) -> Folded:
        sealed = unseal(value)
        for row_key, row in evolve(view, sealed).items():
            view.put(row_key, row)
        return self._identified(sealed, view)

    def identify(self, value: bytes, memory: Memory) -> Folded:
        found = identified(value)
        for key, remember in found.remembered:
            memory.remember(key, remember)
        if found.topic is None:
            return Folded(None, 0, found.at_ms)
        return Folded(INPUTS[found.topic], found.offset, found.at_ms)

    def _identified(self, sealed: Sealed, memory: Memory) -> Folded:
        for key, value in remembered(sealed):
            memory.remember(key, value)
        origin = sealed.entry.origin
        if origin.topic is None:
            return Folded(None, 0, sealed.entry.at_ms)
        return Folded(INPUTS[origin.topic], origin.offset, sealed.entry.at_ms)


def _first_at_ms(stated: UsageEvent | Command) -> int:
    """Of what this may repeat: the first had the same time, which was at most so far ahead of its
    arrival. A time that a gateway filled in is another one in every retry."""
    if stated.time is None or stated.timesource is not None:
        return 0
    return max(milliseconds(stated.time) - EARLY_MS_MAX, 0)


def _apply_hold(sealed: Sealed, hold_id: str, view: View) -> None:
    """The row of the hold an entry is about, and how it ended."""
    key = hold_key(sealed.entry.customer, hold_id)
    view.put(key, evolve_hold(view.row(key), sealed))
    end = ended(sealed)
    if end is not None:
        view.remember(*end)


def _identifier(header: bytes) -> str:
    """A header's text, as an identifier may be."""
    text = header.decode("utf-8", "replace")[:IDENTIFIER_MAX]
    return text if text.isprintable() else CONTROL.sub("\ufffd", text)


def _low_balance(customer: str, crossing: Crossing, now: Moment) -> bytes:
    threshold = amount_text(crossing.threshold)
    return encode(
        _LowBalance(
            specversion=SPECVERSION,
            id=f"{customer}/{crossing.sequence}/{crossing.asset}/{threshold}",
            source="drawdown",
            type="drawdown.balance.low" if crossing.after > 0 else "drawdown.balance.exhausted",
            subject=customer,
            time=moment(now.at_ms),
            datacontenttype="application/json",
            data=_LowBalanceData(
                asset=crossing.asset,
                threshold=threshold,
                available=amount_text(crossing.after),
                before=amount_text(crossing.before),
                sequence=crossing.sequence,
            ),
        )
    )


def _unpriced(customer: str, sealed: Sealed, decided: Decided, now: Moment) -> bytes:
    entry = sealed.entry
    return encode(
        _Notice(
            specversion=SPECVERSION,
            id=f"{customer}/{entry.sequence}/unpriced",
            source="drawdown",
            type="drawdown.usage.unpriced",
            subject=customer,
            time=moment(now.at_ms),
            datacontenttype="application/json",
            data=_NoticeData(
                sequence=entry.sequence,
                detail=f"usage has no price: {decided.unpriced}",
                meter=None if entry.usage is None else entry.usage.meter,
            ),
        )
    )


def _overdrawn(customer: str, sealed: Sealed, decided: Decided, now: Moment) -> bytes:
    entry = sealed.entry
    return encode(
        _Notice(
            specversion=SPECVERSION,
            id=f"{customer}/{entry.sequence}/overdrawn",
            source="drawdown",
            type="drawdown.balance.overdrawn",
            subject=customer,
            time=moment(now.at_ms),
            datacontenttype="application/json",
            data=_NoticeData(
                sequence=entry.sequence,
                detail="more was used than was there",
                asset=entry.asset,
                amount=amount_text(decided.overdrawn),
            ),
        )
    )
