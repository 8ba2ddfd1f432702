"""The global norm, and what keeps its kernels few and small."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, cast, compute_dtype, root
from gradxform.core.barriers import SMALL, TOGETHER, barrier_each
from gradxform.core.devices import axes_to_sum, axis_names
from gradxform.core.donated import refuse_deleted
from gradxform.core.plain import as_array
from gradxform.core.platforms import on_gpus
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.types import Array, ArrayLike, AxisName, Updates

TINY = 2048
"""Leaves of one type with at most so many elements are copied side by side and reduced together: fewer kernels to
compile. SMALL ones are added element by element, TOGETHER at a time, without a copy."""


def global_norm(updates: Updates, *, axis_name: AxisName | None = None) -> Array:
    """√Σ|x|² over all leaves, summed in float32 or wider; across devices too where `axis_name` is given.

    Sparse rows count as the dense gradient would (repeated rows are summed first); `None` and float0 count nothing.
    Along an axis where `shard_map` knows a leaf to be the same on every device, it counts once.
    """
    check.axis_or_none(axis_name=axis_name)
    leaves = jax.tree.leaves(updates, is_leaf=is_row_leaf)
    refuse_deleted(updates=leaves)
    counted = [x for x in leaves if x is not None and not _is_float0(x)]
    arrays = [x if isinstance(x, Rows) else as_array("a leaf of updates", x) for x in counted]
    return norm_of(barrier_each(arrays), axis_name)


def norm_of(arrays: Sequence[Array | Rows], axis_name: AxisName | None) -> Array:
    """`global_norm` of arrays that are kept apart."""
    if axis_name is None:
        return root(sum_of_squares(arrays))
    return root(_summed_across(arrays, axis_names(axis_name)))


def norms_of_two(xs: Sequence[Any], ys: Sequence[Any]) -> tuple[Array, Array]:
    """`norm_of` of the arrays of two trees, place by place; None counts nothing.

    On GPUs one reduction sums both arrays of a place, as parts of complex numbers: XLA lets a kernel write over an
    array that a reduction in it reads, and not over one that two do, so that the new parameters would be copied.
    """
    pairs = {i for i, place in enumerate(zip(xs, ys, strict=True)) if _are_pair(*place)}

    def apart(xs: Sequence[Any], ys: Sequence[Any]) -> tuple[Array, Array]:
        x, y = (norm_of(barrier_each([a for a in arrays if a is not None]), None) for arrays in (xs, ys))
        return x, y

    def together(xs: Sequence[Any], ys: Sequence[Any]) -> tuple[Array, Array]:
        sums = [jnp.sum(jax.lax.complex(_squares(xs[i]), _squares(ys[i]))) for i in sorted(pairs)]
        alone = ([a for i, a in enumerate(arrays) if a is not None and i not in pairs] for arrays in (xs, ys))
        x, y = map(sum_of_squares, alone)
        return root(jnp.stack([x, *map(jnp.real, sums)]).sum()), root(jnp.stack([y, *map(jnp.imag, sums)]).sum())

    if not pairs:
        return apart(xs, ys)
    both: tuple[Array, Array] = on_gpus(together, apart, xs, ys)
    return both


def _are_pair(x: Any, y: Any) -> bool:
    """Whether two arrays are so large, and so alike, that one reduction sums both."""
    if any(a is None or isinstance(a, Rows) or a.size <= SMALL for a in (x, y)):
        return False
    return bool(x.shape == y.shape and compute_dtype(x.dtype) == compute_dtype(y.dtype))


def total(parts: Sequence[Array], axis_name: AxisName | None) -> Array:
    """The sum of one number from each leaf; across devices too where `axis_name` is given."""
    return _summed_across(parts, axis_names(axis_name), lambda xs: jnp.stack(xs).sum())


def _summed_across(arrays: Sequence[Array | Rows], names: tuple[str, ...], summed: Any = None) -> Array:
    split: dict[tuple[str, ...], list[Any]] = {}
    summed = summed or sum_of_squares
    for x in arrays:
        split.setdefault(axes_to_sum(x, names), []).append(x)
    sums = [jax.lax.psum(summed(xs), axes) if axes else summed(xs) for axes, xs in split.items()]
    return jnp.stack(sums).sum() if sums else jnp.zeros((), jnp.float32)


def _is_float0(x: object) -> bool:
    return getattr(x, "dtype", None) == jax.dtypes.float0


def sum_of_squares(arrays: Sequence[Array | Rows]) -> Array:
    """Σ|x|² over arrays and elements in float32 or wider, as few and small kernels as possible."""
    alike: dict[Any, list[Any]] = {}
    for i, x in enumerate(map(_dense, arrays)):
        if x.size:
            alike.setdefault(jax.typeof(x) if x.size <= SMALL else i, []).append(x)
    sums = [_summed_squares(*part) for xs in alike.values() for part in _parts(xs)]
    return jnp.stack(sums).sum() if sums else jnp.zeros((), jnp.float32)


def _parts(xs: list[Array]) -> list[list[Array]]:
    """Arrays of one type, as they are reduced together."""
    if len(xs) <= 4:
        return [[x] for x in xs]
    if xs[0].size <= TINY:
        return [[jnp.stack(xs)]]
    return [xs[i : i + TOGETHER] for i in range(0, len(xs), TOGETHER)]


@functools.partial(jax.jit, inline=True)
def _summed_squares(*xs: Array) -> Array:
    return jnp.sum(functools.reduce(operator.add, map(_squares, xs)))


def _squares(x: Array) -> Array:
    return abs_sq(cast(x, compute_dtype(x.dtype)))


def _dense(x: ArrayLike | Rows) -> Array:
    if isinstance(x, Rows):
        return x.summed().values
    return x if isinstance(x, jax.Array) else jnp.asarray(x)
