"""A judge of histories that shares no code with the engine.

It reads what stands on the topics, reckons with `decimal` and `hashlib` alone, and says what is
wrong: sequences, digests, before and after, conservation, holds, rows, and events debited twice or
never.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal, getcontext
from typing import Any

getcontext().prec = 60

DEBITS = ("debit", "capture")

Counts = dict[tuple[str, str, str], tuple[str | None, Any]]
"""Of a margin or a pace, by budget and scope: its window, and what it had after the last entry."""
Seen = Callable[
    [dict[str, Any], dict[str, Any], dict[str, Decimal], dict[str, dict[str, Any]]], None
]
"""Told of each entry as it was folded: the entry, totals by asset, grants and open holds after it.
They change with the next."""


def wrongs(
    journal: Iterable[tuple[bytes, bytes]],
    rows: Iterable[tuple[bytes, bytes | None]],
    origins: Mapping[bytes, str] | None = None,
    seen: Seen = lambda entry, totals, grants, holds: None,
) -> list[str]:
    """What is wrong with a journal (key, value in order) and the rows that go with it. `origins`
    says of entries, by their value, which cluster their cause is on, where it is another."""
    found: list[str] = []
    by_customer: dict[str, list[tuple[dict[str, Any], bytes]]] = defaultdict(list)
    for key, value in journal:
        entry = json.loads(value)
        if entry["subject"] != key.decode():
            found.append(f"entry {entry['id']} has the key {key!r}")
        by_customer[key.decode()].append((entry, value))
    last_rows = {key.decode(): value for key, value in rows}
    for customer, entries in by_customer.items():
        open_holds = {
            key.split("\x1f")[2]: json.loads(value)
            for key, value in last_rows.items()
            if value is not None and key.startswith(f"{customer}\x1fhold\x1f")
        }
        running_rows = [
            json.loads(value)
            for key, value in last_rows.items()
            if value is not None and key.startswith(f"{customer}\x1frunning\x1f")
        ]
        found += _customer_wrongs(
            customer, entries, last_rows.get(customer), open_holds, running_rows, seen
        )
    debits = Counter(
        (customer, entry["data"].get("source"), entry["data"]["id"])
        for customer, entries in by_customer.items()
        for entry, _ in entries
        if "id" in entry["data"]
    )
    found += [f"{identity} has {count} entries" for identity, count in debits.items() if count > 1]
    causes = Counter(
        ((origins or {}).get(value), c["topic"], c["partition"], c["offset"])
        for entries in by_customer.values()
        for entry, value in entries
        if "topic" in (c := entry["data"]["cause"]) and not _of_another(entry)
    )
    found += [f"{cause} caused {count} entries" for cause, count in causes.items() if count > 1]
    return found


def _customer_wrongs(
    customer: str,
    entries: list[tuple[dict[str, Any], bytes]],
    row: bytes | None,
    open_holds: dict[str, dict[str, Any]],
    running_rows: list[dict[str, Any]],
    seen: Seen,
) -> list[str]:
    found: list[str] = []
    digest = "0" * 64
    balances: dict[str, Decimal] = defaultdict(Decimal)
    totals: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    grants: dict[str, Decimal] = {}
    holds: dict[str, dict[str, Any]] = {}
    runs: dict[tuple[str, str | None], str] = {}
    counts: Counts = {}
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
        kind = entry["type"].rpartition(".")[2]
        said = data.get("hold")
        if said is not None:
            found += [f"{where}: {what}" for what in _hold_wrongs(kind, data, said, entry, holds)]
        running = data.get("running")
        if running is not None and not running.get("over"):
            counter = (running["counter"], running.get("starts_at"))
            if running.get("before", "0") != runs.get(counter, "0"):
                found.append(f"{where}: {counter} runs from {runs.get(counter, '0')}")
            runs[counter] = running.get("after", "0")
            if "next_ends_at" in running:  # what holds goes on in the next period
                runs.setdefault((running["counter"], running["ends_at"]), "0")
            if running.get("closed"):
                del runs[counter]
        found += [f"{where}: {what}" for what in _counted_wrongs(data, counts)]
        asset = data.get("asset")
        if asset is None:
            seen(entry, totals, grants, holds)
            continue
        amount = Decimal(data["amount"])
        if Decimal(data["before"]) != balances[asset]:
            found.append(f"{where}: before is {data['before']}, was {balances[asset]}")
        taken, returned = _parts(said, "taken"), _parts(said, "returned")
        out, back = sum(taken.values()), sum(returned.values())
        match kind:
            case "grant" | "release" | "expire":
                balances[asset] += amount
            case "capture":
                balances[asset] += out + back - amount
            case "rollover" | "settle":
                pass
            case _:
                balances[asset] += amount if _comes(entry) else -amount
        if Decimal(data["after"]) != balances[asset]:
            found.append(f"{where}: after is {data['after']}, is {balances[asset]}")
        total = totals[asset]
        total[_total(entry)] += amount
        total["credit"] += Decimal(data.get("credit", "0")) - taken[None] - returned[None]
        total["held"] += (amount if kind == "hold" else 0) - out - back
        total["overdrawn"] += Decimal(data.get("overdrawn", "0"))
        slices = {a["grant"]: Decimal(a["amount"]) for a in data.get("allocations", [])}
        if kind == "reversal" and _comes(entry):
            for grant, part in slices.items():
                grants[grant] -= part
            rest = amount + sum(slices.values())
            rest += Decimal(data.get("credit", "0")) + Decimal(data.get("overdrawn", "0"))
            if (rest > 0) != ("grant" in data) or rest < 0:
                found.append(f"{where}: {rest} of it went nowhere")
            if "grant" in data:
                grants[data["grant"]["id"]] = rest
        elif kind in ("rollover", "settle"):
            if sum(slices.values()) != amount:
                found.append(f"{where}: its parts are not {amount}")
            for grant, part in slices.items():
                grants[grant] -= part
            if kind == "rollover":
                into = data["grant"]["id"]
                grants[into] = grants.get(into, Decimal(0)) + amount
        elif kind not in DEBITS and "grant" in data:
            into = data["grant"]["id"]
            grants[into] = grants.get(into, Decimal(0)) + (
                amount + Decimal(data.get("credit", "0")) + Decimal(data.get("overdrawn", "0"))
            )
        elif kind in ("release", "expire"):
            if back != amount:
                found.append(f"{where}: gives {back} back, not {amount}")
        else:
            rest = Decimal(data.get("credit", "0")) + Decimal(data.get("overdrawn", "0"))
            if sum(slices.values()) + rest != amount:
                found.append(f"{where}: its parts are not {amount}")
            if "grant" in data:  # for what no grant could take back
                grants.setdefault(data["grant"]["id"], Decimal(0))
            for grant, part in slices.items():
                grants[grant] -= part - taken[grant]
                if amount >= 0 and part < taken[grant]:
                    found.append(f"{where}: captures more of {grant} than it debits")
                if grants[grant] < 0:
                    found.append(f"{where}: grant {grant} is below zero")
        for name, part in returned.items():
            if name is not None:
                grants[name] += part
        seen(entry, totals, grants, holds)
    if row is None:
        return [*found, f"{customer} has entries and no row"]
    wallet = json.loads(row)
    found += _open_holds_wrongs(customer, wallet, open_holds, holds)
    rows = {(row["counter"], row.get("starts_at")): row["quantity"] for row in running_rows}
    if rows != runs:
        found.append(f"{customer}: the rows say {rows}, the journal {runs}")
    return found + _row_wrongs(customer, wallet, len(entries), digest, totals, grants, holds)


def _counted_wrongs(data: dict[str, Any], counts: Counts) -> list[str]:
    """What is wrong with the margins and paces of an entry; `counts` are those there are, and
    change with it. What a rolling window forgets is not looked at."""
    wrong = []
    for margin in data.get("margins", []):
        key = ("margin", margin["budget"], margin.get("scope", ""))
        moved = [
            Decimal(margin.get(name, "0")) - Decimal(margin.get(f"{name}_before", "0"))
            for name in ("revenue", "cost")
        ]
        said = [Decimal(data.get(name, "0")) for name in ("revenue", "cost")]
        if not margin.get("closed") and moved != said:
            wrong.append(f"moves margin {key} by {moved}, and is {said}")
        window = margin.get("starts_at")
        last, before = counts.get(key, (None, None))
        begins = (margin.get("revenue_before", "0"), margin.get("cost_before", "0"))
        if window is not None and window == last and "window" not in margin and begins != before:
            wrong.append(f"margin {key} goes on from {begins}, was {before}")
        counts[key] = window, (margin.get("revenue", "0"), margin.get("cost", "0"))
    for pace in data.get("paces", []):
        key = ("pace", pace["budget"], pace.get("scope", ""))
        stretch, before = counts.get(key, (None, None))
        known = stretch == pace["starts_at"] and "every" not in pace
        if pace.get("before", "0") != (before if known else "0") and not pace.get("closed"):
            wrong.append(f"{key} goes on from {pace.get('before', '0')}, was {before}")
        counts[key] = pace["starts_at"], pace.get("after", "0")
    return wrong


def _of_another(entry: dict[str, Any]) -> bool:
    """A conversion is two entries of one command: what is given, and what is got. A subscription
    comes with fees, grants, budgets and what else follows. One of them has the command's id; of a
    re-rating and of the last use under a hold, the second of the two. A top-up is asked for behind
    whatever left the balance low."""
    if "id" in entry["data"]:
        return False
    kinds = ("convert", "subscription", "fee", "debit", "grant", "void", "terms")
    kinds += ("reversal", "release", "topup", "budget")
    return entry["type"].rpartition(".")[2] in kinds


def _comes(entry: dict[str, Any]) -> bool:
    """Whether an entry adds to the balance; a debit below zero takes less than nothing."""
    data = entry["data"]
    if entry["type"].endswith(DEBITS):
        return False
    if "reverses" in data:
        return bool(data["reverses"]["back"])
    return "grant" in data


def _total(entry: dict[str, Any]) -> str:
    """The account's total that an entry counts in."""
    kind: str = entry["type"].rpartition(".")[2]
    match kind:
        case "capture":
            return "debit"
        case "adjust":
            return "adjusted_up" if _comes(entry) else "adjusted_down"
        case "reversal":
            return "reversed_in" if _comes(entry) else "reversed_out"
        case "convert":
            return "converted_in" if _comes(entry) else "converted_out"
        case _:
            return kind


def _parts(said: dict[str, Any] | None, name: str) -> Counter[Any]:
    """What a hold gave by grant, and under None by credit."""
    parts: Counter[Any] = Counter()
    if said is not None:
        parts.update({part["grant"]: Decimal(part["amount"]) for part in said.get(name, [])})
        parts[None] = Decimal(said.get(f"{name}_credit", "0"))
    return parts


def _hold_wrongs(
    kind: str,
    data: dict[str, Any],
    said: dict[str, Any],
    entry: dict[str, Any],
    holds: dict[str, dict[str, Any]],
) -> list[str]:
    """What is wrong with an entry about a hold; `holds` are those open, and change with it."""
    name = said["id"]
    hold = holds.get(name)
    if kind == "hold":
        if hold is not None:
            return [f"hold {name} is open already"]
        parts = Counter({a["grant"]: Decimal(a["amount"]) for a in data.get("allocations", [])})
        parts[None] = Decimal(data.get("credit", "0"))
        holds[name] = {"asset": data["asset"], "parts": parts, "expires": said["expires_at"]}
        return []
    if hold is None:
        return [f"{kind} of hold {name}, which is not open"]
    wrong = []
    expired = _time(entry["time"]) >= _time(hold["expires"])
    if expired != (kind == "expire"):
        wrong.append(f"{kind} of hold {name}, which ends at {hold['expires']}")
    before = sum(hold["parts"].values())
    hold["parts"].subtract(_parts(said, "taken"))
    hold["parts"].subtract(_parts(said, "returned"))
    if min(hold["parts"].values()) < 0:
        wrong.append(f"hold {name} is below zero")
    after = sum(hold["parts"].values())
    if (Decimal(said["before"]), Decimal(said["after"])) != (before, after):
        wrong.append(f"hold {name} says {said['before']} to {said['after']}: {before} to {after}")
    hold["expires"] = said["expires_at"]
    if said.get("closed", False):
        del holds[name]
        if after:
            wrong.append(f"hold {name} is closed with {after}")
    return wrong


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _open_holds_wrongs(
    customer: str,
    wallet: dict[str, Any],
    rows: dict[str, dict[str, Any]],
    holds: dict[str, dict[str, Any]],
) -> list[str]:
    found = []
    if wallet.get("holds", 0) != len(holds) or rows.keys() != holds.keys():
        found.append(f"{customer}: {sorted(holds)} are open, the rows say {sorted(rows)}")
    for name in rows.keys() & holds.keys():
        row, hold = rows[name], holds[name]
        parts = {a["grant"]: Decimal(a["amount"]) for a in row.get("allocations", [])}
        parts[None] = Decimal(row.get("credit", "0"))
        expected = (sum(hold["parts"].values()), +hold["parts"], hold["expires"])
        if (Decimal(row["held"]), +Counter(parts), row["expires_at"]) != expected:
            found.append(f"{customer}: hold {name} is {row}, not {hold}")
    return found


BOTH_WAYS = tuple(
    f"{name}_{way}"
    for name, ways in (
        ("adjusted", ("up", "down")),
        ("reversed", ("in", "out")),
        ("converted", ("in", "out")),
    )
    for way in ways
)


def _row_wrongs(
    customer: str,
    row: dict[str, Any],
    sequence: int,
    digest: str,
    totals: dict[str, dict[str, Decimal]],
    grants: dict[str, Decimal],
    holds: dict[str, dict[str, Any]],
) -> list[str]:
    found: list[str] = []
    held: Counter[str] = Counter()
    for hold in holds.values():
        held.update({name: part for name, part in hold["parts"].items() if name is not None})
    if (row["sequence"], row["digest"]) != (sequence, digest):
        found.append(f"{customer}: the row is at {row['sequence']}, the journal at {sequence}")
    live = {
        grant["id"]: (Decimal(grant["remaining"]), Decimal(grant.get("held", "0")))
        for grant in row["grants"]
        if Decimal(grant["remaining"]) or Decimal(grant.get("held", "0"))
    }
    if live != {g: (left, held[g]) for g, left in grants.items() if left or held[g]}:
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
            "voided": total["void"],
            **{name: total[name] for name in BOTH_WAYS},
            "held": total["held"],
            "credit_used": total["credit"],
            "credit_held": sum(
                hold["parts"][None] for hold in holds.values() if hold["asset"] == account["asset"]
            ),
            "overdrawn": total["overdrawn"],
        }
        for name, value in expected.items():
            if Decimal(account.get(name, "0")) != value:
                found.append(f"{customer}: {name} is {account.get(name, '0')}, not {value}")
        conserved = (
            total["grant"]
            + total["adjusted_up"]
            + total["reversed_in"]
            + total["converted_in"]
            - total["adjusted_down"]
            - total["reversed_out"]
            - total["converted_out"]
            - total["void"]
            - total["debit"]
            - total["lapse"]
            - total["held"]
            - unspent
            + total["credit"]
            + total["overdrawn"]
        )
        if conserved:
            found.append(f"{customer}: {conserved} {account['asset']} out of balance")
    return found
