"""What the frameworks' checkpoints of optimizers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradxform.core.tree import Leaf
from gradxform.core.types import ArrayLike, Path

Names: TypeAlias = Mapping[str, Path] | None
"""From the framework's names of parameters to their paths; None where the names are the paths."""


def read(checkpoint: object) -> Mapping[str, Any]:
    """Raises: TypeError if it is no mapping."""
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must map names to arrays, got {checkpoint!r} of type {type(checkpoint).__name__}")
    return checkpoint


def spellings(path: Path, names: Names) -> list[str]:
    """What the framework may call the parameter at a path."""
    return [path, path.replace("/", ".")] if names is None else [name for name, p in names.items() if p == path]


def shaped(key: str, value: ArrayLike, leaf: Leaf, shapes: Sequence[tuple[int, ...]] | None = None) -> NDArray[Any]:
    """An entry of a checkpoint. Raises: ValueError if it has not the parameter's shape (or one of `shapes`)."""
    array = np.asarray(value)
    if array.shape not in (shapes or [leaf.array.shape]):
        raise ValueError(
            f"checkpoint has {key!r} of shape {array.shape}, the parameter {leaf.path!r} has {leaf.array.shape}"
        )
    return array
