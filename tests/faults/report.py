"""The table of a campaign's result, as it stands in the README."""

from __future__ import annotations

from typing import Any

from tests.faults.invariants import INVARIANTS

BEGIN, END = "<!-- faults: made by the suite -->", "<!-- /faults -->"
"""Between these the README has what `written` made."""


def written(readme: str, result: dict[str, Any]) -> str:
    """The README with this campaign in it. Raises ValueError where it has no place for one."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n\n{summary(result)}\n\n{table(result)}\n\n{END}{after}"


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
