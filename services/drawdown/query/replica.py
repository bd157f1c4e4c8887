"""A replica: balances in the memory, or on the disk, of whoever asks for them often.

    from drawdown.events.catalogue import Environment
    from drawdown.query import Replica
    from drawdown.stream.kafka import KafkaCluster

    with Replica(KafkaCluster("127.0.0.1:9092"), Environment("dev")) as replica:
        balance = replica.balance("acme")
        if balance is not None:
            print(balance.available("USD"), "USD, at most", balance.stale_ms, "ms old")
        replica.wait("acme", sequence=8)  # read your own debit

It follows `balances` in a thread of its own and is always a little behind. It reads; it holds
nothing and is no promise: between its answer and what is done upon it others may spend the same.
The query service uses it too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self, get_args

from drawdown.events.catalogue import BALANCES, Environment
from drawdown.events.rows import AnyRow
from drawdown.query.balance import Balance, Facts, facts_in, pack, unpack
from drawdown.query.errors import BehindError, ReplicaError, StaleError
from drawdown.query.follower import CONFIRM_S, Follower, Position, Taken, follow
from drawdown.query.limits import Denying, Use, denying
from drawdown.query.tables import SEPARATOR, Table
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.replica")

WALLET: Final = "wallet"
KINDS: Final = frozenset(row.model_fields["row"].default for row in get_args(get_args(AnyRow)[0]))
"""Every kind of row there is on `balances`."""
BEHIND_SEPARATOR: Final = b"\x20"
PASSED_MAX: Final = 64
"""Rows of one customer that are stepped over before it is quicker to look for the next one."""
STALENESS_MS_MIN: Final = 100
"""Less than this cannot be promised of a broker that is asked now and then."""
READY_TIMEOUT_S: Final = 120.0
WAIT_TIMEOUT_S: Final = 5.0


class Replica:
    """The balances of an environment's customers, close at hand.

    Use it in a `with` or an `async with`, which begins once all there is was read; or `start` it,
    which does not wait. Any number of threads may read.
    """

    def __init__(
        self,
        cluster: Cluster,
        environment: Environment,
        directory: Path | None = None,
        *,
        keep: Collection[str] = (),
        partitions: Collection[int] | None = None,
        max_staleness_ms: int | None = None,
        ready_timeout_s: float = READY_TIMEOUT_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """In memory, or in RocksDB under `directory`, which goes on where it ended when it is
        opened again with the same `keep` and `partitions`.

        Balances are always kept; `keep` names the kinds of rows that are kept whole beside them
        (`KINDS`): with `LIMITS` it knows what is blocked, and what is left of budgets. `partitions`
        are those to follow, all where it is None. With `max_staleness_ms` a balance that may be
        older raises StaleError instead. Raises ValueError.
        """
        self.cluster = cluster
        self.environment = environment
        self.directory = directory
        self.follower: Follower
        """There once it is opened."""
        self._keep = _kinds(keep)
        self._partitions = _numbers(partitions)
        self._staleness_ms_max = _staleness(max_staleness_ms)
        self._ready_timeout_s = ready_timeout_s
        self._now = now
        self._table: Table
        self._listeners: dict[bytes, list[Callable[[], None]]] = {}
        self._lock = threading.Lock()

    # Its life

    def open(self) -> None:
        """Find out where to begin, and read nothing yet: `follower.turn` does, for tests and for
        who has no thread. Blocks up to 10 s a call. Raises KafkaException, PartitionsError."""
        confirm_s = CONFIRM_S
        if self._staleness_ms_max is not None:
            confirm_s = min(confirm_s, self._staleness_ms_max / 4000)
        self.follower, self._table = follow(
            self.cluster,
            self.environment.topic(BALANCES),
            self.directory,
            self._take,
            self._tell,
            partitions=self._partitions,
            confirm_s=confirm_s,
            now=self._now,
            kept=self._kept(),
        )

    def start(self) -> None:
        """Open it and begin to follow, in a thread; answers are complete once `caught_up`."""
        self.open()
        self.follower.start()

    def stop(self) -> None:
        """Follow no more. What is in memory can still be read, and grows old."""
        self.follower.stop()
        self._table.close()

    def __enter__(self) -> Self:
        self.start()
        try:
            self._settle()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        try:
            await asyncio.to_thread(self._settle)
        except BaseException:
            # Stopping ends the wait of the thread too, where this one was cancelled.
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)

    def _settle(self) -> None:
        """Wait until all there is was read. Raises BehindError, ReplicaError."""
        settled = self.follower.settled.wait(self._ready_timeout_s)
        if self.caught_up():
            return
        if settled:
            raise ReplicaError(f"following stopped: {self.failed}")
        raise BehindError(
            f"the end was not reached within {self._ready_timeout_s:g} s: give more"
            " (`ready_timeout_s`), or see whether Kafka answers"
        )

    def caught_up(self) -> bool:
        """Whether the end of every partition was reached once."""
        return self.follower.caught_up()

    @property
    def failed(self) -> str | None:
        """Why it follows no more, where that is so: it then only grows old, until it is made anew.
        None while it follows, also while Kafka is away."""
        return self.follower.failed

    # Balances

    def balance(self, customer: str) -> Balance | None:
        """What the customer has, within microseconds; None where no wallet is known.

        Raises StaleError where it may be older than `max_staleness_ms`, or the end was not reached
        yet; NotFollowedError.
        """
        key = customer.encode()
        # Before the row: what is read after this is at least as new.
        position = self.follower.position(key)
        stale_ms = position.stale_ms(self._now())
        if stale_ms is None:
            raise StaleError("not read to the end yet: what is missing is not known")
        most = self._staleness_ms_max
        if most is not None and stale_ms > most:
            raise StaleError(f"up to {stale_ms} ms behind; max_staleness_ms is {most}")
        value = self._table.get(key)
        if value is None:
            return None
        facts = self._facts(value)
        return Balance(
            customer,
            facts.sequence,
            facts.state,
            facts.holdings,
            stale_ms,
            position.recorded_at_ms,
        )

    def stale_ms(self, customer: str | None = None) -> int | None:
        """How far behind the end of the topic an answer may be: about a customer, or at worst.
        None where the end was not reached yet. Raises NotFollowedError."""
        now = self._now()
        if customer is not None:
            return self.position(customer).stale_ms(now)
        ages = [position.stale_ms(now) for position in self.positions()]
        known = [age for age in ages if age is not None]
        return max(known) if len(known) == len(ages) else None

    def wait(self, customer: str, sequence: int, timeout_s: float = WAIT_TIMEOUT_S) -> Balance:
        """The balance once entry `sequence` of the customer is in it, as a decision names it: so
        one reads what one has just done. Blocks up to `timeout_s`.

        Raises BehindError, StaleError, NotFollowedError.
        """
        deadline = time.monotonic() + timeout_s
        changed = threading.Event()
        with self._listening(customer, changed.set):
            while (found := self._at_least(customer, sequence)) is None:
                if not changed.wait(max(0.0, deadline - time.monotonic())):
                    raise self._behind(customer, sequence, timeout_s)
                changed.clear()
        return found

    async def wait_async(
        self, customer: str, sequence: int, timeout_s: float = WAIT_TIMEOUT_S
    ) -> Balance:
        """The same for asyncio."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        with self._listening(customer, lambda: wake(loop, changed)):
            try:
                async with asyncio.timeout(timeout_s):
                    while (found := self._at_least(customer, sequence)) is None:
                        await changed.wait()
                        changed.clear()
            except StaleError:
                raise
            except TimeoutError:
                raise self._behind(customer, sequence, timeout_s) from None
        return found

    def _at_least(self, customer: str, sequence: int) -> Balance | None:
        """The balance if it is that new. Staleness counts only then: until it is, one waits."""
        if self._sequence(customer) < sequence:
            return None
        return self.balance(customer)

    def _sequence(self, customer: str) -> int:
        value = self._table.get(customer.encode())
        if value is None:
            self.position(customer)  # says so where it can never come
            return -1
        return self._facts(value).sequence

    def _facts(self, value: bytes) -> Facts:
        return facts_in(value) if WALLET in self._keep else unpack(value)

    def _behind(self, customer: str, sequence: int, timeout_s: float) -> BehindError:
        stale_ms = self.stale_ms(customer)
        age = "not read to the end yet" if stale_ms is None else f"up to {stale_ms} ms behind"
        return BehindError(
            f"entry {sequence} of {customer!r} did not come within {timeout_s:g} s: the replica is"
            f" at {max(0, self._sequence(customer))} and {age}"
        )

    def denying(
        self,
        customer: str,
        meter: str,
        dimensions: Mapping[str, str],
        asset: str | None = None,
        amount: int | None = None,
    ) -> Denying:
        """Which blocks and budgets deny a use, as far as they are known here: blocks with `scope`
        in `keep`, budgets with `budget` and `spent` as well (`LIMITS`). Of an `amount` in 10^-12 of
        the asset, or whether anything is left. By this machine's clock. Raises
        NotFollowedError."""
        self.position(customer)
        value = self._table.get(customer.encode())
        shapes = () if value is None else self._facts(value).shapes
        use = Use(customer, meter, dimensions, asset, amount)
        return denying(self, self._keep, shapes, use, time.time_ns() // 1_000_000)

    # Rows

    def row(self, key: str) -> bytes | None:
        """A row as it stands on the topic: JSON, see `events.rows`. Raises ValueError where its
        kind is not kept."""
        parts = key.split(SEPARATOR.decode(), 2)
        self._must_keep(WALLET if len(parts) == 1 else parts[1])
        return self._table.get(key.encode())

    def rows(self, customer: str, kind: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        """A customer's rows of a kind by their id, from behind `after` on. Raises ValueError where
        they are not kept."""
        self._must_keep(kind)
        prefix = customer.encode() + SEPARATOR + kind.encode() + SEPARATOR
        start = prefix + after.encode() + (b"\x00" if after else b"")
        found: list[tuple[str, bytes]] = []
        for key, value in self._table.scan(start, prefix=prefix):
            if len(found) == limit:
                break
            found.append((key[len(prefix) :].decode(), value))
        return found

    def customers(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Wallets by customer id, from behind `after` on. Raises ValueError where they are not
        kept."""
        self._must_keep(WALLET)
        found: list[tuple[str, bytes]] = []
        start: bytes | None = after.encode() + b"\x00" if after else b"\x01"
        while start is not None:
            start = self._wallets_from(start, limit, found)
        return found

    def _wallets_from(
        self, start: bytes, limit: int, found: list[tuple[str, bytes]]
    ) -> bytes | None:
        """Add the wallets from a key on; returns where to go on, past a customer's many rows."""
        passed = 0
        for key, value in self._table.scan(start):
            if SEPARATOR in key:
                passed += 1
                if passed == PASSED_MAX:
                    return key.partition(SEPARATOR)[0] + BEHIND_SEPARATOR
                continue
            passed = 0
            found.append((key.decode(), value))
            if len(found) == limit:
                break
        return None

    def _must_keep(self, kind: str) -> None:
        if kind not in self._keep:
            raise ValueError(f"rows of kind {kind!r} are not kept here: name it in `keep`")

    def position(self, customer: str) -> Position:
        """How far behind an answer about this customer may be that is read after asking. Raises
        NotFollowedError."""
        return self.follower.position(customer.encode())

    def positions(self) -> list[Position]:
        """The same of every partition that is followed."""
        return list(self.follower.positions.values())

    # Changes

    def listen(self, customer: str, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called, in the follower's thread, whenever a row of the customer changes that
        is kept. It must be quick. Returns what ends it."""
        key = customer.encode()
        with self._lock:
            self._listeners.setdefault(key, []).append(told)

        def end() -> None:
            with self._lock:
                listeners = self._listeners[key]
                listeners.remove(told)
                if not listeners:
                    del self._listeners[key]

        return end

    @contextmanager
    def _listening(self, customer: str, told: Callable[[], None]) -> Iterator[None]:
        end = self.listen(customer, told)
        try:
            yield
        finally:
            end()

    def _tell(self, key: bytes) -> None:
        if not self._listeners:
            return
        with self._lock:
            told = list(self._listeners.get(key.partition(SEPARATOR)[0], ()))
        for listener in told:
            try:
                listener()
            except Exception:
                # A listener's fault, such as a loop that is closed, must not end the following.
                log.exception("a listener to %r failed", key[:64])

    # What is kept

    def _take(self, key: bytes, value: bytes | None) -> Taken | None:
        """What the table is to have of a record."""
        if SEPARATOR in key:
            kind = key.split(SEPARATOR, 2)[1].decode(errors="replace")
            return (key, value) if kind in self._keep else None
        if value is None or WALLET in self._keep:
            return key, value
        try:
            return key, pack(facts_in(value))
        except ValueError as error:
            log.error("the wallet of %r is unreadable and counts as unknown: %s", key[:64], error)
            return key, None

    def _kept(self) -> str:
        """What a table on disk holds, where that is not all there is."""
        if self._keep == KINDS and self._partitions is None:
            return ""
        kept = ",".join(sorted(self._keep)) or "balances"
        return kept if self._partitions is None else f"{kept} of {sorted(self._partitions)}"


def wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Event) -> None:
    """Set an event of a loop from another thread."""
    loop.call_soon_threadsafe(changed.set)


def _kinds(keep: Collection[str]) -> frozenset[str]:
    kinds = frozenset([keep] if isinstance(keep, str) else keep)
    if unknown := kinds - KINDS:
        raise ValueError(
            f"keep: no kind of row is called {sorted(unknown)[0]!r}: use any of"
            f" {', '.join(sorted(KINDS))}"
        )
    return kinds


def _numbers(partitions: Collection[int] | None) -> frozenset[int] | None:
    if partitions is not None and not partitions:
        raise ValueError("partitions: empty; name some, or give None to follow all")
    return None if partitions is None else frozenset(partitions)


def _staleness(max_staleness_ms: int | None) -> int | None:
    if max_staleness_ms is not None and max_staleness_ms < STALENESS_MS_MIN:
        raise ValueError(
            f"max_staleness_ms: {max_staleness_ms}; give at least {STALENESS_MS_MIN}, or None"
        )
    return max_staleness_ms
