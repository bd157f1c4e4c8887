"""A consumer's membership in its group, from the client's side: what a poll does for it.

The client finds out late: that it has a new assignment, that it was put out, that another process
has its place. Each is found at a poll, and the callbacks run there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from .broker import Broker
from .client import Process
from .fetcher import Fetcher, event
from .group import Group, Member, Partition

Callback = Callable[[Any, list[TopicPartition]], None]

_SESSION_MS = 45_000
_HEARTBEAT_MS = 3_000
_POLL_INTERVAL_MS = 300_000


class Membership:
    """From the first subscription on. `consumer` is what the callbacks are handed."""

    def __init__(
        self,
        consumer: Any,
        process: Process,
        group: Group,
        fetcher: Fetcher,
        config: Mapping[str, Any],
    ) -> None:
        self.member_id = ""
        self.generation = -1
        self.assigned_by_callback = False
        self._consumer = consumer
        self._process = process
        self._broker: Broker = process.broker
        self._group = group
        self._fetcher = fetcher
        self._instance: str | None = config.get("group.instance.id")
        self._heartbeat_ms = int(config.get("heartbeat.interval.ms", _HEARTBEAT_MS))
        self._session_ms = int(config.get("session.timeout.ms", _SESSION_MS))
        self._poll_interval_ms = int(config.get("max.poll.interval.ms", _POLL_INTERVAL_MS))
        self._client = str(config.get("client.id", "rdkafka"))
        self._topics: frozenset[str] = frozenset()
        self._missing: set[str] = set()
        self._callbacks: tuple[Callback | None, Callback | None, Callback | None]
        self._callbacks = (None, None, None)
        self._member: Member | None = None
        self._fenced = False
        self._unsubscribed = False

    def subscribe(
        self,
        topics: list[str],
        on_assign: Callback | None,
        on_revoke: Callback | None,
        on_lost: Callback | None,
    ) -> None:
        """Join, or ask for other topics."""
        self._callbacks = (on_assign, on_revoke, on_lost if on_lost is not None else on_revoke)
        changed = self._topics != frozenset(topics)
        self._topics = frozenset(topics)
        self._missing = set()
        if self._member is None:
            self._join()
        elif changed and not self._unsubscribed:
            self._member.topics = self._topics
            self._group.rejoin(self._member)

    def unsubscribe(self) -> None:
        """Give everything back with the next poll."""
        self._topics = frozenset()
        self._unsubscribed = self._member is not None

    def close(self) -> None:
        """Give everything back now. A static member stays one until its session ends."""
        member = self._member
        if member is None or self._fenced:
            return
        if member.owned and not member.removed:
            self._hand_back(member, self._callbacks[1], sorted(member.owned))
        if member.instance is None and self._process.reachable:
            self._group.leave(member)
        else:
            self._group.silence(member)

    def silence(self) -> None:
        """The process sends no heartbeats from now on."""
        if self._member is not None:
            self._group.silence(self._member)

    def speak(self) -> None:
        """The process sends heartbeats again."""
        member = self._member
        if member is not None and not member.stalled:
            self._group.hear(member)

    def serve(self) -> None:
        """What a poll does: callbacks, and coming back after an exclusion."""
        if self._fenced:
            return
        member = self._member
        if member is None:
            self._join()
            member = self._member
            if member is None:
                return
        if self._unsubscribed:
            self._leave_topics(member)
        elif not self._process.reachable:
            away_ms = self._broker.now - self._process.unreachable_since_ms
            if away_ms >= member.session_ms:
                self._lose(member)
        elif member.stalled:
            reason = f"Application maximum poll interval ({member.poll_interval_ms}ms) exceeded"
            self._fetcher.events.append(event(KafkaError._MAX_POLL_EXCEEDED, reason))
            self._lose(member)
        elif member.removed:
            if self._instance is not None and self._instance in self._group.instances:
                self._be_fenced()
            else:
                self._lose(member)
        else:
            member.polled_ms = self._broker.now
            if member.undelivered:
                self._take(member)

    def _join(self) -> None:
        if not self._process.reachable:
            return
        missing = {topic for topic in self._topics if topic not in self._broker.topics}
        for topic in sorted(missing - self._missing):
            reason = f"Subscribed topic not available: {topic}: Broker: Unknown topic or partition"
            self._fetcher.events.append(event(KafkaError.UNKNOWN_TOPIC_OR_PART, reason, topic))
        self._missing = missing
        if missing != self._topics:
            self._member = self._group.join(
                self._instance,
                self._topics,
                self._heartbeat_ms,
                self._session_ms,
                self._poll_interval_ms,
                self._client,
            )

    def _take(self, member: Member) -> None:
        """A new generation: give up what is not ours any more, then take what is."""
        member.undelivered = False
        self.generation, self.member_id = member.generation, member.id
        assigned = set(member.assignment)
        revoked, added = sorted(member.owned - assigned), sorted(assigned - member.owned)
        on_assign, on_revoke, _ = self._callbacks
        if revoked:
            self._hand_back(member, on_revoke, revoked)
        member.owned.update(added)
        partitions = _partitions(added)
        self.assigned_by_callback = False
        if on_assign is not None:
            on_assign(self._consumer, partitions)
        if not self.assigned_by_callback:
            self._fetcher.add(partitions)
        self._group.delivered(member, gave_up=bool(revoked))

    def _hand_back(self, member: Member, callback: Callback | None, keys: list[Partition]) -> None:
        self.assigned_by_callback = False
        if callback is not None:
            callback(self._consumer, _partitions(keys))
        if not self.assigned_by_callback:
            self._fetcher.drop(keys)
        member.owned.difference_update(keys)

    def _lose(self, member: Member) -> None:
        """The membership has ended without us: others may own what we held. Join as a new one."""
        self._group.silence(member)  # where the coordinator still counts it in
        self._member, self.member_id = None, ""
        if member.owned:
            self._hand_back(member, self._callbacks[2], sorted(member.owned))

    def _be_fenced(self) -> None:
        """Another process lives under our instance id. A real consumer says so in one message,
        whose `fatal()` is False, drops its partitions without a callback, and is silent then."""
        self._fenced = True
        self._fetcher.clear()
        reason = "Broker: Static consumer fenced by other consumer with same group.instance.id"
        text = f"Fatal error: {reason}: Fatal consumer error: {reason}"
        self._fetcher.events.append(event(KafkaError._FATAL, text))

    def _leave_topics(self, member: Member) -> None:
        self._unsubscribed = False
        if member.owned:
            self._hand_back(member, self._callbacks[1], sorted(member.owned))
        if self._topics and not member.removed:
            member.topics = self._topics
            self._group.rejoin(member)
            return
        self._member = None
        if member.instance is None:
            self._group.leave(member)
        else:
            self._group.silence(member)


def _partitions(keys: list[Partition]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for topic, partition in keys]
