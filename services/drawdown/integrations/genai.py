"""Usage as vendors report it, made into disjoint quantities.

OpenTelemetry's GenAI conventions, OpenAI and LiteLLM count cached tokens inside the input and
reasoning tokens inside the output; prices are per disjoint kind. What is contained is subtracted
here, before the event has an identity, so that whatever was reported is priced once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

from drawdown.events.codec import RecordError
from drawdown.events.numbers import EXACT, NumberError, plain_text, quantity, text_number
from drawdown.events.reasons import Reason

INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "prompt_tokens")
OUTPUT: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "completion_tokens",
)
CACHED: Final = ("gen_ai.usage.cache_read.input_tokens",)
CACHE_WRITE: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
)
REASONING: Final = ("gen_ai.usage.reasoning.output_tokens",)
NAMES: Final = {
    "gen_ai.request.model": "model",
    "gen_ai.response.model": "model",
    "gen_ai.provider.name": "provider",
    "gen_ai.system": "provider",
    "gen_ai.operation.name": "operation",
    "gen_ai.agent.name": "agent",
    "gen_ai.conversation.id": "session",
}
DROPPED: Final = frozenset({"total_tokens"})
"""A sum of what is counted already."""
COST: Final = "cost"
"""LiteLLM's own reckoning of what a call cost, a float."""
COST_PLACES: Final = Decimal("1e-12")
ROUNDING: Final = Context(prec=60, traps=[InvalidOperation])


def is_vendor_usage(data: Mapping[str, Any]) -> bool:
    """Whether the data names quantities as vendors do."""
    return any(name in data for name in (*INPUT, *OUTPUT))


def disjoint(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with our names and disjoint quantities. Raises RecordError, naming the field."""
    found = {name: value for name, value in data.items() if name not in DROPPED}
    cached = _pop(found, CACHED)
    written = _pop(found, CACHE_WRITE)
    reasoning = _pop(found, REASONING)
    _put(found, "input", INPUT, _pop(found, INPUT), cached, written)
    _put(found, "output", OUTPUT, _pop(found, OUTPUT), reasoning)
    contained = {"cached_input": cached, "cache_write": written, "reasoning": reasoning}
    found.update({name: _stated(count) for name, count in contained.items() if count})
    for name, own in NAMES.items():
        if name in found:
            value = found.pop(name)
            found.setdefault(own, value)
    cost = found.pop(COST, None)
    if cost is not None and "costs" not in found:
        found["costs"] = {"litellm": _cost(cost)}
    return found


def _pop(data: dict[str, Any], names: tuple[str, ...]) -> int | Decimal | None:
    value: int | Decimal | None = None
    for name in names:
        if name in data:
            try:
                counted = quantity(data.pop(name))
            except NumberError as error:
                raise RecordError(Reason.BAD_QUANTITY, str(error), f"data.{name}") from None
            value = counted if value is None else value
    return value


def _put(
    data: dict[str, Any],
    own: str,
    names: tuple[str, ...],
    total: int | Decimal | None,
    *inside: int | Decimal | None,
) -> None:
    if total is None:
        return
    rest: int | Decimal = total
    for part in inside:
        if part:
            rest = EXACT.subtract(Decimal(rest), Decimal(part))
    if rest < 0:
        raise RecordError(
            Reason.BAD_QUANTITY, "is less than what it is said to contain", f"data.{names[-1]}"
        )
    data[own] = _stated(rest)


def _stated(count: int | Decimal) -> int | str:
    """As an event has it: text where it is not whole, so that no digit is taken for a float's."""
    if isinstance(count, Decimal) and count != count.to_integral_value():
        return plain_text(count)
    return int(count)


def _cost(value: object) -> str:
    """A vendor's cost, rounded to what the ledger keeps: a float's noise is no money."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RecordError(Reason.BAD_QUANTITY, "expected a number", "data.cost")
    try:
        number = text_number(value) if isinstance(value, str) else value
        return plain_text(Decimal(number).quantize(COST_PLACES, context=ROUNDING))
    except (NumberError, ArithmeticError):
        raise RecordError(Reason.BAD_QUANTITY, f"{value!r} is not a cost", "data.cost") from None
