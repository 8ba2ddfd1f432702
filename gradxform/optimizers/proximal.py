"""Proximal descent: the penalty enters where the step lands, and makes exact zeros."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import saturated, squarable
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adagrad import SumOfSquares, scale_by_rss
from gradxform.transforms.proximal import proximal_elastic_net, shrink
from gradxform.transforms.scale import descend


class AdaptiveProximalAdagrad(Halves):
    learning_rate: Hyper = 0.001
    accum: Hyper = 0.1
    l1: Hyper = 0.0
    l2: Hyper = 0.0
    name = "rss"
    facts = Facts(needs_params=True, real_only=True, turns=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, accum=self.accum, l1=self.l1, l2=self.l2)

    def init(self, p: Array) -> SumOfSquares:
        return SumOfSquares(jnp.full_like(p, self.accum))

    def remember(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> SumOfSquares:
        return SumOfSquares(saturated(s.sum_of_squares + abs_sq(squarable(g))))

    def emit(self, g: Array, s: SumOfSquares, p: Array, k: Scalars) -> Array:
        total = s.sum_of_squares
        rate = jnp.where(total > 0, self.learning_rate / root(total), 0.0)
        landed: Array = shrink(p - rate * g, rate * self.l1) / (1 + rate * self.l2)
        return landed - p


def proximal_sgd(learning_rate: Hyper, l1: Hyper = 0.0, l2: Hyper = 0.0) -> Chain:
    """Proximal gradient descent: `p <- prox(p - learning_rate·g)`, prox that of `learning_rate·(l1‖p‖₁ + l2/2‖p‖²)`.

    `chain(scale_by_learning_rate, proximal_elastic_net(l1, l2, learning_rate))`: ISTA, where g is the full gradient.
    Source: Beck, Teboulle 2009, equation 1.4; Parikh, Boyd 2014, section 4.2.
    """
    learning_rate = check.given(check.nonnegative, learning_rate=learning_rate)
    return chain(descend(learning_rate), proximal_elastic_net(l1, l2, learning_rate))


def proximal_adagrad(
    learning_rate: Hyper = 0.001, accum: Hyper = 0.1, l1: Hyper = 0.0, l2: Hyper = 0.0, *,
    adaptive_threshold: bool = False,
) -> Chain:  # fmt: skip
    """Adagrad with a proximal step: `a <- a + g²`, `v = p - η·g/√a`, `p <- sign(v)·max(|v| - η·l1, 0) / (1 + η·l2)`.

    The published formula: η, the learning rate, in threshold and divisor. With adaptive_threshold both take η/√a, which
    is what the frameworks execute. accum: what a starts from, at least 0.
    Reach: element. State: sum_of_squares, shaped like p, float32 or wider.
    Raises: ValueError if an argument is negative, params are missing, or the parameter is complex.
    Source: Duchi, Singer 2009 (FOBOS), with the rates of Duchi et al. 2011.
    """
    check.boolean(adaptive_threshold=adaptive_threshold)
    if adaptive_threshold:
        return lift(AdaptiveProximalAdagrad(learning_rate, accum, l1, l2))
    learning_rate = check.given(check.nonnegative, learning_rate=learning_rate)
    accum = check.given(check.nonnegative, accum=accum)
    step = chain(scale_by_rss(accum, eps=0.0), descend(learning_rate))
    return chain(step, proximal_elastic_net(l1, l2, learning_rate))
