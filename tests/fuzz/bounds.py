"""How much is fuzzed, and what every decoder owes.

The short form runs with all tests. DRAWDOWN_TEST_FUZZ=50 runs fifty times as many examples, other
ones each time; what fails is printed by Hypothesis with how to have it again, and belongs into
`corpus/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import msgspec
from hypothesis import HealthCheck, Phase, settings

from drawdown.events.codec import RecordError
from drawdown.events.reasons import Reason

TIMES: Final = max(int(os.environ.get("DRAWDOWN_TEST_FUZZ", "1")), 1)
DETAIL_MAX: Final = 10_000


def fuzzed(examples: int = 200, *, shrink: bool = True) -> Any:
    """The bounds of one property: so many examples, times what is asked for. Without `shrink` a
    failure is shown as it was found: where an example takes long, a smaller one takes for ever."""
    phases = [phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)]
    return settings(
        phases=phases,
        max_examples=examples * TIMES,
        deadline=None,
        derandomize=TIMES == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def judged(decode: Callable[[bytes], Any], value: bytes) -> Any:
    """What the bytes are, or None where they are refused as they must be: with a RecordError that
    says why. Any other exception escapes and fails the test; so does a float."""
    try:
        found = decode(value)
    except RecordError as error:
        assert error.reason in Reason
        assert 0 < len(error.detail) < DETAIL_MAX
        assert error.field is None or (error.field and len(error.field) < len(value) + 100)
        return None
    assert not has_float(found)
    return found


def has_float(value: Any) -> bool:
    """Whether there is a float anywhere in it."""
    if isinstance(value, float):
        return True
    if isinstance(value, msgspec.Struct):
        return any(has_float(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, dict):
        return any(has_float(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return any(has_float(item) for item in value)
    return False
