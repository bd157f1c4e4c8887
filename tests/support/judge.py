"""A judge of histories that shares no code with the engine.

It reads what stands on the topics, reckons with `decimal` and `hashlib` alone, and says what is
wrong: sequences, digests, before and after, conservation, rows, and events debited twice or never.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal, getcontext
from typing import Any

getcontext().prec = 60


def wrongs(
    journal: Iterable[tuple[bytes, bytes]], rows: Iterable[tuple[bytes, bytes | None]]
) -> list[str]:
    """What is wrong with a journal (key, value in order) and the rows that go with it."""
    found: list[str] = []
    by_customer: dict[str, list[tuple[dict[str, Any], bytes]]] = defaultdict(list)
    for key, value in journal:
        entry = json.loads(value)
        if entry["subject"] != key.decode():
            found.append(f"entry {entry['id']} has the key {key!r}")
        by_customer[key.decode()].append((entry, value))
    last_rows = {key.decode(): value for key, value in rows}
    for customer, entries in by_customer.items():
        found += _customer_wrongs(customer, entries, last_rows.get(customer))
    debits = Counter(
        (customer, entry["data"].get("source"), entry["data"]["id"])
        for customer, entries in by_customer.items()
        for entry, _ in entries
        if "id" in entry["data"]
    )
    found += [f"{identity} has {count} entries" for identity, count in debits.items() if count > 1]
    causes = Counter(
        (c["topic"], c["partition"], c["offset"])
        for entries in by_customer.values()
        for entry, _ in entries
        if "topic" in (c := entry["data"]["cause"])
    )
    found += [f"{cause} caused {count} entries" for cause, count in causes.items() if count > 1]
    return found


def _customer_wrongs(
    customer: str, entries: list[tuple[dict[str, Any], bytes]], row: bytes | None
) -> list[str]:
    found: list[str] = []
    digest = "0" * 64
    balances: dict[str, Decimal] = defaultdict(Decimal)
    totals: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    grants: dict[str, Decimal] = {}
    for number, (entry, value) in enumerate(entries, 1):
        data = entry["data"]
        where = f"{customer}: entry {number}"
        body, _, _ = value.partition(b',"digest":"')
        if data["sequence"] != number:
            found.append(f"{where} says it is {data['sequence']}")
        if data["previous"] != digest:
            found.append(f"{where} does not continue the chain")
        digest = hashlib.sha256(body).hexdigest()
        if entry["digest"] != digest:
            found.append(f"{where}: its digest is not that of its bytes")
        asset = data.get("asset")
        if asset is None:
            continue
        kind = entry["type"].rpartition(".")[2]
        amount = Decimal(data["amount"])
        if Decimal(data["before"]) != balances[asset]:
            found.append(f"{where}: before is {data['before']}, was {balances[asset]}")
        balances[asset] += amount if kind == "grant" else -amount
        if Decimal(data["after"]) != balances[asset]:
            found.append(f"{where}: after is {data['after']}, is {balances[asset]}")
        total = totals[asset]
        total[kind] += amount
        total["credit"] += Decimal(data.get("credit", "0"))
        total["overdrawn"] += Decimal(data.get("overdrawn", "0"))
        slices = {a["grant"]: Decimal(a["amount"]) for a in data.get("allocations", [])}
        if kind == "grant":
            grants[data["grant"]["id"]] = (
                amount + Decimal(data.get("credit", "0")) + Decimal(data.get("overdrawn", "0"))
            )
        else:
            rest = Decimal(data.get("credit", "0")) + Decimal(data.get("overdrawn", "0"))
            if sum(slices.values()) + rest != amount:
                found.append(f"{where}: its parts are not {amount}")
            for grant, part in slices.items():
                grants[grant] -= part
                if grants[grant] < 0:
                    found.append(f"{where}: grant {grant} is below zero")
    if row is None:
        return [*found, f"{customer} has entries and no row"]
    return found + _row_wrongs(customer, json.loads(row), len(entries), digest, totals, grants)


def _row_wrongs(
    customer: str,
    row: dict[str, Any],
    sequence: int,
    digest: str,
    totals: dict[str, dict[str, Decimal]],
    grants: dict[str, Decimal],
) -> list[str]:
    found: list[str] = []
    if (row["sequence"], row["digest"]) != (sequence, digest):
        found.append(f"{customer}: the row is at {row['sequence']}, the journal at {sequence}")
    live = {grant["id"]: Decimal(grant["remaining"]) for grant in row["grants"]}
    if live != {grant: left for grant, left in grants.items() if left}:
        found.append(f"{customer}: grants {live} instead of {grants}")
    for account in row["accounts"]:
        total = totals[account["asset"]]
        unspent = sum(
            (Decimal(g["remaining"]) for g in row["grants"] if g["asset"] == account["asset"]),
            Decimal(0),
        )
        expected = {
            "unspent": unspent,
            "granted": total["grant"],
            "debited": total["debit"],
            "lapsed": total["lapse"],
            "credit_used": total["credit"],
            "overdrawn": total["overdrawn"],
        }
        for name, value in expected.items():
            if Decimal(account.get(name, "0")) != value:
                found.append(f"{customer}: {name} is {account.get(name, '0')}, not {value}")
        conserved = (
            total["grant"]
            - total["debit"]
            - total["lapse"]
            - unspent
            + total["credit"]
            + total["overdrawn"]
        )
        if conserved:
            found.append(f"{customer}: {conserved} {account['asset']} out of balance")
    return found
