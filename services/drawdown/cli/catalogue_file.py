"""The text of a catalogue of models: of a file, or of an address."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import httpx

from drawdown.cli.outcome import CommandError

BYTES_MAX: Final = 32 << 20
"""Of a catalogue at an address: it has about 2 MB."""
ANSWER_S: Final = 30.0


def catalogue_text(where: str, transport: httpx.BaseTransport | None = None) -> str:
    """The catalogue in a file or at an http(s) address. Blocks up to 30 s for each piece of it.
    Raises CommandError for what cannot be read, is no text, or is larger than 32 MB."""
    if where.startswith(("http://", "https://")):
        content = _fetched(where, transport)
    else:
        try:
            content = Path(where).read_bytes()
        except OSError as error:
            raise CommandError(f"{where}: {error.strerror}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{where}: not UTF-8 at byte {error.start}") from None


def _fetched(url: str, transport: httpx.BaseTransport | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        with (
            httpx.Client(timeout=ANSWER_S, follow_redirects=True, transport=transport) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise CommandError(f"{url}: answered {answer.status_code}")
            for part in answer.iter_bytes():
                size += len(part)
                if size > BYTES_MAX:
                    raise CommandError(f"{url}: more than {BYTES_MAX >> 20} MB: no catalogue")
                parts.append(part)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CommandError(f"{url}: {error}") from None
    return b"".join(parts)
