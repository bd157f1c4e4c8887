"""What can happen in a scenario: one line of `KINDS` for each, and the records each sends.

A command happens as its record says, without what every command says (id, customer, time): the
player fills that in. A kind that is not a command has its fields here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from pydantic import Field, create_model

from drawdown.events.base import (
    SPECVERSION,
    Count,
    CustomerId,
    Identifier,
    Open,
    StrictRecord,
    Timestamp,
    at_text,
    timestamp_text,
)
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS
from drawdown.events.codec import encode
from drawdown.events.commands import (
    Adjust,
    Authorize,
    Block,
    CancelSubscription,
    Capture,
    ChangeSubscription,
    Command,
    Convert,
    Extend,
    Grant,
    Release,
    RemoveBudget,
    ResumeSubscription,
    SetAutoTopup,
    SetBudget,
    SetState,
    SetTerms,
    SettleTopup,
    Subscribe,
    Unblock,
    Void,
)
from drawdown.events.usage import EventType

SOURCE: Final = "scenario"
"""Of usage events that do not say another."""


@dataclass(frozen=True)
class Sent:
    """A record on its way to a topic."""

    topic: str
    """Without the environment's prefix."""
    customer: str
    id: str
    value: bytes


@dataclass(frozen=True)
class About:
    """What the player knows of a happening, besides what the file says of it."""

    id: str
    customer: str
    at_ms: int
    entry: Callable[[str | int], Mapping[str, Any]]
    """The customer's entry of an id, or with a number. Raises ScenarioError where there is none."""


class Use(StrictRecord):
    """A use of the product is reported."""

    meter: EventType = Field(description="The type of the event, which names its meter")
    data: Open = Field(default_factory=dict, description="Quantities and dimensions, `costs`, ...")
    time: Timestamp | None = Field(
        default=None, description="When it was used; default when it is reported"
    )
    source: Identifier = SOURCE


class Publish(StrictRecord):
    """Another version of the price book."""

    book: Open = Field(
        description="What is other than in the version before: assets, meters, rates and costs of"
        " the same id or code are replaced, others added; anything else is replaced"
    )
    effective_at: Timestamp | None = Field(default=None, description="Default: at once")


class ReverseEntry(StrictRecord):
    """An entry is reversed."""

    of: Annotated[Identifier | Count, Field(union_mode="left_to_right")] = Field(
        description="The id of its event or command, or its number in the customer's journal"
    )
    reason: Annotated[str, Field(min_length=1, max_length=256)] = "scenario"
    gone: str = Field(default="grant", pattern="^(grant|lapse)$")
    keep_cost: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of happening: its fields, and the record it makes of them; None sends none."""

    fields: type[StrictRecord]
    record: Callable[[Any, About], Sent] | None


def _use(said: Use, about: About) -> Sent:
    event = {
        "specversion": SPECVERSION,
        "id": about.id,
        "source": said.source,
        "type": said.meter,
        "subject": about.customer,
        "time": at_text(about.at_ms) if said.time is None else timestamp_text(said.time),
        "data": said.data,
    }
    return Sent(USAGE_EVENTS.name, about.customer, about.id, encode(event))


def _sent(kind: str, fields: Mapping[str, Any], about: About) -> Sent:
    said = {"type": kind, "id": about.id, "customer": about.customer, "time": at_text(about.at_ms)}
    return Sent(COMMANDS.name, about.customer, about.id, encode({**said, **fields}))


def _reverse(said: ReverseEntry, about: About) -> Sent:
    fields = said.model_dump(mode="json", exclude={"of"})
    return _sent("reverse", {**fields, "entry": about.entry(said.of)}, about)


def command(model: type[Command]) -> Kind:
    """A kind that is a command, with the command's own fields."""
    kind = str(model.model_fields["type"].default)
    own = {
        name: (info.rebuild_annotation(), info)
        for name, info in model.model_fields.items()
        if name not in {*Command.model_fields, "type"}
    }
    made = create_model(model.__name__, __base__=StrictRecord, __doc__=model.__doc__, **own)  # type: ignore[call-overload]

    def record(said: StrictRecord, about: About) -> Sent:
        return _sent(kind, said.model_dump(mode="json", exclude_unset=True), about)

    return Kind(cast(type[StrictRecord], made), record)


KINDS: Final[Mapping[str, Kind]] = {
    "use": Kind(Use, _use),
    "authorize": command(Authorize),
    "capture": command(Capture),
    "release": command(Release),
    "extend": command(Extend),
    "grant": command(Grant),
    "void": command(Void),
    "adjust": command(Adjust),
    "reverse": Kind(ReverseEntry, _reverse),
    "convert": command(Convert),
    "terms": command(SetTerms),
    "state": command(SetState),
    "subscribe": command(Subscribe),
    "change_subscription": command(ChangeSubscription),
    "cancel_subscription": command(CancelSubscription),
    "resume_subscription": command(ResumeSubscription),
    "set_budget": command(SetBudget),
    "remove_budget": command(RemoveBudget),
    "block": command(Block),
    "unblock": command(Unblock),
    "auto_topup": command(SetAutoTopup),
    "settle_topup": command(SettleTopup),
    "publish": Kind(Publish, None),
}
"""The kinds by the name a file gives them."""
LOOKS_BACK: Final = frozenset({"reverse"})
"""Kinds whose record needs what the ones before it brought about."""


class _Happening(StrictRecord):
    """One thing that happens: one kind with its fields."""

    customer: CustomerId | None = Field(default=None, description="Default: the file's")
    id: Identifier | None = Field(
        default=None, description="Of the event or command; default: of the step, such as step-3"
    )

    @property
    def kinds(self) -> list[str]:
        """What is said to happen: one, in a valid file."""
        return [name for name in KINDS if getattr(self, name) is not None]


def _first_line(model: type[StrictRecord]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


_FIELDS: Final[dict[str, Any]] = {
    name: (kind.fields | None, Field(default=None, description=_first_line(kind.fields)))
    for name, kind in KINDS.items()
}
Happening: Any = create_model(
    "Happening", __base__=_Happening, __doc__=_Happening.__doc__, **_FIELDS
)
"""`{grant: {...}}`: a field for each kind, of which one is there."""
