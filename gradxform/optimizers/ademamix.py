"""AdEMAMix: Adam with a second, slow mean of gradients beside the first."""

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
from gradxform.core.types import Array, Count, Dtype, Mask, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


def warmed(start: Beta, end: Beta, steps: int, t: Count) -> tuple[Scalars, Scalars]:
    """b and 1 - b at step t, where the length of the mean, 1 / log b, grows linearly from start to end."""
    if not steps:
        return end, 1 - end
    first, last = (  # the authors' 1e-8, for a start of 0
        jnp.where(1 - b > 0.5, jnp.log(b * 1 + 1e-8), jnp.log1p(1e-8 - (1 - b))) for b in (start, end)
    )
    share = 1.0 * t / steps
    rate = 1 / ((1 - share) / first + share / last)
    return jnp.where(t < steps, jnp.exp(rate), 1 - (1 - end)), jnp.where(t < steps, -jnp.expm1(rate), 1 - end)


class MixedMoments(NamedTuple):
    """m1, the fast mean, and m2, the slow one: shaped like p. nu: shaped like p, real."""

    m1: Array
    m2: Array
    nu: Array


class ScaleByAdemamix(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.999
    b3: Beta = 0.9999
    alpha: Hyper = 2.0
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0
    b3_warmup: int = 0
    alpha_warmup: int = 0
    facts = Facts(monotone=True)

    def check(self) -> None:
        check.nonnegative(alpha=self.alpha, eps=self.eps, eps_root=self.eps_root)
        check.integer(b3_warmup=self.b3_warmup, alpha_warmup=self.alpha_warmup)

    def init(self, p: Array) -> MixedMoments:
        return MixedMoments(jnp.zeros_like(p), jnp.zeros_like(p), jnp.zeros_like(p.real))

    def scalars(self, t: Count) -> Scalars:
        share = jnp.minimum(1.0 * t / self.alpha_warmup, 1.0) if self.alpha_warmup else 1.0
        return debias(self.b1, t), debias(self.b2, t), self.alpha * share, warmed(self.b1, self.b3, self.b3_warmup, t)

    def remember(self, g: Array, s: MixedMoments, p: Param, k: Scalars) -> MixedMoments:
        g, (*_, (old, new)) = squarable(g), k
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        return MixedMoments(self.b1 * s.m1 + (1 - self.b1) * g, old * s.m2 + new * g, nu)

    def emit(self, g: Array, s: MixedMoments, p: Param, k: Scalars) -> Array:
        c1, c2, alpha, _ = k
        return quotient(s.m1 / c1 + alpha * s.m2, root(s.nu / c2 + self.eps_root) + self.eps, self.eps)


class SummedMoments(NamedTuple):
    """m, a sum of gradients: shaped like p. n: shaped like p, real."""

    m: Array
    n: Array


class ScaleBySimplifiedAdemamix(Halves):
    b1: Beta = 0.99
    b2: Beta = 0.95
    alpha: Hyper = 0.0
    eps: Hyper = 1e-8
    eps_root: Hyper = 0.0
    b1_warmup: int = 0
    min_b1: Beta = 0.9
    facts = Facts(monotone=True)

    def check(self) -> None:
        check.nonnegative(alpha=self.alpha, eps=self.eps, eps_root=self.eps_root)
        check.integer(b1_warmup=self.b1_warmup)

    def init(self, p: Array) -> SummedMoments:
        return SummedMoments(m=jnp.zeros_like(p), n=jnp.zeros_like(p.real))

    def scalars(self, t: Count) -> Scalars:
        return debias(self.b2, t), warmed(self.min_b1, self.b1, self.b1_warmup, t)[0]

    def remember(self, g: Array, s: SummedMoments, p: Param, k: Scalars) -> SummedMoments:
        g = squarable(g)
        return SummedMoments(k[1] * s.m + g, self.b2 * s.n + (1 - self.b2) * abs_sq(g))

    def emit(self, g: Array, s: SummedMoments, p: Param, k: Scalars) -> Array:
        size = root(s.n / k[0] + self.eps_root) + self.eps
        return quotient(s.m + self.alpha * squarable(g), size, self.eps)


def scale_by_ademamix(
    b1: Beta = 0.9, b2: Beta = 0.999, b3: Beta = 0.9999, alpha: Hyper = 2.0, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, *, b3_warmup: int = 0, alpha_warmup: int = 0,
) -> Chain:  # fmt: skip
    """Adam with a slow mean beside the fast one: `u = (m̂₁ + alpha·m₂) / (√(v̂ + eps_root) + eps)`.

    m₁ and m₂ are means of g with rates b1 and b3, v one of |g|² with b2; m₂ is not corrected. b3_warmup, alpha_warmup:
    steps in which b3 grows from b1, by the length of the mean, and alpha from 0; the paper takes all steps. alpha is
    the authors' code's, the paper has 5 to 8, optax 6. mu_dtype: store m₁ and m₂ in this dtype instead of float32.
    Reach: element. State: m1, m2, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if a rate is not in [0, 1), or another argument is negative.
    Source: Pagliardini et al. 2024, arXiv:2409.03137, algorithm 1.
    """
    check.floating(mu_dtype=mu_dtype)
    rule = ScaleByAdemamix(b1, b2, b3, alpha, eps, eps_root, b3_warmup, alpha_warmup)
    return lift(stored_in(rule, m1=mu_dtype, m2=mu_dtype))


def scale_by_simplified_ademamix(
    b1: Beta = 0.99, b2: Beta = 0.95, alpha: Hyper = 0.0, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, *,
    b1_warmup: int = 0, min_b1: Beta = 0.9,
) -> Chain:  # fmt: skip
    """Adam with a sum for its mean, and the gradient beside it: `u = (m + alpha·g) / (√(n̂ + eps_root) + eps)`.

    `m <- b1·m + g`, `n <- b2·n + (1-b2)·|g|²`: m is about 1 / (1-b1) times a mean, and the rate smaller by that.
    b1_warmup: steps in which b1 grows from min_b1, by the length of the mean.
    Reach: element. State: m, n, shaped like p, float32 or wider (n real for complex p).
    Raises: ValueError if a rate is not in [0, 1), or another argument is negative.
    Source: Morwani et al. 2025, arXiv:2502.02431.
    """
    return lift(ScaleBySimplifiedAdemamix(b1, b2, alpha, eps, eps_root, b1_warmup, min_b1))


def ademamix(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, b3: Beta = 0.9999, alpha: Hyper = 2.0, eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None, weight_decay: Hyper = 0.0, mask: Mask = None, *,
    b3_warmup: int = 0, alpha_warmup: int = 0,
) -> Chain:  # fmt: skip
    """AdEMAMix: `scale_by_ademamix`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    optax's alpha is 5.
    Source: Pagliardini et al. 2024, arXiv:2409.03137, algorithm 1.
    """
    warmup = {"b3_warmup": b3_warmup, "alpha_warmup": alpha_warmup}
    direction = scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype, **warmup)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))


def simplified_ademamix(
    learning_rate: Hyper, b1: Beta = 0.99, b2: Beta = 0.95, alpha: Hyper = 0.0, eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0, weight_decay: Hyper = 0.0, mask: Mask = None, *, b1_warmup: int = 0, min_b1: Beta = 0.9,
) -> Chain:  # fmt: skip
    """Simplified AdEMAMix: `scale_by_simplified_ademamix`, `add_decayed_weights(weight_decay, mask)`, learning rate.

    Source: Morwani et al. 2025, arXiv:2502.02431.
    """
    direction = scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root, b1_warmup=b1_warmup, min_b1=min_b1)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
