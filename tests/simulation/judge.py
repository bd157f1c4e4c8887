"""The judge of a history: looks at what stands on the topics, and at the stores, and says what is
wrong by the number of the invariant.

It shares no code with the engine. `tests/support/judge.py` folds the journal and checks it against
the rows; here each input record is held against what became of it, in the order of the logs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from tests.simulation import topics
from tests.simulation.standing import Standings
from tests.simulation.topics import FORWARDED, Record, Topics, home, ms
from tests.simulation.verdict import Verdict
from tests.support import judge

from drawdown.stream.memory import MemoryCluster

LATENESS_MS: Final = 35 * 86_400_000
EARLY_MS: Final = 300_000
JUMP_MS: Final = 600_000
"""How wrong a clock may be without timers standing still: as much too early they may fire."""

Stores = dict[int, dict[str, bytes]]


def judged(
    cluster: MemoryCluster,
    seen: list[list[bytes]],
    stores: Stores,
    truly_ms: Callable[[int, Record], int] | None = None,
    steady: bool = True,
) -> Verdict:
    """Judge a history that has come to rest. `seen` are answers that were read on the way, by
    partition; `truly_ms` and `steady` as in `Topics`."""
    from tests.simulation.asked import judge_commands

    verdict = Verdict()
    logs = topics.read(cluster, len(seen))
    logs.steady = steady
    if truly_ms is not None:
        logs.truly_ms = truly_ms
    try:
        standings = _fold(verdict, logs)
        for partition in range(logs.partitions):
            _judge_budgets(verdict, logs, standings, partition)
            causes = Causes(logs, partition)
            _judge_usage(verdict, logs, standings, causes)
            judge_commands(verdict, logs, standings, causes)
            for entry in causes.left():
                verdict.check("2", False, f"{_name(entry)}: its cause made no entry")
            _judge_order(verdict, logs, causes)
            _judge_timers(verdict, logs, causes)
            _judge_rows(verdict, logs, partition, stores.get(partition))
        _judge_answers(verdict, logs, seen)
        _judge_dead_letters(verdict, logs)
    except (KeyError, ValueError, IndexError, ArithmeticError) as error:
        # What is too broken to be read is wrong as well.
        verdict.check("1", False, f"it cannot be followed: {error!r}")
    verdict.check("10", True, "")
    return verdict


def compare_rebuilt(verdict: Verdict, cluster: MemoryCluster, stores: Stores) -> None:
    """After everything was rebuilt by a process without a disk."""
    logs = topics.read(cluster, len(stores))
    for partition, rows in stores.items():
        verdict.check("15", rows == _last_rows(logs, partition), f"partition {partition} rebuilt")


class Causes:
    """The journal of one partition, by what caused each entry."""

    def __init__(self, logs: Topics, partition: int) -> None:
        self.partition = partition
        self.records = logs.journal[partition]
        self.entries: list[dict[str, Any]] = [json.loads(r.value or b"") for r in self.records]
        self._by_cause: dict[tuple[str, int], dict[str, Any]] = {}
        for entry in self.entries:
            cause = entry["data"]["cause"]
            if "topic" in cause:
                self._by_cause[cause["topic"], cause["offset"]] = entry

    def entry_of(self, topic: str, offset: int) -> dict[str, Any] | None:
        """The entry a record caused, once."""
        return self._by_cause.pop((topic, offset), None)

    def left(self) -> list[dict[str, Any]]:
        """Entries whose cause was not asked for."""
        return list(self._by_cause.values())


def _fold(verdict: Verdict, logs: Topics) -> Standings:
    standings = Standings(verdict)
    journal = [(r.key or b"", r.value or b"") for part in logs.journal for r in part]
    rows = [(r.key or b"", r.value) for part in logs.rows for r in part]
    for wrong in judge.wrongs(journal, rows, seen=standings.after):
        verdict.check("1", False, wrong)
    return standings


# usage


def _judge_usage(verdict: Verdict, logs: Topics, standings: Standings, causes: Causes) -> None:
    partition = causes.partition
    decided: dict[tuple[str, str, str], bytes] = {}
    for record in logs.usage[partition]:
        entry = causes.entry_of("usage-events", record.offset)
        where = f"usage {partition}@{record.offset}"
        dead = logs.dead.get(("usage-events", partition, record.offset), [])
        event, why = _event(record, logs.partitions, partition)
        if why == "astray":
            moved = _moved(logs.usage, record, partition, logs.partitions)
            verdict.check("2", moved == 1 and entry is None, f"{where}: moved {moved} times")
            continue
        if event is not None and why is None:
            identity = (event["subject"], event["source"], event["id"])
            known = decided.get(identity)
            content = _content(event)
            if known is not None:
                verdict.check("2", entry is None, f"{where}: {event['id']} is debited again")
                if known == content:
                    verdict.check("3", not dead, f"{where}: a repetition is a dead letter")
                    continue
                why = "conflict"
            else:
                why = _untimely(record, event)
                if why is None:
                    decided[identity] = content
                    found = entry is not None and entry["data"].get("id") == event["id"]
                    if verdict.check("2", found, f"{where}: {event['id']} is not debited"):
                        assert entry is not None
                        _judge_debit(verdict, logs, record, event, entry)
                    verdict.check("9", not dead, f"{where}: debited and a dead letter")
                    continue
        verdict.check("17", entry is None, f"{where}: {why}, and debited")
        whole = len(dead) == 1 and dead[0].value == record.value and dead[0].key == record.key
        verdict.check("17", whole, f"{where}: {why}, and {len(dead)} dead letters")
        if why == "conflict" and whole:
            said = dead[0].headers["drawdown-reason"]
            verdict.check("3", said == b"conflict", f"{where}: set aside for {said!r}")


def _event(record: Record, partitions: int, partition: int) -> tuple[Any, str | None]:
    """The event, and why it is not for this partition to decide, or for nobody."""
    if record.key is not None and home(record.key, partitions) != partition:
        return None, "astray"
    try:
        event = json.loads(record.value or b"")
    except ValueError:
        return None, "no json"
    if not isinstance(event, dict):
        return None, "no object"
    tokens = event["data"]["input"]
    if record.key is None or record.key.decode() != event["subject"]:
        return event, "not its key"
    if event["type"] != "llm" or not isinstance(tokens, int) or tokens < 0:
        return event, "no such usage"
    return event, None


def _content(event: dict[str, Any]) -> bytes:
    return json.dumps([event[n] for n in ("type", "time", "data")], sort_keys=True).encode()


def _untimely(record: Record, event: dict[str, Any]) -> str | None:
    late_ms = record.stamp_ms - ms(event["time"])
    if late_ms > LATENESS_MS:
        return "too late"
    return "too early" if late_ms < -EARLY_MS else None


def _moved(parts: list[list[Record]], record: Record, partition: int, partitions: int) -> int:
    """How often a record was moved to where it belongs."""
    origin = f"{partition}:{record.offset}".encode()
    found = parts[home(record.key or b"", partitions)]
    return sum(r.headers.get(FORWARDED) == origin and r.value == record.value for r in found)


def _judge_debit(
    verdict: Verdict, logs: Topics, record: Record, event: dict[str, Any], entry: dict[str, Any]
) -> None:
    data = entry["data"]
    name = _name(entry)
    book = logs.books_at(ms(event["time"]))[-1]
    price = data["price"]
    verdict.check(
        "24",
        (price["book"], price["book_offset"]) == (book.version, book.offset),
        f"{name}: priced by {price['book']}, not {book.version}",
    )
    charge = event["data"]["input"] * book.per_token
    verdict.check("2", topics.pico(data["amount"]) == charge, f"{name}: {data['amount']}")
    verdict.check("8", ms(entry["time"]) == record.stamp_ms, f"{name}: not at its record's time")


def _name(entry: dict[str, Any]) -> str:
    return f"entry {entry['id']} ({entry['type'].rpartition('.')[2]})"


# the order of entries, and timers


def _judge_order(verdict: Verdict, logs: Topics, causes: Causes) -> None:
    last: Counter[str] = Counter()
    for entry in causes.entries:
        cause = entry["data"]["cause"]
        if "topic" in cause:
            verdict.check(
                "8",
                cause["offset"] >= last[cause["topic"]] and cause["partition"] == causes.partition,
                f"{_name(entry)}: by {cause}, after one of {last[cause['topic']]}",
            )
            last[cause["topic"]] = cause["offset"] + 1


def _judge_timers(verdict: Verdict, logs: Topics, causes: Causes) -> None:
    slack_ms = 0 if logs.steady else JUMP_MS
    stamps = {
        "usage-events": _effective(logs.usage[causes.partition]),
        "commands": _effective(logs.commands[causes.partition]),
    }
    soonest: float = float("inf")  # of the records that caused entries after the one looked at
    following: dict[str, Any] | None = None
    for place in range(len(causes.entries) - 1, -1, -1):
        entry, record = causes.entries[place], causes.records[place]
        cause = entry["data"]["cause"]
        if "topic" in cause:
            soonest = min(soonest, stamps[cause["topic"]][cause["offset"]])
        elif not _by_usage(entry, following):
            due_ms = ms(cause["due_at"])
            name = _name(entry)
            verdict.check("19", ms(entry["time"]) >= due_ms, f"{name}: at {entry['time']}, early")
            truly_ms = logs.truly_ms(causes.partition, record)
            verdict.check("19", truly_ms >= due_ms - slack_ms, f"{name}: truly at {truly_ms}")
            ahead = soonest < due_ms - slack_ms
            verdict.check("19", not ahead, f"{name}: due {due_ms}, before a record of {soonest}")
        following = entry


def _effective(records: list[Record]) -> dict[int, int]:
    """The times of records, which never go back."""
    at_ms = 0
    found = {}
    for record in records:
        at_ms = found[record.offset] = max(at_ms, record.stamp_ms)
    return found


def _by_usage(entry: dict[str, Any], following: dict[str, Any] | None) -> bool:
    """Whether usage that named a hold has found it over, rather than its timer."""
    return (
        following is not None
        and following["subject"] == entry["subject"]
        and following["time"] == entry["time"]
        and following["data"].get("reason") == "hold_expired"
    )


# what else stands there


def _last_rows(logs: Topics, partition: int) -> dict[str, bytes]:
    last = {(r.key or b"").decode(): r.value for r in logs.rows[partition]}
    return {key: value for key, value in last.items() if value is not None}


def _judge_rows(
    verdict: Verdict, logs: Topics, partition: int, store: dict[str, bytes] | None
) -> None:
    if verdict.check("13", store is not None, f"partition {partition} has no store"):
        assert store is not None
        last = _last_rows(logs, partition)
        differ = sorted(k for k in {*store, *last} if store.get(k) != last.get(k))
        verdict.check("13", not differ, f"partition {partition}: store and rows differ in {differ}")
        verdict.check("9", not differ, f"partition {partition}: an entry without its row")


def _judge_budgets(verdict: Verdict, logs: Topics, standings: Standings, partition: int) -> None:
    """What the rows say of budgets is what the entries add up to."""
    for key, value in _last_rows(logs, partition).items():
        customer, _, rest = key.partition("\x1f")
        if not rest.startswith("spent"):
            continue
        row, standing = json.loads(value), standings.of(customer)[-1]
        said = topics.pico(row.get("used", "0")), topics.pico(row.get("held", "0"))
        right = standing.used, sum(standing.counted.values())
        verdict.check("1", said == right, f"{customer}: budget has {said}, the entries say {right}")


def _judge_answers(verdict: Verdict, logs: Topics, seen: list[list[bytes]]) -> None:
    for partition, answers in enumerate(seen):
        there = [record.value for record in logs.decisions[partition][: len(answers)]]
        verdict.check("6", there == answers, f"answers of partition {partition} are gone")


def _judge_dead_letters(verdict: Verdict, logs: Topics) -> None:
    for of, letters in logs.dead.items():
        verdict.check("17", len(letters) == 1, f"{of} has {len(letters)} dead letters")
