"""RAdam: Adam that waits until its second moment has seen enough to be trusted."""

from __future__ import annotations

import abc

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, log, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.transforms.scale import descend


class Rectified(AdamLike, abstract=True):
    threshold: Hyper = 5.0
    nesterov: bool = False
    facts = Facts(decay_rates=("b1", "b2"), monotone=True)

    def check(self) -> None:
        super().check()
        check.at_least(4.0, threshold=self.threshold)

    def scalars(self, t: Array) -> Scalars:
        longest, length = lengths(self.b2, t)
        trusted = length >= self.threshold
        longest, length = (jnp.where(trusted, x, 5.0) for x in (longest, length))
        rect = (length - 4) / (longest - 4) * ((length - 2) / (longest - 2)) * (longest / length)
        return debias(self.b1, t), debias(self.b2, t), debias(self.b1, t + 1), jnp.sqrt(rect), trusted

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        c1, c2, c1_next, rect, trusted = k
        m_hat = self.ahead(g, s.mu, c1, c1_next) if self.nesterov else s.mu / c1
        return jnp.where(trusted, rect * m_hat * self.inverse_root(s.nu, c2), m_hat)

    @abc.abstractmethod
    def inverse_root(self, nu: Array, c2: Array) -> Array:
        """One over the root of the corrected nu, epsilon in its place."""


class ScaleByRadam(Rectified):
    def inverse_root(self, nu: Array, c2: Array) -> Array:
        return quotient(1, root(nu / c2 + self.eps_root) + self.eps, self.eps)


def lengths(b2: Beta, t: Array) -> tuple[Scalars, Scalars]:
    """ρ∞ = 2 / (1 - b2) - 1 and ρₜ = ρ∞ - 2t·b2ᵗ / (1 - b2ᵗ), which would cancel, as a sum: c + 2/L·(1 - x/(eˣ - 1)).

    L = -log b2, x = t·L, and c = ρ∞ - 2/L, of the size of (1 - b2)/6.
    """
    rate = -log(b2)
    longest = 2 / (1 - b2) - 1
    x = jnp.minimum(t * rate, 80.0)
    grown = jnp.where(x < 0.5, _series(x), 1 - x / jnp.expm1(jnp.maximum(x, 0.5)))
    return longest, _offset(b2, rate, longest) + 2 / rate * grown


def _series(x: Array) -> Array:
    """1 - x / (eˣ - 1) for small x: Bernoulli's numbers over factorials."""
    y = x * x
    return x / 2 - y / 12 * (1 - y / 60 * (1 - y / 42 * (1 - y / 40 * (1 - 5 * y / 198))))


def _offset(b2: Beta, rate: Scalars, longest: Scalars) -> Scalars:
    """2/d - 1 - 2/L for d = 1 - b2: Gregory's series where d is small."""
    d = 1 - b2
    near = d / 6 * (1 + d / 2 * (1 + 19 * d / 30 * (1 + 27 * d / 38 * (1 + 863 * d / 1134))))
    if isinstance(b2, float):
        return near if d < 0.01 else longest - 2 / rate
    return jnp.where(d < (0.01 if jnp.asarray(d).dtype == jnp.float64 else 0.1), near, longest - 2 / rate)


def scale_by_radam(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, threshold: Hyper = 5.0, *,
    nesterov: bool = False,
) -> Chain:  # fmt: skip
    """Adam, rectified: `u = r·m̂ / (√(v̂ + eps_root) + eps)` where ρ >= threshold, and `u = m̂` before.

    m̂ and v̂ as in `scale_by_adam`; `ρ = ρ∞ - 2t·b2ᵗ / (1 - b2ᵗ)`, `ρ∞ = 2 / (1 - b2) - 1` is the length of the average
    in v, and `r² = (ρ-4)(ρ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρ)`. No warm-up is needed.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0, eps_root < 0 or threshold < 4.
    Source: Liu et al. 2019, arXiv:1908.03265, algorithm 2.
    """
    return lift(ScaleByRadam(b1, b2, eps, eps_root, threshold, nesterov))


def radam(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    threshold: Hyper = 5.0, *, nesterov: bool = False,
) -> Chain:  # fmt: skip
    """RAdam: `chain(scale_by_radam(b1, b2, eps, eps_root, threshold), scale_by_learning_rate(learning_rate))`.

    Source: Liu et al. 2019, arXiv:1908.03265, algorithm 2.
    """
    return chain(scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov), descend(learning_rate))
