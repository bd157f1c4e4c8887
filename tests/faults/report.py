"""The table of a campaign's result, as it stands in the README."""

from __future__ import annotations

from typing import Any

from tests.faults.invariants import INVARIANTS


def table(result: dict[str, Any]) -> str:
    """Markdown: each invariant, how it was tested, and what came of it or that it was not shown."""
    lines = [
        "| # | must hold | tested by | faults | events | violations |",
        "|---|---|---|---:|---:|---:|",
    ]
    for invariant, row in zip(INVARIANTS, result["rows"], strict=True):
        told = f"{row['events']:,} {invariant.unit}"
        wrong = str(len(row["violations"]))
        if row["not_shown"] is not None and not row["violations"]:
            wrong = f"not shown: {row['not_shown']}"
        lines.append(
            f"| {invariant.number} | {invariant.holds} | {invariant.how} | {row['faults']} |"
            f" {told} | {wrong} |"
        )
    return "\n".join(lines)


def summary(result: dict[str, Any]) -> str:
    """What it was, in a line or two under the table."""
    seeds = ", ".join(map(str, result["seeds"]))
    machine = result.get("machine")
    where = (
        f", {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" {machine['system']}"
        if machine
        else ""
    )
    return (
        f"{result['date']}, {result['minutes']:g} minutes, seed {seeds}: {result['faults']} faults,"
        f" {result['events']:,} records judged, {result['shown']} of {result['invariants']}"
        f" invariants shown, {result['violations']} violations{where}."
    )
