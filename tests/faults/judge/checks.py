"""The checks, by the row of the invariants that they show."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from tests.support import judge

from .fold import Folded, fold
from .reading import Records, exact

EXPIRY_MARGIN = timedelta(seconds=10)


@dataclass
class Row:
    """What was found about one invariant."""

    events: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class Facts:
    """What is known besides the topics."""

    history: list[dict[str, Any]] = field(default_factory=list)
    books: list[dict[str, Any]] = field(default_factory=list)
    """`version`, `effective_at`, `prices` by rate: of every book, oldest first."""
    ended_at: str | None = None
    """When settlement was last seen serving and at rest."""
    stores: dict[str, dict[str, str]] = field(default_factory=dict)
    """By partition: key -> value, of the store of who served it last, as hexadecimal digits."""
    balances: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By customer: what the query service answered."""


class Verdict(dict[int, Row]):
    def __missing__(self, number: int) -> Row:
        self[number] = Row()
        return self[number]

    def as_json(self) -> dict[str, Any]:
        return {
            str(number): {"events": row.events, "violations": row.violations}
            for number, row in sorted(self.items())
        }


def judged(records: Records, facts: Facts) -> Verdict:
    """Everything."""
    verdict = Verdict()
    folded = fold(records["balance-changes"])
    _conserved(records, folded, verdict)
    _usage(records, facts, folded, verdict)
    _letters(records, facts, verdict)
    _calls(records, facts, folded, verdict)
    _decided_again(records, folded, verdict)
    _whole_transactions(records, folded, verdict)
    _holds(records, facts, folded, verdict)
    _prices(facts, folded, verdict)
    _copies(records, facts, verdict)
    return verdict


def _conserved(records: Records, folded: Folded, verdict: Verdict) -> None:
    wrongs = judge.wrongs(
        [(r.key or b"", r.value or b"") for r in records["balance-changes"]],
        [(r.key or b"", r.value) for r in records["balances"]],
    )
    for wrong in wrongs:
        twice = " entries" in wrong and ("has " in wrong or "caused " in wrong)
        verdict[2 if twice else 1].violations.append(wrong)
    for wrong in folded.wrongs:
        number = 25 if "float" in wrong else 5 if "granted" in wrong or "overdrawn" in wrong else 1
        verdict[number].violations.append(wrong)
    for number in (1, 25):
        verdict[number].events += folded.count


def _usage(records: Records, facts: Facts, folded: Folded, verdict: Verdict) -> None:
    """Each event once: what Kafka took is debited once, what it may have taken at most once."""
    row = verdict[2]
    booked: Counter[tuple[str, str]] = Counter(
        (customer, entry["data"]["id"])
        for customer, entries in folded.entries.items()
        for entry in entries
        if "source" in entry["data"]
    )
    sure, possible = set(), set()
    for line in facts.history:
        if line["k"] not in ("usage", "resent"):
            continue
        possible.add((line["c"], line["id"]))
        row.events += line["k"] == "resent"
        if line["outcome"] == "ok":
            sure.add((line["c"], line["id"]))
    for who in sure:
        if booked[who] != 1:
            row.violations.append(f"event {who} was sent and has {booked[who]} entries")
    for who, times in booked.items():
        if times > 1 and who not in sure:
            row.violations.append(f"event {who} has {times} entries")
        if who not in possible:
            row.violations.append(f"event {who} was never sent and has an entry")
    late = {(line["c"], line["id"]) for line in facts.history if line["k"] == "late"}
    row.violations += [f"event {who} was too late and has an entry" for who in late if booked[who]]


def _letters(records: Records, facts: Facts, verdict: Verdict) -> None:
    """Poison goes to the dead letters once, whole, with its reason."""
    row = verdict[17]
    found: Counter[tuple[str, str | None]] = Counter()
    for letter in records["dead-letters"]:
        if letter.headers.get("drawdown-topic") != b"usage-events":
            continue
        key = None if letter.key is None else letter.key.hex()
        found[sha256(letter.value or b"").hexdigest(), key] += 1
        if not letter.headers.get("drawdown-reason"):
            row.violations.append(f"dead letter {letter.partition}@{letter.offset} has no reason")
    possible: Counter[tuple[str, str | None]] = Counter()
    for line in facts.history:
        if line["k"] not in ("poison", "early"):
            continue
        where = (line["sha"], line["key"])
        possible[where] += 1
        row.events += 1
        what = line.get("kind", "unknown meter")
        if line["outcome"] == "ok" and found[where] != 1:
            row.violations.append(f"{what} {line.get('n', '')}: {found[where]} dead letters")
    late = sum(line["k"] == "late" for line in facts.history)
    others = sum(n for where, n in found.items() if not possible[where])
    known_late = sum(
        letter.headers.get("drawdown-reason") == b"too_late" for letter in records["dead-letters"]
    )
    if others > late or known_late > late:
        row.violations.append(f"{others} dead letters of records that were right; {late} were late")


def _calls(records: Records, facts: Facts, folded: Folded, verdict: Verdict) -> None:
    """Who was answered finds the decision in the log; who was not finds it once or not at all."""
    decisions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records["decisions"]:
        decision = record.json
        decisions[decision["id"]].append(decision)
    entries: Counter[tuple[str, str]] = Counter(
        (customer, entry["data"]["id"])
        for customer, found in folded.entries.items()
        for entry in found
        if "id" in entry["data"] and "source" not in entry["data"]
    )
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for line in facts.history:
        match line["k"]:
            case "call":
                last[line["c"], line["id"]] = line
                verdict[6].events += 1
            case "dup":
                _duplicates(line, entries, verdict)
            case "race":
                _race(line, folded, verdict)
    for (customer, id), line in last.items():
        times, row = entries[customer, id], verdict[6]
        where = f"{line['op']} {id}"
        if times > 1:
            row.violations.append(f"{where} has {times} entries")
        if line["outcome"] == "unknown":
            continue
        said = line["said"]
        allowed = line["outcome"] == "ok" and said.get("allowed", False)
        if allowed and times != 1:
            row.violations.append(f"{where} was allowed and has {times} entries")
        if not allowed and times:
            number = 7 if line["op"] == "authorize" else 6
            verdict[number].violations.append(f"{where} was refused and has an entry")
        names = ("allowed", "reason", "sequence", "digest", "amount")
        if line["outcome"] == "ok" and not any(
            all(one.get(name) == said.get(name) for name in names) for one in decisions[id]
        ):
            row.violations.append(f"{where}: what was answered is not in the log: {said}")


def _duplicates(line: dict[str, Any], entries: Counter[Any], verdict: Verdict) -> None:
    row = verdict[3]
    row.events += len(line["said"])
    answers = {json.dumps(one) for one in line["said"] if one[0]}
    if len(answers) > 1:
        row.violations.append(f"{line['id']}: different answers {sorted(answers)}")
    if line["other"] not in (0, 422):
        row.violations.append(f"{line['id']}: other content was answered {line['other']}")
    if entries[line["c"], line["id"]] > 1:
        row.violations.append(f"{line['id']} has {entries[line['c'], line['id']]} entries")


def _race(line: dict[str, Any], folded: Folded, verdict: Verdict) -> None:
    row = verdict[5]
    row.events += 1
    held = sum(entry["type"].endswith(".hold") for entry in folded.entries[line["c"]])
    if held > line["worth"] or (line["whole"] and line["allowed"] != line["worth"]):
        row.violations.append(
            f"{line['c']}: worth {line['worth']}, {line['allowed']} allowed, {held} held"
        )


def _decided_again(records: Records, folded: Folded, verdict: Verdict) -> None:
    """Each allow was affordable at its own sequence, each denial for money was not."""
    row = verdict[4]
    for record in records["decisions"]:
        said = record.json
        if said.get("kind") != "authorization" or "amount" not in said:
            continue
        customer, asset, amount = said["customer"], said["asset"], exact(said["amount"])
        where = f"{said['id']} at {said.get('sequence')}"
        if said["allowed"] and "hold" in said:
            row.events += 1
            there = folded.available_at(customer, said["sequence"] - 1, asset)
            if amount > there:
                row.violations.append(f"{where}: {amount} was allowed, {there} was there")
        elif said["reason"] == "insufficient_balance":
            row.events += 1
            there = folded.available_at(customer, said["sequence"], asset)
            if amount <= there or exact(said["shortfall"]) != amount - there:
                row.violations.append(f"{where}: {amount} was denied, {there} was there")


def _whole_transactions(records: Records, folded: Folded, verdict: Verdict) -> None:
    """What one transaction wrote to several topics is on all of them."""
    row = verdict[9]
    told = {record.json.get("digest") for record in records["decisions"]}
    digests = {e["digest"] for entries in folded.entries.values() for e in entries}
    for customer, entries in folded.entries.items():
        for entry in entries:
            row.events += 1
            data = entry["data"]  # one without an id came with another, which has the decision
            asked = data["cause"].get("topic") == "commands" and "id" in data
            if asked and entry["digest"] not in told:
                row.violations.append(f"{customer} {entry['id']}: an entry without its decision")
    for record in records["decisions"]:
        said = record.json
        if said.get("allowed") and said.get("digest") and said["digest"] not in digests:
            row.violations.append(f"decision {said['id']} names an entry that is not there")


def _holds(records: Records, facts: Facts, folded: Folded, verdict: Verdict) -> None:
    row = verdict[7]
    open_: dict[tuple[str, str], str] = {}
    for customer, entries in folded.entries.items():
        for entry in entries:
            said = entry["data"].get("hold")
            if said is None:
                continue
            row.events += entry["type"].endswith(".expire")
            where = (customer, said["id"])
            if said.get("closed"):
                if where not in open_:
                    row.violations.append(f"hold {where} was closed twice")
                open_.pop(where, None)
            else:
                open_[where] = said["expires_at"]
    if facts.ended_at is not None:
        limit = datetime.fromisoformat(facts.ended_at) - EXPIRY_MARGIN
        row.violations += [
            f"hold {where} ended at {expires} and is open"
            for where, expires in open_.items()
            if datetime.fromisoformat(expires) < limit
        ]


def _prices(facts: Facts, folded: Folded, verdict: Verdict) -> None:
    """Each event is priced, exactly, by the book in effect at its own time."""
    row = verdict[24]
    if not facts.books:
        return
    for customer, entries in folded.entries.items():
        for entry in entries:
            usage = entry["data"].get("usage")
            if usage is None or "source" not in entry["data"]:
                continue
            row.events += 1
            time = datetime.fromisoformat(usage["time"])
            book = [
                one for one in facts.books if datetime.fromisoformat(one["effective_at"]) <= time
            ][-1]
            where = f"{customer} {entry['id']}"
            if entry["data"]["price"]["book"] != book["version"]:
                row.violations.append(
                    f"{where} of {usage['time']} is priced by {entry['data']['price']['book']},"
                    f" {book['version']} was in effect"
                )
                continue
            price = book["prices"][usage["meter"]]
            cost = sum(
                Decimal(price[name]) * Decimal(str(n)) for name, n in usage["quantities"].items()
            )
            if exact(entry["data"]["amount"]) != exact(str(cost)):
                row.violations.append(f"{where}: {entry['data']['amount']} instead of {cost}")


def _copies(records: Records, facts: Facts, verdict: Verdict) -> None:
    """Stores and the query service hold what was published, byte for byte."""
    rows: dict[bytes, bytes | None] = {r.key or b"": r.value for r in records["balances"]}
    partitions = {r.key or b"": r.partition for r in records["balances"]}
    for partition, store in facts.stores.items():
        here = {
            key.hex(): value.hex()
            for key, value in rows.items()
            if value is not None and partitions[key] == int(partition)
        }
        differ = _differ(store, here)
        for number in (13, 14, 15):
            verdict[number].events += len(store)
            verdict[number].violations += [f"store of {partition}: {one}" for one in differ]
    for customer, accounts in facts.balances.items():
        verdict[16].events += 1
        row = json.loads(rows.get(customer.encode()) or b'{"accounts": null}')
        said = {one["asset"]: one["balance"] for one in accounts}
        if row["accounts"] is None or said != {a["asset"]: a["balance"] for a in row["accounts"]}:
            verdict[16].violations.append(f"the query service says {said} of {customer}: {row}")


def _differ(one: dict[str, str], other: dict[str, str]) -> Iterable[str]:
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return [f"row {bytes.fromhex(key)!r} differs" for key in keys[:20]]
