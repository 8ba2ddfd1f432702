"""Grokfast: the slow part of the gradient, amplified before an optimizer sees it."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Count, Param, Scalars
from gradxform.transforms.momentum import EmaMemory


class Grokfast(Halves):
    alpha: Beta = 0.98
    lamb: Hyper = 2.0
    facts = Facts(monotone=True)

    def check(self) -> None:
        check.nonnegative(lamb=self.lamb)

    def init(self, p: Array) -> EmaMemory:
        return EmaMemory(jnp.zeros_like(p))

    def scalars(self, t: Count) -> Scalars:
        return t == 1

    def remember(self, g: Array, s: EmaMemory, p: Param, k: Scalars) -> EmaMemory:
        g = addable(g)
        return EmaMemory(jnp.where(k, g, self.alpha * s.ema + (1 - self.alpha) * g))

    def emit(self, g: Array, s: EmaMemory, p: Param, k: Scalars) -> Array:
        u: Array = addable(g) + self.lamb * s.ema
        return u


def grokfast(alpha: Beta = 0.98, lamb: Hyper = 2.0) -> Chain:
    """Amplify the slow part of the gradient: `m <- alpha·m + (1-alpha)·g`, from the first g on, `u = g + lamb·m`.

    In front of any optimizer: `chain(grokfast(), adamw(...))`; what was learnt by heart generalises sooner. The form
    with a moving average; the authors' other one keeps a window of gradients.
    Reach: element. State: ema, shaped like p, float32 or wider.
    Raises: ValueError if alpha is not in [0, 1) or lamb < 0.
    Source: Lee et al. 2024, arXiv:2405.20233, algorithm 2 (Grokfast-EMA).
    """
    return lift(Grokfast(alpha, lamb))
