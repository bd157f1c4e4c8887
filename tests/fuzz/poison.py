"""Poison: what producers get wrong, by accident or on purpose.

What is small lies in `corpus/`, a file each, named for what it is; what is large is made here. A
finding of the fuzzers is added there and stays. `good` is the event that most of it was before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

CORPUS: Final = Path(__file__).parent / "corpus"
TIME: Final = "2027-01-15T08:00:00Z"


def good(**fields: Any) -> dict[str, Any]:
    """A usage event of gpt-5, as the tests' price book knows it."""
    return {
        "specversion": "1.0",
        "id": "poison",
        "source": "fuzz",
        "type": "llm.completion",
        "subject": "ada",
        "time": TIME,
        "data": {"model": "gpt-5", "input": 1},
        **fields,
    }


def _with(json_text: bytes, **fields: Any) -> bytes:
    """The event with this JSON as one more field of its data."""
    event = good(**fields)
    event["data"] = {**event["data"], "x": "@"}
    return json.dumps(event).encode().replace(b'"@"', json_text)


def large() -> dict[str, bytes]:
    """Poison too large for a file."""
    return {
        "ten_megabytes": _with(b'"' + b"x" * 10_000_000 + b'"'),
        "just_over_1_mib": _with(b'"' + b"x" * (1 << 20) + b'"'),
        "nested_lists": _with(b"[" * 100_000 + b"]" * 100_000),
        "nested_objects": _with(b'{"x":' * 100_000 + b"1" + b"}" * 100_000),
        "nested_and_cut": b"[" * 500_000,
        "a_million_digits": _with(b"9" * 1_000_000),
        "a_number_of_900_kb_in_text": _with(b'"' + b"9" * 900_000 + b'"'),
        "many_keys": json.dumps(good(data={f"k{n}": n for n in range(50_000)})).encode(),
        "many_values": json.dumps(good(data={"input": 1, "x": [0] * 200_000})).encode(),
        "a_long_key": json.dumps(good(data={"k" * 900_000: 1e9})).encode(),
        "nul_bytes": b"\x00" * 1_000_000,
        "blanks": b" " * 1_000_000,
    }


def named(value: bytes, id: str) -> bytes:
    """The poison with an id of its own, where it has one that can be read."""
    return value.replace(b'"poison"', f'"{id}"'.encode(), 1)


def corpus() -> dict[str, bytes]:
    """All poison there is, by name."""
    small = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}
    return {**small, **large()}


GOOD: Final = frozenset(
    {
        "surrogate_pair.json",
        "control_characters_in_data.json",
        "big_int.json",
        "negative_zero.json",
        "many_values",
    }
)
"""What looks like poison and is none."""
