"""Weights of torch's modules as parameters here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.compat.torch.arrays import as_array
from gradxform.compat.torch.names import Names, Place, by_name, listed, refuse_strangers
from gradxform.core.plain import got
from gradxform.core.tree import open_tree
from gradxform.core.types import Params


def load_params(model_state_dict: Mapping[str, Any], params: Params, names: Names = None) -> Params:
    """Copy `model.state_dict()` of torch into a tree like `params`, each leaf in its dtype and where it lies.

    names: from torch's names to places in `params`, as in `load_state`; None takes `fc.weight` for `fc/weight`,
    `fc/kernel`, `fc/scale` or `fc/embedding`, whichever there is. Entries that lead nowhere are left out.
    Raises: ValueError naming a parameter without an entry, an entry of another shape, or a kernel whose shape does not
    tell whether it is transposed.
    """
    if not isinstance(model_state_dict, Mapping) or not all(isinstance(key, str) for key in model_state_dict):
        raise TypeError(f"model_state_dict must map names to arrays, {got(model_state_dict)}")
    if names is not None and not isinstance(names, Mapping):
        raise TypeError(f"names must map torch's names to paths, or be None, {got(names)}")
    paths, leaves, structure = open_tree(params)
    shapes = {path: np.shape(p) for path, p in zip(paths, leaves, strict=True) if p is not None}
    if names is None:
        where = {key: [Place(path)] for key, path in by_name({key: key for key in model_state_dict}, shapes).items()}
    else:
        where = {key: listed(place) for key, place in names.items()}
    refuse_strangers(where, shapes)
    found = {place.path: _read(model_state_dict, key, place, shapes) for key, ps in where.items() for place in ps}
    if absent := [path for path in shapes if path not in found]:
        raise ValueError(
            f"model_state_dict has nothing that names lead to the parameter {absent[0]!r} of params, "
            f"only {[*model_state_dict]}"
        )
    return structure.unflatten(
        [None if p is None else _like(found[path], p) for path, p in zip(paths, leaves, strict=True)]
    )


def _read(weights: Mapping[str, Any], key: str, place: Place, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    if key not in weights:
        raise ValueError(f"model_state_dict has no {key!r} for the parameter {place.path!r}; it has {[*weights]}")
    ours, value = shapes[place.path], np.array(as_array(weights[key]))
    place.refuse_unsaid(ours)
    if value.shape != (whole := place.whole(ours)):
        raise ValueError(
            f"model_state_dict has {key!r} of shape {value.shape}, and the parameter {place.path!r}, of shape {ours}, "
            f"needs {whole}; {place.advice()}"
        )
    return place.read(value, ours)


def _like(value: Any, p: Any) -> jax.Array:
    """A copy in the dtype of a parameter, and on its devices."""
    array = jnp.array(value, jax.dtypes.canonicalize_dtype(p.dtype))
    return jax.device_put(array, p.sharding) if isinstance(p, jax.Array) else array
