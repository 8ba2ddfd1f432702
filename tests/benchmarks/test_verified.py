"""What the page of references is made of: every optimizer's tests name the code that they hold it beside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradxform as gx
from benchmarks import verified

TABLES = "test_newton_schulz.py"
"""Of numbers, for one matrix: no method with steps."""
MODULES = sorted(p for p in (Path(__file__).parents[1] / "optimizers").glob("test_*.py") if p.name != TABLES)
OTHERS = sorted((Path(__file__).parents[1] / "transforms").glob("test_*.py"))


def marks(path: Path) -> Iterator[list[str]]:
    """Code and methods of every mark in a module, without running it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.reference":
            yield [ast.literal_eval(x) for x in node.args]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_optimizers_are_held_beside_independent_code(path: Path) -> None:
    assert list(marks(path)), (
        f'write @pytest.mark.reference("owner/name at commit", "method") above the test in {path.name} that compares '
        "with the authors' code, a paper, optax or torch, and run `make verified`"
    )


def test_page_has_what_the_tests_name() -> None:
    page = [line for line in verified.PAGE.read_text().splitlines() if line.startswith("| `")]
    for path in (*MODULES, *OTHERS):
        for code, *methods in marks(path):
            assert set(methods) <= set(gx.__all__)
            start = f"| {verified.quoted(methods)} | {code}"
            assert any(line.startswith(start) if methods else code in line for line in page), (
                f"{path.name}: {methods} beside {code} is not in the page: run `make verified`"
            )


def test_row_has_the_largest_error_under_each_tolerance() -> None:
    compared = [(50, 2e-6, 1e-7), (40, 1e-12, 3e-15), (50, 2e-6, 4e-7), (50, 1e-12, 0.0)]
    assert verified.row(("a", "b"), "x at 1", compared) == [
        "`a`, `b`",
        "x at 1",
        "40",
        "2e-6, 1e-12",
        "4.0e-7, 3.0e-15",
    ]
    with pytest.raises(ValueError, match="a beside x: 19 steps are fewer than 20"):
        verified.row(("a",), "x", [(19, 1e-6, 0.0)])
