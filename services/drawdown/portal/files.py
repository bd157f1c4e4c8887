"""The portal's templates and static files, read from the package once.

A static file's address carries the start of its digest, so that browsers may keep it for ever and
still never mix the page of one version with the script of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from drawdown.events.base import timestamp_text
from drawdown.events.numbers import amount_text
from drawdown.portal import words

MEDIA: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    address: str


def static_files() -> Mapping[str, StaticFile]:
    """The static files by name."""
    found: dict[str, StaticFile] = {}
    for file in (files("drawdown.portal") / "static").iterdir():
        stem, dot, suffix = file.name.rpartition(".")
        content = file.read_bytes()
        tag = sha256(content).hexdigest()[:12]
        found[file.name] = StaticFile(
            content, MEDIA[dot + suffix], f"/static/{stem}.{tag}.{suffix}"
        )
    return found


def templates(static: Mapping[str, StaticFile]) -> Environment:
    """The templates. Whatever is put into one is escaped; a name that is not there is an error."""
    environment = Environment(
        loader=PackageLoader("drawdown.portal"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        shown=words.shown,
        grouped=words.grouped,
        size_of=words.size_of,
        day=words.day,
        second=words.second,
        until=words.until,
        exact=amount_text,
        rfc3339=timestamp_text,
        moment=datetime.fromisoformat,
    )
    addresses: dict[str, Any] = {name: file.address for name, file in static.items()}
    environment.globals["static"] = addresses
    return environment
