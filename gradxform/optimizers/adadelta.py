"""Adadelta: steps in the units of the parameters, without a learning rate."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Mask, Param, Scalars
from gradxform.params.masks import mask_selector
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.scale import descend

ROOM = 2**24
"""So many times smaller than the largest square are the squares summed: eps over their mean is a normal number."""


class SquaredMeans(NamedTuple):
    """e_g, of gradients, and e_x, of updates: shaped like p, real."""

    e_g: Array
    e_x: Array


class ScaleByAdadelta(Halves):
    rho: Beta = 0.9
    eps: Hyper = 1e-6
    facts = Facts(decay_rates=("rho",))

    def check(self) -> None:
        check.positive(eps=self.eps)

    def init(self, p: Array) -> SquaredMeans:
        return SquaredMeans(e_g=jnp.zeros_like(p.real), e_x=jnp.zeros_like(p.real))

    def remember(self, g: Array, s: SquaredMeans, p: Param, k: Scalars) -> SquaredMeans:
        g = squarable(g, ROOM)
        e_g = self.rho * s.e_g + (1 - self.rho) * abs_sq(g)
        size = (s.e_x + self.eps) * quotient(abs_sq(g), e_g + self.eps, self.eps)
        return SquaredMeans(e_g, self.rho * s.e_x + (1 - self.rho) * size)

    def emit(self, g: Array, s: SquaredMeans, p: Param, k: Scalars) -> Array:
        """From the new means alone: nothing cancels, and the old x needs no copy."""
        below = self.rho * (s.e_g + self.eps) + (1 - self.rho) * abs_sq(g)
        return g * root(quotient(s.e_x + self.rho * self.eps, below, self.rho * self.eps))


def scale_by_adadelta(rho: Beta = 0.9, eps: Hyper = 1e-6) -> Chain:
    """Scale by a ratio of means of squares: `u = g · √(x + eps) / √(v + eps)`, v of gradients, x of past updates.

    `v <- rho·v + (1-rho)·|g|²`, then u, then `x <- rho·x + (1-rho)·|u|²`.
    Reach: element. State: e_g (v), e_x (x), shaped like p, float32 or wider.
    Raises: ValueError if rho is not in [0, 1) or eps <= 0.
    Source: Zeiler 2012, arXiv:1212.5701, algorithm 1.
    """
    return lift(ScaleByAdadelta(rho, eps))


def adadelta(
    learning_rate: Hyper | None = None, rho: Beta = 0.9, eps: Hyper = 1e-6, weight_decay: Hyper = 0.0,
    weight_decay_mask: Mask = None,
) -> Chain:  # fmt: skip
    """Adadelta: `add_decayed_weights` (where weight_decay is not 0), `scale_by_adadelta`, learning rate (None: 1.0).

    Source: Zeiler 2012, arXiv:1212.5701.
    """
    decay = lift(AddDecayedWeights(weight_decay), mask_selector(weight_decay_mask, "weight_decay_mask"))
    decayed = () if isinstance(weight_decay, int | float) and weight_decay == 0.0 else (decay,)
    return chain(*decayed, scale_by_adadelta(rho, eps), descend(1.0 if learning_rate is None else learning_rate))
