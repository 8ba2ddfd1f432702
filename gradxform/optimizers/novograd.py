"""NovoGrad: gradients normalised array by array, then momentum."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Decay, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import rootable, squarable
from gradxform.core.types import Array, Dtype, Param
from gradxform.transforms.scale import descend


class NormMoments(NamedTuple):
    """mu: shaped like p. nu: a scalar, real."""

    mu: Array
    nu: Array


class ScaleByNovograd(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.25
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0
    weight_decay: Decay = 0.0
    facts = Facts(reach=Reach.ARRAY, needs_params=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_root=self.eps_root, weight_decay=self.weight_decay)

    def init(self, p: Array) -> NormMoments:
        return NormMoments(mu=jnp.zeros_like(p), nu=jnp.zeros((), p.real.dtype))

    def scalars(self, t: Array) -> Array:
        return t == 1

    def remember(self, g: Array, s: NormMoments, p: Param, k: Array) -> NormMoments:
        square = rootable(jnp.sum(abs_sq(g)))
        nu = jnp.where(k, square, self.b2 * s.nu + (1 - self.b2) * square)
        unit = quotient(squarable(g, g.size), root(nu + self.eps_root) + self.eps, self.eps)
        return NormMoments(self.b1 * s.mu + unit + self.weight_decay * p, nu)

    def emit(self, g: Array, s: NormMoments, p: Param, k: Array) -> Array:
        return s.mu


def scale_by_novograd(
    b1: Beta = 0.9, b2: Beta = 0.25, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, weight_decay: Hyper = 0.0,
    mu_dtype: Dtype | None = None,
) -> Chain:  # fmt: skip
    """Add up gradients of about unit norm: `m <- b1·m + g / (√(v + eps_root) + eps) + weight_decay·p`, `u = m`.

    `v <- b2·v + (1-b2)·‖g‖²`, one number an array, that starts as the first ‖g‖². mu_dtype: store m in this dtype.
    Reach: array. State: mu, shaped like p; nu, a scalar for each array; float32 or wider.
    Raises: ValueError if b1 or b2 is not in [0, 1), another argument is negative, or params are missing.
    Source: Ginsburg et al. 2019, arXiv:1905.11286, algorithm 1.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByNovograd(b1, b2, eps, eps_root, weight_decay), mu=mu_dtype))


def novograd(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.25, eps: Hyper = 1e-6, eps_root: Hyper = 0.0,
    weight_decay: Hyper = 0.0,
) -> Chain:  # fmt: skip
    """NovoGrad: `chain(scale_by_novograd(b1, b2, eps, eps_root, weight_decay), scale_by_learning_rate(learning_rate))`.

    Source: Ginsburg et al. 2019, arXiv:1905.11286, algorithm 1.
    """
    return chain(scale_by_novograd(b1, b2, eps, eps_root, weight_decay), descend(learning_rate))
