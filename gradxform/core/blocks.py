"""Encoded statistics among those of a memory; blocks: rows of an array, or columns, with numbers of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradxform.core.tree import name_of
from gradxform.core.types import Array, Memory, Structure

Encoded: TypeAlias = Any
"""An encoded statistic: an array in another dtype, or `Blocks`."""

LEAST = 16
"""Of fewer elements the numbers of a block would take more than half of what its codes save."""

WIDER = 2.5
"""Columns of arrays so much wider than high have a scale each: layers that widen; tables of few tokens are lower."""


class Blocks(NamedTuple):
    """An encoded statistic: `codes` shaped like it, and for each block a scale and the largest size in it."""

    codes: Array
    scales: Array
    largest: Array | None = None
    """None in older states, whose blocks are parts of the last axis: `migrate` reads them."""


def blocks_of(shape: Sequence[int], by_rows: bool = False) -> tuple[int, ...]:
    """The shape of one number a block: each row of the last two axes is a block, each column of a wide array.

    So every token of a table, every neuron of a layer that widens has a scale of its own, and an array that is split
    along that axis has no block on two devices. Where both axes are too short, an index of the first axis is a block.
    """
    *before, rows, columns = (1, 1, *shape)[-max(len(shape), 2) :]
    if max(rows, columns) < LEAST and before:
        counts = (before[0], *(1 for _ in shape[1:]))
    elif by_rows or (columns <= WIDER * rows if min(rows, columns) >= LEAST else columns >= rows):
        counts = (*before, rows, 1)
    else:
        counts = (*before, 1, columns)
    return counts[len(counts) - len(shape) :]


def axes_within(shape: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    """The axes along which an array of this shape lies in blocks."""
    return tuple(i for i, (n, m) in enumerate(zip(shape, blocks, strict=True)) if n != m)


def largest_in(x: Array, blocks: Sequence[int]) -> Array:
    """The largest size in each block, in two reductions: |x| between would be written to memory on CPU."""
    x = jnp.abs(x) if jnp.iscomplexobj(x) else x
    axes = axes_within(x.shape, blocks)
    return jnp.maximum(jnp.max(x, axes, keepdims=True), -jnp.min(x, axes, keepdims=True))


def largest_together(xs: dict[str, Array], blocks: Sequence[int]) -> dict[str, Array]:
    """The same of arrays of one shape, in one reduction.

    XLA's GPU compiler makes that in the kernel that computes them, and for each further reduction copies an array.
    """
    axes = axes_within(next(iter(xs.values())).shape, blocks)
    sizes = {name: jnp.abs(x) for name, x in xs.items()}
    least = {name: jnp.zeros((), x.dtype) for name, x in xs.items()}
    found = jax.lax.reduce(sizes, least, lambda a, b: jax.tree.map(jnp.maximum, a, b), axes)
    return {name: jnp.expand_dims(x, axes) for name, x in found.items()}


class Seeded(NamedTuple):
    """An encoded statistic, and the seed that its rounding draws from."""

    stored: Encoded
    seed: Array


def unseeded(x: Encoded) -> Encoded:
    return x.stored if isinstance(x, Seeded) else x


def parts(s: Memory) -> dict[str, Any]:
    """The statistics of a memory, encoded or not, by field; of a memory inside it as `field/field`."""
    keyed, _ = jax.tree_util.tree_flatten_with_path(s, is_leaf=is_encoded)
    return {"/".join(map(name_of, keys)): x for keys, x in keyed}


def exchanged(s: Memory, new: Mapping[str, Any]) -> Memory:
    """The memory with some statistics exchanged."""
    if not new:
        return s
    structure: Structure = jax.tree.structure(s, is_leaf=is_encoded)
    return structure.unflatten([new.get(f, x) for f, x in parts(s).items()])


def is_encoded(x: object) -> bool:
    """Whether it is a statistic of more than one array."""
    return isinstance(x, Blocks | Seeded)
