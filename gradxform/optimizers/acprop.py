"""ACProp: AdaBelief with the variance that was known before the gradient came."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Count, Mask, Param, Scalars
from gradxform.optimizers.adam import Moments
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleByAcprop(Rule):
    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-16
    eps_root: Hyper = 1e-16

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_root=self.eps_root)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p.real))

    def scalars(self, t: Count) -> Scalars:
        return t == 1, debias(self.b2, jnp.maximum(t - 1, 1))

    def update(self, g: Array, s: Moments, p: Param, k: Scalars) -> tuple[Array, Moments]:
        g, (first, c2) = squarable(g), k
        size = jnp.where(first, 1, root(s.nu / c2)) + self.eps
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(squarable(g - s.mu)) + self.eps_root
        return quotient(g, size, self.eps), Moments(self.b1 * s.mu + (1 - self.b1) * g, nu)


def scale_by_acprop(b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-16, eps_root: Hyper = 1e-16) -> Chain:
    """Divide by the root of the variance that was known before g came: `u = g / (√v̂ + eps)`, `v̂ = v / (1-b2ᵗ⁻¹)`.

    Then `v <- b2·v + (1-b2)·|g - m|² + eps_root`, and `m <- b1·m + (1-b1)·g`; at the first step v̂ is 1.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Zhuang et al. 2021, arXiv:2110.05454.
    """
    return lift(ScaleByAcprop(b1, b2, eps, eps_root))


def acprop(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-16, eps_root: Hyper = 1e-16,
    weight_decay: Hyper = 0.0, mask: Mask = None,
) -> Chain:  # fmt: skip
    """ACProp: `scale_by_acprop`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    Source: Zhuang et al. 2021, arXiv:2110.05454.
    """
    direction = scale_by_acprop(b1, b2, eps, eps_root)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
