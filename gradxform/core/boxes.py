"""Boxes around single leaves: variables of flax's nnx, linen's `Partitioned`, a user's own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.rows import is_row_leaf
from gradxform.core.types import Memory, Structure

VALUE = jax.tree_util.GetAttrKey("value")


def may_be_boxes(keyed: Iterable[tuple[tuple[Any, ...], Any]]) -> set[tuple[Any, ...]]:
    """Where nodes stand from which attributes `value` lead to a leaf."""
    found = set()
    for k, _ in keyed:
        while k and k[-1] == VALUE:
            k = k[:-1]
            found.add(k)
    return found


def is_box(node: object) -> bool:
    """Whether a node holds one leaf, as its attribute `value`, and nothing else."""
    children = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)[0]
    if len(children) != 1 or children[0][0] != (VALUE,):
        return False
    child = children[0][1]
    return is_row_leaf(child) or jax.tree_util.all_leaves([child]) or is_box(child)


def in_box(node: Any, memory: Memory) -> Memory:
    """The memory of a parameter, each array that is shaped like it in the box that it is in, if that says anything."""
    if memory is None or is_row_leaf(node) or isinstance(node, tuple) or jax.tree_util.all_leaves([node]):
        return memory
    box: Structure
    leaves, box = jax.tree.flatten(node)
    with contextlib.suppress(TypeError, ValueError):
        if jax.tree.structure(type(node)(0)) == box:
            return memory
    return jax.tree.map(lambda x: box.unflatten([x]) if np.shape(x) == np.shape(leaves[0]) else x, memory)


def unboxed(memory: Memory) -> Memory:
    """A memory with its arrays out of the boxes that `in_boxes` has put them in."""
    plain = _without_boxes(jax.tree.structure(memory))
    return memory if plain is None else plain.unflatten(jax.tree.leaves(memory))


def boxed_as(old: Memory, new: Memory) -> Memory:
    """A new memory in the boxes of the old one."""
    structure: Structure = jax.tree.structure(old)
    return new if _without_boxes(structure) is None else structure.unflatten(jax.tree.leaves(new))


@functools.lru_cache(maxsize=4096)
def _without_boxes(structure: Structure) -> Structure | None:
    """None where there are none; tuples are rules' own."""
    memory = structure.unflatten(range(structure.num_leaves))
    boxes = may_be_boxes(jax.tree_util.tree_flatten_with_path(memory)[0])

    def is_leaf(k: tuple[Any, ...], x: Any) -> bool:
        return k in boxes and not isinstance(x, tuple) and is_box(x)

    plain: Structure = jax.tree_util.tree_flatten_with_path(memory, is_leaf=is_leaf, is_leaf_takes_path=True)[1]
    return None if plain == structure else plain


def filled_box(node: Any, value: float) -> Any:
    """A variable that holds a shape alone with an array of one value in it; anything else as it is."""
    p = jax.tree.leaves(node)[0] if hasattr(node, "set_raw_value") else None
    if not isinstance(p, jax.ShapeDtypeStruct):
        return node
    full = jax.jit(jnp.full, static_argnums=(0, 1, 2), out_shardings=p.sharding)
    x = full(p.shape, value if jnp.issubdtype(p.dtype, jnp.inexact) else 0, p.dtype)
    return jax.tree.map(lambda _: x, node)
