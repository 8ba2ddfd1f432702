"""What torch computes that no other framework here does: maxima corrected late, averaged descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core.arithmetic import abs_sq, debias, next_count, power, real_dtype, root
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper, hyper_fields
from gradxform.core.lens import Wrapper
from gradxform.core.rows import Rows
from gradxform.core.rule import Halves, Keep, Rule
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adam import MaxMoments
from gradxform.optimizers.radam import Rectified
from gradxform.optimizers.rprop import StepSizes


class LateCorrectedAmsgrad(Halves):
    """AMSGrad with the maximum of v before its correction: `x <- max(x, v)`, `u = m̂ / (√(x / (1 - b2ᵗ)) + eps)`.

    mu, nu, nu_max: shaped like p, the last two real; k: both corrections, scalars.
    """

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    name = "amsgrad"

    def init(self, p: Array) -> MaxMoments:
        return MaxMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), jnp.zeros_like(p.real))

    def scalars(self, t: Any) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t)

    def remember(self, g: Array, s: MaxMoments, p: Param, k: Scalars) -> MaxMoments:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        return MaxMoments(mu, nu, jnp.maximum(s.nu_max, nu))

    def emit(self, g: Array, s: MaxMoments, p: Param, k: Scalars) -> Any:
        c1, c2 = k
        return s.mu / c1 / (root(s.nu_max / c2) + self.eps)


class EpsilonHatRadam(Rectified):
    """RAdam with epsilon added to √v instead of √v̂. mu, nu: shaped like p, nu real."""

    name = "radam"

    def inverse_root(self, nu: Array, c2: Array) -> Any:
        return jnp.sqrt(c2) / (root(nu) + self.eps)


class NadamMoments(NamedTuple):
    """mu, nu: shaped like p, nu real; mu_product: scalar, float32; count: scalar int32."""

    mu: Array
    nu: Array
    mu_product: Array
    count: Any


class TorchNadam(Rule):
    """NAdam with a momentum that warms up, `μₜ = b1·(1 - 0.96^(t·momentum_decay) / 2)`; their product is float32."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    momentum_decay: Hyper = 0.004
    name = "nadam"

    def init(self, p: Array) -> NadamMoments:
        start = jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32)
        return NadamMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), *start)

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


class TorchRprop(Wrapper):
    """Rprop whose steps start from the rate at the first gradient that their parameter has.

    step_size, prev: shaped like p; k: whether this is that gradient, scalar bool.
    """

    def __repr__(self) -> str:
        return repr(self.rule)

    def scalars(self, t: Any, **extra: Any) -> Scalars:
        return t == 1

    def advance(
        self, g: Array | Rows, factors: list[Any], s: StepSizes, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Any, StepSizes]:
        first = jnp.asarray(hyper_fields(self.rule)["learning_rate"], s.step_size.dtype)
        begun = s._replace(step_size=jnp.where(k, first, s.step_size))
        return self.rule.advance(g, factors, begun, p, None, lambda new, old: keep(new, s))


class AveragedDescent(NamedTuple):
    """ax: shaped like p; eta, mu: scalars, float32 or wider; count: scalar int32."""

    ax: Array
    eta: Array
    mu: Array
    count: Any


class Asgd(Rule):
    """Descent with decay and a falling rate η, and the average of where it has been, with weight μ."""

    learning_rate: Hyper = 1e-2
    lambd: Hyper = 1e-4
    alpha: Hyper = 0.75
    t0: Hyper = 1e6
    name = "asgd"
    facts = Facts(needs_params=True, turns=True)

    def init(self, p: Array) -> AveragedDescent:
        eta = jnp.asarray(self.learning_rate, jnp.float32)
        return AveragedDescent(jnp.zeros_like(p), eta, jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32))

    def update(self, g: Array, s: AveragedDescent, p: Param, k: Scalars) -> tuple[Any, AveragedDescent]:
        dtype, count = real_dtype(g.dtype), next_count(s.count)
        first = jnp.asarray(self.learning_rate, jnp.float32)
        eta, mu = jnp.where(count == 1, first, s.eta).astype(dtype), s.mu.astype(dtype)
        u = -(self.lambd * eta) * p - eta * g
        ax = jnp.where(s.mu == 1.0, p + u, s.ax + (p + u - s.ax) * mu)
        eta = self.learning_rate / (1 + self.lambd * self.learning_rate * count) ** self.alpha
        mu = 1 / jnp.maximum(1.0, count - self.t0)
        return u, AveragedDescent(ax, jnp.asarray(eta, dtype), jnp.asarray(mu, dtype), count)

    def evaluate(self, p: Array, s: AveragedDescent, t: Any) -> Any:
        return jnp.where(s.count > 0, s.ax, p)
