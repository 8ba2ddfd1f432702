"""Change the code at random places, one place at a time, and see whether the tests notice: `make mutants`.

Cosmic Ray makes the mutants, in a copy of the tree, from `core`, `control` and `strategies`; their order is that of a
seed. Each is tried by the tests at its place, then by some laws on a few entries of the catalogue. Every verdict is a
line of `benchmarks/mutants.jsonl`, and a run goes on behind the last one; the share that is caught, and what survived
with the reason that somebody wrote beside it, stand in `benchmarks/mutants.md`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "benchmarks" / "mutants.jsonl"
FOLDERS = ("core", "control", "strategies")
LEFT_OUT = {"BitOr": "", "ReplaceTrueWithFalse": "strict=True"}
"""Operators that change nothing, on lines with these words: nearly all `|` stand in annotations, which nobody
evaluates, and a strict `zip` guards against mistakes of our own."""
LAWS = ["test_structs", "test_fixed_point", "test_compiled", "test_none_leaves", "test_zero_gradient", "test_keys"]
ENTRIES = "adamw or lamb or clip_by_global_norm or guard or accumulate or stored_as"
QUIET = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
LIMIT = 600.0
"""Seconds of a mutant's tests, on a machine with other work too; one that hangs is caught, and said to hang."""
CAUGHT, SAME = "caught by", "the same"
"""How the reason beside a mutant begins that other tests catch, or that no test could."""
OUTCOMES = {0: "survived", 1: "killed", 2: "killed", None: "hangs"}
"""By pytest's exit status: a failure, an interruption by an error of the collection, or none in time."""


def places(root: Path, seed: int) -> list[Any]:
    """One mutant for every place that can be changed, in the order of the seed."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    found: dict[Any, list[Any]] = {}
    files = sorted(path for folder in FOLDERS for path in (root / "gradxform" / folder).rglob("*.py"))
    lines = {str(path): path.read_text().splitlines() for path in files}
    (root / "build").mkdir(exist_ok=True)
    with use_db(str(root / "build" / "mutants.sqlite"), WorkDB.Mode.create) as database:
        init(files, database, {})
        for item in database.work_items:
            (mutant,) = item.mutations
            line = lines[str(mutant.module_path)][mutant.start_pos[0] - 1]
            if not any(name in mutant.operator_name and words in line for name, words in LEFT_OUT.items()):
                found.setdefault((str(mutant.module_path), mutant.start_pos), []).append(mutant)
    rng = random.Random(seed)
    order = [rng.choice(sorted(found[place], key=lambda x: (x.operator_name, x.occurrence))) for place in sorted(found)]
    rng.shuffle(order)
    return order


def key(mutant: Any) -> dict[str, Any]:
    path = str(Path(mutant.module_path)).partition("gradxform/")[2]
    operator = mutant.operator_name.removeprefix("core/")
    return {"module": path, "line": mutant.start_pos[0], "operator": operator, "occurrence": mutant.occurrence}


def trials(module: str) -> list[list[str]]:
    """What tries a mutant of a module: arguments of pytest, the nearest tests first."""
    folder, name = Path(module).parts[-2:]
    place = Path("tests", folder, f"test_{name}")
    laws = [f"tests/laws/{law}.py" for law in LAWS]
    return [*([[*QUIET, str(place)]] if (ROOT / place).exists() else []), [*QUIET, *laws, "-k", ENTRIES]]


def begin() -> None:
    """This process's own tree, which may be changed, where it works from now on; what is slow to import is there."""
    place = ROOT / "build" / "mutants" / str(os.getpid())
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)
    os.chdir(place)
    os.environ["PYTHONPATH"] = str(place)
    sys.path.insert(0, str(place))
    sys.dont_write_bytecode = True
    warnings.filterwarnings("ignore", "os.fork")
    for module in ("tests.conftest", "chex", "equinox", "flax.linen", "flax.nnx", "hypothesis", "optax", "pytest"):
        importlib.import_module(module)


def status(arguments: list[str]) -> int | None:
    """What pytest ends with in a process of its own, which has all but the package imported; None out of time."""
    child = os.fork()
    if not child:
        os.setsid()
        with open(os.devnull, "w") as nowhere:
            for stream in (1, 2):
                os.dup2(nowhere.fileno(), stream)
        try:
            os._exit(int(importlib.import_module("pytest").main(arguments)))
        finally:
            os._exit(3)
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return 1 if os.WIFSIGNALED(code) else os.waitstatus_to_exitcode(code)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def outcome(module: str) -> str:
    """Of the tests of a module as it stands in this process's tree."""
    for arguments in trials(module):
        if (code := status(arguments)) != 0:
            return OUTCOMES.get(code, f"pytest ends with {code}")
    return OUTCOMES[0]


def tried(mutant: Any) -> dict[str, Any]:
    """The verdict on a mutant, in the tree of this process."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator

    module = Path("gradxform") / key(mutant)["module"]
    operator = get_operator(mutant.operator_name)(**mutant.operator_args)
    with use_mutation(module, operator, mutant.occurrence) as (before, after):
        if after is None:
            return key(mutant) | {"outcome": "not made", "change": []}
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        change = [x for x in lines if x[:1] in "+-" and x[:3] not in ("+++", "---")]
        return key(mutant) | {"outcome": outcome(str(module)), "change": change}


def load() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def page(found: list[dict[str, Any]]) -> str:
    """How many are caught, and what survived."""
    made = [f for f in found if f["outcome"] in ("killed", "hangs", "survived")]
    alive = [f for f in made if f["outcome"] == "survived"]
    share = 100 * (1 - len(alive) / max(len(made), 1))
    later, same = (sum(f.get("why", "").startswith(word) for f in alive) for word in (CAUGHT, SAME))
    lines = ["# Mutants", "", "`make mutants` adds to it.", ""]
    lines += [
        f"The tests at their place and the short laws catch {len(made) - len(alive)} of {len(made)}: {share:.1f} %."
    ]
    lines += [f"Of the others {later} are caught by other tests, {same} change nothing that a test could see, and"]
    lines += [f"{len(alive) - later - same} are left.", "", "| survived | change | why |", "|---|---|---|"]
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
    left = [mutant for mutant in places(ROOT, given.seed) if key(mutant) not in done]
    with multiprocessing.get_context("spawn").Pool(given.workers, begin) as pool:
        for verdict in pool.imap_unordered(tried, left):
            found.append(verdict)
            KEPT.write_text("".join(json.dumps(f) + "\n" for f in found))
            KEPT.with_suffix(".md").write_text(page(found))
            print(json.dumps(verdict), flush=True)
            if time.monotonic() > until:
                break


if __name__ == "__main__":
    main()
