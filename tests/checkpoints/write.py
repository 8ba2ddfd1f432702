"""Write the checkpoints that later versions must go on from: `python -m tests.checkpoints.write [NAME ...]`.

Without names, those that are missing. What is there stays: a checkpoint that an old version wrote is worth keeping
because that version wrote it. Each file says which version, commit, JAX and processor that was; the first ones are of
gradxform 0.1.0, before its core was rewritten.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import Any

import tests.conftest  # noqa: F401 - sets up JAX as it is in the tests
from tests.checkpoints import files
from tests.checkpoints.chains import CHAINS, SAVED_AFTER, STEPS, THROUGH_ORBAX, parameters, train


def author() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return {"gradxform": version("gradxform"), "commit": commit, **files.compiler()}


def write(name: str, written_by: dict[str, Any]) -> None:
    tx, params = CHAINS[name].make(), parameters(name)
    steps = train(name, tx, params, tx.init(params), range(1, STEPS + 1))
    saved, after = steps[SAVED_AFTER - 1], steps[SAVED_AFTER:]
    trees = {"params": saved["params"], "state": saved["state"]}
    for i, step in enumerate(after, SAVED_AFTER + 1):
        trees |= {f"{what} {i}": tree for what, tree in step.items()}
    files.write_arrays(files.DATA / f"{name}.npz", trees, written_by)
    pair = {"params": saved["params"], "state": saved["state"]}
    try:
        files.write_flax(files.DATA / f"{name}.msgpack", pair)
    except (TypeError, ValueError) as error:
        sys.stderr.write(f"{name}: flax does not take it: {error}\n")
    if name in THROUGH_ORBAX:
        files.write_orbax(files.DATA / f"{name}.orbax", pair)


def main(names: list[str]) -> None:
    files.DATA.mkdir(exist_ok=True)
    there = {path.stem for path in files.DATA.iterdir()}
    if kept := there.intersection(names):
        sys.exit(f"written already, and not overwritten: {', '.join(sorted(kept))}")
    written_by = author()
    for name in names or [name for name in CHAINS if name not in there]:
        write(name, written_by)


if __name__ == "__main__":
    main(sys.argv[1:])
