"""Noise on the gradient, at the station "cleanse": drawn from a seed in the state, the path and the step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.keys import IMPL, SharedKey, kept_key
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Key, Param


class Seed(NamedTuple):
    """seed: two uint32 words, the key of one leaf."""

    seed: Array


class Noisy(Rule, abstract=True):
    """A rule that draws: its memory is the user's key folded with the leaf's path."""

    key: SharedKey = 0
    facts = Facts(station=Station.CLEANSE)
    corrects = False

    def init(self, p: Array) -> Seed:
        return Seed(jax.random.key_data(self.key))


def normal(s: Seed, t: Array, like: Array) -> Array:
    """Standard normal numbers of this leaf at step t; complex ones have E|x|² = 1."""
    key = jax.random.fold_in(jax.random.wrap_key_data(s.seed, impl=IMPL), t)
    return jax.random.normal(key, like.shape, like.dtype)


def one_key(key: Key | None, seed: Key | None = None) -> Any:
    """Raises: ValueError if it is missing or given twice."""
    if (key is None) == (seed is None):
        raise ValueError(f"give key or seed, an integer or a JAX key, and only one; {got((key, seed))}")
    return kept_key("seed", seed) if key is None else kept_key("key", key)


class AddNoise(Noisy):
    eta: Hyper = 0.01
    gamma: Hyper = 0.55
    facts = Facts(reach=Reach.ARRAY, placed=True, station=Station.CLEANSE)

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
    return lift(AddNoise(one_key(key, seed), eta=eta, gamma=gamma))
