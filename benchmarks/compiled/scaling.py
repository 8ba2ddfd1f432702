"""A step over a model of 7 B parameters, compiled for 1 to 256 chips of a TPU v5e: bytes of each, and what they send.

`python -m benchmarks.compiled.scaling` compiles all rows, keeps the figures in `scaling.json` beside this file, and
writes the table in `docs/scaling_up.md`; `--only` restricts the rows, `--write` only writes. What does not fit into
a chip's 16 GiB is not compiled: its bytes are those of the layout.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmarks.compiled.targets  # noqa: F401 - first: it says that JAX is to look for no device

# isort: split
import jax
from jax.sharding import NamedSharding, PartitionSpec

import gradxform as gx
from benchmarks.compiled import measure, tables
from benchmarks.compiled.compositions import clipped, codes
from benchmarks.compiled.cost import cost

PATH = Path(__file__).with_name("scaling.json")
MESHES = [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16)]
HOLDS = 16 * 2**30
Layout = dict[str, jax.ShapeDtypeStruct]


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Llama's 7 B: width 4096, 11008 within, 32000 words; of 32 layers 6.74e9 parameters in 291 arrays."""
    d, inner, words = 4096, 11008, 32000
    tree: dict[str, tuple[int, ...]] = {"embed": (words, d), "norm": (d,), "head": (d, words)}
    for i in range(layers):
        block = {"norm1": (d,), "q": (d, d), "k": (d, d), "v": (d, d), "o": (d, d)}
        block |= {"norm2": (d,), "gate": (d, inner), "up": (d, inner), "down": (inner, d)}
        tree |= {f"h{i:02}/{name}": shape for name, shape in block.items()}
    return tree


def spec(path: str, shape: tuple[int, ...], split: bool) -> PartitionSpec:
    """Heads, inner units and words over "model"; where parameters are split, the width over "data"."""
    data = "data" if split else None
    if len(shape) == 1:
        return PartitionSpec(data)
    inner_first = path.rsplit("/")[-1] in ("o", "down", "embed")
    return PartitionSpec("model", data) if inner_first else PartitionSpec(data, "model")


@dataclass
class Row:
    """A step: how it is made for a mesh, given how parameters lie."""

    name: str
    make: Callable[[Any, Any], Any]
    split: bool = True
    """Parameters and gradients are split over "data" too (FSDP)."""
    dtype: str = "float32"
    layers: int = 32


def spread(mesh: Any, lies: Any) -> Any:
    tx = gx.muon(0.02, ns_dtype="bfloat16", where=gx.matching(r"^h\d") & gx.ndim_at_least(2))
    return gx.spread(tx, mesh, ("data", "model"), param_shardings=lies) if mesh.size > 1 else tx


def zero(inner: Any) -> Callable[[Any, Any], Any]:
    return lambda mesh, lies: gx.sharded(inner, mesh, "data", param_shardings=lies)


ROWS = [
    Row("FSDP: adamw", lambda mesh, lies: gx.adamw(1e-3)),
    Row("FSDP: clip + adamw", lambda mesh, lies: clipped(gx)),
    Row("FSDP: clip + adamw in int8", lambda mesh, lies: gx.chain(gx.clip_by_global_norm(1.0), codes())),
    Row("FSDP: spread(muon)", spread),
    Row("FSDP, 8 layers: spread(muon)", spread, layers=8),
    Row("ZeRO-1: sharded(adamw)", zero(gx.adamw(1e-3)), split=False, dtype="bfloat16"),
    Row("ZeRO-1: sharded(clip + adamw)", zero(clipped(gx)), split=False, dtype="bfloat16"),
]


def held(tree: Any) -> int:
    """Bytes of a tree on one chip."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def measured(row: Row, shape: tuple[int, int]) -> dict[str, Any]:
    mesh = measure.mesh_of("v5e", shape)
    lies = {path: NamedSharding(mesh, spec(path, size, row.split)) for path, size in shapes(row.layers).items()}
    params = {p: jax.ShapeDtypeStruct(size, row.dtype, sharding=lies[p]) for p, size in shapes(row.layers).items()}
    tx = row.make(mesh, lies)
    where = gx.state_shardings(tx, params, lies, mesh)
    state = jax.tree.map(
        lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), jax.eval_shape(tx.init, params), where
    )
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    found = {"row": row.name, "chips": mesh.size, "params": held(params), "state": held(state), "whole": whole}
    if 2 * found["params"] + found["state"] > HOLDS:
        return found
    jitted = jax.jit(gx.make_step(tx), donate_argnums=(0, 1), out_shardings=(lies, where))
    try:
        compiled, trace, compilation = measure.timed(jitted, (params, state, params), "v5e")
    except Exception as error:
        if "memory" not in str(error):
            raise
        return found | {"failed": "needs more than 16 GiB"}
    used = compiled.memory_analysis().temp_size_in_bytes
    return found | {"temp": used, "sent": cost(compiled.as_text()).sent, "seconds": trace + compilation}


def words(f: dict[str, Any]) -> list[str]:
    """A line of the table."""
    share = f["state"] * f["chips"] / f["whole"]
    line = [f["row"], str(f["chips"]), f"{f['params'] / 1e9:.3f}", f"{f['state'] / 1e9:.3f}", f"{share:.3f}"]
    if "sent" not in f:
        return [*line, "", f.get("failed", "does not fit"), ""]
    sent = ", ".join(f"{n:g} {kind}" for kind, (n, _) in f["sent"].items()) or "none"
    return [*line, f"{f['temp'] / 1e9:.3f}", sent, f"{sum(size for _, size in f['sent'].values()) / 1e6:.3g}"]


def in_order(kept: dict[tuple[str, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The figures as the rows and the meshes stand, whenever they were compiled."""
    order = [(row.name, math.prod(shape)) for row in ROWS for shape in MESHES]
    return [kept[key] for key in order if key in kept]


def write(found: list[dict[str, Any]]) -> None:
    head = ["", "chips", "parameters GB", "state GB", "state x chips / whole", "temporaries GB", "collectives", "MB"]
    page = tables.DOCS / "scaling_up.md"
    made = tables.table(head, [words(f) for f in found])
    page.write_text(tables.into(page.read_text(), "scaling", made, "python -m benchmarks.compiled.scaling"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="rows with this text in their name")
    parser.add_argument("--write", action="store_true", help="compile nothing")
    given = parser.parse_args()
    kept = {(f["row"], f["chips"]): f for f in (json.loads(PATH.read_text()) if PATH.exists() else [])}
    for row in () if given.write else ROWS:
        for shape in MESHES if given.only in row.name else ():
            found = measured(row, shape)
            print(" | ".join(words(found)), f"{found.get('seconds', 0):.0f} s", flush=True)
            kept[row.name, found["chips"]] = found
            PATH.write_text("[\n" + ",\n".join(map(json.dumps, in_order(kept))) + "\n]\n")
    write(in_order(kept))


if __name__ == "__main__":
    main()
