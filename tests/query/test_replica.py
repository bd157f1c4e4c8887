"""The replica: a local copy that starts where it ended, is made anew where it must be, and never
says that it has what it has not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from tests.web.live import LIMIT_S, Live, until

from drawdown.events.catalogue import BALANCES, Environment
from drawdown.query.entries import Entries
from drawdown.query.errors import BehindError
from drawdown.query.follower import META, Follower, Taken
from drawdown.query.replica import KINDS, Replica
from drawdown.query.tables import RocksTable

pytestmark = pytest.mark.kafka

README = Path(__file__).parents[2] / "README.md"


@contextmanager
def replica(live: Live, directory: Path) -> Iterator[Replica]:
    """A replica of its own, read to the end."""
    with Replica(live.cluster, live.environment, directory, keep=KINDS) as copy:
        yield copy


@contextmanager
def table(live: Live, directory: Path) -> Iterator[RocksTable]:
    """What a replica left on disk."""
    left = RocksTable(directory / live.environment.topic(BALANCES))
    try:
        yield left
    finally:
        left.close()


@contextmanager
def follower(live: Live, copy: RocksTable, seen: Callable[[bytes], None]) -> Iterator[Follower]:
    def take(key: bytes, value: bytes | None) -> Taken:
        seen(key)
        return key, value

    follows = Follower(live.cluster, live.environment.topic(BALANCES), copy, take)
    follows.open()
    follows.start()
    try:
        yield follows
    finally:
        follows.stop()


def test_it_starts_where_it_ended(live: Live, tmp_path: Path) -> None:
    before, after = live.customer(), live.customer()
    live.grant(before, "credit", "480")
    seen: list[bytes] = []
    for customer, unseen in ((before, None), (after, before)):
        live.grant(customer, "credit", "480")
        with table(live, tmp_path) as copy, follower(live, copy, seen.append) as follows:
            until(follows.caught_up)
            until(partial(seen.__contains__, customer.encode()))
            assert copy.get(customer.encode()) is not None
        if unseen is not None:
            assert unseen.encode() not in seen
        seen.clear()
    with replica(live, tmp_path) as copied:
        assert copied.row(before) is not None
        assert copied.row(after) is not None


@pytest.mark.parametrize("what", ["owner", "ahead", "damaged"])
def test_a_copy_that_is_not_of_this_topic_is_made_anew(
    live: Live, tmp_path: Path, what: str
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    with replica(live, tmp_path):
        pass
    with table(live, tmp_path) as left:
        left.write({b"ghost": b"{}"})
        if what == "owner":
            left.write({META + b"owner": b'["another cluster", "t", 2]'})
        elif what == "ahead":  # the topic was deleted and made again
            left.write({META + b"0": b"1000000"})
    if what == "damaged":
        for file in (tmp_path / live.environment.topic(BALANCES)).glob("MANIFEST-*"):
            file.write_bytes(b"\x00")
    with replica(live, tmp_path) as anew:
        assert anew.row(customer) is not None
        assert anew.row("ghost") is None


def test_its_position_is_told_after_its_rows_are_there(live: Live, tmp_path: Path) -> None:
    """Whoever takes the position first and then reads has all that the position says."""
    early: list[int] = []

    class Watched(RocksTable):
        def write(self, changes: dict[bytes, bytes | None]) -> None:
            for key, value in changes.items():
                if key.startswith(META) and key != META + b"owner" and value is not None:
                    told = follows.positions[int(key[1:])].next_offset
                    early.extend(range(int(value) + 1, told + 1))
            super().write(changes)

    live.grant(live.customer(), "credit", "480")
    copy = Watched(tmp_path / "copy")
    with follower(live, copy, lambda _: None) as follows:
        until(follows.caught_up)
        assert sum(position.next_offset for position in follows.positions.values()) > 0
    copy.close()
    assert early == []


def test_an_answer_is_as_old_as_the_last_word_of_the_broker(live: Live, tmp_path: Path) -> None:
    with replica(live, tmp_path) as copy:
        position = copy.position("c")
        assert position.caught_up_at is not None
        at = position.caught_up_at
        assert position.stale_ms(at) == 0
        assert position.stale_ms(at + 1.5) == 1500
        until(lambda: (copy.position("c").caught_up_at or 0) > at)


def test_a_topic_that_is_not_there_says_so(live: Live, tmp_path: Path) -> None:
    with pytest.raises(KafkaException, match=r"(?i)unknown topic"):
        Replica(live.cluster, Environment("nowhere"), tmp_path).start()


def test_a_service_embeds_it_and_reads_its_own_debit(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    with Replica(live.cluster, live.environment, max_staleness_ms=20_000) as embedded:
        event = live.event(customer)
        answer = live.gateway.post("/v1/events", params={"wait": "decided"}, json=event)
        sequence = answer.json()["outcomes"][0]["decision"]["sequence"]
        balance = embedded.wait(customer, sequence, LIMIT_S)
        assert (balance.sequence, balance.available("credit")) == (2, "468")
        assert balance.recorded_at_ms is not None
        assert embedded.balance("nobody") is None


def test_asyncio_embeds_it_too(live: Live) -> None:
    customer = live.customer()

    async def main() -> None:
        async with Replica(live.cluster, live.environment) as embedded:
            waiting = asyncio.create_task(embedded.wait_async(customer, 1, LIMIT_S))
            await asyncio.to_thread(live.grant, customer, "credit", "480")
            assert (await waiting).available("credit") == "480"
            with pytest.raises(BehindError):
                await embedded.wait_async(customer, 2, timeout_s=0)

    asyncio.run(main())


def test_the_readmes_example_runs(
    live: Live, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    customer = live.customer()
    live.grant(customer, "USD", "1")
    section = README.read_text().partition("## Balances at hand")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.setenv("DRAWDOWN_KEY", live.key("admin"))
    for said, here in (
        ("127.0.0.1:9092", live.cluster.bootstrap),
        ("http://127.0.0.1:8791", live.gateways[0]),
        ('"dev"', f'"{live.environment.name}"'),
        ("acme", customer),
    ):
        assert said in example
        example = example.replace(said, here)
    exec(compile(example, "README.md", "exec"), {})
    first, granted, advised = capsys.readouterr().out.splitlines()
    assert first.startswith("1 0 up to ")
    assert granted == "6"
    assert advised.startswith("True ")


def test_entries_can_be_asked_for_one_by_one(live: Live, tmp_path: Path) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    live.use(customer)
    entries = Entries(live.cluster, live.environment, tmp_path)
    entries.start()
    try:
        until(entries.caught_up)
        found = entries.latest(customer, None, 10)
        assert len(found) == 2
        assert entries.entry(customer, 2) == found[0]
        assert entries.entry(customer, 3) is None
        assert entries.latest(customer, 2, 10) == found[1:]
        assert entries.latest(customer, 1, 10) == []
    finally:
        entries.stop()
