"""The `drawdown` command: the list of commands, and how each ends.

A command's module is imported when the command runs, so that `drawdown --help` needs none of
Kafka's or HTTP's libraries. Every expected failure becomes one line on stderr and an exit code.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from drawdown import __version__
from drawdown.cli.outcome import EXITS, CommandError

LOCAL: Final = "On this machine"
OPERATE: Final = "Operate"
MONEY: Final = "Wallets and usage"
LOOK: Final = "Look"
SERVE: Final = "Run one service in the foreground"


class Listed(NamedTuple):
    """A command as the list has it."""

    group: str
    module: str
    help: str


COMMANDS: Final = {
    "demo": Listed(LOCAL, "demo", "See it work on real traffic, with a proof at the end."),
    "up": Listed(LOCAL, "stack_commands", "Start Kafka, settlement, gateway and query."),
    "down": Listed(LOCAL, "stack_commands", "Stop what `up` started; data is kept."),
    "status": Listed(LOCAL, "stack_commands", "Show the processes, their addresses and health."),
    "grant": Listed(MONEY, "money", "Put value into a customer's wallet."),
    "terms": Listed(MONEY, "money", "Set credit limits and low-balance thresholds."),
    "void": Listed(MONEY, "corrections", "End a grant."),
    "refund": Listed(MONEY, "corrections", "Take back what is unspent of a grant, as paid back."),
    "adjust": Listed(MONEY, "corrections", "Add to a wallet, or take from it, with a reason."),
    "reverse": Listed(MONEY, "corrections", "Book the exact inverse of an entry, once."),
    "rerate": Listed(MONEY, "rerate", "Price usage of a period anew."),
    "convert": Listed(MONEY, "corrections", "Turn some of one asset into another."),
    "state": Listed(MONEY, "corrections", "Suspend, activate or close a wallet."),
    "subscribe": Listed(MONEY, "subscriptions", "Subscribe a customer to a plan."),
    "subscription": Listed(MONEY, "subscriptions", "Show, change and cancel subscriptions."),
    "topup": Listed(MONEY, "topups", "Set and show auto top-ups of low balances."),
    "budgets": Listed(MONEY, "limits", "Draw a customer's budgets as a tree, with what is used."),
    "budget": Listed(MONEY, "limits", "Set, show and remove budgets."),
    "block": Listed(MONEY, "limits", "Block a scope: a leaked key, a runaway agent, a session."),
    "unblock": Listed(MONEY, "limits", "Let a scope run again that was blocked."),
    "authorize": Listed(MONEY, "authorize", "Ask whether work may run; exit code 3 is a denial."),
    "send": Listed(MONEY, "send", "Report usage: one event, or a file of them."),
    "wallet": Listed(LOOK, "wallet", "Show what a customer has, and what became of it."),
    "customers": Listed(LOOK, "wallet", "List the customers and their balances."),
    "balance": Listed(LOOK, "balance", "Show what a customer had at a moment, from the journal."),
    "statement": Listed(LOOK, "statement", "Sum up a period from the journal, and issue it."),
    "margins": Listed(LOOK, "margins", "Sum charges, revenue, cost and margin by a dimension."),
    "explain": Listed(LOOK, "explain", "Show how an entry's price came about, line by line."),
    "tail": Listed(LOOK, "tail", "Follow a topic, a readable line per record."),
    "scenario": Listed(LOOK, "scenario", "Play a scenario file: what happens, step by step."),
    "replay": Listed(OPERATE, "replay", "Rebuild every row from the journal, and compare."),
    "verify": Listed(OPERATE, "replay", "Decide everything again, and compare."),
    "doctor": Listed(OPERATE, "doctor", "Find what is wrong, and the command that mends it."),
    "topics": Listed(OPERATE, "topics", "Create, check and list the topics."),
    "dead-letters": Listed(OPERATE, "dead_letters", "See what was set aside, and send it again."),
    "price-book": Listed(OPERATE, "price_book", "Validate, publish and show prices."),
    "keys": Listed(OPERATE, "keys", "Create, list and revoke API keys."),
    "token": Listed(OPERATE, "keys", "Make a short-lived token for one customer."),
    "snapshot": Listed(OPERATE, "snapshot", "Take, list, verify, restore and prune snapshots."),
    "backup": Listed(OPERATE, "backup", "Copy an environment to files, and to another cluster."),
    "settlement": Listed(SERVE, "services", "The only writer of balances."),
    "gateway": Listed(SERVE, "services", "HTTP in: usage, authorizations, grants."),
    "query": Listed(SERVE, "services", "HTTP out: wallets, entries, the wallet page."),
    "notify": Listed(SERVE, "services", "Pays for requested top-ups by a payment provider."),
}


class Front(TyperGroup):
    """The root of the commands: lists them by group, loads them one by one."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command as it is listed; `resolve_command` has the whole of it."""
        listed = COMMANDS.get(cmd_name)
        if listed is None:
            return None
        return TyperCommand(cmd_name, help=listed.help, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name and command else command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        for group in dict.fromkeys(listed.group for listed in COMMANDS.values()):
            with formatter.section(group):
                formatter.write_dl(
                    [(name, item.help) for name, item in COMMANDS.items() if item.group == group]
                )

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            ended = _ended(error)
            if ended is None:
                raise
            from drawdown.cli.render import tell_error

            tell_error(ended.line)
            raise typer.Exit(ended.code) from error


def load(name: str) -> Any:
    """The command itself, from its module."""
    module = import_module(f"drawdown.cli.{COMMANDS[name].module}")
    group = typer.main.get_group(module.app)
    return group.commands.get(name, group)


def _ended(error: Exception) -> CommandError | None:
    if isinstance(error, CommandError):
        return error
    from drawdown.cli.failures import told

    return told(error)


app = typer.Typer(
    cls=Front,
    name="drawdown",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
Try:
  drawdown demo
  drawdown up
  drawdown grant acme 25
  drawdown wallet acme

{EXITS}""",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def front(
    version: bool = typer.Option(  # noqa: ARG001
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Real-time AI billing: authorize against the balance, debit in the same step, prove it."""
    # Kafka's client tells of every refused connection; what matters comes as an error.
    logging.getLogger("drawdown").addHandler(logging.NullHandler())


def main() -> None:
    """The entry point."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
