"""No float near money: none is written, made or divided into being, where amounts are reckoned.

The sources are read as a tree: no float literal, no call of `float`, no true division, no `round`,
no `math` that goes through a double. What is an exception says why.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "services" / "drawdown"

EXACT = [
    *sorted((PACKAGE / "ledger").rglob("*.py")),
    *sorted((PACKAGE / "events").glob("*.py")),
    *sorted((PACKAGE / "integrations").glob("*.py")),
    PACKAGE / "settlement" / "application.py",
    PACKAGE / "settlement" / "books.py",
    PACKAGE / "settlement" / "publish.py",
    PACKAGE / "replay" / "rerating.py",
    PACKAGE / "book_file.py",
    PACKAGE / "pure.py",
    *(
        PACKAGE / "cli" / f"{name}.py"
        for name in ("price_formulas", "price_lines", "quoting", "rerate")
    ),
]

EXCEPTIONS = {
    ("integrations/litellm.py", "files('drawdown.data') / 'litellm-prices'"): "a path",
    (
        "integrations/litellm.py",
        "files('drawdown.data') / 'litellm-prices' / 'model_prices_and_context_window.json'",
    ): "a path",
    ("settlement/books.py", "CONFIRMED_S_MAX: Final = 30.0"): "seconds",
    ("settlement/books.py", "CONFIRM_EVERY_S: Final = 5.0"): "seconds",
    (
        "settlement/books.py",
        "self._consumer.get_watermark_offsets(self._where, 1.0, cached=False)",
    ): "seconds",
    ("settlement/books.py", "now: float"): "seconds",
    ("settlement/books.py", "self._confirmed_at: float | None = None"): "seconds",
    ("pure.py", "isinstance(value, float)"): "to refuse one",
    ("cli/price_formulas.py", "count * Fraction(price) / Fraction(per)"): "of fractions",
    ("cli/price_lines.py", "round(value)"): "of a fraction: half-even, to an integer",
    ("settlement/publish.py", "producer.flush(30.0)"): "seconds",
    ("settlement/publish.py", "consumer.poll(10.0)"): "seconds",
}  # fmt: skip
"""(file, source) of what looks like a float near money and is none, and what it is."""

MATH = {"lcm", "gcd", "isqrt", "comb", "perm"}
"""Of `math`, what reckons with integers."""
DOUBLES = {"float", "round", "complex", "sqrt", "fsum", "timestamp", "fromtimestamp"}


def suspects(tree: ast.AST) -> Iterator[ast.AST]:
    """The smallest nodes that could bring a float about."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()):
                yield node
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in DOUBLES:
                yield node
            case ast.ImportFrom(module="math", names=names):
                if any(name.name not in MATH for name in names):
                    yield node
            case ast.Import(names=names):
                if any(name.name in {"math", "statistics", "random"} for name in names):
                    yield node


def excused(tree: ast.AST, file: str, used: set[tuple[str, str]]) -> set[ast.AST]:
    """Everything inside what is an exception."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt | ast.arg) and (
            (key := (file, ast.unparse(node))) in EXCEPTIONS
        ):
            used.add(key)
            found.update(ast.walk(node))
    return found


@pytest.mark.parametrize("file", EXACT, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_float_near_money(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    name = file.relative_to(PACKAGE).as_posix()
    used: set[tuple[str, str]] = set()
    allowed = excused(tree, name, used)
    found = [
        f"{name}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"
        for node in suspects(tree)
        if node not in allowed
    ]
    assert found == []
    assert used == {key for key in EXCEPTIONS if key[0] == name}, "an exception nobody needs"


@pytest.mark.parametrize(
    "source",
    [
        "amount = 0.1",
        "amount = total / 3",
        "amount /= 3",
        "amount = float(text)",
        "list(map(float, texts))",
        "amount = round(total, 2)",
        "seconds = value.timestamp()",
        "from math import sqrt",
        "import math",
        "def f(amount: float) -> None: ...",
    ],
)
def test_the_test_sees_a_float(source: str) -> None:
    assert list(suspects(ast.parse(source)))


@pytest.mark.parametrize(
    "source", ["amount = total // 3", "amount = 10 ** 12", "'0.5'", "from math import lcm"]
)
def test_the_test_sees_no_float_where_none_is(source: str) -> None:
    assert not list(suspects(ast.parse(source)))
