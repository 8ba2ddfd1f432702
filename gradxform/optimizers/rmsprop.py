"""RMSProp: divide by the root of a mean of squares, or by a standard deviation."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, inverse_root, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Param
from gradxform.transforms.momentum import trace
from gradxform.transforms.scale import descend


class MeanSquare(NamedTuple):
    """nu: shaped like p, real."""

    nu: Array


class MeanSquares(Halves, abstract=True):
    decay: Beta = 0.9
    eps: Hyper = 1e-8
    initial_scale: Hyper = 0.0
    eps_in_sqrt: bool = True
    bias_correction: bool = False
    facts = Facts(decay_rates=("decay",), monotone=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, initial_scale=self.initial_scale)

    @property
    def corrects(self) -> bool:
        return self.bias_correction

    def scalars(self, t: Array) -> Array | float:
        return debias(self.decay, t) if self.bias_correction else 1.0

    def inverse_root(self, nu: Array) -> Array:
        if self.eps_in_sqrt:
            return inverse_root(nu + self.eps, self.eps)
        return quotient(1.0, root(nu) + self.eps, self.eps)


class ScaleByRms(MeanSquares):
    def init(self, p: Array) -> MeanSquare:
        return MeanSquare(nu=jnp.full_like(p.real, self.initial_scale))

    def remember(self, g: Array, s: MeanSquare, p: Param, k: Array | float) -> MeanSquare:
        return MeanSquare(self.decay * s.nu + (1 - self.decay) * abs_sq(squarable(g)))

    def emit(self, g: Array, s: MeanSquare, p: Param, k: Array | float) -> Array:
        return g * self.inverse_root(s.nu / k)


class MeanAndSquare(NamedTuple):
    """mu: shaped like p. nu: shaped like p, real."""

    mu: Array
    nu: Array


class ScaleByStddev(MeanSquares):
    def init(self, p: Array) -> MeanAndSquare:
        return MeanAndSquare(mu=jnp.zeros_like(p), nu=jnp.full_like(p.real, self.initial_scale))

    def remember(self, g: Array, s: MeanAndSquare, p: Param, k: Array | float) -> MeanAndSquare:
        g = squarable(g)
        nu = self.decay * s.nu + (1 - self.decay) * abs_sq(g)
        return MeanAndSquare(self.decay * s.mu + (1 - self.decay) * g, nu)

    def emit(self, g: Array, s: MeanAndSquare, p: Param, k: Array | float) -> Array:
        variance = jnp.maximum(s.nu / k - abs_sq(s.mu / k), 0.0)
        return g * self.inverse_root(variance)


def scale_by_rms(
    decay: Beta = 0.9, eps: Hyper = 1e-8, initial_scale: Hyper = 0.0, eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Chain:  # fmt: skip
    """Divide by the root of a mean of squares: `v <- decay·v + (1-decay)·|g|²`, `u = g / √(v + eps)`.

    With eps_in_sqrt=False `u = g / (√v + eps)`, as torch; bias_correction divides v by `1 - decayᵗ` first.
    initial_scale: what v starts from (a number: it is used once, at init).
    Reach: element. State: nu, shaped like p, float32 or wider.
    Raises: ValueError if decay is not in [0, 1), eps < 0 or initial_scale < 0.
    Source: Tieleman, Hinton 2012, lecture 6.5.
    """
    return lift(ScaleByRms(decay, eps, initial_scale, eps_in_sqrt, bias_correction))


def scale_by_stddev(
    decay: Beta = 0.9, eps: Hyper = 1e-8, initial_scale: Hyper = 0.0, eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> Chain:  # fmt: skip
    """Divide by a running standard deviation: `u = g / √(v - |m|² + eps)`, m and v means of g and |g|².

    Arguments as in `scale_by_rms`. A variance that rounding makes negative counts as 0.
    Reach: element. State: mu, nu, shaped like p, float32 or wider.
    Raises: as `scale_by_rms`.
    Source: Graves 2013, arXiv:1308.0850, equations 38-40.
    """
    return lift(ScaleByStddev(decay, eps, initial_scale, eps_in_sqrt, bias_correction))


def rmsprop(
    learning_rate: Hyper, decay: Beta = 0.9, eps: Hyper = 1e-8, initial_scale: Hyper = 0.0, eps_in_sqrt: bool = True,
    centered: bool = False, momentum: Hyper | None = None, nesterov: bool = False, bias_correction: bool = False,
) -> Chain:  # fmt: skip
    """RMSProp: `scale_by_rms`, or `scale_by_stddev` if centered; learning rate; `trace(momentum, nesterov)` if given.

    Momentum sums steps, not directions: a changed learning rate does not rescale what is summed.
    Source: Tieleman, Hinton 2012; Graves 2013, arXiv:1308.0850.
    """
    check.boolean(centered=centered, nesterov=nesterov)
    direction = (scale_by_stddev if centered else scale_by_rms)(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    step = chain(direction, descend(learning_rate))
    if momentum is None:
        return step
    return chain(step, trace(check.given(check.nonnegative, momentum=momentum), nesterov))
