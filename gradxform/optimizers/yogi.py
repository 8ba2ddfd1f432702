"""Yogi: Adam whose second moment moves by at most one squared gradient's share a step."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import saturated, squarable
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.transforms.scale import descend


class ScaleByYogi(AdamLike):
    eps: Hyper = 1e-3
    initial_accumulator_value: Hyper = 1e-6

    def check(self) -> None:
        super().check()
        check.nonnegative(initial_accumulator_value=self.initial_accumulator_value)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.full_like(p.real, self.initial_accumulator_value))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t)

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        g = squarable(g)
        square = abs_sq(g)
        mu = self.b1 * s.mu + (1 - self.b1) * g
        return Moments(mu, saturated(s.nu - (1 - self.b2) * jnp.sign(s.nu - square) * square))

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        c1, c2 = k
        return quotient(s.mu / c1, root(s.nu / c2 + self.eps_root) + self.eps, self.eps)


def scale_by_yogi(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-3, eps_root: Hyper = 0.0, initial_accumulator_value: Hyper = 1e-6
) -> Chain:
    """Adam with an additive second moment: `v <- v - (1-b2)·sign(v - |g|²)·|g|²`, `u = m̂ / (√(v̂ + eps_root) + eps)`.

    m and both corrections as in `scale_by_adam`; v starts at initial_accumulator_value (in optax m does too, and moves
    parameters that have no gradient). v falls slowly after a large gradient, where Adam's forgets it.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), or another argument is negative.
    Source: Zaheer et al. 2018, "Adaptive methods for nonconvex optimization", algorithm 2.
    """
    return lift(ScaleByYogi(b1, b2, eps, eps_root, initial_accumulator_value))


def yogi(learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-3) -> Chain:
    """Yogi: `chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))`.

    Source: Zaheer et al. 2018, "Adaptive methods for nonconvex optimization", algorithm 2.
    """
    return chain(scale_by_yogi(b1, b2, eps), descend(learning_rate))
