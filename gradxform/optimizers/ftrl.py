"""FTRL-Proximal: each iterate is the best answer to all gradients so far, with exact zeros."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable, saturated, squarable
from gradxform.core.types import Array, Scalars
from gradxform.transforms.proximal import shrink


class Leader(NamedTuple):
    """z, the gradients as seen from 0, and n, the sum of their squares: shaped like p."""

    z: Array
    n: Array


class Ftrl(Halves):
    learning_rate: Hyper
    l1: Hyper = 0.0
    l2: Hyper = 0.0
    beta: Hyper = 1.0
    initial_accumulator_value: Hyper = 0.0
    facts = Facts(station=Station.LAND, needs_params=True, real_only=True, turns=True)

    def check(self) -> None:
        check.divisor(learning_rate=self.learning_rate)
        check.nonnegative(l1=self.l1, l2=self.l2, beta=self.beta)
        check.nonnegative(initial_accumulator_value=self.initial_accumulator_value)

    def init(self, p: Array) -> Leader:
        return Leader(z=jnp.zeros_like(p), n=jnp.full_like(p, self.initial_accumulator_value))

    def remember(self, g: Array, s: Leader, p: Array, k: Scalars) -> Leader:
        g = squarable(g)
        n = saturated(s.n + abs_sq(g))
        return Leader(addable(s.z + (g - (root(n) - root(s.n)) / self.learning_rate * p), 4), n)

    def emit(self, g: Array, s: Leader, p: Array, k: Scalars) -> Array:
        size = (self.beta + root(s.n)) / self.learning_rate + self.l2
        return -quotient(shrink(s.z, self.l1), size, 0.0) - p


def ftrl(
    learning_rate: Hyper, l1: Hyper = 0.0, l2: Hyper = 0.0, beta: Hyper = 1.0, *, initial_accumulator_value: Hyper = 0.0
) -> Chain:
    """Follow the regularised leader: `p <- -sign(z)·max(|z| - l1, 0) / ((beta + √n) / learning_rate + l2)`.

    `z <- z + g - (√(n + g²) - √n) / learning_rate · p`, then `n <- n + g²`. For linear models of sparse features: p is
    meant to start at 0, and is forgotten otherwise. Keras and TensorFlow have `beta=0`,
    `initial_accumulator_value=0.1`, and twice this l2. initial_accumulator_value: what n starts from.
    Reach: element. State: z, n, shaped like p, float32 or wider.
    Raises: ValueError if learning_rate <= 0, another argument is negative, params are missing, or p is complex.
    Source: McMahan et al. 2013, "Ad click prediction: a view from the trenches", algorithm 1.
    """
    return lift(Ftrl(learning_rate, l1, l2, beta, initial_accumulator_value))
