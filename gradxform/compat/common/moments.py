"""What two frameworks execute and differs from the published: where epsilon stands, warmed momentum, kept powers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, is_zero, next_count, power, real_dtype, root
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves, Rule
from gradxform.core.types import Array, Dtype, Memory, Param, Scalars
from gradxform.optimizers.adagrad import SumOfSquares, SumsSquares
from gradxform.optimizers.adam import Moments
from gradxform.optimizers.radam import Rectified


class EpsilonHat(Halves, abstract=True):
    """Adam with epsilon added to √v instead of √v̂, and Nesterov's numerator under the correction of this step.

    mu, nu: shaped like p, nu real.
    """

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    nesterov: bool = False
    name = "adam"

    def check(self) -> None:
        check.nonnegative(eps=self.eps)

    def init(self, p: Array) -> Memory:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p.real))

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        return Moments(self.b1 * s.mu + (1 - self.b1) * g, self.b2 * s.nu + (1 - self.b2) * abs_sq(g))

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Any:
        m = self.b1 * s.mu + (1 - self.b1) * g if self.nesterov else s.mu
        return k * m / (root(s.nu) + self.eps)


class EpsilonHatAdam(EpsilonHat):
    """With both corrections, in one scalar `k`. mu, nu: shaped like p, nu real."""

    def scalars(self, t: Any) -> Scalars:
        return jnp.sqrt(debias(self.b2, t)) / debias(self.b1, t)


class EpsilonHatRadam(Rectified):
    """RAdam with epsilon added to √v instead of √v̂. mu, nu: shaped like p, nu real."""

    name = "radam"

    def inverse_root(self, nu: Array, c2: Array) -> Any:
        return jnp.sqrt(c2) / (root(nu) + self.eps)


class EpsilonBesideRss(SumsSquares):
    """Adagrad with epsilon added to the root, and a rate that falls: `u = g / (√a + eps) / (1 + (t-1)·rate_decay)`.

    sum_of_squares (a): shaped like p, real.
    """

    rate_decay: Hyper = 0.0
    name = "rss"

    @property
    def corrects(self) -> bool:
        return not is_zero(self.rate_decay)

    def scalars(self, t: Any) -> Scalars:
        return 1 / (1 + (t - 1) * self.rate_decay)

    def emit(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> Any:
        return k * (g / (root(s.sum_of_squares) + self.eps))


class PoweredMoments(NamedTuple):
    """mu, nu: shaped like p, nu real; b1_power, b2_power: scalars, real."""

    mu: Array
    nu: Array
    b1_power: Array
    b2_power: Array


class PoweredMaxMoments(NamedTuple):
    """mu, nu, nu_max: shaped like p, the last two real; b1_power, b2_power: scalars, real."""

    mu: Array
    nu: Array
    nu_max: Array
    b1_power: Array
    b2_power: Array


class PoweredInfinityMoments(NamedTuple):
    """mu, nu: shaped like p, nu real; b1_power: scalar, real."""

    mu: Array
    nu: Array
    b1_power: Array


class NadamMoments(NamedTuple):
    """mu, nu: shaped like p, nu real; mu_product: scalar, real; count: scalar int32."""

    mu: Array
    nu: Array
    mu_product: Array
    count: Any


def begun(p: Array, product: Dtype) -> NadamMoments:
    """Memory before the first step, the product of momenta in the dtype given."""
    start = jnp.ones((), product), jnp.zeros((), jnp.int32)
    return NadamMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), *start)


class Nadam(Rule, abstract=True):
    """NAdam with a momentum that warms up, `μₜ = b1·(1 - 0.96^(t·momentum_decay) / 2)`, and their product."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    momentum_decay: Hyper = 0.004
    name = "nadam"

    def update(self, g: Array, s: NadamMoments, p: Param, k: Scalars) -> tuple[Any, NadamMoments]:
        count, dtype = next_count(s.count), real_dtype(g.dtype)
        now, after = (jnp.asarray(self.momentum(t), dtype) for t in (count, count + 1))
        product = s.mu_product * now.astype(s.mu_product.dtype)
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        wide = product.astype(dtype)
        ahead = (1 - now) / (1 - wide) * g + after / (1 - wide * after) * mu
        size = root(nu / jnp.asarray(debias(self.b2, count), dtype))
        return ahead / (size + self.eps), NadamMoments(mu, nu, product, count)

    def momentum(self, t: Any) -> Any:
        return self.b1 * (1 - 0.5 * power(0.96, t * self.momentum_decay))


class WarmedNadam(Nadam):
    """NAdam whose product of momenta has the width of the parameter."""

    def init(self, p: Array) -> NadamMoments:
        return begun(p, real_dtype(p.dtype))
