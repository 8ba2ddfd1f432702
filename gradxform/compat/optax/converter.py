"""Our transformations as optax's type, for clients that ask for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.core.plain import got
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import open_tree
from gradxform.core.types import OptState, Params, Updates
from gradxform.core.value import is_hashable


def to_optax(tx: GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Give a transformation optax's own type: the same `init`, and an `update` whose every update can be added.

    For clients that look for the type (optax's wrappers drop extra arguments of anything else) or that add with
    `optax.apply_updates`, which cannot skip: where `update` returns None and there is a parameter, this one returns
    zeros, of the parameter's shape and dtype. Extra arguments pass through. Equal transformations give equal pairs.
    State: that of `tx`.
    Raises: TypeError for anything but a transformation of this library.
    """
    if not isinstance(tx, GradientTransformation):
        raise TypeError(f"to_optax takes a gradxform transformation, {got(tx)}")
    update = _filled(tx) if is_hashable(tx) else _filled.__wrapped__(tx)
    return optax.GradientTransformationExtraArgs(tx.init, update)


@functools.lru_cache(maxsize=1024)
def _filled(tx: GradientTransformation) -> Callable[..., tuple[Updates, OptState]]:
    def update(
        updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        updates, state = tx.update(updates, state, params, **extra)
        return (updates if params is None else _fill(updates, params)), state

    return update


def _fill(updates: Updates, params: Params) -> Updates:
    paths, us, structure = open_tree(updates)
    if all(u is not None for u in us):
        return updates
    ps = dict(zip(*open_tree(params)[:2], strict=True))
    zeros = (jax.tree.map(jnp.zeros_like, ps[path]) for path in paths)
    return structure.unflatten([z if u is None else u for u, z in zip(us, zeros, strict=True)])
