"""MADGRAD: dual averaging with the cube root of a weighed sum of squares, and momentum by averaging the iterates."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable, saturated, squarable
from gradxform.core.types import Array, Count, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights


class DualAverage(NamedTuple):
    """grad_sum_sq: shaped like p, real. s, the sum of gradients, and x0, what p was at first: shaped like p."""

    grad_sum_sq: Array
    s: Array
    x0: Array


class ScaleByMadgrad(Halves):
    learning_rate: Hyper
    momentum: Beta = 0.9
    eps: Hyper = 1e-6
    facts = Facts(station=Station.STEP, needs_params=True, turns=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, eps=self.eps)

    def init(self, p: Array) -> DualAverage:
        return DualAverage(grad_sum_sq=jnp.zeros_like(p.real), s=jnp.zeros_like(p), x0=p)

    def scalars(self, t: Count) -> Scalars:
        return (self.learning_rate + self.eps) * jnp.sqrt(1.0 * t)

    def remember(self, g: Array, s: DualAverage, p: Param, k: Scalars) -> DualAverage:
        g = squarable(g)
        return DualAverage(saturated(s.grad_sum_sq + k * abs_sq(g)), addable(s.s + k * g, 2), s.x0)

    def emit(self, g: Array, s: DualAverage, p: Array, k: Scalars) -> Array:
        some = s.grad_sum_sq > 0  # at 0 the cube root has no slope
        size = jnp.where(some, jnp.cbrt(jnp.where(some, s.grad_sum_sq, 1)), 0) + self.eps
        u: Array = (1 - self.momentum) * ((s.x0 - p) - quotient(s.s, size, self.eps))
        return u


def scale_by_madgrad(learning_rate: Hyper, momentum: Beta = 0.9, eps: Hyper = 1e-6) -> Chain:
    """Step towards a dual average: `z = x0 - s / (∛ν + eps)`, `u = (1 - momentum)·(z - p)`, x0 what p was at first.

    `s <- s + λg`, `ν <- ν + λ|g|²`, `λ = (learning_rate + eps)·√t`. u is a step downhill: no learning rate follows.
    Reach: element. State: grad_sum_sq (ν), s, x0, shaped like p, float32 or wider.
    Raises: ValueError if momentum is not in [0, 1), another argument is negative, or params are missing.
    Source: Defazio, Jelassi 2021, arXiv:2101.11075, algorithm 1.
    """
    return lift(ScaleByMadgrad(learning_rate, momentum, eps))


def madgrad(learning_rate: Hyper, momentum: Beta = 0.9, weight_decay: Hyper = 0.0, eps: Hyper = 1e-6) -> Chain:
    """MADGRAD: `chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))`.

    Source: Defazio, Jelassi 2021, arXiv:2101.11075, algorithm 1.
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
