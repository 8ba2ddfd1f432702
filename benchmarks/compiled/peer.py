"""optax under the names of gradxform, where it has what does the same job."""

from __future__ import annotations

import re
from typing import Any

import jax
import optax
import optax.contrib


def where(fits: Any) -> Any:
    """A mask for optax, from whether a path and a leaf belong to it."""

    def mask(tree: Any) -> Any:
        return jax.tree.map_with_path(
            lambda path, x: fits(jax.tree_util.keystr(path, simple=True, separator="/"), x), tree
        )

    return mask


class Peer:
    """A library with optax's functions, and a few of gradxform's names for them."""

    __name__ = "optax"
    weights_only = staticmethod(where(lambda path, x: x.ndim > 1))

    def __getattr__(self, name: str) -> Any:
        return getattr(optax.contrib, name, None) or getattr(optax, name)

    @staticmethod
    def ndim_at_least(n: int) -> Any:
        return where(lambda path, x: x.ndim >= n)

    @staticmethod
    def named(*names: str) -> Any:
        return where(lambda path, x: bool(set(re.split("/", path)) & set(names)))

    @staticmethod
    def accumulate(tx: Any, every: int) -> Any:
        return optax.MultiSteps(tx, every).gradient_transformation()
