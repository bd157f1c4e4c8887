"""Every decoder of a topic's records, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from drawdown.events import codec

DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    name: getattr(codec, name)
    for name in sorted(vars(codec))
    if name.startswith("decode_") and callable(getattr(codec, name))
}
