"""Compile the tables' rows for an H100 or a TPU v5e, and print what a step of each costs.

`python -m benchmarks.compiled h100 v5e` (or `make passes`) compiles all rows of all sets for both, keeps the figures in
`results.json` beside this file and writes the tables and the picture from it; `write` only writes. `--set` and `--only`
restrict what is compiled: other rows keep their figures. `--dry` keeps nothing. `--dump FOLDER` keeps the compiled
programs. Environment: `make passes` makes it.

passes: bytes to and from device memory, in units of four bytes a parameter. floor: what each row says must move.
temp: temporaries, in % of float32 parameters. cycles: the TPU compiler's own estimate of the kernels, a parameter;
background copies have none. On a v5e what lies in its 128 MB of VMEM is not counted, so that passes can be below
the floor there: cycles are the measure.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compiled import targets  # first: it says that JAX is to look for no device

# isort: split
import gradxform as gx
from benchmarks.compiled import compositions, kept, limits, measure, meshes
from benchmarks.compiled.peer import Peer
from benchmarks.compiled.rows import Row, passes

MESHES = {"8x1": ("h100",), "4x4": ("v5e",), "16x16": ("v5e",)}
SETS = ["compositions", "catalogue", *(f"mesh {mesh}" for mesh in MESHES)]


def rows_of(name: str, target: str) -> tuple[list[Row], Any]:
    """A set's rows, and its mesh if it has one."""
    if name == "catalogue":
        from benchmarks.compiled import catalogue  # and with it the tests' own, and pytest

        return catalogue.ROWS, None
    if name == "short":
        return [replace(r, shapes=limits.TREE) for r in compositions.ROWS if r.name in limits.LIMITS], None
    if name == "compositions":
        return compositions.ROWS, None
    shape = name.removeprefix("mesh ")
    if target not in MESHES[shape]:
        return [], None
    mesh = measure.mesh_of(target, tuple(int(n) for n in shape.split("x")))
    return meshes.rows(mesh), mesh


def both(row: Row, target: str, mesh: Any, dump: Path | None) -> list[kept.Figures]:
    """A row's figures of gradxform and of its peer; what cannot be compiled is a result too."""
    place = measure.alone(target) if mesh is None else measure.over(mesh, row.place)
    sides = [("gradxform", gx, row.make)]
    if row.peer is not None:
        sides.append(("optax", Peer(), row.make if row.peer is True else row.peer))
    found = []
    for name, library, make in sides:
        figures: kept.Figures = {"row": row.name, "library": name}
        try:
            more, text = measure.measured(library, make, row, target, place, mesh)
        except Exception as error:
            more, text = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"}, ""
        if dump and text:
            (dump / re.sub(r"\W+", "_", f"{target} {row.name} {name}")).write_text(text)
        found.append(figures | more)
    return found


def line(figures: kept.Figures, floor: float) -> str:
    head = f"{figures['row']:36} {figures['library']:9} "
    if "failed" in figures:
        return head + figures["failed"]
    sent = [f"{n:g} {kind} {size / 1e6:.2f} MB" for kind, (n, size) in figures["sent"].items()]
    return head + (
        f"{figures['passes']:6.2f} {floor:6.2f} {figures['passes'] / max(floor, 1e-9):6.2f} {figures['temp']:7.1f} "
        f"{figures['kernels']:7.0f} {figures['copies']:6.0f} {figures['cycles']:8.4f} {figures['trace_s']:6.2f} "
        f"{figures['compile_s']:7.2f}  {'; '.join(sent + figures['notes'])}"
    )


HEADING = f"{'':46} {'passes':>6} {'floor':>6} {'/floor':>6} {'temp %':>7} {'kernels':>7} {'copies':>6} {'cycles':>8} "
HEADING += f"{'trace':>6} {'compile':>7}"


def run(target: str, name: str, only: str, dump: Path | None) -> list[kept.Figures]:
    rows, mesh = rows_of(name, target)
    rows = [row for row in rows if only in row.name]
    if rows:
        print(f"{target}, {name}\n{HEADING}", flush=True)
    found, start = [], time.perf_counter()
    for row in rows:
        for figures in both(row, target, mesh, dump):
            floor = passes(row.floor)
            found.append({"target": target, "set": name, **figures, "floor": floor})
            print(line(figures, floor), flush=True)
    if rows:
        print(f"{len(rows)} rows, {time.perf_counter() - start:.0f} s\n", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=[*targets.PLATFORM, "write"])
    parser.add_argument("--set", action="append", choices=[*SETS, "short"], help="sets of rows, all without it")
    parser.add_argument("--only", default="", help="rows with this text in their name")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    parser.add_argument("--json", type=Path, help="a file for the figures of this run")
    parser.add_argument("--dump", type=Path, help="a folder for the compiled programs")
    given = parser.parse_args()
    if given.dump:
        given.dump.mkdir(parents=True, exist_ok=True)
    found = []
    for target in given.targets:
        for name in given.set or SETS:
            if target in targets.PLATFORM:
                found += (new := run(target, name, given.only, given.dump))
                if not given.dry and name != "short":
                    kept.save(new)
    if given.json:
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
