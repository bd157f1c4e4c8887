"""The replica that a service embeds, over the in-memory log: what it answers, how old that is, and
what it waits for. Nothing here has a thread of its own: the test says when it reads on.

`test_replica.py` has the real Kafka, threads and disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.balances import ENVIRONMENT, NOW_MS, PARTITIONS, Log

import drawdown.query
from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.codec import encode
from drawdown.events.numbers import amount_of, amount_text
from drawdown.ledger.rows import row_bytes
from drawdown.ledger.values import Wallet
from drawdown.query import (
    KINDS,
    BehindError,
    Holding,
    NotFollowedError,
    PartitionsError,
    Replica,
    ReplicaError,
    StaleError,
)
from drawdown.query.balance import facts_in, pack, unpack
from drawdown.stream.partition import partition_of

LIMIT_S = 60.0


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture(params=["memory", "disk"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "disk" else None


def of_partition(partition: int) -> str:
    """A customer of a partition."""
    names = (f"customer-{number}" for number in range(100))
    return next(name for name in names if partition_of(name.encode(), PARTITIONS) == partition)


# What it answers


@pytest.mark.parametrize("keep", [(), ("wallet",), KINDS], ids=["balances", "wallets", "all"])
def test_a_balance_is_what_the_wallet_says(
    log: Log, directory: Path | None, keep: tuple[str, ...]
) -> None:
    log.wallet("acme", 7, ("USD", "24.76", "5"), ("credit", "0"), state="suspended")
    with log.replica(directory, keep=keep) as replica:
        balance = replica.balance("acme")
        assert balance is not None
        assert (balance.customer, balance.sequence, balance.state) == ("acme", 7, "suspended")
        assert balance.of("USD") == Holding("USD", "24.76", "24.76", "5")
        assert (balance.available("USD"), balance.held("USD")) == ("24.76", "5")
        assert (balance.available("credit"), balance.held("credit")) == ("0", "0")
        assert balance.available("token") == "0"
        assert balance.recorded_at_ms == NOW_MS + 1_000_000
        assert replica.balance("nobody") is None
        log.wallet("acme", 8, ("USD", "20"))
        log.read(replica)
        after = replica.balance("acme")
        assert after is not None
        assert (after.sequence, after.state, after.available("USD")) == (8, "active", "20")


@given(
    available=st.integers(0, 10**30),
    held=st.integers(0, 10**30),
    sequence=st.integers(0, 2**53),
    asset=st.text("abcXYZ-_", min_size=1, max_size=20),
)
def test_what_is_kept_is_exact(available: int, held: int, sequence: int, asset: str) -> None:
    amounts = {
        "available": amount_text(available),
        "balance": amount_text(available - held),
        "held": amount_text(held),
    }
    row = encode({"sequence": sequence, "accounts": [{"asset": asset, **amounts}]})
    facts = unpack(pack(facts_in(row)))
    assert facts == facts_in(row)
    assert facts.sequence == sequence
    (holding,) = facts.holdings
    assert {name: getattr(holding, name) for name in amounts} == amounts
    assert amount_of(holding.available) == available


def test_it_reads_the_rows_that_settlement_writes() -> None:
    assert facts_in(row_bytes(Wallet("acme", sequence=3))).sequence == 3


def test_a_wallet_nobody_can_read_counts_as_unknown(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    log.wallet("acme", 7, ("USD", "24.76"))
    with log.replica() as replica:
        log.write("acme", "acme", b"{broken")
        log.wallet("birch", 1, ("USD", "1"))
        log.read(replica)
        assert replica.balance("acme") is None
        assert replica.balance("birch") is not None
        assert replica.failed is None
    assert "the wallet of b'acme' is unreadable" in caplog.text


# What it keeps


def test_other_rows_are_kept_where_they_are_asked_for(log: Log, directory: Path | None) -> None:
    log.wallet("acme", 7, ("USD", "24.76"))
    for customer, name in (("acme", "h2"), ("acme", "h1"), ("birch", "h3")):
        log.hold(customer, name)
    with log.replica(directory, keep=("hold",)) as replica:
        assert [name for name, _ in replica.rows("acme", "hold", "", 9)] == ["h1", "h2"]
        assert [name for name, _ in replica.rows("acme", "hold", "h1", 9)] == ["h2"]
        assert len(replica.rows("acme", "hold", "", 1)) == 1
        assert replica.row(KEY_SEPARATOR.join(("acme", "hold", "h1"))) == b"{}"
        log.hold("acme", "h1", None)
        log.hold("acme", "h2", None)
        log.read(replica)
        assert replica.rows("acme", "hold", "", 9) == []
        with pytest.raises(ValueError, match="kind 'running' are not kept here: name it in `keep`"):
            replica.rows("acme", "running", "", 9)
        with pytest.raises(ValueError, match="kind 'wallet' are not kept"):
            replica.row("acme")
        with pytest.raises(ValueError, match="kind 'wallet' are not kept"):
            replica.customers("", 9)


def test_wallets_are_listed_past_a_customers_many_rows(log: Log, directory: Path | None) -> None:
    for customer in ("acme", "birch", "cedar"):
        log.wallet(customer, 1, ("USD", "1"))
    for number in range(200):
        log.hold("birch", f"h{number}")
    with log.replica(directory, keep=KINDS) as replica:
        assert [name for name, _ in replica.customers("", 9)] == ["acme", "birch", "cedar"]
        assert [name for name, _ in replica.customers("acme", 1)] == ["birch"]
        assert replica.customers("cedar", 9) == []


def test_a_copy_on_disk_of_something_else_is_made_anew(log: Log, tmp_path: Path) -> None:
    log.wallet("acme", 7, ("USD", "24.76"))
    for keep in (KINDS, (), ("wallet",), ()):
        with log.replica(tmp_path, keep=keep) as replica:
            balance = replica.balance("acme")
            assert balance is not None
            assert balance.sequence == 7


def test_only_some_partitions(log: Log, directory: Path | None) -> None:
    here, there = of_partition(1), of_partition(0)
    for customer in (here, there):
        log.wallet(customer, 1, ("USD", "1"))
    with log.replica(directory, partitions=[1]) as replica:
        assert replica.balance(here) is not None
        assert [position.partition for position in replica.positions()] == [1]
        with pytest.raises(NotFollowedError, match=r"on partition 0 .* only \[1\] are followed"):
            replica.balance(there)
        with pytest.raises(NotFollowedError):
            replica.wait(there, 1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"keep": ("hodl",)}, "keep: no kind of row is called 'hodl': use any of budget, hold, "),
        ({"keep": "hodl"}, "keep: no kind of row is called 'hodl'"),
        ({"partitions": ()}, "partitions: empty; name some, or give None to follow all"),
        ({"partitions": [0, 2]}, "partitions: 2 is none of test.balances: give 0 to 1"),
        ({"partitions": [-1]}, "partitions: -1 is none"),
        ({"max_staleness_ms": 5}, "max_staleness_ms: 5; give at least 100, or None"),
    ],
)
def test_what_cannot_be_followed_is_refused(log: Log, how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")), log.replica(**how):
        pytest.fail("it must not begin")


# How old it is


def test_an_answer_is_as_old_as_the_last_end_that_was_reached(log: Log) -> None:
    log.wallet("acme", 1, ("USD", "1"))
    with log.replica() as replica:
        assert replica.stale_ms() == 0
        log.seconds += 1.5
        assert (replica.stale_ms(), replica.stale_ms("acme")) == (1500, 1500)
        balance = replica.balance("acme")
        assert balance is not None
        assert balance.stale_ms == 1500
        replica.follower.turn()
        assert replica.stale_ms() == 0


def test_it_is_not_old_where_more_comes_all_the_time(log: Log) -> None:
    """The end itself is never reached then: an end that was told is."""
    with log.replica() as replica:
        for sequence in range(1, 50):
            log.wallet("acme", sequence, ("USD", "1"))
            replica.follower.turn()
            log.wallet("acme", sequence, ("USD", "1"))
            log.seconds += 0.3
            assert (replica.stale_ms() or 0) <= 1200


def test_before_the_end_was_reached_there_is_no_answer(log: Log) -> None:
    for number in range(2_000):
        log.wallet(f"c{number}", 1, ("USD", "1"))
    replica = Replica(log.cluster, ENVIRONMENT, now=lambda: log.seconds)
    replica.open()
    replica.follower.turn()
    assert not replica.caught_up()
    assert replica.stale_ms() is None
    with pytest.raises(StaleError, match="not read to the end yet"):
        replica.balance("nobody")
    for _ in range(8):
        replica.follower.turn()
        log.seconds += 1
    assert replica.caught_up()
    assert replica.balance("nobody") is None
    replica.stop()


def test_without_kafka_it_goes_on_and_says_how_old_it_is(log: Log) -> None:
    log.wallet("acme", 1, ("USD", "1"))
    with log.replica() as lenient, log.replica(max_staleness_ms=2_000) as strict:
        log.cluster.stop_broker()
        for elapsed_s in range(1, 100):
            log.seconds += 1
            for replica in (lenient, strict):
                replica.follower.turn()
            balance = lenient.balance("acme")
            assert balance is not None
            assert balance.available("USD") == "1"
            assert elapsed_s * 1000 <= balance.stale_ms <= (elapsed_s + 2) * 1000
        with pytest.raises(StaleError, match=r"up to \d+ ms behind; max_staleness_ms is 2000"):
            strict.balance("acme")
        with pytest.raises(StaleError):
            strict.balance("nobody")
        assert (lenient.failed, strict.failed) == (None, None)
        log.cluster.start_broker()
        log.wallet("acme", 2, ("USD", "2"))
        log.read(strict)
        found = strict.balance("acme")
        assert found is not None
        assert (found.sequence, found.stale_ms) == (2, 0)


def test_staleness_is_of_the_partition_that_is_behind(log: Log) -> None:
    for partition in (0, 1):
        log.wallet(of_partition(partition), 1, ("USD", "1"))
    with log.replica() as replica:
        positions = replica.follower.positions
        held_back = positions[0]
        log.seconds += 5
        replica.follower.turn()
        positions[0] = held_back
        assert (replica.stale_ms(of_partition(0)), replica.stale_ms(of_partition(1))) == (5000, 0)
        assert replica.stale_ms() == 5000


# Reading one's own


def test_it_waits_until_an_entry_is_there(log: Log) -> None:
    log.wallet("acme", 1, ("USD", "1"))
    with log.replica() as replica, ThreadPoolExecutor() as pool:
        assert replica.wait("acme", 1).sequence == 1
        waiting = [pool.submit(replica.wait, *what, LIMIT_S) for what in (("acme", 3), ("new", 1))]
        for sequence in (2, 3, 4):
            log.wallet("acme", sequence, ("USD", str(sequence)))
            log.read(replica)
        log.wallet("new", 1, ("USD", "5"))
        log.read(replica)
        assert [each.result().sequence >= 1 for each in waiting] == [True, True]
        assert waiting[0].result().sequence in (3, 4)
    assert replica._listeners == {}


def test_asyncio_waits_too(log: Log) -> None:
    async def main(replica: Replica) -> None:
        waiting = [asyncio.create_task(replica.wait_async("acme", 2)) for _ in range(3)]
        waiting[2].cancel()
        await asyncio.sleep(0)
        log.wallet("acme", 2, ("USD", "2"))
        log.read(replica)
        assert [(await each).available("USD") for each in waiting[:2]] == ["2", "2"]
        with pytest.raises(BehindError):
            await replica.wait_async("acme", 3, timeout_s=0)

    with log.replica() as replica:
        asyncio.run(main(replica))
    assert replica._listeners == {}


def test_waiting_has_an_end(log: Log) -> None:
    log.wallet("acme", 1, ("USD", "1"))
    said = "entry 2 of 'acme' did not come within 0 s: the replica is at 1 and up to 0 ms behind"
    with log.replica() as replica:
        with pytest.raises(BehindError, match=said):
            replica.wait("acme", 2, timeout_s=0)
        with pytest.raises(BehindError, match="the replica is at 0"):
            replica.wait("nobody", 1, timeout_s=0)


def test_a_listener_that_fails_does_not_end_the_following(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the loop is closed")

    told: list[int] = []
    with log.replica() as replica:
        ends: list[Callable[[], None]] = [
            replica.listen("acme", listener) for listener in (fail, lambda: told.append(1))
        ]
        log.wallet("acme", 1, ("USD", "1"))
        log.read(replica)
        assert replica.balance("acme") is not None
        assert told == [1]
        for end in ends:
            end()
    assert "the loop is closed" in caplog.text


# Its surface


def test_every_error_is_of_one_tree_and_exported() -> None:
    for name in drawdown.query.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(drawdown.query, name), ReplicaError)
    assert issubclass(StaleError, TimeoutError)
    assert issubclass(PartitionsError, ValueError)
    assert {"wallet", "hold", "running"} <= KINDS
