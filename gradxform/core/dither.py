"""Random bits for rounding: cheap, from a seed, the path of a leaf, the step and the place of an element."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.types import Array, ArrayLike, Dtype, Path

PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
APART = 0xC13FA9A9
"""2³² over the plastic number, as the first of the primes is over the golden ratio: together they fill the square."""
FIRST, SMALL = 128, 2.0**-10
"""Sums are rounded in turn from this step on, where the term is less than this part of the sum."""


def path_word(path: Path) -> np.uint32:
    """32 bits of a path, as data: leaves that differ in nothing else share one traced program."""
    word: np.uint32 = np.frombuffer(hashlib.blake2b(path.encode(), digest_size=4).digest(), "<u4")[0]
    return word


def folded(seed: ArrayLike, word: ArrayLike) -> Array:
    """A seed of 32 bits with another word mixed in."""
    return _mixed(jnp.asarray(seed).astype(jnp.uint32) * jnp.uint32(PRIMES[0]) + jnp.asarray(word).astype(jnp.uint32))


def random_bits(seed: ArrayLike, t: ArrayLike, shape: tuple[int, ...]) -> Array:
    """32 random bits for each element of a leaf at step t: a hash of seed, step and place."""
    bits = jnp.broadcast_to(folded(seed, t), shape)
    for axis in range(len(shape)):
        bits += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(PRIMES[axis % len(PRIMES)])
    return _mixed(bits)


def random_units(seed: ArrayLike, t: ArrayLike, shape: tuple[int, ...], dtype: Dtype) -> Array:
    """Random numbers in [0, 1), multiples of 2⁻²⁴."""
    return (random_bits(seed, t, shape) >> 8).astype(dtype) * 2.0**-24


def round_randomly(x: Array, bits: Array) -> Array:
    """float32 x to one of the two bfloat16 numbers around it, each as likely as x is near to it.

    Infinities and NaN stay what they are.
    """
    whole = jax.lax.bitcast_convert_type(x, jnp.uint32)
    moved = (whole + (bits & 0xFFFF)) & jnp.uint32(0xFFFF0000)
    return jnp.where(jnp.isfinite(x), jax.lax.bitcast_convert_type(moved, jnp.float32), x)


def turn(t: ArrayLike, ratio: int = PRIMES[0]) -> Array:
    """A threshold in [0, 1) for step t, spread evenly over any run of steps: t·ratio/2³², mod 1; before `FIRST`, 2²⁴.

    What is rounded from what was rounded at the same step takes another ratio (`APART`): one threshold would favour it.
    """
    t = jnp.asarray(t)
    spread = ((t.astype(jnp.uint32) * jnp.uint32(ratio)) >> 8).astype(jnp.float32) * 2.0**-24
    return jnp.where(t < FIRST, jnp.float32(2.0**24), spread)


def plus(total: Array, x: Array, threshold: Array, near: Array | None = None) -> Array:
    """total + x, rounded in turn where x is small: to the nearest (`near`, where it is known) or to the number beyond.

    The neighbour on the side of what rounding took is chosen as often as that is part of the way there. A sum of a
    million like terms, of which rounding to the nearest takes the same each time, up to 2 % in the end, is so right to
    some parts in a million, in the same room. Where terms are larger, or few, rounding takes nothing to speak of.
    """
    near = total + x if near is None else near
    if jnp.iscomplexobj(total):
        parts = [(a.real, a.imag) for a in (total, x, near)]
        both: Array = jax.lax.complex(*(plus(t, x, threshold, n) for t, x, n in zip(*parts, strict=True)))
        return both
    at, total, x, threshold = jax.lax.stop_gradient((near, total, x, threshold.astype(near.dtype)))
    error = (total - at) + x
    step = jnp.nextafter(at, jnp.where(error > 0, jnp.inf, -jnp.inf).astype(at.dtype)) - at
    beyond = (jnp.abs(x) < SMALL * jnp.abs(total)) & (jnp.abs(error) > threshold * jnp.abs(step))
    return near + jnp.where(beyond, step, 0)


def _mixed(x: Array) -> Array:
    """The finalizer of MurmurHash3."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
