"""What two frameworks execute and differs from the published: where epsilon stands, kept powers."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, is_zero, root
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.types import Array, Memory, Param, Scalars
from gradxform.optimizers.adagrad import SumOfSquares, SumsSquares
from gradxform.optimizers.adam import Moments


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
