"""Arithmetic that several rules share, written so that float32 loses nothing."""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.value import Pair

TINY, SMALL = 2048, 16384
"""Leaves of one type with at most so many elements are reduced together: fewer kernels to compile. Tiny ones are copied
side by side; small ones are added element by element, TOGETHER at a time, without a copy."""

TOGETHER = 32


def compute_dtype(dtype: Any) -> Any:
    """float32 or wider: the dtype of statistics and updates for parameters of `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype; without an operation where it has that one."""
    return x if x.dtype == dtype else x.astype(dtype)


def is_zero(x: Any) -> bool:
    """Whether a hyperparameter is the plain number 0, known before anything is traced."""
    return isinstance(x, float) and x == 0.0


def real_dtype(dtype: Any) -> Any:
    return jnp.finfo(dtype).dtype


def quotient(x: Any, size: Any, eps: Any) -> Any:
    """x / size, where size has eps in it; 0 where size is, which an eps of the plain number 0 allows."""
    if not is_zero(eps):
        return x / size
    nothing = size == 0
    return jnp.where(nothing, 0, x / jnp.where(nothing, 1, size))


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
    if axis_name is not None:
        check.axis(axis_name=axis_name)
    leaves = jax.tree.leaves(updates, is_leaf=is_row_leaf)
    arrays = [x if isinstance(x, Rows) else jnp.asarray(x) for x in leaves if x is not None and not _is_float0(x)]
    return norm_of(each_apart(arrays), axis_name)


def norm_of(arrays: Sequence[Any], axis_name: Any) -> Any:
    """`global_norm` of arrays that are kept apart."""
    if axis_name is None:
        return jnp.sqrt(sum_of_squares(arrays))
    return jnp.sqrt(_summed_across(arrays, axis_names(axis_name)))


def apart(tree: Any) -> Any:
    """The same arrays, so that what a sum computes from them is its own.

    XLA's CPU compiler reads a computed array into a sum where nothing else wants it; where something does, the array is
    written to memory first, and two computations of one thing are made one.
    """
    traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(tree))
    return jax.lax.optimization_barrier(tree) if traced else tree


def axis_names(axis_name: Any) -> tuple[str, ...]:
    """One name, several or none, as a tuple."""
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())


def each_apart(arrays: Sequence[Any]) -> list[Any]:
    """`apart` of each array; of small ones TOGETHER at a time, which is less to trace and to compile.

    Not of arrays that vary over different axes inside `shard_map`: together all would vary over all.
    """
    alike: dict[Any, list[int]] = {}
    for i, x in enumerate(arrays):
        alike.setdefault(varying_axes(x) if x.size <= SMALL else i, []).append(i)
    found: dict[int, Any] = {}
    for at in alike.values():
        for part in (at[i : i + TOGETHER] for i in range(0, len(at), TOGETHER)):
            found |= zip(part, apart([arrays[i] for i in part]), strict=True)
    return [found[i] for i in range(len(arrays))]


def _summed_across(arrays: Sequence[Any], names: tuple[str, ...]) -> Any:
    split: dict[tuple[str, ...], list[Any]] = {}
    for x in arrays:
        split.setdefault(_axes_of(x, names), []).append(x)
    sums = [jax.lax.psum(sum_of_squares(xs), axes) if axes else sum_of_squares(xs) for axes, xs in split.items()]
    return jnp.stack(sums).sum() if sums else jnp.zeros((), jnp.float32)


def _axes_of(x: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """The axes to sum x over: where `shard_map` keeps account of it, those along which it varies."""
    return tuple(a for a in names if not varying_axes(jax.lax.axis_index(a)) or a in varying_axes(x))


def mean_over(x: Any, axis_name: Any) -> Any:
    """x, averaged over the devices along `axis_name` where they may differ."""
    axes = _axes_of(x, axis_names(axis_name))
    return jax.lax.pmean(x, axes) if axes else x


def gathered(x: Any, axis_name: Any, dimension: int = 0) -> Any:
    """What all devices hold, one after another, and where `shard_map` keeps account of it, known to be equal on all."""
    here = jax.lax.axis_index(axis_name)
    if not varying_axes(here):
        return jax.lax.all_gather(x, axis_name, axis=dimension, tiled=True)
    if "to" in inspect.signature(jax.lax.all_gather).parameters:
        return jax.lax.all_gather(x, axis_name, axis=dimension, tiled=True, to="invarying")
    alone = jnp.zeros((jax.lax.psum(1, axis_name), *x.shape), x.dtype).at[here].set(x)
    side = jnp.moveaxis(jax.lax.psum(alone, axis_name), 0, dimension)
    return side.reshape(*x.shape[:dimension], -1, *x.shape[dimension + 1 :])


def _is_float0(x: Any) -> bool:
    return getattr(x, "dtype", None) == jax.dtypes.float0


def sum_of_squares(arrays: Sequence[Any]) -> Any:
    """Σ|x|² over arrays and elements in float32 or wider, as few and small kernels as possible."""
    alike: dict[Any, list[Any]] = {}
    for i, x in enumerate(map(_dense, arrays)):
        if x.size:
            alike.setdefault(jax.typeof(x) if x.size <= SMALL else i, []).append(x)
    sums = [_summed_squares(*part) for xs in alike.values() for part in _parts(xs)]
    return jnp.stack(sums).sum() if sums else jnp.zeros((), jnp.float32)


def _parts(xs: list[Any]) -> list[list[Any]]:
    """Arrays of one type, as they are reduced together."""
    if len(xs) <= 4:
        return [[x] for x in xs]
    if xs[0].size <= TINY:
        return [[jnp.stack(xs)]]
    return [xs[i : i + TOGETHER] for i in range(0, len(xs), TOGETHER)]


@functools.partial(jax.jit, inline=True)
def _summed_squares(*xs: Any) -> Any:
    squares = [abs_sq(cast(x, compute_dtype(x.dtype))) for x in xs]
    return jnp.sum(functools.reduce(operator.add, squares))


def _dense(x: Any) -> Any:
    if isinstance(x, Rows):
        return x.summed().values
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def varying_axes(tree: Any) -> frozenset[str]:
    """The manual mesh axes over which an array, or rows, differ between devices, inside `shard_map`."""
    return frozenset().union(*map(_varying_axes, jax.tree.leaves(tree)))


def _varying_axes(x: Any) -> frozenset[str]:
    return varying_of(jax.typeof(x)) if isinstance(x, jax.Array) else frozenset()


def varying_of(kind: Any) -> frozenset[str]:
    """The manual mesh axes over which arrays of a JAX type differ between devices."""
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
