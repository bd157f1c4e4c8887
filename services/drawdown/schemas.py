"""The schemas of everything others read or send, generated into `schemas/` and checked in.

JSON Schema (2020-12) of every record of every topic, an AsyncAPI document of the topics, OpenAPI
documents of the HTTP doors, and the tables of topics and reason codes. The models, the topic
catalogue and the apps are what is said; here it is only written down.

    python -m drawdown.schemas            writes what is not current
    python -m drawdown.schemas --check    exits 1 where something is not current
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from drawdown import __version__
from drawdown.events.base import CustomerId
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DAY_MS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    PARTITIONS_DEFAULT,
    PRICE_BOOK,
    SETTINGS,
    TOPICS,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.events.commands import (
    Adjust,
    Authorize,
    Block,
    CancelSubscription,
    Capture,
    ChangeSubscription,
    Convert,
    Extend,
    Grant,
    IssueStatement,
    Release,
    RemoveBudget,
    Rerate,
    ResumeSubscription,
    Reverse,
    SetAutoTopup,
    SetBudget,
    SetState,
    SetTerms,
    SettleTopup,
    Subscribe,
    Unblock,
    Void,
)
from drawdown.events.deadletters import (
    ACCEPT_LATE,
    HEADER_PREFIX,
    REDRIVEN,
    REDRIVEN_FROM,
    DeadLetterHeaders,
    Redriven,
)
from drawdown.events.decisions import Decision
from drawdown.events.entries import Entry
from drawdown.events.notices import LowBalance, Notice
from drawdown.events.pricebook import (
    AssetRecord,
    CommitRecord,
    MeterRecord,
    PlanRecord,
    PriceBook,
    RateRecord,
)
from drawdown.events.reasons import MEANINGS
from drawdown.events.rows import (
    BudgetRow,
    HoldRow,
    MarginRow,
    PaceRow,
    ReversedRow,
    RunningRow,
    ScopeRow,
    SeenRow,
    SpentRow,
    SubscriptionRow,
    WalletRow,
)
from drawdown.events.settings import ApiKey, CustomerToken, Restore
from drawdown.events.structs import UNION_TAGS
from drawdown.events.topups import TopUpRequestRow, TopUpRow
from drawdown.events.usage import UsageEvent
from drawdown.gateway.app import create_app as gateway_app
from drawdown.gateway.commands import HTTP_STATUS
from drawdown.query.app import create_app as query_app
from drawdown.scenarios.peers import TERMS
from drawdown.scenarios.scenario_file import ScenarioFile
from drawdown.stream.memory import MemoryCluster

DIRECTORY: Final = Path(__file__).parents[2] / "schemas"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
COMMAND: Final = "python -m drawdown.schemas"

RECORDS: Final[Mapping[Topic, Mapping[str, type[BaseModel]]]] = {
    USAGE_EVENTS: {"usage-event": UsageEvent},
    COMMANDS: {
        "authorize": Authorize,
        "capture": Capture,
        "release": Release,
        "extend": Extend,
        "grant": Grant,
        "set-terms": SetTerms,
        "void": Void,
        "adjust": Adjust,
        "reverse": Reverse,
        "rerate": Rerate,
        "convert": Convert,
        "set-state": SetState,
        "issue-statement": IssueStatement,
        "subscribe": Subscribe,
        "change-subscription": ChangeSubscription,
        "cancel-subscription": CancelSubscription,
        "resume-subscription": ResumeSubscription,
        "set-budget": SetBudget,
        "remove-budget": RemoveBudget,
        "block": Block,
        "unblock": Unblock,
        "set-auto-topup": SetAutoTopup,
        "settle-topup": SettleTopup,
    },
    PRICE_BOOK: {
        "asset": AssetRecord,
        "meter": MeterRecord,
        "rate": RateRecord,
        "plan": PlanRecord,
        "commit": CommitRecord,
    },
    SETTINGS: {"api-key": ApiKey, "customer-token": CustomerToken, "restore": Restore},
    BALANCE_CHANGES: {"entry": Entry},
    BALANCES: {
        "wallet": WalletRow,
        "hold": HoldRow,
        "running": RunningRow,
        "seen": SeenRow,
        "reversed": ReversedRow,
        "subscription": SubscriptionRow,
        "budget": BudgetRow,
        "scope": ScopeRow,
        "spent": SpentRow,
        "topup": TopUpRow,
        "topup-request": TopUpRequestRow,
        "margin": MarginRow,
        "pace": PaceRow,
    },
    DECISIONS: {"decision": Decision},
    LOW_BALANCE: {"low-balance": LowBalance},
    NOTIFICATIONS: {"notice": Notice},
    DEAD_LETTERS: {},
}
"""The records of each topic. A dead letter's value is whatever was refused."""

FILES: Final[Mapping[str, type[BaseModel]]] = {
    "dead-letters/headers": DeadLetterHeaders,
    "dead-letters/redriven": Redriven,
    "price-book-file": PriceBook,
    "scenario-file": ScenarioFile,
}
"""What is no value of a topic's only kind: the headers of a dead letter, and what says that one was
sent again; the price book and the scenario as people write them."""

KEYS: Final[Mapping[Topic, str]] = {
    PRICE_BOOK: "The version",
    SETTINGS: "`kind<US>id`, separated by U+001F",
    BALANCES: "The customer for the wallet; `customer<US>kind<US>id` for other rows (U+001F)",
    DEAD_LETTERS: "The refused record's own, if it had one",
}
BY_CUSTOMER: Final = "The customer, in UTF-8; partitioned by murmur2 as Java clients do"

_ANSWERED: Final = {
    "reply_to": "Name of the process that waits for the answer",
    "attempt_id": "Which attempt the answer is for",
}
_SENT: Final = {
    "actor": "Id of the API key it came in by",
    **_ANSWERED,
    REDRIVEN_FROM: "`partition:offset` of the dead letter it was, where an operator sent it again",
    "drawdown-forwarded-from": "`partition:offset` it first stood at, on a partition not its key's",
}
HEADERS: Final[Mapping[Topic, Mapping[str, str]]] = {
    USAGE_EVENTS: {
        **_SENT,
        ACCEPT_LATE: "The operator who wants it booked however old it is, who has looked that it"
        " was not booked before; for nobody else to set",
    },
    COMMANDS: _SENT,
    DECISIONS: _ANSWERED,
}
READ: Final = (USAGE_EVENTS, COMMANDS, PRICE_BOOK, SETTINGS)
"""Topics that others write and Drawdown reads; the rest it writes."""


def documents() -> dict[str, str]:
    """Every file of `schemas/`: path within it -> text."""
    found = {f"{path}.json": _text(record_schema(path, model)) for path, model in _models()}
    found["asyncapi.json"] = _text(asyncapi())
    for name, app in apps().items():
        found[f"openapi/{name}.json"] = _text(app.openapi())
    found["README.md"] = readme()
    return found


def _models() -> Iterator[tuple[str, type[BaseModel]]]:
    for topic, records in RECORDS.items():
        for name, model in records.items():
            yield f"{topic.name}/{name}", model
    yield from FILES.items()


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# --- JSON Schema -------------------------------------------------------------------------------


def record_schema(path: str, model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a record as it stands on its topic."""
    schema = model.model_json_schema()
    _mend(schema)
    return {"$schema": DIALECT, "$id": f"urn:drawdown:{path.replace('/', ':')}", **schema}


def _mend(schema: Any) -> None:
    """Say what readers hold to and pydantic does not write down.

    A field that tells the members of a union apart has a default only in Python: a reader refuses a
    record without it. And a key that does not match its pattern is refused, not ignored.
    """
    if isinstance(schema, list):
        for item in schema:
            _mend(item)
    elif isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            if name in UNION_TAGS and field.get("const", ...) == field.get("default"):
                del field["default"]
                schema["required"] = [name, *schema.get("required", [])]
        if "patternProperties" in schema:
            ((pattern, value),) = schema.pop("patternProperties").items()
            schema["additionalProperties"] = value
            schema["propertyNames"] = {**schema.get("propertyNames", {}), "pattern": pattern}
        for item in schema.values():
            _mend(item)


# --- AsyncAPI ----------------------------------------------------------------------------------


def asyncapi() -> dict[str, Any]:
    """The topics: addresses, keys, partitions, configuration and messages."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Drawdown",
            "version": __version__,
            "description": "Real-time AI billing. Usage and commands in; the journal, balances,"
            " decisions and notices out. Exactly-once: read with isolation.level=read_committed.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS},
        "operations": {
            f"{'read' if topic in READ else 'write'}-{topic.name}": {
                "action": "receive" if topic in READ else "send",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": topic.holds,
            }
            for topic in TOPICS
        },
    }


def _channel(topic: Topic) -> dict[str, Any]:
    config = topic.config(Environment("live"))
    settings: dict[str, Any] = {"cleanup.policy": [config["cleanup.policy"]]}
    for name in ("retention.ms", "retention.bytes", "max.message.bytes"):
        if name in config:
            settings[name] = int(config[name])
    settings["message.timestamp.type"] = config["message.timestamp.type"]
    return {
        "address": "{environment}." + topic.name,
        "title": topic.name,
        "description": topic.holds,
        "parameters": {
            "environment": {"description": "Which set of topics", "examples": ["live", "test"]}
        },
        "messages": _messages(topic),
        "bindings": {
            "kafka": {
                "partitions": PARTITIONS_DEFAULT if topic.by_customer else 1,
                "topicConfiguration": settings,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _messages(topic: Topic) -> dict[str, Any]:
    key = {"type": "string", "description": KEYS.get(topic, BY_CUSTOMER)}
    if topic not in KEYS:
        key = {**TypeAdapter(CustomerId).json_schema(), **key}
    bound = {"bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}}}
    if topic is DEAD_LETTERS:
        redriven = {
            "name": "redriven",
            "summary": _summary(Redriven),
            "contentType": "application/json",
            "payload": {"$ref": "./dead-letters/redriven.json"},
            "headers": {
                "type": "object",
                "properties": {
                    REDRIVEN: {
                        "type": "string",
                        "description": "`partition:offset` of the dead letter",
                    }
                },
                "required": [REDRIVEN],
            },
            **bound,
        }
        return {
            "dead-letter": {
                "name": "dead-letter",
                "summary": "A refused record whole: its key, value and headers byte for byte, and"
                " what is wrong with it in headers of our own",
                "contentType": "application/octet-stream",
                "headers": _dead_letter_headers(),
                **bound,
            },
            "redriven": redriven,
        }
    messages = {}
    for name, model in RECORDS[topic].items():
        message: dict[str, Any] = {
            "name": name,
            "summary": _summary(model),
            "contentType": "application/json",
            "payload": {"$ref": f"./{topic.name}/{name}.json"},
        }
        if headers := HEADERS.get(topic):
            message["headers"] = {
                "type": "object",
                "properties": {
                    header: {"type": "string", "description": text}
                    for header, text in headers.items()
                },
            }
        messages[name] = {**message, **bound}
    return messages


def _dead_letter_headers() -> dict[str, Any]:
    """As they stand in the record: prefixed, and text whatever they say."""
    schema = record_schema("dead-letters/headers", DeadLetterHeaders)
    return {
        "type": "object",
        "properties": {
            HEADER_PREFIX + name: {"type": "string", "description": field.get("description", name)}
            for name, field in schema["properties"].items()
        },
        "required": [HEADER_PREFIX + name for name in schema["required"]],
    }


def _summary(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


# --- OpenAPI -----------------------------------------------------------------------------------


def apps() -> dict[str, FastAPI]:
    """The HTTP doors, over a cluster that is not there."""
    cluster = MemoryCluster(lambda: 0, lambda _: None)
    environment = Environment("live")
    return {
        "gateway": gateway_app(cluster.process("gateway"), environment, "0"),
        "query": query_app(cluster.process("query"), environment, Path("query")),
    }


# --- the tables --------------------------------------------------------------------------------


def readme() -> str:
    """`schemas/README.md`."""
    topics = [
        (
            f"`{topic.name}`",
            topic.holds,
            KEYS.get(topic, "The customer"),
            "as many as the environment has" if topic.by_customer else "1",
            topic.cleanup,
            _kept(topic),
            _records(topic),
        )
        for topic in TOPICS
    ]
    reasons = [
        (f"`{reason}`", str(HTTP_STATUS[reason] or ""), meaning)
        for reason, meaning in MEANINGS.items()
    ]
    columns = ("topic", "holds", "key", "partitions", "cleanup", "kept", "records")
    return f"""# Schemas

Generated by `{COMMAND}` from the models, the topic catalogue and the apps;
a test holds them current. Change those, never these.

- a folder per topic: JSON Schema (2020-12) of its records. Readers ignore fields they do not know;
  fields whose value is the default may be left out.
- `asyncapi.json`: the topics with keys, partitions, configuration, headers and messages.
- `openapi/`: the HTTP doors of the gateway and of the query service.
- `price-book-file.json`: a price book as people write it.
- `scenario-file.json`: a scenario as people write it, for `drawdown scenario`.

## Topics

On the cluster each name has the environment before it: `live.usage-events`.

{_table(columns, topics)}
## Reason codes

Decisions, dead letters and HTTP problems carry one of these. Over HTTP an answer is 200, also a
denial, and 201 where a grant or a hold was made; what could not be done is a problem.

{_table(("code", "HTTP", "what it means, and what to do"), reasons)}
## What others call it

Terms and models of other products, and how they are written here. `tests/scenarios/products` has a
file for each product that plays it: `drawdown scenario tests/scenarios/products`.

{_table(("product", "term or model there", "here"), TERMS)}"""


def _kept(topic: Topic) -> str:
    if topic.cleanup == "compact":
        return "the last value of each key"
    return "for ever" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days"


def _records(topic: Topic) -> str:
    if topic is DEAD_LETTERS:
        return "any; [headers](dead-letters/headers.json); [redriven](dead-letters/redriven.json)"
    return ", ".join(f"[{name}]({topic.name}/{name}.json)" for name in RECORDS[topic])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


# --- the command -------------------------------------------------------------------------------


def differences(directory: Path) -> list[str]:
    """What in a directory is not as it would be generated, a line for each file."""
    wanted = documents()
    found = []
    for path, text in wanted.items():
        file = directory / path
        if not file.is_file():
            found.append(f"{path} is missing")
        elif file.read_text("utf-8") != text:
            found.append(f"{path} differs")
    found += [
        f"{path} is of no use"
        for file in sorted(directory.rglob("*"))
        if file.is_file() and (path := file.relative_to(directory).as_posix()) not in wanted
    ]
    return found


def write(directory: Path) -> None:
    """Make a directory what `documents` says, and nothing else."""
    wanted = documents()
    for file in directory.rglob("*"):
        if file.is_file() and file.relative_to(directory).as_posix() not in wanted:
            file.unlink()
    for path, text in wanted.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Generate schemas/.")
    parser.add_argument("--check", action="store_true", help="only say what is not current")
    parser.add_argument("--directory", type=Path, default=DIRECTORY)
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.directory)
        return 0
    found = differences(options.directory)
    for line in found:
        print(f"schemas: {line}: run {COMMAND}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
