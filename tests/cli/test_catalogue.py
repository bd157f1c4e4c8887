"""A newer catalogue: read from a file or an address, and shown as a diff before it is published."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from tests.cli.commands import Drawdown

from drawdown.cli import catalogue_file
from drawdown.cli.catalogue_file import catalogue_text
from drawdown.cli.outcome import FAILED, USAGE, CommandError

OLD = {
    "small": {"input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06},
    "large": {"input_cost_per_token": 3e-06},
}
NEW = {
    "small": {"input_cost_per_token": 5e-07, "output_cost_per_token": 4e-06},
    "newest": {"input_cost_per_token": 2e-06},
}
IMPORT = ("price-book", "import-litellm", "--version")


def written(directory: Path, name: str, content: object) -> Path:
    path = directory / name
    path.write_text(json.dumps(content))
    return path


def test_what_a_newer_catalogue_changes(nothing: Drawdown, tmp_path: Path) -> None:
    old, new = (written(tmp_path, f"{n}.json", c) for n, c in (("old", OLD), ("new", NEW)))
    book = tmp_path / "book.json"
    nothing.ok(*IMPORT, "v1", "--catalogue", old, "--output", book)

    found = nothing.json(*IMPORT, "v2", "--catalogue", new, "--diff", book)

    assert (found["old"], found["new"]) == ("v1", "v2")
    changed = {(each["part"], each["id"]): each for each in found["changes"]}
    assert changed.keys() == {("cost", "small"), ("cost", "newest"), ("cost", "large")}
    small = changed["cost", "small"]
    assert ("0.000001," in small["old"], "0.0000005," in small["new"]) == (True, True)
    assert changed["cost", "large"]["new"] is changed["cost", "newest"]["old"] is None
    shown = nothing.ok(*IMPORT, "v2", "--catalogue", new, "--diff", book, "--markup", "30%")
    assert "+ rate newest" in shown.out
    same = nothing.ok(*IMPORT, "v2", "--catalogue", old, "--diff", book)
    assert "nothing differs" in same.out


def test_one_thing_is_done_with_it(nothing: Drawdown, tmp_path: Path) -> None:
    said = nothing(*IMPORT, "v1", "--diff", "x.json", "--output", tmp_path / "y.json")
    assert (said.code, said.error.startswith("say what to do with it")) == (USAGE, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"\xff", "not UTF-8 at byte 0"), (b"[1]", "one JSON object per")],
)
def test_what_is_no_catalogue(
    nothing: Drawdown, tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "catalogue.json"
    if content is not None:
        path.write_bytes(content)
    said = nothing(*IMPORT, "v1", "--catalogue", path, "--output", tmp_path / "book.json")
    assert (said.code, says in said.error) == (FAILED, True)


def answering(status: int, content: bytes) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _: httpx.Response(status, content=content))


def test_an_address_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(NEW).encode()
    assert catalogue_text("https://prices.test/x.json", answering(200, content)) == content.decode()
    with pytest.raises(CommandError, match="answered 404"):
        catalogue_text("https://prices.test/x.json", answering(404, b""))
    monkeypatch.setattr(catalogue_file, "BYTES_MAX", 1 << 20)
    with pytest.raises(CommandError, match="more than 1 MB: no catalogue"):
        catalogue_text("https://prices.test/x.json", answering(200, bytes((1 << 20) + 1)))

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody is there", request=request)

    with pytest.raises(CommandError, match="nobody is there"):
        catalogue_text("http://prices.test/x.json", httpx.MockTransport(away))
