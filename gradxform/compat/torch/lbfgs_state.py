"""torch's `state_dict()` of L-BFGS, with vectors through all parameters in torch's order, and the state of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.torch.arrays import as_array
from gradxform.compat.torch.lbfgs import LbfgsState
from gradxform.compat.torch.names import Place
from gradxform.core.tree import is_trained
from gradxform.core.types import Params, Path
from gradxform.transforms.objective import of_path

VECTORS = ("d", "prev_flat_grad")
HISTORIES = ("old_dirs", "old_stps", "ro")
NUMBERS = {"func_evals": "func_evals", "n_iter": "n_iter", "t": "t", "H_diag": "h_diag", "prev_loss": "prev_loss"}
"""What torch calls it -> the field."""


class Rows:
    """Vectors of all parameters, as torch and as ours have them side by side."""

    def __init__(self, params: Params, where: Mapping[Any, list[Place]]) -> None:
        self.shapes: dict[Path, tuple[int, ...]] = {
            path: np.shape(p) for path, p in of_path(params).items() if is_trained(p)
        }
        self.found = [where[key] for key in where]
        reached = [place.path for found in self.found for place in found]
        if absent := [path for path in self.shapes if path not in reached]:
            raise ValueError(f"names has no index for the parameter {absent[0]!r}, a part of L-BFGS's vectors")
        for place in (place for found in self.found for place in found):
            place.refuse_unsaid(self.shapes[place.path])

    def read(self, key: str, value: Any) -> NDArray[Any]:
        """Torch's vector as ours. Raises: ValueError if it is not as long as all parameters."""
        row = np.array(as_array(value)).reshape(-1)
        wholes = [found[0].whole(self.shapes[found[0].path]) for found in self.found]
        sizes = [math.prod(whole) for whole in wholes]
        if row.size != sum(sizes):
            raise ValueError(f"state has {key!r} of {row.size} elements, and params have {sum(sizes)}")
        parts: dict[Path, NDArray[Any]] = {}
        for found, whole, piece in zip(self.found, wholes, np.split(row, np.cumsum(sizes)[:-1]), strict=True):
            for place in found:
                parts[place.path] = place.read(piece.reshape(whole), self.shapes[place.path])
        return np.concatenate([parts[path].reshape(-1) for path in self.shapes])

    def write(self, row: NDArray[Any]) -> NDArray[Any]:
        """Our vector as torch's."""
        pieces = np.split(row, np.cumsum([math.prod(shape) for shape in self.shapes.values()])[:-1])
        parts = {path: x.reshape(shape) for (path, shape), x in zip(self.shapes.items(), pieces, strict=True)}
        return np.concatenate([place.write(parts[place.path]).reshape(-1) for found in self.found for place in found])


def load(entries: Mapping[Any, Any], state: LbfgsState, rows: Rows) -> LbfgsState:
    """The fresh state with torch's entries in it.

    Raises: ValueError naming an entry that is missing or has another length, or a history that is longer than ours.
    """
    given: Mapping[str, Any] = next(iter(entries.values()), {})
    if not given:
        return state
    if absent := [key for key in (*VECTORS, *HISTORIES, *NUMBERS) if key not in given]:
        raise ValueError(f"state has no {absent[0]!r} of L-BFGS, only {sorted(given)}")
    many, pairs = len(state.ro), len(given["ro"])
    if pairs > many:
        raise ValueError(f"state has a history of {pairs} pairs, and history_size is {many}")
    new: dict[str, Any] = {key: rows.read(key, given[key]) for key in VECTORS}
    new |= {field: as_array(given[key]).reshape(()) for key, field in NUMBERS.items()}
    for field in HISTORIES:
        read = (lambda x: as_array(x).reshape(())) if field == "ro" else (lambda x, field=field: rows.read(field, x))
        ring = np.array(getattr(state, field))
        if pairs:
            ring[:pairs] = np.stack([read(x) for x in given[field]])
        new[field] = ring
    new["pairs"] = pairs
    return LbfgsState(**{name: _like(new[name], old) for name, old in state._asdict().items()})


def _like(value: Any, old: jax.Array) -> jax.Array:
    placed: jax.Array = jax.device_put(jnp.asarray(np.array(value), old.dtype), old.sharding)
    return placed


def save(state: LbfgsState, rows: Rows) -> dict[str, Any]:
    """Torch's entries, which stand at its first parameter."""
    many, pairs = len(state.ro), int(state.pairs)
    order: Sequence[int] = [(pairs - i) % many for i in range(min(pairs, many), 0, -1)]
    saved: dict[str, Any] = {key: rows.write(np.asarray(getattr(state, key))) for key in VECTORS}
    saved |= {key: getattr(state, field).item() for key, field in NUMBERS.items()}
    saved["H_diag"] = np.array(state.h_diag)
    for key in ("old_dirs", "old_stps"):
        saved[key] = [rows.write(np.asarray(getattr(state, key)[i])) for i in order]
    return {**saved, "ro": [np.array(state.ro[i]) for i in order]}
