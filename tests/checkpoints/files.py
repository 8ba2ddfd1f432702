"""How the kept states lie on disk: path-keyed arrays, flax's bytes and orbax's folders."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

DATA = Path(__file__).parent / "data"
BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def arrays_of(tree: Any) -> dict[str, Any]:
    """Every array of a tree under its path."""
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in pairs}


def write_arrays(path: Path, trees: dict[str, Any], written_by: dict[str, Any]) -> None:
    """Trees by name; dtypes that NumPy's files know not as their bits, and the names of all dtypes beside them."""
    arrays = {f"{name}:{at}": x for name, tree in trees.items() for at, x in arrays_of(tree).items()}
    dtypes = {at: x.dtype.name for at, x in arrays.items()}
    plain = {at: x if x.dtype.kind in "biufc" and x.dtype.isbuiltin == 1 else bits(x) for at, x in arrays.items()}
    np.savez_compressed(path, about=np.array(json.dumps({"written by": written_by, "dtypes": dtypes})), **plain)


def read_arrays(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Name -> path -> array, and who wrote them."""
    found: dict[str, dict[str, Any]] = {}
    with np.load(path) as file:
        about = json.loads(file["about"].item())
        for at, dtype in about["dtypes"].items():
            name, place = at.split(":", 1)
            found.setdefault(name, {})[place] = file[at].view(jnp.dtype(dtype))
    return found, about["written by"]


def bits(x: Any) -> Any:
    x = np.asarray(x)
    return x if x.dtype == bool or x.dtype.kind == "c" else x.view(BITS[x.dtype.itemsize])


def put_arrays(arrays: dict[str, Any], fresh: Any) -> Any:
    """The arrays in the structure of another tree, each at its path."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(fresh)
    return structure.unflatten([jnp.asarray(arrays[jax.tree_util.keystr(path)]) for path, _ in pairs])


def write_flax(path: Path, tree: Any) -> None:
    path.write_bytes(flax.serialization.to_bytes(tree))


def read_flax(path: Path, fresh: Any) -> Any:
    return jax.tree.map(jnp.asarray, flax.serialization.from_bytes(fresh, path.read_bytes()))


def write_orbax(path: Path, tree: Any) -> None:
    """The note that orbax leaves names the folder it was written to, and nothing reads it."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
        checkpointer.wait_until_finished()
    for note in path.glob("commit_success.txt"):
        note.write_text("Checkpoint commit was successful\n")


def read_orbax(path: Path, fresh: Any) -> Any:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh))


def compiler() -> dict[str, Any]:
    """What decides how a compiled program rounds: JAX's version and the vector instructions of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    vectors = sorted(f for f in flags if f.startswith(("avx", "fma", "amx", "sse4", "asimd", "sve")))
    return {"jax": jax.__version__, "machine": platform.machine(), "vectors": " ".join(vectors)}
