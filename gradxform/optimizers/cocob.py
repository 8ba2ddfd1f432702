"""COCOB: descent without a learning rate, by betting on the next gradient."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import quotient
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable, saturated, squarable
from gradxform.core.types import Array, Mask, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import scale_by_learning_rate


class Bets(NamedTuple):
    """init_particles, what p was at first, cumulative_gradients, scale, subgradients, reward: shaped like p."""

    init_particles: Array
    cumulative_gradients: Array
    scale: Array
    subgradients: Array
    reward: Array


class ScaleByCocob(Halves):
    alpha: Hyper = 100.0
    eps: Hyper = 1e-8
    facts = Facts(station=Station.STEP, needs_params=True, real_only=True, turns=True)

    def check(self) -> None:
        check.nonnegative(alpha=self.alpha, eps=self.eps)

    def init(self, p: Array) -> Bets:
        zero = jnp.zeros_like(p)
        return Bets(p, zero, jnp.full_like(p, self.eps), jnp.copy(zero), jnp.copy(zero))

    def remember(self, g: Array, s: Bets, p: Array, k: Scalars) -> Bets:
        g, size = squarable(g), jnp.abs(squarable(g))
        return Bets(
            s.init_particles,
            addable(s.cumulative_gradients - g, 4),
            jnp.maximum(s.scale, size),
            saturated(s.subgradients + size),
            saturated(jnp.maximum(s.reward - g * (p - s.init_particles), 0)),
        )

    def emit(self, g: Array, s: Bets, p: Array, k: Scalars) -> Array:
        rounds = jnp.maximum(s.subgradients + s.scale, self.alpha * s.scale)
        bet = quotient(s.cumulative_gradients, rounds, 0.0) * (1 + quotient(s.reward, s.scale, 0.0))
        return bet - (p - s.init_particles)


def scale_by_cocob(alpha: Hyper = 100.0, eps: Hyper = 1e-8) -> Chain:
    """Bet a part of what was won: `p <- p₁ - G / (L·max(S + L, alpha·L)) · (L + R)`, p₁ what p was at first.

    G is the sum of g, S of |g|, L the largest |g|, at least eps, and R, the reward, `R <- max(R - g·(p - p₁), 0)`.
    No learning rate follows. alpha: about how many steps it takes to trust the reward.
    Reach: element. State: init_particles, cumulative_gradients, scale, subgradients, reward, float32 or wider.
    Raises: ValueError if an argument is negative, params are missing, or the parameter is complex.
    Source: Orabona, Tommasi 2017, arXiv:1705.07795, algorithm 2.
    """
    return lift(ScaleByCocob(alpha, eps))


def cocob(
    learning_rate: Hyper = 1.0, alpha: Hyper = 100.0, eps: Hyper = 1e-8, weight_decay: Hyper = 0.0, mask: Mask = None
) -> Chain:
    """COCOB: `add_decayed_weights(weight_decay, mask)`, the gradient times learning_rate, `scale_by_cocob(alpha, eps)`.

    Source: Orabona, Tommasi 2017, arXiv:1705.07795, algorithm 2.
    """
    decay = add_decayed_weights(weight_decay, mask)
    return chain(decay, scale_by_learning_rate(learning_rate, flip_sign=False), scale_by_cocob(alpha, eps))
