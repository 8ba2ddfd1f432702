"""Optimistic descent: the next gradient is guessed from the last change of it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Dtype, Param
from gradxform.optimizers.adam import scale_by_adam
from gradxform.transforms.scale import Turn, descend


class Previous(NamedTuple):
    """previous_gradient: shaped like p."""

    previous_gradient: Array


class ScaleByOptimisticGradient(Rule):
    alpha: Hyper = 1.0
    beta: Hyper = 1.0

    def check(self) -> None:
        check.finite(alpha=self.alpha, beta=self.beta)

    def init(self, p: Array) -> Previous:
        return Previous(jnp.zeros_like(p))

    def scalars(self, t: Array) -> Array:
        return t == 1

    def update(self, g: Array, s: Previous, p: Param, k: Array) -> tuple[Array, Previous]:
        g = addable(g)
        change = jnp.where(k, 0, g - s.previous_gradient)
        return self.alpha * g + self.beta * change, Previous(in_place(g, s.previous_gradient))


def scale_by_optimistic_gradient(alpha: Hyper = 1.0, beta: Hyper = 1.0) -> Chain:
    """Add the change of the gradient: `u = alpha·g + beta·(g - g before)`, the change being 0 at the first step.

    For games of two players (saddle points), where plain descent circles round the solution.
    Reach: element. State: previous_gradient, shaped like p, float32 or wider.
    Raises: ValueError if alpha or beta is not finite.
    Source: Mokhtari et al. 2019, arXiv:1901.08511 (generalized optimistic gradient).
    """
    return lift(ScaleByOptimisticGradient(alpha, beta))


def optimistic_gradient_descent(learning_rate: Hyper, alpha: Hyper = 1.0, beta: Hyper = 1.0) -> Chain:
    """Optimistic descent: `chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))`.

    Source: Daskalakis et al. 2018, arXiv:1711.00141, section 2.
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), descend(learning_rate))


def optimistic_adam(
    learning_rate: Hyper, optimism: Hyper | None = None, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8,
    eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None, *, nesterov: bool = True,
) -> Chain:  # fmt: skip
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient(learning_rate, optimism)`, the turn of the sign.

    optimism: the share of the change, None for learning_rate. Nesterov is optax's; the paper's Adam is without it.
    Source: Daskalakis et al. 2018, arXiv:1711.00141, algorithm 1.
    """
    rate = check.given(check.nonnegative, learning_rate=learning_rate)
    change = rate if optimism is None else check.given(check.finite, optimism=optimism)
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, scale_by_optimistic_gradient(rate, change), lift(Turn()))


def optimistic_adam_v2(
    learning_rate: Hyper, *, alpha: Hyper = 1.0, beta: Hyper = 1.0, b1: Beta = 0.9, b2: Beta = 0.999,
    eps: Hyper = 1e-8, eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None, nesterov: bool = True,
) -> Chain:  # fmt: skip
    """Optimistic Adam: `scale_by_adam`, `scale_by_optimistic_gradient(alpha, beta)`, `scale_by_learning_rate`.

    Source: Daskalakis et al. 2018, arXiv:1711.00141, algorithm 1.
    """
    direction = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    return chain(direction, scale_by_optimistic_gradient(alpha, beta), descend(learning_rate))
