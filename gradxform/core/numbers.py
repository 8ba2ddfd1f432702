"""Arithmetic that several rules share, written so that float32 loses nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.value import Pair

SMALL = 16384
"""Leaves of at most so many elements are reduced together: one kernel to compile instead of many."""


def compute_dtype(dtype: Any) -> Any:
    """float32 or wider: the dtype of statistics and updates for parameters of `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def real_dtype(dtype: Any) -> Any:
    return jnp.finfo(dtype).dtype


def abs_sq(x: Any) -> Any:
    """|x|², real for complex x."""
    return (x * x.conj()).real if jnp.iscomplexobj(x) else x * x


def power(b: Any, t: Any) -> Any:
    """b**t for a decay rate, with the logarithm in double where b is a plain number."""
    return jnp.exp(t * log(b))


def debias(b: Any, t: Any) -> Any:
    """1 - b**t for a decay rate b, accurate in float32 for b near 1."""
    return -jnp.expm1(t * log(b))


def log(b: Any) -> Any:
    """The logarithm of a decay rate: in double where b is a plain number, accurate near 1 where it is a pair."""
    if isinstance(b, float):
        return math.log(b) if b > 0 else -math.inf
    if not isinstance(b, Pair):
        return jnp.log(b)
    return jnp.where(b.value < 0.5, jnp.log(b.value), jnp.log1p(-b.complement))


def global_norm(updates: Any, *, axis_name: Any = None) -> Any:
    """√Σ|x|² over all leaves, summed in float32 or wider; across devices too where `axis_name` is given.

    Sparse rows count as the dense gradient would (repeated rows are summed first); `None` and float0 count nothing.
    Along an axis where `shard_map` knows a leaf to be the same on every device, it counts once.
    """
    leaves = [x for x in jax.tree.leaves(updates, is_leaf=is_row_leaf) if x is not None and not _is_float0(x)]
    if axis_name is None:
        return jnp.sqrt(sum_of_squares(leaves))
    check.axis(axis_name=axis_name)
    return jnp.sqrt(_summed_across(leaves, axis_names(axis_name)))


def axis_names(axis_name: Any) -> tuple[str, ...]:
    """One name, several or none, as a tuple."""
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())


def _summed_across(arrays: Sequence[Any], names: tuple[str, ...]) -> Any:
    tracked = {a for a in names if varying_axes(jax.lax.axis_index(a))}
    split: dict[tuple[str, ...], list[Any]] = {}
    for x in arrays:
        axes = tuple(a for a in names if a not in tracked or a in varying_axes(x))
        split.setdefault(axes, []).append(x)
    sums = [jax.lax.psum(sum_of_squares(xs), axes) if axes else sum_of_squares(xs) for axes, xs in split.items()]
    return jnp.stack(sums).sum() if sums else jnp.zeros((), jnp.float32)


def _is_float0(x: Any) -> bool:
    return getattr(x, "dtype", None) == jax.dtypes.float0


def sum_of_squares(arrays: Sequence[Any]) -> Any:
    """Σ|x|² over arrays and elements in float32 or wider, as few and small kernels as possible."""
    arrays = [x.summed().values if isinstance(x, Rows) else jnp.asarray(x) for x in arrays]
    arrays = [x.astype(compute_dtype(x.dtype)) for x in arrays if x.size]
    if not arrays:
        return jnp.zeros((), jnp.float32)
    small = [x for x in arrays if x.size <= SMALL]
    if len(small) > 16 and all(_joins(x, small[0]) for x in small):
        joined = jnp.concatenate([jax.lax.reshape(x, (x.size,)) for x in small])
        arrays = [x for x in arrays if x.size > SMALL] + [joined]
    return jnp.stack([jnp.sum(abs_sq(x)) for x in arrays]).sum()


def _joins(x: Any, other: Any) -> bool:
    """Whether concatenating the two moves no data between devices and mixes no dtypes."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    split = sharding is not None and any(axis is not None for axis in sharding.spec)
    return x.dtype == other.dtype and not split and varying_axes(x) == varying_axes(other)


def varying_axes(tree: Any) -> frozenset[str]:
    """The manual mesh axes over which an array, or rows, differ between devices, inside `shard_map`."""
    return frozenset().union(*map(_varying_axes, jax.tree.leaves(tree)))


def _varying_axes(x: Any) -> frozenset[str]:
    if not isinstance(x, jax.Array):
        return frozenset()
    kind = jax.typeof(x)
    kind = getattr(kind, "mat", kind)
    return frozenset(getattr(kind, "varying", None) or getattr(kind, "vma", None) or ())


def next_count(count: Any) -> Any:
    """count + 1, staying at the largest integer instead of wrapping round."""
    return count + (count < jnp.iinfo(count.dtype).max).astype(count.dtype)


def rounded(x: Any, dtype: Any) -> Any:
    """x as it will be once stored in `dtype`, kept in its own dtype (a pair of casts may be compiled away)."""
    info, own = jnp.finfo(dtype), jnp.finfo(x.dtype)
    if info.nmant >= own.nmant:
        return x
    near = jax.lax.reduce_precision(x, info.nexp, info.nmant)
    if info.nexp >= own.nexp:
        return near
    # reduce_precision makes 0 of what float16 holds as subnormal numbers.
    grid = float(info.smallest_subnormal)
    subnormal = jax.lax.round(x / grid, jax.lax.RoundingMethod.TO_NEAREST_EVEN) * grid
    return jnp.where(jnp.abs(x) < float(info.tiny), subnormal, near)
