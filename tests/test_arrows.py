"""Imports between packages point one way (architecture: services -> stream and ledger -> events).

The table below is the whole of it: what a package imports and is not in its line is refused, and a
new package has to be given a line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "services" / "drawdown"

GROUND = {"events"}
CORE = GROUND | {"ledger", "stream"}
SHARED = CORE | {"config", "access", "topics", "health", "web", "integrations", "version"}
SERVICES = {"settlement", "gateway", "query", "portal", "rollups", "notify"}

MAY_IMPORT = {
    "events": set(),
    "ledger": GROUND,
    "stream": GROUND,
    # The ledger fed by calls: for whoever has no Kafka.
    "pure": GROUND | {"ledger"},
    "book_file": GROUND | {"ledger"},
    # What happens to wallets, as a file says: through the ledger alone, or on a broker.
    "scenarios": SHARED | {"settlement", "pure", "book_file"},
    "integrations": GROUND,
    "data": set(),
    "version": set(),
    "broker": set(),
    "config": GROUND,
    "topics": GROUND | {"stream"},
    "access": GROUND | {"stream"},
    "health": GROUND | {"stream"},
    "web": GROUND | {"access", "version", "health", "stream"},
    "client": GROUND | {"version"},
    "settlement": SHARED,
    "gateway": SHARED,
    # The pages show what the query service has, and are served by it.
    "query": SHARED | {"portal"},
    "portal": SHARED | {"query"},
    # What was rejected is judged by settlement's own rules before it is sent again.
    "deadletters": SHARED | {"settlement"},
    "rollups": SHARED,
    "notify": SHARED,
    # Decides again what settlement decided, by its very code.
    "replay": SHARED | {"settlement"},
    # Fronts: nobody imports them but each other.
    "demo": SHARED | SERVICES | {"cli", "broker", "client"},
    "cli": SHARED
    | SERVICES
    | {"demo", "broker", "client", "deadletters", "replay", "schemas"}
    | {"book_file", "scenarios"},
    "schemas": SHARED | SERVICES | {"scenarios"},
}

LIBRARIES = {
    "events": {"pydantic", "msgspec", "annotated_types"},
    "ledger": set(),
    "integrations": set(),
}
"""What a package may import besides the standard library; others may import anything."""

IMPURE = {
    *("asyncio", "concurrent", "io", "logging", "multiprocessing", "os", "pathlib", "random"),
    *("secrets", "select", "shutil", "signal", "socket", "subprocess", "sys", "tempfile"),
    *("threading", "time", "urllib", "uuid", "http", "zoneinfo", "locale", "sqlite3"),
}
"""Modules by which I/O, chance or a clock would come into the ledger."""

STREAM_READS = {"base", "codec", "deadletters", "reasons"}
"""Modules of `events` the stream may know: none of them says what a credit is."""


def modules() -> Iterator[tuple[str, Path]]:
    """Each module's top-level name below `drawdown`, and its file."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        yield ("version" if parts == ("__init__",) else parts[0]), file


def imported(file: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in it; relative ones made absolute."""
    place = ("drawdown", *file.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(place[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [above, node.module or ""]))
            if module == "drawdown":
                yield from (f"drawdown.{name.name}" for name in node.names)
            else:
                yield module


def ours(name: str) -> str | None:
    """The package of ours that a name is in."""
    if not (name == "drawdown" or name.startswith("drawdown.")):
        return None
    parts = name.split(".")
    if len(parts) == 1 or parts[1] == "__version__":
        return "version"
    return parts[1]


@pytest.mark.parametrize(
    ("package", "file"),
    [pytest.param(p, f, id=str(f.relative_to(PACKAGE))) for p, f in modules()],
)
def test_imports_point_one_way(package: str, file: Path) -> None:
    assert package in MAY_IMPORT, f"{package} has no line in the table of arrows"
    found = {ours(name) for name in imported(file)} - {None, package}
    assert found <= MAY_IMPORT[package], f"{package} imports {found - MAY_IMPORT[package]}"


@pytest.mark.parametrize("package", LIBRARIES)
def test_the_inner_packages_need_few_libraries(package: str) -> None:
    for name, file in modules():
        if name == package:
            roots = {module.partition(".")[0] for module in imported(file)}
            foreign = roots - set(sys.stdlib_module_names) - {"drawdown"}
            assert foreign <= LIBRARIES[package], f"{file}: {foreign}"


def test_the_ledger_has_no_io_no_clock_and_no_chance() -> None:
    for name, file in modules():
        if name != "ledger":
            continue
        found = {module.partition(".")[0] for module in imported(file)} & IMPURE
        assert not found, f"{file}: {found}"
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                last = called.rpartition(".")[2]
                assert last not in {"open", "print", "input", "now", "today", "utcnow"}, (
                    f"{file}:{node.lineno}: {called}"
                )


def test_the_stream_knows_no_credits() -> None:
    for name, file in modules():
        if name == "stream":
            for module in imported(file):
                if module.startswith("drawdown.events"):
                    assert module.removeprefix("drawdown.events.") in STREAM_READS, file


def test_the_table_has_no_way_round() -> None:
    """No package reaches itself but through the two that are one room: query and its pages."""

    def reaches(package: str, seen: frozenset[str] = frozenset()) -> set[str]:
        direct = MAY_IMPORT.get(package, set()) - seen
        found = set(direct)
        for other in direct:
            found |= reaches(other, seen | direct | {package})
        return found

    inner = set(MAY_IMPORT) - {"query", "portal", "cli", "demo"}
    for package in inner:
        assert package not in MAY_IMPORT[package]
        for other in MAY_IMPORT[package]:
            assert package not in reaches(other), f"{package} -> {other} -> {package}"
