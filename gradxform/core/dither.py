"""Random bits for rounding: cheap, from a seed, the path of a leaf, the step and the place of an element."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.types import Array, ArrayLike, Dtype, Path

PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


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


def _mixed(x: Array) -> Array:
    """The finalizer of MurmurHash3."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
