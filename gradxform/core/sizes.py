"""Sizes that float arithmetic can hold: no finite gradient, however large, makes a memory infinite."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import real_dtype
from gradxform.core.types import Array, Dtype

_OVERFLOWS = contextvars.ContextVar("sizes overflow", default=False)


@contextlib.contextmanager
def overflowing() -> Iterator[None]:
    """Inside the block nothing is bounded: rules overflow to infinity, as frameworks do."""
    before = _OVERFLOWS.set(True)
    try:
        yield
    finally:
        _OVERFLOWS.reset(before)


def within(x: Array, limit: float) -> Array:
    """x, where an element that is larger counts as the limit; what is not finite is NaN."""
    if _OVERFLOWS.get():
        return x
    if jnp.iscomplexobj(x):
        return jax.lax.complex(within(x.real, limit), within(x.imag, limit))
    return jnp.minimum(jnp.maximum(x, -limit), limit) + 0 * x  # 0 · inf is NaN


def squarable(x: Array, n: int = 1) -> Array:
    """x with elements of which n can be squared and added up: of at most 2⁶³ / √n in float32.

    The limit is a quarter of the largest square, so that dividing a mean of squares by its correction stays finite.
    """
    return within(x, 2.0 ** (jnp.finfo(real_dtype(x.dtype)).maxexp // 2 - 1) / n**0.5)


def addable(x: Array, n: int = 128) -> Array:
    """x with elements of which n can be added up: of at most 2¹²⁷ / n in float32."""
    return within(x, 2.0 ** (jnp.finfo(real_dtype(x.dtype)).maxexp - 1) / n)


def negligible(x: Array) -> Array:
    """x with elements of which 127, added to the largest number, are lost in rounding: of at most 2⁹⁶ in float32."""
    return addable(x, 128 * round(2 / float(jnp.finfo(real_dtype(x.dtype)).eps)))


def storable(x: Array, dtype: Dtype) -> Array:
    """x with elements that a narrower dtype can hold."""
    narrow, wide = (float(jnp.finfo(real_dtype(d)).max) for d in (dtype, x.dtype))
    return x if narrow >= wide else within(x, narrow)


def tame(x: Array) -> Array:
    """x, 0 in place of what is beyond 2¹⁰⁰ in float32 or not finite."""
    return x if _OVERFLOWS.get() else jnp.where(jnp.abs(x) < 2.0 ** (jnp.finfo(x.dtype).maxexp - 28), x, 0)


def rootable(square: Array) -> Array:
    """A sum of squares, at most the largest number."""
    return jnp.minimum(square, jnp.finfo(square.dtype).max)


def saturated(x: Array) -> Array:
    """A sum that grows for ever, real and not negative, at most half the largest number: bfloat16 holds that too."""
    return x if _OVERFLOWS.get() else jnp.minimum(x, 2.0 ** (jnp.finfo(x.dtype).maxexp - 1))
