"""CAME: Adafactor with momentum, each step weighed by how far the gradients agree."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Memory, Param, Scalars
from gradxform.optimizers.adafactor import FactoredSquares, averaged, factored_like, over_root
from gradxform.transforms.clip import clip_factor
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class CameMoments(NamedTuple):
    """mu, v: shaped like p."""

    mu: Array
    v: Array


class FactoredCameMoments(NamedTuple):
    """mu: shaped like p. v, of gradients, and r, of what differs from their mean: by rows and columns, real."""

    mu: Array
    v_row: Array
    v_col: Array
    r_row: Array
    r_col: Array


class ScaleByCame(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.999
    b3: Beta = 0.9999
    eps: Hyper = 1e-30
    eps_residual: Hyper = 1e-16
    clip_threshold: Hyper = 1.0
    facts = Facts(reach=Reach.ARRAY)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_residual=self.eps_residual)
        check.positive_bound(clip_threshold=self.clip_threshold)

    def init(self, p: Array) -> Memory:
        mu = jnp.zeros_like(p)
        if p.ndim < 2:
            return CameMoments(mu, jnp.zeros_like(p.real))
        sides = factored_like(p, p.ndim - 1, p.ndim - 2)
        return FactoredCameMoments(mu, *sides, *map(jnp.copy, sides))

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        axes = g.ndim - 1, g.ndim - 2
        if g.ndim < 2:
            g = squarable(g, g.size)
            v = self.b2 * s.v + (1 - self.b2) * (abs_sq(g) + self.eps)
            return CameMoments(self.mean(s.mu, self.clipped(quotient(g, root(v), 0.0))), v)
        squares = averaged(FactoredSquares(s.v_row, s.v_col), g, self.eps, self.b2 * 1, 1 - self.b2, *axes)
        unit = self.clipped(over_root(g, squares, *axes))
        mu, r = self.mean(s.mu, unit), FactoredSquares(s.r_row, s.r_col)
        residual = averaged(r, unit - mu, self.eps_residual, self.b3 * 1, 1 - self.b3, *axes)
        return FactoredCameMoments(mu, *squares, *residual)

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Array:
        return s.mu if g.ndim < 2 else over_root(s.mu, FactoredSquares(s.r_row, s.r_col), g.ndim - 1, g.ndim - 2)

    def mean(self, mu: Array, unit: Array) -> Array:
        new: Array = self.b1 * mu + (1 - self.b1) * unit
        return new

    def clipped(self, u: Array) -> Array:
        u = squarable(u, u.size)
        return u * clip_factor(self.clip_threshold, root(jnp.mean(abs_sq(u))))


def scale_by_came(
    b1: Beta = 0.9, b2: Beta = 0.999, b3: Beta = 0.9999, eps: Hyper = 1e-30, eps_residual: Hyper = 1e-16,
    clip_threshold: Hyper = 1.0, mu_dtype: Dtype | None = None,
) -> Chain:  # fmt: skip
    """Average Adafactor's direction d, and divide by how far d is from the mean: `m <- b1·m + (1-b1)·d`, `u = m / √S`.

    d is `g / √V`, clipped to an RMS of clip_threshold. V and S are of the means, with rates b2 and b3, of `|g|² + eps`
    and of `|d - m|² + eps_residual`, the sides of the last two axes, as in `scale_by_factored_rms`; nothing is
    corrected. Vectors keep v, and give `u = m`. mu_dtype: store m in this dtype instead of float32.
    Reach: array. State: mu, shaped like p; v_row, v_col, r_row, r_col, or v; float32 or wider.
    Raises: ValueError if a rate is not in [0, 1), eps < 0, eps_residual < 0 or clip_threshold <= 0.
    Source: Luo et al. 2023, arXiv:2307.02047, algorithm 2.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByCame(b1, b2, b3, eps, eps_residual, clip_threshold), mu=mu_dtype))


def came(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, b3: Beta = 0.9999, eps: Hyper = 1e-30,
    eps_residual: Hyper = 1e-16, clip_threshold: Hyper = 1.0, mu_dtype: Dtype | None = None,
    weight_decay: Hyper = 0.0, mask: Mask = None,
) -> Chain:  # fmt: skip
    """CAME: `scale_by_came`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    Source: Luo et al. 2023, arXiv:2307.02047, algorithm 2.
    """
    direction = scale_by_came(b1, b2, b3, eps, eps_residual, clip_threshold, mu_dtype)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
