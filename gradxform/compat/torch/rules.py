"""What torch computes that no other framework here does: maxima corrected late, averaged descent."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.compat.common.moments import NadamMoments, WarmedNadam
from gradxform.core.arithmetic import abs_sq, next_count, real_dtype
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.optimizers.adam import MaxMoments, ScaleByAmsgrad
from gradxform.optimizers.rprop import ScaleByRprop, StepSizes


class LateCorrectedAmsgrad(ScaleByAmsgrad):
    """AMSGrad with the maximum of v before its correction: `x <- max(x, v)`, `u = m̂ / (√(x / (1 - b2ᵗ)) + eps)`."""

    name = "amsgrad"

    def update(self, g: Any, s: MaxMoments, p: Any, k: Any) -> tuple[Any, MaxMoments]:
        c1, c2 = k
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        nu_max = jnp.maximum(s.nu_max, nu)
        return mu / c1 / (jnp.sqrt(nu_max / c2) + self.eps), MaxMoments(mu, nu, nu_max)


class TorchNadam(WarmedNadam):
    """NAdam whose product of momenta is float32 for every parameter."""

    name = "nadam"

    def init(self, p: Any) -> NadamMoments:
        return super().init(p)._replace(mu_product=jnp.ones((), jnp.float32))


class TorchRprop(ScaleByRprop):
    """Rprop whose steps start from the rate at the first gradient that their parameter has."""

    name = "rprop"

    def scalars(self, t: Any) -> Any:
        return t == 1

    def update(self, g: Any, s: StepSizes, p: Any, k: Any) -> tuple[Any, StepSizes]:
        first = jnp.asarray(self.learning_rate, s.step_size.dtype)
        return super().update(g, s._replace(step_size=jnp.where(k, first, s.step_size)), p, None)


class AveragedDescent(NamedTuple):
    ax: Any
    eta: Any
    mu: Any
    count: Any


class Asgd(Rule):
    """Descent with decay and a falling rate η, and the average of where it has been, with weight μ."""

    learning_rate: Hyper = 1e-2
    lambd: Hyper = 1e-4
    alpha: Hyper = 0.75
    t0: Hyper = 1e6
    name = "asgd"
    needs_params = True

    def init(self, p: Any) -> AveragedDescent:
        eta = jnp.asarray(self.learning_rate, jnp.float32)
        return AveragedDescent(jnp.zeros_like(p), eta, jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32))

    def update(self, g: Any, s: AveragedDescent, p: Any, k: Any) -> tuple[Any, AveragedDescent]:
        dtype, count = real_dtype(g.dtype), next_count(s.count)
        first = jnp.asarray(self.learning_rate, jnp.float32)
        eta, mu = jnp.where(count == 1, first, s.eta).astype(dtype), s.mu.astype(dtype)
        u = -(self.lambd * eta) * p - eta * g
        ax = jnp.where(s.mu == 1.0, p + u, s.ax + (p + u - s.ax) * mu)
        eta = self.learning_rate / (1 + self.lambd * self.learning_rate * count) ** self.alpha
        mu = 1 / jnp.maximum(1.0, count - self.t0)
        return u, AveragedDescent(ax, jnp.asarray(eta, dtype), jnp.asarray(mu, dtype), count)

    def evaluate(self, p: Any, s: AveragedDescent, t: Any) -> Any:
        return jnp.where(s.count > 0, s.ax, p)
