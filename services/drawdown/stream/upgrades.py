"""Stores of older formats: each is brought to the next one, step by step, until it is today's.

A step says what it changes of the store's own records (`meta`); all of it goes into one batch with
the new format's number, so that a step is done or was not begun. There is no way back: a program
that knows only an older format sets the store aside and rebuilds it from the journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

Meta = dict[bytes, bytes]
"""Records of a store about itself, by key."""

POSITIONS: Final = b"positions"


def _with_identities(meta: Meta) -> Meta:
    """To 2: a store may serve before it has all identities, and says which it has. One of format 1
    was only ever served with all of them."""
    positions = json.loads(meta.get(POSITIONS, b"{}"))
    positions |= {"identities_from": 0, "identities_from_ms": 0}
    return {POSITIONS: json.dumps(positions).encode()}


UPGRADES: Final[Mapping[int, Callable[[Meta], Meta]]] = {1: _with_identities}
"""By the format they start from: what of `meta` is another in the next."""


def upgraded(meta: Meta, format_: int, wanted: int) -> Meta | None:
    """What of `meta` changes from one format to a later one; None where no way leads there."""
    changed: Meta = {}
    while format_ != wanted:
        step = UPGRADES.get(format_)
        if step is None or format_ > wanted:
            return None
        changed |= step({**meta, **changed})
        format_ += 1
    return changed
