"""What the frameworks' checkpoints of optimizers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.core.plain import got, numbers_in, shown
from gradxform.core.state import find_state, is_memory
from gradxform.core.tree import Leaf, Opened, is_trained, open_memories, open_tree
from gradxform.core.types import ArrayLike, OptState, Params, Path

Names: TypeAlias = Mapping[str, Path] | None
"""From the framework's names of parameters to their paths; None where the names are the paths."""


def check_names(names: object, params: Params) -> None:
    """Raises: TypeError unless it maps names to paths, or is None; ValueError for a path that is no parameter's."""
    if names is None:
        return
    if not isinstance(names, Mapping) or not all(isinstance(part, str) for pair in names.items() for part in pair):
        raise TypeError(f"names must map the framework's names to paths, or be None, {got(names)}")
    paths = open_tree(params)[0]
    for name, path in names.items():
        if path not in paths:
            raise ValueError(f"names must lead to parameters, and {name!r} leads to {path!r}; there are {paths}")


def memories(state: OptState, params: Params) -> Opened:
    """The parameters, each with what a state keeps for it. Raises: ValueError if the state is for other parameters."""
    opened = open_memories(find_state(state).leaves, params)
    if not any(is_trained(leaf.p) for leaf in opened.leaves):
        raise ValueError(f"params must hold parameters, {got(params)}")
    for leaf in opened.leaves:
        if not is_memory(leaf.memory):
            raise ValueError(f"params must be what the state was made for, and its {leaf.path!r} is not")
    return opened


def read(checkpoint: object) -> Mapping[str, Any]:
    """Raises: TypeError if it is no mapping."""
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must map names to arrays, {got(checkpoint)}")
    return checkpoint


def spellings(path: Path, names: Names) -> list[str]:
    """What the framework may call the parameter at a path."""
    return [path, path.replace("/", ".")] if names is None else [name for name, p in names.items() if p == path]


def shaped(
    key: str,
    value: ArrayLike,
    leaf: Leaf,
    shapes: Sequence[tuple[int, ...]] | None = None,
    advice: str = "transpose it",
) -> NDArray[Any]:
    """A copy of an entry of a checkpoint, since whoever gave it may go on writing into it.

    Raises: ValueError if it has not the parameter's shape (or one of `shapes`).
    """
    array = np.array(numbers_in(f"checkpoint's {key!r}", value))
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
        raise TypeError(
            f"checkpoint has {key!r} with {shown(value)} of type {type(value).__name__}, which are no numbers"
        )
    if array.shape not in (shapes or [leaf.array.shape]):
        turned = sorted(array.shape) == sorted(leaf.array.shape) and array.ndim > 1
        raise ValueError(
            f"checkpoint has {key!r} of shape {array.shape}, the parameter {leaf.path!r} has {leaf.array.shape}"
            f"{f'; {advice}' if turned else ''}"
        )
    return array


def powers(key: str, value: NDArray[Any]) -> NDArray[Any]:
    """An entry that is a product of betas. Raises: ValueError for what is none: NaN, or a number outside [0, 1]."""
    wrong = value[~((value >= 0) & (value <= 1))] if np.isrealobj(value) else value.reshape(-1)
    if wrong.size:
        raise ValueError(f"checkpoint has {key!r} with {wrong[0]}: a power of betas is in [0, 1]")
    return value


def steps_done(name: str, value: object) -> int:
    """A number of steps as frameworks save it: an integer or a float, alone or in an array of one element.

    Raises: TypeError for what is no number, ValueError for one that is no count, or that int32 does not hold.
    """
    array = numbers_in(name, value)
    if array.dtype.kind not in "iuf" or array.size != 1:
        raise TypeError(f"{name} must be a number of steps, {got(value)}")
    n = float(array.reshape(()))
    if not (0.0 <= n <= np.iinfo(np.int32).max and n.is_integer()):
        raise ValueError(f"{name} must be a whole number of steps, at least 0, that int32 holds, got {n:g}")
    return int(n)
