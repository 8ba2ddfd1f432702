"""Adan: Nesterov momentum by differences of gradients, with an adaptive denominator."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient, root
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Mask, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class AdanMoments(NamedTuple):
    """m, of gradients, v, of their changes, and g, the last gradient: shaped like p. n: shaped like p, real."""

    m: Array
    v: Array
    n: Array
    g: Array


class ScaleByAdan(Halves):
    b1: Beta = 0.98
    b2: Beta = 0.92
    b3: Beta = 0.99
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_root=self.eps_root)

    def init(self, p: Array) -> AdanMoments:
        return AdanMoments(m=jnp.zeros_like(p), v=jnp.zeros_like(p), n=jnp.zeros_like(p.real), g=jnp.zeros_like(p))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t), debias(self.b3, t), t == 1

    def remember(self, g: Array, s: AdanMoments, p: Param, k: Scalars) -> AdanMoments:
        g, (*_, first) = squarable(g), k
        change = jnp.where(first, 0, g - s.g)
        return AdanMoments(
            m=self.b1 * s.m + (1 - self.b1) * g,
            v=self.b2 * s.v + (1 - self.b2) * change,
            n=self.b3 * s.n + (1 - self.b3) * abs_sq(squarable(g + self.b2 * change)),
            g=in_place(g, s.g),
        )

    def emit(self, g: Array, s: AdanMoments, p: Param, k: Scalars) -> Array:
        c1, c2, c3, _ = k
        return quotient(s.m / c1 + self.b2 * (s.v / c2), root(s.n / c3 + self.eps_root) + self.eps, self.eps)


def scale_by_adan(b1: Beta = 0.98, b2: Beta = 0.92, b3: Beta = 0.99, eps: Hyper = 1e-8, eps_root: Hyper = 0.0) -> Chain:
    """Look ahead by the change of the gradient: `u = (m̂ + b2·v̂) / (√(n̂ + eps_root) + eps)`.

    m, v, n are means, with rates b1, b2, b3, of g, of `Δ = g - g before` (0 at first) and of `|g + b2·Δ|²`, each
    corrected by `1 / (1 - bᵗ)`. The paper writes 1 - b for b. optax 0.2.8 weighs Δ and v̂ by 1 - b2, unlike the paper.
    Reach: element. State: m, v, n, g, shaped like p, float32 or wider (n real for complex p).
    Raises: ValueError if b1, b2 or b3 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Xie et al. 2022, arXiv:2208.06677, algorithm 1, with the corrections of the authors' code.
    """
    return lift(ScaleByAdan(b1, b2, b3, eps, eps_root))


def adan(
    learning_rate: Hyper, b1: Beta = 0.98, b2: Beta = 0.92, b3: Beta = 0.99, eps: Hyper = 1e-8,
    eps_root: Hyper = 1e-8, weight_decay: Hyper = 0.0, mask: Mask = None,
) -> Chain:  # fmt: skip
    """Adan with decoupled decay: `scale_by_adan`, `add_decayed_weights(weight_decay, mask)`, learning rate.

    The paper divides by `1 + lr·weight_decay` instead, to first order the same.
    Source: Xie et al. 2022, arXiv:2208.06677, algorithm 1.
    """
    decay = add_decayed_weights(weight_decay, mask)
    return chain(scale_by_adan(b1, b2, b3, eps, eps_root), decay, descend(learning_rate))
