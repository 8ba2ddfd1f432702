"""Write what each method is held against, and how long it is, into `docs/verified.md`.

`python -m benchmarks.verified` runs the tests that are marked with `reference` and notes what `tests.trajectories.near`
compared in them; given files of tests, only those. `--lines` only counts the lines of code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import pytest

from benchmarks import structure
from benchmarks.compiled.tables import DOCS, into, table
from tests.trajectories import COMPARED

PAGE = DOCS / "verified.md"
FEWEST = 20


class Comparisons:
    """A plugin of pytest: methods and code -> steps, tolerance and error of every comparison."""

    def __init__(self) -> None:
        self.found: dict[tuple[tuple[str, ...], str], list[tuple[int, float, float]]] = {}

    def pytest_runtest_setup(self) -> None:
        COMPARED.clear()

    def pytest_runtest_teardown(self, item: Any) -> None:
        for mark in item.iter_markers("reference"):
            code, *methods = mark.args
            names = tuple(methods) or (item.callspec.params["name"],)
            self.found.setdefault((names, code), []).extend(COMPARED)


def number(x: float, digits: int) -> str:
    return f"{x:.{digits}e}".replace("e-0", "e-") if x else "0"


def quoted(methods: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in methods)


def row(methods: Iterable[str], code: str, compared: list[tuple[int, float, float]]) -> list[str]:
    """A tolerance for each precision, and the largest error under it."""
    worst: dict[float, float] = {}
    for _, asked, seen in compared:
        worst[asked] = max(seen, worst.get(asked, 0.0))
    steps = min(steps for steps, _, _ in compared)
    if steps < FEWEST:
        raise ValueError(f"{', '.join(methods)} beside {code}: {steps} steps are fewer than {FEWEST}")
    asked = sorted(worst, reverse=True)
    cells = [", ".join(number(x, 0) for x in asked), ", ".join(number(worst[x], 1) for x in asked)]
    known = f"{code} {version(code).split('+')[0]}" if code in ("optax", "torch") else code
    return [quoted(methods), known, f"{steps}", *cells]


def lines() -> str:
    ratios = structure.code_ratios()
    rows = [[f"`{name}`", f"{a}", f"{b}", f"{a / b:.2f}"] for name, (a, b) in sorted(ratios.items())]
    mean = structure.geometric_mean(ratios)
    return table(["method", "gradxform", "optax", "ratio"], [*rows, ["geometric mean", "", "", f"{mean:.2f}"]])


def rows_of(page: str) -> list[list[str]]:
    part = page.partition("<!-- references:")[2].partition("<!-- references: end")[0]
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", action="store_true", help="only count lines of code")
    parser.add_argument("tests", nargs="*", help="run these alone, and leave the rows of all others as they are")
    given = parser.parse_args()
    page, parts = PAGE.read_text(), {"lines": lines()}
    if not given.lines:
        comparisons, where = Comparisons(), given.tests or ["tests/optimizers", "tests/transforms"]
        failed = pytest.main(["-q", "-n", "0", "-m", "reference", *where], [comparisons])
        if failed:
            return int(failed)
        found = [row(methods, code, compared) for (methods, code), compared in comparisons.found.items()]
        kept = {tuple(cells[:2]): cells for cells in [*(rows_of(page) if given.tests else []), *found]}
        parts["references"] = table(["method", "held against", "steps", "asked", "seen"], sorted(kept.values()))
    for name, new in parts.items():
        page = into(page, name, new, "make verified")
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
