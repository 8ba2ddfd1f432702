"""Compile the tables' rows for an H100 or a TPU v5e, and print what a step of each costs.

`python -m benchmarks.compiled h100 v5e` (or `make passes`) compiles all rows of all sets for both, keeps the figures in
`results.json` beside this file, and writes the tables and the picture from it; without a target it only writes. `--set`
and `--only` restrict what is compiled: other rows keep their figures. `make passes` makes the environment too.

passes: bytes to and from device memory, in units of four bytes a parameter. floor: what each row says must move.
temp: temporaries, in % of float32 parameters. cycles: the TPU compiler's own estimate of the kernels, a parameter;
background copies have none. On a v5e what lies in its 128 MB of VMEM is not counted, so that passes can be below
the floor there: cycles are the measure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.compiled import targets  # first: it says that JAX is to look for no device

# isort: split
import gradxform as gx
from benchmarks.compiled import compositions, kept, limits, measure, meshes, tables, times, training
from benchmarks.compiled.peer import Peer
from benchmarks.compiled.rows import Row, passes

MESHES = {"8x1": ("h100",), "4x4": ("v5e",), "16x16": ("v5e",)}
TABLES = ["compositions", "catalogue", *(f"mesh {mesh}" for mesh in MESHES)]
SETS = [*TABLES, "training", "times"]


def rows_of(name: str, target: str) -> tuple[list[Row], Any]:
    """A table's rows, and its mesh if it has one."""
    if name == "catalogue":
        from benchmarks.compiled import catalogue  # and with it the tests' own, and pytest

        return catalogue.rows(), None
    if name == "short":
        return [replace(r, shapes=limits.TREE, peer=None) for r in compositions.ROWS if r.name in limits.LIMITS], None
    if name == "compositions":
        return compositions.ROWS, None
    shape = name.removeprefix("mesh ")
    if target not in MESHES[shape]:
        return [], None
    mesh = measure.mesh_of(target, tuple(int(n) for n in shape.split("x")))
    return meshes.rows(mesh), mesh


def sides(row: Row) -> list[tuple[str, Any, Any]]:
    """The libraries that have a row: name, library, and how the row is made from it."""
    ours = [("gradxform", gx, row.make)]
    return ours if row.peer is None else [*ours, ("optax", Peer(), row.make if row.peer is True else row.peer)]


def table(name: str, target: str, only: str, dump: Path | None) -> Iterator[kept.Figures]:
    rows, mesh = rows_of(name, target)
    for row in rows:
        if only not in row.name:
            continue
        place = measure.alone(target) if mesh is None else measure.over(mesh, row.place)
        for library, module, make in sides(row):
            try:
                found, text = measure.measured(module, make, row, target, place, mesh)
            except Exception as error:  # what cannot be compiled is a result too
                found, text = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"}, ""
            if dump and text:
                (dump / re.sub(r"\W+", "_", f"{target} {name} {row.name} {library}")).write_text(text)
            floor = {"floor": passes(row.floor), "of": row.floor, "why": row.why, "left": row.left}
            yield {"row": row.name, "library": library, **floor, **found}


def compile_times(target: str, only: str) -> Iterator[kept.Figures]:
    for row in times.ROWS:
        for library, module, make in sides(row):
            if only in row.name:
                repeat = times.REPEAT[row.name.split(":")[0]]
                yield {"row": row.name, "library": library, **measure.seconds(module, make, row, target, repeat)}


def run(target: str, name: str, only: str, dump: Path | None) -> Iterator[kept.Figures]:
    if name == "training":
        found: Iterator[kept.Figures] = ({"library": "gradxform", **f} for f in training.measured(target, only))
    elif name == "times":
        found = compile_times(target, only)
    else:
        found = table(name, target, only, dump)
    for figures in found:
        yield {"target": target, "set": name, **figures}


COLUMNS = {"passes": "7.2f", "floor": "6.2f", "temp": "7.1f", "kernels": "8.0f", "copies": "7.0f", "cycles": "8.4f"}
COLUMNS |= {"trace_s": "8.2f", "compile_s": "10.2f"}


HEADING = f"{'':48}" + "".join(f"{key:>{int(form.split('.')[0]) + 1}}" for key, form in COLUMNS.items())


def line(f: kept.Figures) -> str:
    cells = [f"{f[key]:{form}}" if key in f else " " * int(form.split(".")[0]) for key, form in COLUMNS.items()]
    words = [f.get("failed", ""), tables.sent(f), *f.get("notes", [])]
    return " ".join([f"{f['row']:38} {f['library']:9}", *cells, "; ".join(filter(None, words))])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(targets.PLATFORM)}; none: write the tables again")
    parser.add_argument("--set", action="append", choices=[*SETS, "short"], help="sets of rows; else all")
    parser.add_argument("--only", default="", help="rows with this text in their name")
    parser.add_argument("--dry", action="store_true", help="keep and write nothing")
    parser.add_argument("--json", type=Path, help="a file for the figures of this run")
    parser.add_argument("--dump", type=Path, help="a folder for the compiled programs of tables")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(targets.PLATFORM):  # choices would refuse that there is none
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    keeps = not given.dry and given.set != ["short"]
    if given.dump:
        given.dump.mkdir(parents=True, exist_ok=True)
    found = []
    for target, name in itertools.product(given.targets, given.set or SETS):
        start, before = time.perf_counter(), len(found)
        for figures in run(target, name, given.only, given.dump):
            if len(found) == before:
                print(f"{target}, {name}\n{HEADING}")
            print(line(figures), flush=True)
            found.append(figures)
            if keeps:
                kept.save([figures])
        if len(found) > before:
            if keeps:
                kept.save(found[before:], whole=not given.only)
            print(f"{len(found) - before} in {time.perf_counter() - start:.0f} s\n", flush=True)
    if given.json:
        given.json.write_text(json.dumps(found))
    if keeps:
        tables.write()


if __name__ == "__main__":
    main()
