"""Adam and its kin: a mean of gradients over the root of a mean of their squares."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class Moments(NamedTuple):
    """mu: shaped like p. nu: shaped like p, real."""

    mu: Array
    nu: Array


class AdamLike(Halves, abstract=True):
    """A mean of gradients over the root of a mean of squares: what a rule of its kin does not say is Adam's."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_root=self.eps_root)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p.real))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t), debias(self.b1, t + 1)

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        g = squarable(g)
        return Moments(self.b1 * s.mu + (1 - self.b1) * g, self.b2 * s.nu + (1 - self.b2) * abs_sq(g))

    def ahead(self, g: Array, mu: Array, c1: Array, c1_next: Array) -> Array:
        """Nesterov's mean, `b1·mu / c1_next + (1-b1)·g / c1`: its g is not bounded, and its divisor is at least 1."""
        mean: Array = self.b1 * (mu / c1_next) + g / jnp.maximum(c1 / (1 - self.b1), 1.0)
        return mean


class ScaleByAdam(AdamLike):
    nesterov: bool = False
    facts = Facts(decay_rates=("b1", "b2"), monotone=True)

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        c1, c2, c1_next = k
        m_hat = self.ahead(g, s.mu, c1, c1_next) if self.nesterov else s.mu / c1
        return quotient(m_hat, root(s.nu / c2 + self.eps_root) + self.eps, self.eps)


class MaxMoments(NamedTuple):
    """mu: shaped like p. nu, nu_max: shaped like p, real."""

    mu: Array
    nu: Array
    nu_max: Array


class ScaleByAmsgrad(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0
    bias_correction_mu: bool = True
    bias_correction_nu: bool = True
    facts = Facts(decay_rates=("b1", "b2"), monotone=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, eps_root=self.eps_root)

    @property
    def corrects(self) -> bool:
        return self.bias_correction_mu or self.bias_correction_nu

    def init(self, p: Array) -> MaxMoments:
        return MaxMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), jnp.zeros_like(p.real))

    def scalars(self, t: Array) -> Scalars:
        c1 = debias(self.b1, t) if self.bias_correction_mu else 1.0
        return c1, debias(self.b2, t) if self.bias_correction_nu else 1.0

    def remember(self, g: Array, s: MaxMoments, p: Param, k: Scalars) -> MaxMoments:
        g, (_, c2) = squarable(g), k
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        return MaxMoments(self.b1 * s.mu + (1 - self.b1) * g, nu, jnp.maximum(s.nu_max, nu / c2))

    def emit(self, g: Array, s: MaxMoments, p: Param, k: Scalars) -> Array:
        c1, _ = k
        return quotient(s.mu / c1, root(s.nu_max + self.eps_root) + self.eps, self.eps)


def scale_by_adam(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None,
    *, nesterov: bool = False,
) -> Chain:  # fmt: skip
    """Divide a mean of gradients by the root of a mean of squares: `u = m̂ / (√(v̂ + eps_root) + eps)`.

    `m <- b1·m + (1-b1)·g`, `v <- b2·v + (1-b2)·|g|²`, `m̂ = m / (1-b1ᵗ)`, `v̂ = v / (1-b2ᵗ)`; with nesterov
    `m̂ = b1·m / (1-b1ᵗ⁺¹) + (1-b1)·g / (1-b1ᵗ)`. mu_dtype: store m in this dtype instead of float32.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Kingma, Ba 2014, arXiv:1412.6980, algorithm 1; Dozat 2016 (nesterov).
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByAdam(b1, b2, eps, eps_root, nesterov), mu=mu_dtype))


def scale_by_amsgrad(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None,
    bias_correction_mu: bool = True, bias_correction_nu: bool = True,
) -> Chain:  # fmt: skip
    """Adam with a denominator that never falls: `x <- max(x, v̂)`, `u = m̂ / (√(x + eps_root) + eps)`.

    m̂ and v̂ as in `scale_by_adam`; the maximum is of the corrected v̂ (torch takes it before the correction). The two
    flags leave a correction out; the paper has neither.
    Reach: element. State: mu, nu, nu_max, shaped like p, float32 or wider.
    Raises: as `scale_by_adam`.
    Source: Reddi et al. 2018, arXiv:1904.09237, algorithm 2.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByAmsgrad(b1, b2, eps, eps_root, bias_correction_mu, bias_correction_nu), mu=mu_dtype))


def adam(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, *, nesterov: bool = False,
) -> Chain:  # fmt: skip
    """Adam: `chain(scale_by_adam(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))`.

    Source: Kingma, Ba 2014, arXiv:1412.6980.
    """
    return chain(scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), descend(learning_rate))


def adamw(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, weight_decay: Hyper = 1e-4, mask: Mask = None, *, nesterov: bool = False,
) -> Chain:  # fmt: skip
    """Adam with decoupled decay: `scale_by_adam`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    The decay per step is learning_rate · weight_decay. mask: see `add_decayed_weights`; None decays everything.
    Source: Loshchilov, Hutter 2017, arXiv:1711.05101, algorithm 2.
    """
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))


def nadam(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, *, nesterov: bool = True,
) -> Chain:  # fmt: skip
    """Adam with Nesterov momentum: `adam(..., nesterov=True)`.

    Source: Dozat 2016, "Incorporating Nesterov Momentum into Adam".
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def nadamw(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, weight_decay: Hyper = 1e-4, mask: Mask = None, *, nesterov: bool = True,
) -> Chain:  # fmt: skip
    """NAdam with decoupled decay: `adamw(..., nesterov=True)`.

    Source: Dozat 2016; Loshchilov, Hutter 2017, arXiv:1711.05101.
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


def amsgrad(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, bias_correction_mu: bool = True, bias_correction_nu: bool = True,
) -> Chain:  # fmt: skip
    """AMSGrad: `chain(scale_by_amsgrad(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))`.

    Source: Reddi et al. 2018, arXiv:1904.09237.
    """
    direction = scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu)
    return chain(direction, descend(learning_rate))
