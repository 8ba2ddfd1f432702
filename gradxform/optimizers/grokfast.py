"""Grokfast: the slow part of the gradient, amplified before an optimizer sees it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach
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


class Window(NamedTuple):
    """window: the last gradients, `[window_size, *p.shape]`."""

    window: Array


class GrokfastMa(Halves):
    window_size: int = 100
    lamb: Hyper = 5.0
    filter_type: str = "mean"
    warmup: bool = True
    facts = Facts(reach=Reach.ARRAY, placed=True)

    def check(self) -> None:
        check.integer(1, window_size=self.window_size)
        check.nonnegative(lamb=self.lamb)
        check.choice("mean", "sum", filter_type=self.filter_type)

    def init(self, p: Array) -> Window:
        return Window(jnp.zeros_like(jnp.broadcast_to(p, (self.window_size, *p.shape))))

    def scalars(self, t: Count) -> Scalars:
        begun = jnp.minimum(t, self.window_size)
        weight = self.lamb / begun if self.filter_type == "mean" else self.lamb * 1.0
        return (t - 1) % self.window_size, jnp.where(begun < self.window_size, 0.0, weight) if self.warmup else weight

    def remember(self, g: Array, s: Window, p: Param, k: Scalars) -> Window:
        return Window(s.window.at[k[0]].set(addable(g, 2 * self.window_size)))

    def emit(self, g: Array, s: Window, p: Param, k: Scalars) -> Array:
        u: Array = addable(g) + k[1] * s.window.sum(0)
        return u


def grokfast(alpha: Beta = 0.98, lamb: Hyper = 2.0) -> Chain:
    """Amplify the slow part of the gradient: `m <- alpha·m + (1-alpha)·g`, from the first g on, `u = g + lamb·m`.

    In front of any optimizer: `chain(grokfast(), adamw(...))`; what was learnt by heart generalises sooner. The form
    with a moving average; that with a window of gradients is `grokfast_ma`.
    Reach: element. State: ema, shaped like p, float32 or wider.
    Raises: ValueError if alpha is not in [0, 1) or lamb < 0.
    Source: Lee et al. 2024, arXiv:2405.20233, algorithm 2 (Grokfast-EMA).
    """
    return lift(Grokfast(alpha, lamb))


def grokfast_ma(window_size: int = 100, lamb: Hyper = 5.0, filter_type: str = "mean", warmup: bool = True) -> Chain:
    """Amplify the slow part of the gradient: `u = g + lamb·mean`, of the last window_size gradients with this one.

    As `grokfast`, of which it is the authors' first form, with the memory of window_size gradients.
    filter_type: "mean" or "sum". warmup: leave gradients as they are until the window is full; else of those so far.
    Reach: array, as its memory is no array like p. State: window, `[window_size, *p.shape]`, float32 or wider.
    Raises: ValueError if window_size < 1, lamb < 0, or filter_type is another word.
    Source: Lee et al. 2024, arXiv:2405.20233, algorithm 1 (Grokfast-MA).
    """
    return lift(GrokfastMa(window_size, lamb, filter_type, warmup))
