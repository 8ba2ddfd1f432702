"""Blocks of the last axis: how many, their largest sizes, and a number a block spread over it."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core.types import Array

BLOCK = 128


class Blocks(NamedTuple):
    """An encoded statistic: `codes` shaped like it, `scales` with the last axis in blocks."""

    codes: Array
    scales: Array


def blocks_of(n: int) -> int:
    """How many blocks an axis of n elements has: of at most 128, in eighths of the axis where it divides.

    It depends on n alone, so a state fits whatever the number of devices, and on up to 8 no block straddles two.
    """
    eighths = n // 8 if n % 8 == 0 else 0
    parts = -(-eighths // BLOCK)
    for k in range(parts, 2 * parts + 1):
        if k and n >= 4 * BLOCK and eighths % k == 0:
            return 8 * k
    return -(-n // BLOCK)


def in_blocks(x: Array) -> Array:
    """The last axis as blocks, zeros behind the last."""
    n = x.shape[-1]
    count = blocks_of(n)
    size = -(-n // count)
    if count * size > n:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, count * size - n)])
    return x.reshape(*x.shape[:-1], count, size)


def block_max(x: Array) -> Array:
    """The largest size in each block, in two reductions: |x| between would be written to memory on CPU."""
    x = in_blocks(jnp.abs(x) if jnp.iscomplexobj(x) else x)
    return jnp.maximum(jnp.max(x, -1), -jnp.min(x, -1))


def spread(scales: Array, shape: tuple[int, ...]) -> Array:
    """Each scale over its block."""
    size = math.ceil(shape[-1] / scales.shape[-1])
    wide = jnp.broadcast_to(scales[..., None], (*scales.shape, size))
    return wide.reshape(*scales.shape[:-1], scales.shape[-1] * size)[..., : shape[-1]]
