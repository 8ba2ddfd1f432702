"""Rules that torch and paddle execute and that differ from the published ones: where epsilon and the maximum stand."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core.arithmetic import abs_sq, debias, next_count, power, real_dtype
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.optimizers.adagrad import ScaleByRss, SumOfSquares
from gradxform.optimizers.adam import MaxMoments, ScaleByAmsgrad
from gradxform.optimizers.radam import ScaleByRadam


class LateCorrectedAmsgrad(ScaleByAmsgrad):
    """AMSGrad with the maximum of v before its correction: `x <- max(x, v)`, `u = m̂ / (√(x / (1 - b2ᵗ)) + eps)`."""

    name = "amsgrad"

    def update(self, g: Any, s: MaxMoments, p: Any, k: Any) -> tuple[Any, MaxMoments]:
        c1, c2, _ = k
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        nu_max = jnp.maximum(s.nu_max, nu)
        return mu / c1 / (jnp.sqrt(nu_max / c2) + self.eps), MaxMoments(mu, nu, nu_max)


class EpsilonHatRadam(ScaleByRadam):
    """RAdam with epsilon added to √v instead of √v̂."""

    name = "radam"

    def inverse_root(self, nu: Any, c2: Any) -> Any:
        return jnp.sqrt(c2) / (jnp.sqrt(nu) + self.eps)


class EpsilonBesideRss(ScaleByRss):
    """Adagrad with epsilon added to the root, and a rate that falls: `u = g / (√a + eps) / (1 + (t-1)·rate_decay)`."""

    rate_decay: Hyper = 0.0
    name = "rss"

    def scalars(self, t: Any) -> Any:
        return 1 / (1 + (t - 1) * self.rate_decay)

    def update(self, g: Any, s: SumOfSquares, p: Any, k: Any) -> tuple[Any, SumOfSquares]:
        total = s.sum_of_squares + abs_sq(g)
        return k * (g / (jnp.sqrt(total) + self.eps)), SumOfSquares(total)


class NadamMoments(NamedTuple):
    mu: Any
    nu: Any
    mu_product: Any
    count: Any


class WarmedNadam(Rule):
    """NAdam with a momentum that warms up, `μₜ = b1·(1 - 0.96^(t·momentum_decay) / 2)`, and their product."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    momentum_decay: Hyper = 0.004
    name = "nadam"

    def init(self, p: Any) -> NadamMoments:
        start = jnp.ones((), real_dtype(p.dtype)), jnp.zeros((), jnp.int32)
        return NadamMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), *start)

    def update(self, g: Any, s: NadamMoments, p: Any, k: Any) -> tuple[Any, NadamMoments]:
        count, dtype = next_count(s.count), real_dtype(g.dtype)
        now, after = (jnp.asarray(self.momentum(t), dtype) for t in (count, count + 1))
        product = s.mu_product * now.astype(s.mu_product.dtype)
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        wide = product.astype(dtype)
        ahead = (1 - now) / (1 - wide) * g + after / (1 - wide * after) * mu
        root = jnp.sqrt(nu / jnp.asarray(debias(self.b2, count), dtype))
        return ahead / (root + self.eps), NadamMoments(mu, nu, product, count)

    def momentum(self, t: Any) -> Any:
        return self.b1 * (1 - 0.5 * power(0.96, t * self.momentum_decay))
