"""Our transformations as optax's type, for clients that ask for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.core.plain import got
from gradxform.core.rows import Rows
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import memory_structure, open_tree
from gradxform.core.types import OptState, Params, Path, Updates
from gradxform.core.value import is_hashable


def to_optax(tx: GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Give a transformation optax's own type: the same `init`, and an `update` whose every update can be added.

    For clients that look for the type (optax's wrappers drop extra arguments of anything else) or that add with
    `optax.apply_updates`, which cannot skip: where `update` returns None and there is a parameter, this one returns
    zeros, of the parameter's shape and dtype. Updates come in optax's dtypes, so that a step may be left out in a
    conditional: the gradient's, or what it makes with the parameter's where that is read or something remembered.
    Extra arguments pass through. Equal transformations give equal pairs.
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
        new, state = tx.update(updates, state, params, **extra)
        return (new if params is None else _added(new, updates, _wide(tx, state, params), params)), state

    return update


def _wide(tx: GradientTransformation, state: OptState, params: Params) -> set[Path]:
    """The parameters that are read, or of which something is remembered."""
    paths = open_tree(params)[0]
    states = [x for x in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(x)]
    if tx.needs_params or any(jnp.ndim(x) for x in jax.tree.leaves([x.tree for x in states])):  # packed, say
        return {*paths}
    each = [memory_structure(params).flatten_up_to(x.leaves) for x in states]
    return {path for memories in each for path, memory in zip(paths, memories, strict=True) if memory}


def _is_state(x: Any) -> bool:
    return isinstance(x, State)


def _added(updates: Updates, grads: Updates, wide: Container[Path], params: Params) -> Updates:
    """Updates as optax can add them."""
    paths, us, structure = open_tree(updates)
    gs, ps = (dict(zip(*open_tree(tree)[:2], strict=True)) for tree in (grads, params))

    def added(path: Path, u: Any) -> Any:
        if u is None:
            return jax.tree.map(jnp.zeros_like, ps[path])
        if isinstance(u, Rows):
            return u
        read = (gs[path], ps[path]) if path in wide else (gs[path],)
        return jnp.asarray(u, jnp.result_type(*read))

    return structure.unflatten([added(path, u) for path, u in zip(paths, us, strict=True)])
