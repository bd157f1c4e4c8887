"""A dead letter that can count is sent again once and counts once; one that cannot is left."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.desk import ENVIRONMENT, START_MS, Desk, book

from drawdown.deadletters import redrive as redriving
from drawdown.deadletters.errors import DeadLettersError
from drawdown.deadletters.letters import (
    Letter,
    Position,
    newest_letters,
    position_of,
    read_letters,
    read_whole,
)
from drawdown.deadletters.redrive import Outcome, redrive
from drawdown.events.base import at_text
from drawdown.events.catalogue import COMMANDS, DEAD_LETTERS, USAGE_EVENTS
from drawdown.events.pricebook import Meter, PerUnit, PriceBook, Rate
from drawdown.stream.memory import MemoryCluster
from drawdown.stream.partition import partition_of
from drawdown.stream.store import MemoryStores

DAY_S = 86_400
FAX = Meter(id="fax", event_types=["fax.sent"], fields={"pages": "pages"})


def fax_book() -> PriceBook:
    """The first book with a meter for faxes, at 2 USD a page."""
    first = book()
    rate = Rate(id="fax", meter="fax", asset="USD", price=PerUnit(quantity="pages", price="2"))
    return book("v2", meters=[*first.meters, FAX], rates=[*first.rates, rate])


def usage(kind: str = "fax.sent", data: Any = None, **fields: Any) -> bytes:
    event = {
        "specversion": "1.0",
        "id": "f1",
        "source": "test",
        "type": kind,
        "subject": "ada",
        "time": at_text(START_MS),
        **fields,
        "data": {"pages": 3} if data is None else data,
    }
    return json.dumps({name: value for name, value in event.items() if value is not ...}).encode()


@pytest.fixture
def desk() -> Desk:
    """Two partitions, and a wallet of 100 USD."""
    desk = Desk(partitions=2)
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


def everything(_: Letter) -> bool:
    return True


def again(desk: Desk, chosen: Callable[[Letter], bool] = everything, **more: Any) -> Outcome:
    """Redrive, and let settlement decide what was sent."""
    process = desk.cluster.process("operator")
    more = {"by": "ops", "now_ms": desk.clock.ms, **more}
    outcome = redrive(process, ENVIRONMENT, chosen, **more)
    desk.settle()
    return outcome


def letters(desk: Desk) -> list[Letter]:
    return read_letters(desk.cluster.process("reader"), ENVIRONMENT)


def rejected(desk: Desk, value: bytes | None, key: bytes | None = b"ada", **more: Any) -> Letter:
    """The letter that a record becomes."""
    before = {letter.position for letter in letters(desk)}
    desk.produce(more.pop("topic", USAGE_EVENTS), key, value, **more)
    desk.settle()
    (letter,) = [letter for letter in letters(desk) if letter.position not in before]
    return letter


def test_usage_counts_once_when_the_book_knows_it(desk: Desk) -> None:
    headers = [("trace", b"\xff\x00"), ("actor", b"k1"), ("empty", None)]
    letter = rejected(desk, usage(), headers=headers)
    assert (letter.reason, letter.said["field"], letter.customer) == (
        "unknown_meter",
        "type",
        "ada",
    )

    outcome = again(desk)
    assert outcome.sent == {}
    assert "has no meter for 'fax.sent': publish one" in outcome.skipped[letter.position]

    desk.publish(fax_book())
    desk.settle()
    outcome = again(desk)
    assert list(outcome.sent) == [letter.position]
    assert desk.balance("ada") == "94"
    sent = desk.records(USAGE_EVENTS)[-1]
    assert (sent.key(), sent.value(), sent.partition()) == (
        b"ada",
        usage(),
        partition_of(b"ada", 2),
    )
    from_ = ("drawdown-redriven-from", letter.position.header)
    assert sent.headers() == [*headers, from_]
    assert desk.entries("ada")[-1]["data"]["actor"] == "k1"

    (told,) = letters(desk)
    assert told.redriven is not None
    assert (told.redriven.by, told.redriven.topic) == ("ops", "usage-events")
    assert not told.open

    outcome = again(desk)
    assert outcome.sent == {}
    assert "was sent again already, at 2027-" in outcome.skipped[letter.position]
    assert desk.balance("ada") == "94"
    assert desk.wrongs() == []


def test_what_comes_back_is_another_letter_that_says_which_it_was(desk: Desk) -> None:
    first = rejected(desk, usage(data={"pages": "many"}, id="f1"))
    desk.publish(fax_book())
    desk.settle()
    again(desk)
    one, two = sorted(letters(desk), key=lambda letter: letter.at_ms)
    assert (one.position, one.came_back_as) == (first.position, two.position)
    assert (two.reason, two.redriven_from, two.open) == ("bad_quantity", first.position, True)

    again(desk)
    three = letters(desk)[-1]
    assert three.redriven_from == two.position
    own = [name for name, _ in desk.records(DEAD_LETTERS)[-1].headers() or []]
    assert own.count("drawdown-redriven-from") == 1


def test_the_same_event_in_three_letters_is_debited_once(desk: Desk) -> None:
    for _ in range(3):
        desk.produce(USAGE_EVENTS, b"ada", usage())
    desk.settle()
    desk.publish(fax_book())
    desk.settle()
    assert len(again(desk).sent) == 3
    assert desk.balance("ada") == "94"


SKIPPED: list[tuple[str, bytes | None, bytes | None, str]] = [
    ("no value", None, b"ada", "it has no value"),
    ("an empty value", b"", b"ada", "it cannot become right as it is"),
    ("no JSON", b"{", b"ada", "it cannot become right as it is"),
    ("1e400", usage("llm.completion", {"input": 1}).replace(b"1}", b"1e400}"), b"ada",
     "it cannot become right as it is"),
    ("oversized", b" " * (1 << 20) + usage(), b"ada", "it cannot become right as it is"),
    ("no id", usage(id=...), b"ada", "it cannot become right as it is"),
    ("no key", usage(), None, "it has no key"),
    ("another's key", usage(), b"bob", "its key is not its subject"),
    ("too early", usage("image", {"images": 1}, time=at_text(START_MS + DAY_S * 1000)), b"ada",
     "is still ahead"),
    ("too late", usage("image", {"images": 1}, time=at_text(START_MS - 40 * DAY_S * 1000)), b"ada",
     "more than 35 days back: --accept-late"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "key", "why"), [pytest.param(*rest, id=name) for name, *rest in SKIPPED]
)
def test_what_cannot_count_is_skipped_and_told(
    desk: Desk, value: bytes | None, key: bytes | None, why: str
) -> None:
    letter = rejected(desk, value, key)
    outcome = again(desk)
    assert outcome.sent == {}
    assert why in outcome.skipped[letter.position]
    assert len(letters(desk)) == 1


def test_a_conflict_is_never_sent_again(desk: Desk) -> None:
    first, second = (usage("image", {"images": count}) for count in (1, 2))
    desk.produce(USAGE_EVENTS, b"ada", first)
    letter = rejected(desk, second)
    outcome = again(desk, accept_late=True)
    assert "used before with other content" in outcome.skipped[letter.position]


def test_what_is_early_counts_when_its_time_has_come(desk: Desk) -> None:
    event = usage("image", {"images": 1}, time=at_text(START_MS + DAY_S * 1000))
    rejected(desk, event)
    desk.pass_time(DAY_S)
    assert len(again(desk).sent) == 1
    assert desk.kinds("ada") == ["grant", "debit"]


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS], ids=lambda topic: topic.name)
def test_what_lay_on_a_wrong_partition_goes_to_its_own(desk: Desk, topic: Any) -> None:
    home = partition_of(b"ada", 2)
    command = {"type": "grant", "id": "g", "customer": "ada", "asset": "USD", "amount": "1"}
    grant = json.dumps({**command, "time": at_text(desk.clock.ms)}).encode()
    value = usage("image", {"images": 1}) if topic is USAGE_EVENTS else grant
    moved = [("drawdown-forwarded-from", b"0:0")]
    letter = rejected(desk, value, topic=topic, partition=1 - home, headers=moved)
    assert letter.reason == "wrong_partition"
    outcome = again(desk)
    assert outcome.sent[letter.position].partition == home
    assert desk.kinds("ada") == ["grant", "debit" if topic is USAGE_EVENTS else "grant"]
    again(desk)
    assert len(desk.kinds("ada")) == 2


def test_a_command_nobody_waits_for_any_more_is_skipped(desk: Desk) -> None:
    command = {"type": "grant", "id": "g", "customer": "ada", "asset": "USD", "amount": "1"}
    for field, name in (("time", "time"), ("deadline_at", "deadline_at")):
        told = {**command, "id": name, "time": at_text(desk.clock.ms), field: at_text(START_MS)}
        rejected(
            desk,
            json.dumps(told).encode(),
            topic=COMMANDS,
            partition=1 - partition_of(b"ada", 2),
            headers=[("drawdown-forwarded-from", b"0:0")],
        )
    desk.pass_time(36 * DAY_S)
    outcome = again(desk)
    assert sorted(why.split(":")[0] for why in outcome.skipped.values()) == [
        "its `deadline_at` has passed",
        "its `time` is too far back",
    ]


# --- late usage ----------------------------------------------------------------------------------

LATE = usage("image", {"images": 1}, time=at_text(START_MS - 40 * DAY_S * 1000))


def test_late_usage_is_booked_when_an_operator_says_so_and_the_entry_says_who(desk: Desk) -> None:
    desk.grant("ada", "100", "credit")
    letter = rejected(desk, LATE)
    assert letter.reason == "too_late"
    again(desk, accept_late=True)
    assert desk.balance("ada", "credit") == "88"
    assert desk.entries("ada")[-1]["data"]["cause"]["accepted_late_by"] == "ops"

    # Once: redriven again, sent again by its producer, and by another hand; also when its id is
    # long forgotten.
    again(desk, accept_late=True)
    for headers in (None, [("drawdown-accept-late", b"eve")]):
        desk.produce(USAGE_EVENTS, b"ada", LATE, headers=headers)
    desk.settle()
    assert len(letters(desk)) == 1
    desk.pass_time(90 * DAY_S)
    desk.grant("ada", "1")  # the broker's time goes on with what it appends
    desk.settle()
    desk.settlers[0].restart(disk=MemoryStores())
    desk.settle()
    second = rejected(desk, LATE, headers=[("drawdown-accept-late", b"")])
    outcome = again(desk, accept_late=True)
    assert "was debited before: entry 3 of ada" in outcome.skipped[second.position]
    assert desk.balance("ada", "credit") == "88"
    assert desk.wrongs() == []


def test_late_usage_is_not_booked_again_when_its_id_is_long_forgotten(desk: Desk) -> None:
    """Debited in time; sent again three months later, with all identities gone."""
    desk.grant("ada", "100", "credit")
    value = usage("image", {"images": 1})
    desk.produce(USAGE_EVENTS, b"ada", value)
    desk.settle()
    desk.pass_time(90 * DAY_S)
    desk.grant("ada", "1")  # the broker's time goes on with what it appends
    desk.settle()
    desk.settlers[0].restart(disk=MemoryStores())
    desk.settle()
    letter = rejected(desk, value)
    assert letter.reason == "too_late"
    outcome = again(desk, accept_late=True)
    assert "was debited before: entry 3 of ada" in outcome.skipped[letter.position]
    assert desk.balance("ada", "credit") == "88"


def test_what_was_accepted_late_survives_a_rebuilt_store_and_is_remembered(desk: Desk) -> None:
    desk.grant("ada", "100", "credit")
    rejected(desk, LATE)
    again(desk, accept_late=True)
    desk.pass_time(34 * DAY_S)
    desk.settlers[0].restart(disk=MemoryStores())
    desk.settle()
    desk.produce(USAGE_EVENTS, b"ada", LATE, headers=[("drawdown-accept-late", b"ops")])
    desk.settle()
    assert desk.balance("ada", "credit") == "88"
    assert desk.wrongs() == []


def test_only_what_is_late_is_said_to_be_accepted_late(desk: Desk) -> None:
    headers = [("drawdown-accept-late", b"ops")]
    desk.produce(USAGE_EVENTS, b"ada", usage("image", {"images": 1}), headers=headers)
    desk.settle()
    assert "accepted_late_by" not in desk.entries("ada")[-1]["data"]["cause"]
    early = usage("image", {"images": 1}, id="e", time=at_text(START_MS + DAY_S * 1000))
    assert rejected(desk, early, headers=headers).reason == "too_early"


def test_a_command_is_never_accepted_late(desk: Desk) -> None:
    command = {"type": "grant", "id": "g", "customer": "ada", "asset": "USD", "amount": "1"}
    old = json.dumps({**command, "time": at_text(START_MS - 40 * DAY_S * 1000)}).encode()
    desk.produce(COMMANDS, b"ada", old, headers=[("drawdown-accept-late", b"ops")])
    desk.settle()
    assert desk.decision("g")["reason"] == "too_late"


# --- once, whatever happens ----------------------------------------------------------------------


def test_a_dry_run_sends_nothing(desk: Desk) -> None:
    letter = rejected(desk, usage())
    desk.publish(fax_book())
    desk.settle()
    before = len(desk.records(USAGE_EVENTS))
    assert list(again(desk, dry_run=True).sent) == [letter.position]
    assert len(desk.records(USAGE_EVENTS)) == before
    assert letters(desk)[0].open


def many(desk: Desk, count: int) -> list[Position]:
    """Letters that can be sent again."""
    for number in range(count):
        desk.produce(USAGE_EVENTS, b"ada", usage(id=f"f{number}"))
    desk.settle()
    desk.publish(fax_book())
    desk.settle()
    return [letter.position for letter in letters(desk)]


def test_one_who_is_killed_between_two_transactions_leaves_the_rest_to_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = many(desk, 7)
    monkeypatch.setattr(redriving, "BATCH_RECORDS", 3)

    class KilledError(Exception):
        pass

    def kill(sent: int, of: int) -> None:
        assert of == 7
        raise KilledError

    with pytest.raises(KilledError):
        again(desk, told=kill)
    desk.settle()
    assert sum(not letter.open for letter in letters(desk)) == 3
    assert list(again(desk).sent) == positions[3:]
    assert desk.kinds("ada").count("debit") == 7
    assert desk.balance("ada") == "58"


def test_one_who_is_killed_in_a_transaction_has_sent_nothing_of_it(desk: Desk) -> None:
    positions = many(desk, 4)
    process = desk.cluster.process("killed")
    cluster = Failing(process, "commit_transaction")
    with pytest.raises(DeadLettersError, match="run the same again"):
        redrive(cluster, ENVIRONMENT, everything, by="ops", now_ms=desk.clock.ms)
    process.kill()
    assert list(again(desk).sent) == positions
    assert desk.kinds("ada").count("debit") == 4
    assert all(letter.came_back_as is None for letter in letters(desk))


def test_two_at_once_send_each_letter_once(desk: Desk) -> None:
    positions = many(desk, 4)
    first = desk.cluster.process("first")
    second: list[Outcome] = []

    def meanwhile() -> None:
        second.append(again(desk))

    cluster = Failing(first, "begin_transaction", meanwhile)
    with pytest.raises(DeadLettersError, match="another redrive has begun"):
        redrive(cluster, ENVIRONMENT, everything, by="other", now_ms=desk.clock.ms)
    desk.settle()
    assert [list(outcome.sent) for outcome in second] == [positions]
    assert len(desk.records(USAGE_EVENTS)) == 4 + 4
    assert desk.kinds("ada").count("debit") == 4


class Failing:
    """A cluster whose producers do something before a call, or have it fail."""

    def __init__(
        self, process: Any, call: str, meanwhile: Callable[[], None] | None = None
    ) -> None:
        self._process = process
        self._call = call
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def producer(self, config: Any) -> Any:
        producer = self._process.producer(config)
        original = getattr(producer, self._call)

        def called(*arguments: Any) -> Any:
            if self._meanwhile is None:
                producer.flush(0)
                raise BufferError("cut off")
            self._meanwhile()
            return original(*arguments)

        setattr(producer, self._call, called)
        return producer


# --- reading -------------------------------------------------------------------------------------


def test_what_is_no_letter_is_passed_over(desk: Desk) -> None:
    """Whoever writes to the topic besides: nothing of it is taken for a letter or a mark."""
    letter = rejected(desk, usage())
    for headers in (
        None,
        [],
        [("drawdown-redriven", letter.position.header)],
        [("drawdown-topic", b"usage-events")],
    ):
        desk.produce(DEAD_LETTERS, b"ada", b'{"partition":0}', headers=headers)
        desk.produce(DEAD_LETTERS, None, None, headers=headers)
    assert letters(desk) == [letter]


def test_a_producers_headers_are_not_taken_for_ours(desk: Desk) -> None:
    forged = [
        ("drawdown-reason", b"unknown_meter"),
        ("drawdown-topic", b"commands"),
        ("drawdown-redriven", b"0:0"),
        ("drawdown-redriven-from", b"9:9"),
    ]
    letter = rejected(desk, b"{", headers=forged)
    assert (letter.reason, letter.topic) == ("malformed", "usage-events")
    assert letter.open
    (whole,) = read_whole(desk.cluster.process("reader"), ENVIRONMENT, [letter.position])
    assert (whole.value, whole.headers) == (b"{", forged)


def test_letters_since_a_time(desk: Desk) -> None:
    rejected(desk, b"{")
    desk.pass_time(60)
    second = rejected(desk, b"[")
    cluster: MemoryCluster = desk.cluster
    found = read_letters(cluster.process("reader"), ENVIRONMENT, since_ms=second.at_ms)
    assert found == [second]


@pytest.mark.parametrize("text", ["", "2", "@", "2@", "a@1", "2@-1", "2@1 ", "٢@1", "1" * 30])
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match="give partition@offset"):
        position_of(text)


def test_a_position_as_people_and_as_headers_write_it() -> None:
    assert position_of("2@17") == position_of("2:17") == Position(2, 17)
    assert (str(Position(2, 17)), Position(2, 17).header) == ("2@17", b"2:17")


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
@pytest.mark.parametrize("redriven_too", [False, True])
def test_the_newest_are_those_of_all(desk: Desk, limit: int, redriven_too: bool) -> None:
    for number in range(6):
        customer = ("ada", "bob")[number % 2]
        rejected(desk, usage(id=f"f{number}", subject=customer), customer.encode())
        desk.pass_time(1)
    desk.publish(fax_book())
    desk.settle()
    assert len(again(desk, lambda letter: letter.customer == "ada").sent) == 3
    rejected(desk, b"{")
    every = [letter for letter in letters(desk) if redriven_too or letter.open]
    every.sort(key=lambda letter: (letter.at_ms, letter.position), reverse=True)
    process = desk.cluster.process("reader")
    found = newest_letters(process, ENVIRONMENT, everything, limit, redriven_too=redriven_too)
    assert found.letters == every[:limit]
    assert found.reasons == Counter(letter.reason for letter in every)
    bobs = newest_letters(process, ENVIRONMENT, lambda letter: letter.customer == "bob", limit)
    assert bobs.letters == [x for x in every if x.customer == "bob" and x.open][:limit]
