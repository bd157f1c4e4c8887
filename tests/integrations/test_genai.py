"""Usage as vendors report it, made into disjoint quantities."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawdown.events.codec import RecordError
from drawdown.integrations.genai import disjoint, is_vendor_usage

REPORTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "OpenTelemetry",
        {
            "gen_ai.request.model": "gpt-5",
            "gen_ai.provider.name": "openai",
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": 2000,
            "gen_ai.usage.cache_read.input_tokens": 1500,
            "gen_ai.usage.output_tokens": 400,
            "gen_ai.usage.reasoning.output_tokens": 300,
            "team": "red",
        },
        {
            "model": "gpt-5",
            "provider": "openai",
            "operation": "chat",
            "input": 500,
            "cached_input": 1500,
            "output": 100,
            "reasoning": 300,
            "team": "red",
        },
    ),
    (
        "a cache written to",
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.cache_read.input_tokens": 30,
            "gen_ai.usage.cache_creation.input_tokens": 50,
        },
        {"input": 20, "cached_input": 30, "cache_write": 50},
    ),
    (
        "older names",
        {"gen_ai.usage.prompt_tokens": 5, "completion_tokens": 6, "gen_ai.system": "x"},
        {"input": 5, "output": 6, "provider": "x"},
    ),
    (
        "LiteLLM's OpenMeter callback",
        {
            "model": "gpt-5",
            "cost": Decimal("0.000030000000000000001"),
            "prompt_tokens": 5,
            "completion_tokens": 6,
            "total_tokens": 11,
        },
        {"model": "gpt-5", "input": 5, "output": 6, "costs": {"litellm": "0.00003"}},
    ),
    ("nothing inside", {"prompt_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 0},
     {"input": 5}),
    ("all of it inside", {"prompt_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 5},
     {"input": 0, "cached_input": 5}),
    ("both names, the newer counts", {"gen_ai.usage.input_tokens": 5, "prompt_tokens": 9},
     {"input": 5}),
    ("a model of one's own counts", {"model": "mine", "gen_ai.request.model": "theirs",
     "prompt_tokens": 1}, {"model": "mine", "input": 1}),
    ("costs of one's own count", {"prompt_tokens": 1, "cost": 9, "costs": {"x": "1"}},
     {"input": 1, "costs": {"x": "1"}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reported", "found"), [pytest.param(*rest, id=name) for name, *rest in REPORTED]
)
def test_what_is_contained_is_subtracted(reported: dict[str, Any], found: dict[str, Any]) -> None:
    before = dict(reported)
    assert disjoint(reported) == found
    assert reported == before
    assert disjoint(found) == found, "our own names are left as they are"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"prompt_tokens": 1, "gen_ai.usage.cache_read.input_tokens": 2}, "data.prompt_tokens"),
    ({"completion_tokens": 1, "gen_ai.usage.reasoning.output_tokens": 2}, "data.completion_tokens"),
    ({"prompt_tokens": -1}, "data.prompt_tokens"),
    ({"gen_ai.usage.output_tokens": True}, "data.gen_ai.usage.output_tokens"),
    ({"prompt_tokens": "many"}, "data.prompt_tokens"),
    ({"prompt_tokens": 1, "cost": True}, "data.cost"),
    ({"prompt_tokens": 1, "cost": "dear"}, "data.cost"),
    ({"prompt_tokens": 1, "cost": "NaN"}, "data.cost"),
    ({"prompt_tokens": 1, "cost": [1]}, "data.cost"),
]


@pytest.mark.parametrize(("reported", "field"), WRONG)
def test_what_cannot_be_names_the_field(reported: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordError) as found:
        disjoint(reported)
    assert found.value.field == field


def test_vendors_are_told_by_their_names() -> None:
    assert is_vendor_usage({"prompt_tokens": 1})
    assert is_vendor_usage({"gen_ai.usage.output_tokens": 1})
    assert not is_vendor_usage({"input": 1, "output": 2})


COUNTS = st.integers(0, 10**6)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_no_token_is_lost_or_counted_twice(
    plain: int, cached: int, written: int, answered: int, thought: int
) -> None:
    found = disjoint(
        {
            "gen_ai.usage.input_tokens": plain + cached + written,
            "gen_ai.usage.cache_read.input_tokens": cached,
            "gen_ai.usage.cache_creation.input_tokens": written,
            "gen_ai.usage.output_tokens": answered + thought,
            "gen_ai.usage.reasoning.output_tokens": thought,
        }
    )
    assert (found["input"], found["output"]) == (plain, answered)
    assert (found.get("cached_input", 0), found.get("cache_write", 0)) == (cached, written)
    assert found.get("reasoning", 0) == thought
