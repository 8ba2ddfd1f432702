"""Try the library for a long time: `python -m tests.soak --minutes 60` (`SOAK_MINUTES=60 make soak`).

Parts take turns. Every run of a part has a seed, and goes on where the last one stopped; counts add up over all runs in
`benchmarks/reliability.json`, and a table of them in `benchmarks/reliability.md`. A failure is printed with its seed,
counted, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.soak import bad_input, compositions, kills, numbers, processes, states

PARTS: dict[str, Callable[[int], Counter[str]]] = {
    "compositions": lambda seed: compositions.soak(seed, 200),
    "kills": kills.soak,
    "two processes": processes.soak,
    "bad input": bad_input.soak,
    "imported states": states.imported,
    "foreign states": states.pairs,
    "numbers": numbers.soak,
}
KEPT = Path(__file__).parents[2] / "benchmarks" / "reliability.json"


def load() -> dict[str, dict[str, dict[str, int]]]:
    """For each part what was counted, and which seed comes next."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def once(name: str, seed: int) -> Counter[str]:
    """One run of a part; what it found to be wrong stands on the standard output."""
    try:
        return PARTS[name](seed)
    except AssertionError as error:
        print(f"FAILED {name}, seed {seed}: {error}", flush=True)
        return Counter({"failures": 1})


def lines(kept: dict[str, dict[str, dict[str, int]]]) -> str:
    rows = ["| part | runs | counted | failures |", "|---|---:|---|---:|"]
    for name in PARTS:
        counts = dict(kept.get(name, {}).get("counts", {}))
        failures = counts.pop("failures", 0)
        words = ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda x: -x[1]))
        rows.append(f"| {name} | {kept.get(name, {}).get('next', {}).get('seed', 0)} | {words} | {failures} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--seed", type=int, help="one run of each part with this seed, nothing kept")
    given = parser.parse_args()
    if given.seed is not None:
        found = {name: once(name, given.seed) for name in given.parts}
        print(*(f"{name}: {dict(counts)}" for name, counts in found.items()), sep="\n")
        return int(any(counts["failures"] for counts in found.values()))
    kept, until, failed = load(), time.monotonic() + 60 * given.minutes, False
    spent = dict.fromkeys(given.parts, 0.0)
    while time.monotonic() < until:
        name = min(spent, key=spent.__getitem__)
        part = kept.setdefault(name, {"next": {"seed": 0}, "counts": {}})
        began = time.monotonic()
        counts = once(name, part["next"]["seed"])
        spent[name] += time.monotonic() - began
        part["next"]["seed"] += 1
        part["counts"] = dict(Counter(part["counts"]) + counts)
        failed |= bool(counts["failures"])
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        KEPT.with_suffix(".md").write_text(f"# Reliability\n\n`make soak` adds to it.\n\n{lines(kept)}\n")
    print(lines(kept))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
