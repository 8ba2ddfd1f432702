"""What the frameworks' checkpoints of optimizers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from gradxform.core.lens import Wrapper
from gradxform.core.rows import is_row_leaf
from gradxform.core.rule import Rule
from gradxform.core.state import State
from gradxform.core.tree import Leaf, Opened, open_together
from gradxform.core.types import ArrayLike, Params, Path

Names: TypeAlias = Mapping[str, Path] | None
"""From the framework's names of parameters to their paths; None where the names are the paths."""


def read(checkpoint: object) -> Mapping[str, Any]:
    """Raises: TypeError if it is no mapping."""
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must map names to arrays, got {checkpoint!r} of type {type(checkpoint).__name__}")
    return checkpoint


def opened(state: State, params: Params) -> Opened:
    """The leaves of a state beside their parameters."""
    nothing = jax.tree.map(lambda p: None, params, is_leaf=is_row_leaf)
    return open_together(nothing, params, state.leaves)


def innermost(rule: Rule) -> Rule:
    """A rule without what is wrapped around it."""
    while isinstance(rule, Wrapper):
        rule = rule.rule
    return rule


def spellings(path: Path, names: Names) -> list[str]:
    """What the framework may call the parameter at a path."""
    return [path, path.replace("/", ".")] if names is None else [name for name, p in names.items() if p == path]


def shaped(key: str, value: ArrayLike, leaf: Leaf, shapes: Sequence[tuple[int, ...]] | None = None) -> NDArray[Any]:
    """An entry of a checkpoint. Raises: ValueError if it has not the parameter's shape (or one of `shapes`)."""
    array = np.asarray(value)
    if array.dtype.kind in "OUSmM":
        raise TypeError(f"checkpoint has {key!r} with {value!r} of type {type(value).__name__}, which are no numbers")
    if array.shape not in (shapes or [leaf.array.shape]):
        raise ValueError(
            f"checkpoint has {key!r} of shape {array.shape}, the parameter {leaf.path!r} has {leaf.array.shape}"
        )
    return array


def steps_done(name: str, value: object) -> int:
    """A number of steps as frameworks save it: an integer or a float, alone or in an array of one element.

    Raises: TypeError for what is no number, ValueError for one that is no count, or that int32 does not hold.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.size != 1:
        raise TypeError(f"{name} must be a number of steps, got {value!r} of type {type(value).__name__}")
    n = float(array.reshape(()))
    if not (0.0 <= n <= np.iinfo(np.int32).max and n.is_integer()):
        raise ValueError(f"{name} must be a whole number of steps, at least 0, that int32 holds, got {n:g}")
    return int(n)
