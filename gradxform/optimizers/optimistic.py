"""Optimistic descent: the next gradient is guessed from the last change of it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Param
from gradxform.transforms.scale import descend


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
        return self.alpha * g + self.beta * change, Previous(g)


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
