"""What the frameworks' checkpoints of optimizers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.core.plain import got
from gradxform.core.state import find_state, is_memory
from gradxform.core.tree import Leaf, Opened, is_trained, open_memories
from gradxform.core.types import ArrayLike, OptState, Params, Path

Names: TypeAlias = Mapping[str, Path] | None
"""From the framework's names of parameters to their paths; None where the names are the paths."""


def check_names(names: object) -> None:
    """Raises: TypeError unless it maps names to paths, or is None."""
    if names is None:
        return
    if not isinstance(names, Mapping) or not all(isinstance(part, str) for pair in names.items() for part in pair):
        raise TypeError(f"names must map the framework's names to paths, or be None, {got(names)}")


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


def shaped(key: str, value: ArrayLike, leaf: Leaf, shapes: Sequence[tuple[int, ...]] | None = None) -> NDArray[Any]:
    """An entry of a checkpoint. Raises: ValueError if it has not the parameter's shape (or one of `shapes`)."""
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
        raise TypeError(f"checkpoint must hold arrays of numbers, got {array.dtype} under {key!r}")
    if array.shape not in (shapes or [leaf.array.shape]):
        raise ValueError(
            f"checkpoint has {key!r} of shape {array.shape}, the parameter {leaf.path!r} has {leaf.array.shape}"
        )
    return array
