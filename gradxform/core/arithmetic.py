"""Arithmetic that several rules share, written so that float32 loses nothing."""

from __future__ import annotations

import contextlib
import contextvars
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.hyper import Beta, Hyper
from gradxform.core.types import Array, ArrayLike, Dtype
from gradxform.core.value import Pair


def compute_dtype(dtype: Dtype) -> np.dtype[Any]:
    """float32 or wider: the dtype of statistics and updates for parameters of `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def cast(x: Array, dtype: Dtype) -> Array:
    """x in another dtype; without an operation where it has that one."""
    return x if x.dtype == dtype else x.astype(dtype)


def real_dtype(dtype: Dtype) -> np.dtype[Any]:
    return jnp.finfo(dtype).dtype


def is_zero(x: Hyper) -> bool:
    """Whether a hyperparameter is the plain number 0, known before anything is traced."""
    return isinstance(x, float) and x == 0.0


TINY = float(jnp.finfo(jnp.float32).tiny)
"""The smallest normal float32: what is smaller counts as 0 on some devices, and has an infinite inverse on others."""


_NUMBERS: contextvars.ContextVar[Mapping[int, float]] = contextvars.ContextVar(
    "plain numbers", default=types.MappingProxyType({})
)


@contextlib.contextmanager
def plain_numbers(arrays: Iterable[tuple[Array, float]]) -> Iterator[None]:
    """Inside the block these arrays are known to stand for plain numbers."""
    before = _NUMBERS.set({id(array): number for array, number in arrays})
    try:
        yield
    finally:
        _NUMBERS.reset(before)


def quotient(x: Array | float, size: Array, eps: Hyper) -> Array:
    """x / size, where size >= eps; 0 where size is, which any eps allows but a plain number of at least TINY."""
    return _of_size(lambda size: x / size, size, eps)


def inverse_root(size: Array, eps: Hyper) -> Array:
    """1 / √size, where size >= eps; 0 where size is, as in `quotient`."""
    return _of_size(jax.lax.rsqrt, size, eps)


def _of_size(f: Callable[[Array], Array], size: Array, eps: Hyper) -> Array:
    number = eps if isinstance(eps, float) else _NUMBERS.get().get(id(eps), 0.0)
    if number >= TINY:
        return f(size)
    nothing = size < jnp.finfo(size.dtype).tiny
    return jnp.where(nothing, 0, f(jnp.where(nothing, 1, size)))  # two selections: no derivative of f at 0 either


@jax.custom_jvp
def root(x: Array) -> Array:
    """√x; its derivative at 0 counts as 0: of a norm the one that is smallest, of √(mean of g²) what g = 0 needs."""
    return jnp.sqrt(x)


@root.defjvp
def _root_jvp(at: tuple[Array], by: tuple[Array]) -> tuple[Array, Array]:
    y = root(at[0])
    return y, jnp.where(y == 0, 0, by[0] / jnp.where(y == 0, 1, 2 * y))


def abs_sq(x: Array) -> Array:
    """|x|², real for complex x."""
    return (x * x.conj()).real if jnp.iscomplexobj(x) else x * x


def power(b: Beta, t: Array | float) -> Array:
    """b**t for a decay rate, with the logarithm in double where b is a plain number."""
    return jnp.exp(t * log(b))


def debias(b: Beta, t: Array | float) -> Array:
    """1 - b**t for a decay rate b, accurate in float32 for b near 1."""
    return -jnp.expm1(t * log(b))


def log(b: Beta) -> Array | float:
    """The logarithm of a decay rate: in double where b is a plain number, accurate near 1 where it is a pair."""
    if isinstance(b, float):
        return math.log(b) if b > 0 else -math.inf
    if not isinstance(b, Pair):
        return jnp.log(b)
    return jnp.where(b.value < 0.5, jnp.log(b.value), jnp.log1p(-b.complement))


def next_count(count: Array) -> Array:
    """count + 1, staying at the largest integer instead of wrapping round."""
    return count + (count < jnp.iinfo(count.dtype).max).astype(count.dtype)


def safe_increment(count: ArrayLike) -> Array:
    """count + 1 in its own dtype, staying at the largest number of it instead of wrapping round.

    For counters of one's own; those of states do so by themselves.
    Raises: TypeError for a count that is neither integer nor real.
    """
    count = jnp.asarray(count)
    if count.dtype == bool or jnp.issubdtype(count.dtype, jnp.complexfloating):
        raise TypeError(f"count must be an integer or a real number, got {count.dtype}")
    info = jnp.iinfo if jnp.issubdtype(count.dtype, jnp.integer) else jnp.finfo
    top = np.asarray(info(count.dtype).max, count.dtype)
    return jnp.where(count < top, count + 1, top)


safe_int32_increment = safe_increment
"""The older name."""


def rounded(x: Array, dtype: Dtype) -> Array:
    """x as it will be once stored in `dtype`, kept in its own dtype (a pair of casts may be compiled away)."""
    info, wide = jnp.finfo(dtype), jnp.finfo(x.dtype)
    if info.nmant >= wide.nmant:
        return x
    near = jax.lax.reduce_precision(x, info.nexp, info.nmant)
    if info.nexp >= wide.nexp:
        return near
    # reduce_precision makes 0 of what float16 holds as subnormal numbers.
    grid = float(info.smallest_subnormal)
    subnormal = jax.lax.round(x / grid, jax.lax.RoundingMethod.TO_NEAREST_EVEN) * grid
    return jnp.where(jnp.abs(x) < float(info.tiny), subnormal, near)
