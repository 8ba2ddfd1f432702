"""ADOPT: each gradient is divided by what was remembered before it came, then averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, power, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.hyper import Beta, Hyper, called
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Count, Dtype, Param, Scalars
from gradxform.optimizers.adam import Moments
from gradxform.transforms.scale import descend


class ScaleByAdopt(Rule):
    b1: Beta = 0.9
    b2: Beta = 0.9999
    eps: Hyper = 1e-6
    nesterov: bool = False
    use_clipping: bool | None = None
    clip_value_fn: Callable[[Any], Any] | None = None
    b3: Beta = 0.9

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.function(clip_value_fn=self.clip_value_fn)
        if self.use_clipping is not None:
            check.boolean(use_clipping=self.use_clipping)
        if self.clip_value_fn is not None and not self.use_clipping:
            raise ValueError("clip_value_fn bounds nothing without use_clipping=True")

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p.real))

    def scalars(self, t: Count) -> Scalars:
        """The shares of the old and the new in both means, the least size, and the bound of a direction."""
        first, starts = t == 1, (t == 2) & (self.use_clipping is None)
        old = jnp.where(first, 1, jnp.where(starts, 0, self.b1 * 1))
        new = jnp.where(first, 0, jnp.where(starts, 1, 1 - self.b1))
        least, most = self.eps, jnp.inf
        if self.use_clipping is None:
            least = jnp.maximum(least, jnp.where(t > 2, power(self.b3, jnp.maximum(t - 2, 1)), 1))
        elif self.use_clipping:
            bound = self.clip_value_fn
            most = called("clip_value_fn", bound, t - 1) if bound else (t - 1.0) ** 0.25
        return old, new, jnp.where(first, 0, self.b2 * 1), jnp.where(first, 1, 1 - self.b2), least, most

    def update(self, g: Array, s: Moments, p: Param, k: Scalars) -> tuple[Array, Moments]:
        old, new, old_square, new_square, least, most = k
        g = squarable(g)
        d = quotient(g, jnp.maximum(root(s.nu), least), 0.0)
        if self.use_clipping:
            d = d / jnp.maximum(jnp.abs(d) / most, 1) if jnp.iscomplexobj(d) else jnp.clip(d, -most, most)
        mu = old * s.mu + new * d
        return old * mu + new * d if self.nesterov else mu, Moments(mu, old_square * s.nu + new_square * abs_sq(g))


def scale_by_adopt(
    b1: Beta = 0.9, b2: Beta = 0.9999, eps: Hyper = 1e-6, mu_dtype: Dtype | None = None, *, nesterov: bool = False,
    use_clipping: bool | None = None, clip_value_fn: Callable[[Any], Any] | None = None, b3: Beta = 0.9,
) -> Chain:  # fmt: skip
    """Divide by the root of the squares before g, then average: `d = g / max(√v, e)`, `m <- b1·m + (1-b1)·d`, `u = m`.

    Then `v <- b2·v + (1-b2)·|g|²`; the first step only sets `v = |g|²`. Three formulas are published.
    use_clipping None, the authors' code: `e = max(eps, b3^(t-2))`, and m starts as the first d. True, the paper's with
    clipping, optax's default: `e = eps`, `|d| <= clip_value_fn(t-1)`, by default (t-1)^(1/4). False, the paper's first.
    nesterov: `u = b1·m + (1-b1)·d`. mu_dtype: store m in this dtype instead of float32.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if a rate is not in [0, 1), eps < 0, or clip_value_fn comes without use_clipping=True.
    Source: Taniguchi et al. 2024, arXiv:2411.02853, algorithms 1 and 2.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByAdopt(b1, b2, eps, nesterov, use_clipping, clip_value_fn, b3), mu=mu_dtype))


def adopt(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.9999, eps: Hyper = 1e-6, mu_dtype: Dtype | None = None, *,
    nesterov: bool = False, use_clipping: bool | None = None, clip_value_fn: Callable[[Any], Any] | None = None,
    b3: Beta = 0.9,
) -> Chain:  # fmt: skip
    """ADOPT: `chain(scale_by_adopt(b1, b2, eps, ...), scale_by_learning_rate(learning_rate))`.

    For its formulas see there: use_clipping=True is optax's.
    Source: Taniguchi et al. 2024, arXiv:2411.02853.
    """
    direction = scale_by_adopt(
        b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping, clip_value_fn=clip_value_fn, b3=b3
    )
    return chain(direction, descend(learning_rate))
