"""What is deployed is what is documented: locks, compose file, runbook, README."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from drawdown.stream.loop import UNEXPECTED

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PACKAGE = ROOT / "services" / "drawdown"
LOCKS = ("requirements.lock", "requirements-test.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_every_package_by_hash_and_names_no_address(name: str) -> None:
    text = (DEPLOY / name).read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    packages = [block for block in blocks if not block.startswith("#")]
    assert packages
    for block in packages:
        assert re.match(r"[a-z0-9.-]+(\[.*\])?==\S+", block), block[:80]
        assert "--hash=sha256:" in block, block[:80]
    assert "://" not in text
    assert re.search(r"^# \d+ packages, \d+ bytes$", text, re.MULTILINE)


@pytest.mark.parametrize(("name", "extras"), [(LOCKS[0], ()), (LOCKS[1], ("test",))])
def test_a_lock_has_what_the_project_names(name: str, extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    locked = set(re.findall(r"^([a-z0-9.-]+)(?:\[.*\])?==", (DEPLOY / name).read_text(), re.M))
    for requirement in wanted:
        found = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert found
        assert re.sub(r"[._-]+", "-", found[0]).lower() in locked


def test_the_lock_of_the_tests_has_all_of_the_other_version_for_version() -> None:
    run, tests = (
        set(re.findall(r"^[a-z0-9.-]+(?:\[.*\])?==\S+", (DEPLOY / name).read_text(), re.MULTILINE))
        for name in LOCKS
    )
    assert run <= tests


def test_the_compose_file_has_kafka_and_every_service_that_exists() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    commands = {service.get("command") for service in compose["services"].values()}
    assert commands >= {"settlement", "gateway", "query", "topics create"}
    version = re.search(r'^KAFKA_VERSION.*"([\d.]+)"', _source("broker/lock.py"), re.MULTILINE)
    assert version
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"
    for service in compose["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_the_runbook_has_an_entry_for_every_rule_that_stops_a_partition() -> None:
    runbook = (DEPLOY / "runbook.md").read_text()
    rules = {rule for path in sorted(PACKAGE.rglob("*.py")) for rule in _rules(path)}
    assert rules >= {"digest-chain", "hold-states", "journal-follows", "input-deleted"}
    assert [rule for rule in sorted(rules | {UNEXPECTED}) if f"### {rule}\n" not in runbook] == []


def test_the_readme_begins_with_two_lines_to_paste() -> None:
    readme = (ROOT / "README.md").read_text()
    start = readme.index("## Quick start")
    block = readme[start:].split("```")[1]
    lines = block.strip().splitlines()[1:]
    assert len(lines) == 2
    assert lines[0].endswith("drawdown demo")
    assert lines[1].endswith("pytest")


def test_every_file_the_readmes_point_at_exists() -> None:
    for readme in (ROOT / "README.md", ROOT / "services" / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", readme.read_text()):
            assert (readme.parent / target).exists(), f"{readme.name}: {target}"


def _source(path: str) -> str:
    return (ROOT / "services" / "drawdown" / path).read_text()


def _rules(path: Path) -> set[str]:
    """The first argument of every error that names a rule, and the rules that classes have."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            named = node.func.id in ("BrokenInvariantError", "RecoveryError")
            if named and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
        elif isinstance(node, ast.ClassDef):
            rules = [n for n in node.body if isinstance(n, ast.Assign) and _is_rule(n)]
            found |= {str(ast.literal_eval(n.value)) for n in rules}
    return found


def _is_rule(assigned: ast.Assign) -> bool:
    return ast.unparse(assigned.targets[0]) == "rule"
