"""MARS: the change of the gradient, added to it, takes variance out before another method sees it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, root
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Mask, Param, Scalars
from gradxform.optimizers.adam import scale_by_adam
from gradxform.optimizers.optimistic import Previous
from gradxform.transforms.clip import clip_factor
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleByMars(Rule):
    gamma: Hyper = 0.025
    b1: Beta = 0.95
    max_norm: Hyper = 1.0
    facts = Facts(reach=Reach.ARRAY)

    def check(self) -> None:
        check.nonnegative(gamma=self.gamma)
        check.positive_bound(max_norm=self.max_norm)

    def init(self, p: Array) -> Previous:
        return Previous(jnp.zeros_like(p))

    def update(self, g: Array, s: Previous, p: Param, k: Scalars) -> tuple[Array, Previous]:
        norm = root(jnp.sum(abs_sq(self.with_change(g, s))))
        norm, g = jax.lax.optimization_barrier((norm, g))  # computed again behind the norm, never written
        new = in_place(squarable(g, g.size), s.previous_gradient)
        return self.with_change(g, s) * clip_factor(self.max_norm, norm), Previous(new)

    def with_change(self, g: Array, s: Previous) -> Array:
        g = squarable(g, g.size)
        c: Array = g + self.gamma * self.b1 / (1 - self.b1) * (g - s.previous_gradient)
        return c


def scale_by_mars(gamma: Hyper = 0.025, b1: Beta = 0.95, max_norm: Hyper = 1.0) -> Chain:
    """Add the change of the gradient, and clip each array's norm: `u = clip(g + gamma·b1/(1-b1)·(g - g before))`.

    In front of AdamW, Lion or Muon, with their b1; the gradient before the first is 0, as in the authors' code. This is
    their approximate form: the exact one takes the gradient before on the batch of now.
    Reach: array. State: previous_gradient, shaped like p, float32 or wider.
    Raises: ValueError if gamma < 0, b1 is not in [0, 1) or max_norm <= 0 (infinity clips nothing).
    Source: Yuan et al. 2024, arXiv:2411.10438, algorithm 1.
    """
    return lift(ScaleByMars(gamma, b1, max_norm))


def mars(
    learning_rate: Hyper, b1: Beta = 0.95, b2: Beta = 0.99, eps: Hyper = 1e-8, weight_decay: Hyper = 0.0,
    mask: Mask = None, *, gamma: Hyper = 0.025, max_norm: Hyper = 1.0,
) -> Chain:  # fmt: skip
    """MARS-AdamW: `scale_by_mars(gamma, b1, max_norm)`, `scale_by_adam(b1, b2, eps)`, decay, learning rate.

    The authors train only matrices so, and vectors by AdamW: `groups([(~ndim_at_least(2), adamw(...))], mars(...))`.
    Source: Yuan et al. 2024, arXiv:2411.10438, algorithm 2.
    """
    b1 = check.given(check.fraction, b1=b1)
    direction = chain(scale_by_mars(gamma, b1, max_norm), scale_by_adam(b1, b2, eps))
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
