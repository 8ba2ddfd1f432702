"""Adagrad: divide by the root of the sum of all squares so far."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, inverse_root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.dither import plus, turn
from gradxform.core.facts import Facts
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import saturated, squarable
from gradxform.core.types import Array, Param, Scalars
from gradxform.transforms.scale import descend


class SumOfSquares(NamedTuple):
    """sum_of_squares: shaped like p, real."""

    sum_of_squares: Array


class SumsSquares(Halves, abstract=True):
    initial_accumulator_value: Hyper = 0.1
    eps: Hyper = 1e-7
    facts = Facts(decay_rates=(), monotone=True)

    def check(self) -> None:
        check.nonnegative(initial_accumulator_value=self.initial_accumulator_value, eps=self.eps)

    def init(self, p: Array) -> SumOfSquares:
        return SumOfSquares(jnp.full_like(p.real, self.initial_accumulator_value))

    def remember(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> SumOfSquares:
        return SumOfSquares(saturated(s.sum_of_squares + abs_sq(squarable(g))))


class ScaleByRss(SumsSquares):
    corrects = False

    def scalars(self, t: Array) -> Array:
        return turn(t)

    def remember(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> SumOfSquares:
        return SumOfSquares(saturated(plus(s.sum_of_squares, abs_sq(squarable(g)), k)))

    def emit(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> Array:
        return g * inverse_root(s.sum_of_squares + self.eps, self.eps)


def scale_by_rss(initial_accumulator_value: Hyper = 0.1, eps: Hyper = 1e-7) -> Chain:
    """Divide by the root of the sum of squares: `a <- a + |g|²`, `u = g / √(a + eps)`, and 0 where a + eps = 0.

    initial_accumulator_value: what a starts from, at least 0 (a number: it is used once, at init).
    Reach: element. State: sum_of_squares, shaped like p, float32 or wider.
    Raises: ValueError if an argument is negative.
    Source: Duchi et al. 2011, JMLR 12, equation 1.
    """
    return lift(ScaleByRss(initial_accumulator_value, eps))


def adagrad(learning_rate: Hyper, initial_accumulator_value: Hyper = 0.1, eps: Hyper = 1e-7) -> Chain:
    """Adagrad: `chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))`.

    Source: Duchi et al. 2011, JMLR 12.
    """
    return chain(scale_by_rss(initial_accumulator_value, eps), descend(learning_rate))
