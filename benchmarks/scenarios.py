"""Run the scenarios of the frameworks' own tests beside the frameworks, and list the verdicts in `docs/scenarios.md`.

`python -m benchmarks.scenarios torch` runs those of torch, which must be installed, and leaves the others' rows. A
framework has a module `tests.compat.<framework>.scenarios` with `FAMILIES`, functions that give each scenario's name
and what is wrong with it, and `DECIDED`, why a scenario ends otherwise here.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from benchmarks.compiled.tables import DOCS, into, table

PAGE = DOCS / "scenarios.md"


def verdicts(module: Any) -> list[list[str]]:
    """A row for each scenario: family, name, verdict."""
    rows = []
    for family, run in module.FAMILIES.items():
        for name, wrong in run():
            decided = module.DECIDED.get(name)
            rows.append([family, name, f"wrong: {wrong}" if wrong else f"decided: {decided}" if decided else "right"])
    return rows


def listed(rows: list[list[str]]) -> str:
    """The shares, and the list."""
    right = sum(verdict == "right" for *_, verdict in rows)
    decided = sum(verdict.startswith("decided") for *_, verdict in rows)
    head = f"{right} of {len(rows)} are right, {decided} decided otherwise, {len(rows) - right - decided} wrong.\n\n"
    return head + table(["what", "scenario", "verdict"], [[cell.replace("|", "\\|") for cell in row] for row in rows])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frameworks", nargs="+", choices=["torch", "paddle", "mindspore"])
    page = PAGE.read_text()
    for framework in parser.parse_args().frameworks:
        module = importlib.import_module(f"tests.compat.{framework}.scenarios")
        page = into(page, framework, listed(verdicts(module)), f"python -m benchmarks.scenarios {framework}")
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
