"""Exact numbers as people write them in a file."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

NUMBER: Final = r"^-?[0-9]+(\.[0-9]+)?(/[0-9]+)?$"


def _text(value: object) -> object:
    return str(value) if type(value) is int else value


Number = Annotated[
    str,
    BeforeValidator(_text),
    Field(pattern=NUMBER),
    WithJsonSchema({"type": ["string", "number"], "pattern": NUMBER}),
]
"""An exact number: decimal, or a fraction such as 1/60."""
