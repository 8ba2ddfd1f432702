"""Noise on the gradient, at the station "cleanse": drawn from a seed in the state, the path and the step."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.donated import refuse_deleted
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Key, Param, Path
from gradxform.core.value import Child, got

IMPL = "threefry2x32"


class Seed(NamedTuple):
    """seed: two uint32 words, the key of one leaf."""

    seed: Array


class Noisy(Rule, abstract=True):
    """A rule that draws: its memory is the user's key folded with the leaf's path."""

    key: Child[Key | tuple[int, ...]] = 0
    path: Child[tuple[Any, ...]] = dataclasses.field(default=(), repr=False)
    facts = Facts(station=Station.CLEANSE)
    corrects = False

    def for_leaf(self, path: Path, p: Array) -> Rule:
        words = np.frombuffer(hashlib.blake2b(path.encode(), digest_size=8).digest(), "<u4")
        return self.with_fields(path=tuple(words))

    def init(self, p: Array) -> Seed:
        words = jnp.asarray(self.key).astype(jnp.uint32)
        key = jax.random.wrap_key_data(words if words.ndim else jnp.stack([jnp.zeros_like(words), words]), impl=IMPL)
        for word in self.path:
            key = jax.random.fold_in(key, word)
        return Seed(jax.random.key_data(key))


def normal(s: Seed, t: Array, like: Array) -> Array:
    """Standard normal numbers of this leaf at step t; complex ones have E|x|² = 1."""
    key = jax.random.fold_in(jax.random.wrap_key_data(s.seed, impl=IMPL), t)
    return jax.random.normal(key, like.shape, like.dtype)


def kept_key(key: Key | None, seed: Key | None = None) -> Any:
    """A key as it is kept: an integer, two words of 32 bits, or a tracer; never a typed key.

    Raises: ValueError if it is missing or given twice, TypeError for anything but an integer or a threefry key.
    """
    if (key is None) == (seed is None):
        raise ValueError(f"give key or seed, an integer or a JAX key, and only one; {got((key, seed))}")
    name = "seed" if key is None else "key"
    x: Any = seed if key is None else key
    refuse_deleted(**{name: x})
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(x)) != IMPL:
            raise TypeError(f"{name} must be a key of {IMPL}, got one of {jax.random.key_impl(x)}")
        x = jax.random.key_data(x)
    if not isinstance(x, jax.Array | np.ndarray):
        check.integer(at_most=2**64 - 1, **{name: x})
        n = int(x)
        return n if n < 2**31 else _signed([n >> 32, n])
    if not jnp.issubdtype(x.dtype, jnp.integer) or x.shape not in ((), (2,)):
        raise TypeError(f"{name} must be an integer or one JAX key, {got(x)}")
    if isinstance(x, jax.core.Tracer):
        return x
    return _signed(x) if x.ndim else kept_key(int(x))


def _signed(words: Iterable[Any]) -> tuple[int, ...]:
    """Words of 32 bits as the numbers that int32 holds, as every way through JAX takes them."""
    return tuple((int(word) + 2**31) % 2**32 - 2**31 for word in words)


class AddNoise(Noisy):
    eta: Hyper = 0.01
    gamma: Hyper = 0.55
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE)

    def check(self) -> None:
        check.nonnegative(eta=self.eta, gamma=self.gamma)

    def scalars(self, t: Array) -> tuple[Array, Array]:
        return jnp.sqrt(self.eta / t**self.gamma), t

    def update(self, g: Array, s: Seed, p: Param, k: tuple[Array, Array]) -> tuple[Array, Seed]:
        deviation, t = k
        return g + deviation * normal(s, t, g), s


def add_noise(eta: Hyper, gamma: Hyper, key: Key | None = None, *, seed: Key | None = None) -> Chain:
    """Add normal noise that fades: `u = g + N(0, eta / t^gamma)`, for t = 1, 2, ...

    Where an element lies in its array picks its number, from the key, the leaf's path and the step: the same in every
    order of the leaves, after a restart, and on every number of devices under `jit`.
    eta: variance at the first step. gamma: at least 0. key: an integer or a JAX key (threefry); seed: the same.
    Reach: array. State: seed, two uint32 words a leaf.
    Raises: ValueError if eta or gamma is negative, or without a key; TypeError if the key is none.
    Source: Neelakantan et al. 2015, arXiv:1511.06807, equation 1 (gamma = 0.55; eta 0.01, 0.3 or 1).
    """
    return lift(AddNoise(kept_key(key, seed), eta=eta, gamma=gamma))
