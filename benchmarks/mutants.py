"""Change the code at random places, one place at a time, and see whether the tests notice: `make mutants`.

Cosmic Ray makes the mutants, in a copy of the tree, from `core`, `control` and `strategies`; their order is that of a
seed. Each is tried by the tests at its place, then by those of its folder and some laws on a few entries of the
catalogue. Every verdict is a line of `benchmarks/mutants.jsonl`, and a run goes on behind the last one; the share that
is caught, and what survived with the reason that somebody wrote beside it, stand in `benchmarks/mutants.md`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "mutants.jsonl"
FOLDERS = ("core", "control", "strategies")
LEFT_OUT = "BitOr"
"""Nearly all `|` stand in annotations, which nobody evaluates."""
LAWS = ["test_structs", "test_fixed_point", "test_compiled", "test_none_leaves", "test_zero_gradient", "test_keys"]
ENTRIES = "adamw or lamb or clip_by_global_norm or guard or accumulate or stored_as"
LIMIT = 300.0
"""Seconds of a mutant's tests; one that hangs is caught."""


def places(root: Path, seed: int) -> list[Any]:
    """One mutant for every place that can be changed, in the order of the seed."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    found: dict[Any, list[Any]] = {}
    files = sorted(path for folder in FOLDERS for path in (root / "gradxform" / folder).rglob("*.py"))
    with use_db(str(root / "mutants.sqlite"), WorkDB.Mode.create) as database:
        init(files, database, {})
        for item in database.work_items:
            (mutant,) = item.mutations
            if LEFT_OUT not in mutant.operator_name:
                found.setdefault((str(mutant.module_path), mutant.start_pos), []).append(mutant)
    rng = random.Random(seed)
    order = [rng.choice(sorted(found[place], key=lambda x: (x.operator_name, x.occurrence))) for place in sorted(found)]
    rng.shuffle(order)
    return order


def key(mutant: Any) -> dict[str, Any]:
    path = str(Path(mutant.module_path)).partition("gradxform/")[2]
    operator = mutant.operator_name.removeprefix("core/")
    return {"module": path, "line": mutant.start_pos[0], "operator": operator, "occurrence": mutant.occurrence}


def command(module: str) -> str:
    """What tries a mutant of a module, the nearest tests first."""
    folder, name = Path(module).parts[-2:]
    place = Path("tests", folder, f"test_{name}")
    parts = [str(place)] if (ROOT / place).exists() else []
    parts += [f"tests/{folder}", " ".join(f"tests/laws/{law}.py" for law in LAWS) + f" -k '{ENTRIES}'"]
    return " && ".join(f"{sys.executable} -m pytest -x -q -n 0 -p no:cacheprovider {part}" for part in parts)


def copy() -> Path:
    """This process's own tree, which may be changed, and works in it from now on."""
    place = ROOT / "build" / "mutants" / str(os.getpid())
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    os.chdir(place)
    os.environ["PYTHONPATH"] = str(place)
    return place


def tried(mutant: Any) -> dict[str, Any]:
    """The verdict on a mutant, in the copy where the process works."""
    import attrs
    from cosmic_ray.mutating import mutate_and_test

    there = attrs.evolve(mutant, module_path=Path("gradxform") / key(mutant)["module"])
    result = mutate_and_test([there], f'sh -c "{command(str(there.module_path))}"', LIMIT)
    changed = [x for x in (result.diff or "").splitlines() if x[:1] in "+-" and x[:3] not in ("+++", "---")]
    outcome = result.test_outcome.value if result.test_outcome else "not made"
    return key(mutant) | {"outcome": outcome, "change": changed}


def load() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def page(found: list[dict[str, Any]]) -> str:
    """How many are caught, and what survived."""
    made = [f for f in found if f["outcome"] in ("killed", "survived")]
    alive = [f for f in made if f["outcome"] == "survived"]
    share = 100 * (1 - len(alive) / max(len(made), 1))
    lines = ["# Mutants", "", "`make mutants` adds to it.", ""]
    lines += [f"{len(made) - len(alive)} of {len(made)} are caught: {share:.1f} %.", "", "| survived | change | why |"]
    lines += ["|---|---|---|"]
    for f in alive:
        change = " -> ".join(f"`{x[1:].strip()}`" for x in f["change"]).replace("|", "\\|")
        lines.append(f"| {f['module']}:{f['line']} | {change} | {f.get('why', '')} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    shutil.rmtree(ROOT / "build" / "mutants", ignore_errors=True)
    until, found = time.monotonic() + 60 * given.minutes, load()
    done = [{name: f[name] for name in ("module", "line", "operator", "occurrence")} for f in found]
    with multiprocessing.get_context("spawn").Pool(given.workers, copy) as pool:
        left = [mutant for mutant in places(copy(), given.seed) if key(mutant) not in done]
        for verdict in pool.imap_unordered(tried, left):
            found.append(verdict)
            KEPT.write_text("".join(json.dumps(f) + "\n" for f in found))
            KEPT.with_suffix(".md").write_text(page(found))
            print(json.dumps(verdict), flush=True)
            if time.monotonic() > until:
                break


if __name__ == "__main__":
    main()
