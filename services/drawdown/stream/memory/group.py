"""A consumer group as its coordinator sees it: classic, cooperative-sticky, static members.

A rebalance begins when a member comes, goes or asks again. The others learn of it with their next
heartbeat and join; when all have joined, a new generation begins, with a new assignment that each
finds at its next poll. What moves is first taken away, and given out one generation later.

Where it differs from a broker: a member uses its old generation until it polls, in truth for some
milliseconds, so that a rebalance always meets the transaction in flight; a leader's assignment is
there at once; and the two steps need not be the second apart that librdkafka puts between joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

from drawdown.stream.ports import GroupState

from .log import Topic, Txn

if TYPE_CHECKING:
    from .broker import Broker

Partition = tuple[str, int]


class Member:
    """One member. `owned` is what its client holds and reports, `assignment` what it should."""

    __slots__ = (
        "assignment",
        "client",
        "generation",
        "heartbeat_ms",
        "id",
        "instance",
        "joined",
        "joined_at_ms",
        "owned",
        "poll_interval_ms",
        "polled_ms",
        "removed",
        "session_ms",
        "silence",
        "silent",
        "stalled",
        "topics",
        "undelivered",
    )

    def __init__(
        self,
        id: str,
        instance: str | None,
        topics: frozenset[str],
        now_ms: int,
        heartbeat_ms: int,
        session_ms: int,
        poll_interval_ms: int,
        client: str,
    ) -> None:
        self.id = id
        self.client = client
        self.instance = instance
        self.topics = topics
        self.heartbeat_ms = heartbeat_ms
        self.session_ms = session_ms
        self.poll_interval_ms = poll_interval_ms
        self.joined_at_ms = self.polled_ms = now_ms
        self.generation = -1
        self.owned: set[Partition] = set()
        self.assignment: list[Partition] = []
        self.joined = False  # in the rebalance that is going on
        self.undelivered = False  # its client has not seen its generation yet
        self.silent = False
        self.silence = 0  # how often that changed
        self.stalled = False  # it has not polled for longer than it may
        self.removed = False


class Group:
    """Members, generation, and the offsets: committed and pending."""

    def __init__(self, broker: Broker) -> None:
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.instances: dict[str, str] = {}
        self.offsets: dict[Partition, int] = {}
        self._pending: dict[Txn, dict[Partition, int]] = {}
        self._broker = broker
        self._preparing = False
        self._rebalances = 0
        self._ids = 0

    # Offsets

    def pending(self, partitions: Iterable[Partition]) -> bool:
        """Whether an open transaction holds an offset for one of these."""
        held = self._pending.values()
        return bool(held) and any(p in offsets for p in partitions for offsets in held)

    def pend(self, txn: Txn, offsets: dict[Partition, int]) -> None:
        """Hold offsets until the transaction ends."""
        held = self._pending.get(txn)
        if held is None:
            held = self._pending[txn] = {}
            txn.offsets.append(self)
        held.update(offsets)

    def end(self, txn: Txn, committed: bool) -> None:
        """The transaction has ended: keep or drop what it held."""
        offsets = self._pending.pop(txn)
        if committed:
            self.offsets.update(offsets)

    def state(self) -> GroupState:
        """What a coordinator tells whoever asks."""
        return GroupState(
            not self._preparing,
            {m.instance or m.id: frozenset(m.assignment) for m in self.members.values()},
            {m.instance or m.id: m.client for m in self.members.values()},
        )

    def refusal(self, generation: int, member_id: str, instance: str | None) -> int | None:
        """Why offsets of this member are refused, as an error code. None if they are taken: also
        those of a consumer outside of any membership, which nothing is known about."""
        if generation < 0 and (not self.members or (not member_id and instance is None)):
            return None
        if instance is not None:
            present = self.instances.get(instance)
            if present is None:
                return KafkaError.UNKNOWN_MEMBER_ID
            if present != member_id:
                return KafkaError.FENCED_INSTANCE_ID
        if member_id not in self.members:
            return KafkaError.UNKNOWN_MEMBER_ID
        return None if generation == self.generation else KafkaError.ILLEGAL_GENERATION

    # Members that come and go

    def join(
        self,
        instance: str | None,
        topics: frozenset[str],
        heartbeat_ms: int,
        session_ms: int,
        poll_interval_ms: int,
        client: str,
    ) -> Member:
        """A client that is no member, or no longer knows that it is one."""
        self._ids += 1
        member = Member(
            f"{instance or 'member'}-{self._ids}",
            instance,
            topics,
            self._broker.now,
            heartbeat_ms,
            session_ms,
            poll_interval_ms,
            client,
        )
        replaced = self.members.get(self.instances.get(instance, "")) if instance else None
        self.members[member.id] = member
        if instance is not None:
            self.instances[instance] = member.id
        self._broker.at(member.polled_ms + poll_interval_ms, self._check_poll, member)
        if replaced is None:
            self.rejoin(member)
            return member
        # A static member that comes back gets what its predecessor was to have, and nobody else
        # hears of it, unless a rebalance is going on anyway.
        replaced.removed = True
        del self.members[replaced.id]
        member.assignment = replaced.assignment
        if self._preparing or topics != replaced.topics:
            self.rejoin(member)
        else:
            member.generation = self.generation
            member.undelivered = True
        return member

    def rejoin(self, member: Member) -> None:
        """A member asks for a new assignment."""
        self._prepare(member)
        member.joined = True
        self._complete()

    def leave(self, member: Member) -> None:
        """A member goes, or is put out."""
        if member.removed:
            return
        member.removed = True
        del self.members[member.id]
        if member.instance is not None and self.instances.get(member.instance) == member.id:
            del self.instances[member.instance]
        self._prepare(None)
        self._complete()

    def delivered(self, member: Member, gave_up: bool) -> None:
        """The client has taken its generation, and has given up what it was to give up, if that was
        anything. That, and a rebalance that began meanwhile, make it ask again."""
        if member.removed:
            return
        waited_for = self._preparing and not member.joined
        if gave_up or waited_for or member.generation != self.generation:
            self.rejoin(member)

    # Heartbeats

    def silence(self, member: Member) -> None:
        """No more heartbeats come: its process is dead, stopped or cut off."""
        if member.silent or member.removed:
            return
        member.silent = True
        member.silence += 1
        self._broker.at(self._broker.now + member.session_ms, self._expire, member, member.silence)

    def hear(self, member: Member) -> None:
        """Heartbeats come again."""
        if member.silent and not member.removed:
            member.silent = False
            member.silence += 1
            self._notice(member)

    def renew_sessions(self) -> None:
        """Time the silent ones from now."""
        for member in self.members.values():
            if member.silent:
                member.silent = False
                self.silence(member)

    def topic_changed(self, topic: str) -> None:
        """A subscribed topic has come or gone."""
        if any(topic in member.topics for member in self.members.values()):
            self._prepare(None)

    def _expire(self, member: Member, silence: int) -> None:
        if member.silent and member.silence == silence:
            self.leave(member)

    def _check_poll(self, member: Member) -> None:
        """Put a member out whose client has not polled for too long (a static one just goes
        silent); look again later otherwise."""
        if member.removed:
            return
        due_ms = member.polled_ms + member.poll_interval_ms
        if member.silent:
            due_ms = max(due_ms, self._broker.now + member.poll_interval_ms)
        if due_ms > self._broker.now:
            self._broker.at(due_ms, self._check_poll, member)
            return
        member.stalled = True
        if member.instance is None:
            self.leave(member)
        else:
            self.silence(member)

    def _notice(self, member: Member) -> None:
        """A heartbeat is answered with word of the rebalance: join it, unless the last one has not
        been dealt with yet."""
        if member.removed or member.silent or not self._preparing or member.joined:
            return
        if not member.undelivered:
            member.joined = True
            self._complete()

    # Rebalance

    def _prepare(self, initiator: Member | None) -> None:
        if self._preparing:
            return
        self._preparing = True
        self._rebalances += 1
        now_ms = self._broker.now
        for member in self.members.values():
            member.joined = False
            if member is not initiator:
                beats = (now_ms - member.joined_at_ms) // member.heartbeat_ms + 1
                beat_ms = member.joined_at_ms + beats * member.heartbeat_ms
                self._broker.at(beat_ms, self._notice, member)
        if self.members:
            limit_ms = max(member.poll_interval_ms for member in self.members.values())
            self._broker.at(now_ms + limit_ms, self._give_up_waiting, self._rebalances)

    def _give_up_waiting(self, rebalance: int) -> None:
        """Go on without those that have not joined in time; static ones stay members."""
        if not self._preparing or self._rebalances != rebalance:
            return
        for member in [m for m in self.members.values() if not m.joined and m.instance is None]:
            self.leave(member)
        if any(m.joined for m in self.members.values()):
            self._begin_generation()

    def _complete(self) -> None:
        if not self._preparing:
            return
        for member in self.members.values():
            if not member.joined:
                return
        self._begin_generation()

    def _begin_generation(self) -> None:
        self._preparing = False
        self.generation += 1
        assignments = assign(self._broker.topics, list(self.members.values()))
        for member in self.members.values():
            member.assignment = assignments[member.id]
            if member.joined:
                member.joined = False
                member.generation = self.generation
                member.undelivered = True


def assign(topics: Mapping[str, Topic], members: list[Member]) -> dict[str, list[Partition]]:
    """What each member holds in the next generation: balanced, with as few moves as that takes, and
    nothing that another one still owns. Ties go to who joined first."""
    target: dict[str, list[Partition]] = {member.id: [] for member in members}
    owner: dict[Partition, Member] = {}
    for member in members:
        for partition in member.owned:
            owner.setdefault(partition, member)
    for name in sorted({topic for member in members for topic in member.topics}):
        if name not in topics:
            continue
        eligible = [member for member in members if name in member.topics]
        free = []
        for number in range(len(topics[name].logs)):
            partition = (name, number)
            holder = owner.get(partition)
            if holder is not None and name in holder.topics:
                target[holder.id].append(partition)
            else:
                free.append(partition)
        for partition in free:
            least = min(eligible, key=lambda member: len(target[member.id]))
            target[least.id].append(partition)
        while True:
            least = min(eligible, key=lambda member: len(target[member.id]))
            most = max(eligible, key=lambda member: len(target[member.id]))
            movable = [p for p in target[most.id] if p[0] == name]
            if len(target[most.id]) - len(target[least.id]) < 2 or not movable:
                break
            target[most.id].remove(movable[0])
            target[least.id].append(movable[0])
    return {
        member.id: [
            partition
            for partition in sorted(target[member.id])
            if owner.get(partition, member) is member
        ]
        for member in members
    }
