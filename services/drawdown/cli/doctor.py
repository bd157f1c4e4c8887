"""`drawdown doctor`: find what is wrong, and the command that mends it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from drawdown.cli.checkup import Checkup, Finding
from drawdown.cli.context import Context
from drawdown.cli.outcome import FAILED
from drawdown.cli.render import Json, counted, show, show_json, state_text

app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog="""\b
Examples:
  drawdown doctor
  drawdown doctor --wrong        only what is not as it should be
  drawdown doctor --json | jq '.findings[] | select(.state == "problem")'

Exit code 0 if nothing is wrong, 1 if something is, 4 if Kafka does not answer."""
)
def doctor(
    wrong_only: Annotated[
        bool, typer.Option("--wrong", "-w", help="Leave out what is as it should be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong, and the command that mends it.

    Looks at Kafka and its settings, the topics, the clocks, the price book, settlement, the
    services and the keys. A note is worth knowing; a problem has to be mended.
    """
    context = Context()
    checkup = Checkup(context, context.kafka())
    found: list[Finding] = []
    for finding in checkup.findings():
        found.append(finding)
        if not as_json and not (wrong_only and finding.state == "ok"):
            _show(finding)
    problems = sum(finding.state == "problem" for finding in found)
    if as_json:
        show_json({"problems": problems, "findings": [msgspec.to_builtins(item) for item in found]})
    else:
        notes = sum(finding.state == "note" for finding in found)
        show()
        show(f"{counted(problems, 'problem')}, {counted(notes, 'note')}")
    if problems:
        raise typer.Exit(FAILED)


def _show(finding: Finding) -> None:
    line = state_text(finding.state, f"{finding.state:<9}")
    line.append(f"{finding.check:<17}", style="default")
    line.append(finding.detail, style="default")
    show(line)
    if finding.fix is not None:
        show(f"{'':<9}{'':<17}-> {finding.fix}")
