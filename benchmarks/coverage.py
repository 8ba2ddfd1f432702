"""The shares of lines and of branches that the tests run: `python -m benchmarks.coverage build/coverage.json`.

Of the package; `make test COVERAGE=1` writes the file. Fails below 97 % of the lines or 92 % of the branches.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LEAST = {"lines": 97.0, "branches": 92.0}
WORST = 10
"""So many files are named, those that lack most."""


def shares(found: dict[str, Any]) -> dict[str, float]:
    """In percent, from what SlipCover counted."""
    counts = found["summary"]
    return {
        what: 100 * counts[f"covered_{what}"] / max(counts[f"covered_{what}"] + counts[f"missing_{what}"], 1)
        for what in LEAST
    }


def missing(file: dict[str, Any]) -> int:
    return len(file["missing_lines"]) + len(file["missing_branches"])


def main(path: str) -> int:
    found = json.loads(Path(path).read_text())
    for name, file in sorted(found["files"].items(), key=lambda x: -missing(x[1]))[:WORST]:
        lines, branches = (str(file[f"missing_{what}"])[:120] for what in LEAST)
        print(f"{name}: lines {lines}, branches {branches}")
    of = shares(found)
    print(f"coverage: {of['lines']:.1f} % of the lines, {of['branches']:.1f} % of the branches")
    return int(any(of[what] < least for what, least in LEAST.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
