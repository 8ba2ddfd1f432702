"""Momentum, at the station "direct": sums and averages of gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias
from gradxform.core.chain import Chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.dither import plus, turn
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable, negligible
from gradxform.core.types import Array, Dtype, Memory, Param, Scalars


class TraceMemory(NamedTuple):
    """trace: shaped like p."""

    trace: Array


class FilledTraceMemory(NamedTuple):
    """trace: shaped like p. seen: bool scalar, whether a gradient has filled it."""

    trace: Array
    seen: Array


class Trace(Halves):
    decay: Hyper
    nesterov: bool = False
    dampening: Hyper = 0.0
    first: str = "zero"
    facts = Facts(decay_rates=("decay",), monotone=True)

    def check(self) -> None:
        check.nonnegative(decay=self.decay)
        check.finite(dampening=self.dampening)
        check.choice("zero", "gradient", first=self.first)

    def init(self, p: Array) -> TraceMemory | FilledTraceMemory:
        b = jnp.zeros_like(p)
        return TraceMemory(b) if self.first == "zero" else FilledTraceMemory(b, seen=jnp.zeros((), bool))

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        g = negligible(g) if self.nesterov else addable(g)  # u adds g itself, of any size
        fresh = (1 - self.dampening) * g
        if isinstance(s, FilledTraceMemory):
            fresh, s = jnp.where(s.seen, fresh, g), s._replace(seen=jnp.ones((), bool))
        return s._replace(trace=self.decay * s.trace + fresh)

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Array:
        u: Array = g + self.decay * s.trace if self.nesterov else s.trace
        return u


class EmaMemory(NamedTuple):
    """ema: shaped like p."""

    ema: Array


class Ema(Halves):
    decay: Beta
    debias: bool = True
    facts = Facts(decay_rates=("decay",), monotone=True)

    def check(self) -> None:
        check.fraction(decay=self.decay)
        check.boolean(debias=self.debias)

    @property
    def corrects(self) -> bool:
        return self.debias

    def init(self, p: Array) -> EmaMemory:
        return EmaMemory(jnp.zeros_like(p))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.decay, t) if self.debias else 1.0, turn(t)

    def remember(self, g: Array, s: EmaMemory, p: Param, k: Scalars) -> EmaMemory:
        g = addable(g)
        near = self.decay * s.ema + (1 - self.decay) * g
        return EmaMemory(plus(s.ema, (1 - self.decay) * (g - s.ema), k[1], near))

    def emit(self, g: Array, s: EmaMemory, p: Param, k: Scalars) -> Array:
        return s.ema / k[0] if self.debias else s.ema


def trace(
    decay: Hyper, nesterov: bool = False, accumulator_dtype: Dtype | None = None, *, dampening: Hyper = 0.0,
    first: str = "zero",
) -> Chain:  # fmt: skip
    """Sum gradients with decay: `b <- decay·b + (1 - dampening)·g`, `u = b`, or `u = g + decay·b` with nesterov.

    Heavy-ball momentum. A sum, not a mean: in the steady state b is 1 / (1 - decay) times the gradient (`ema` is
    the mean). first: what b starts from, `"zero"`, or `"gradient"`: the first gradient seen, undampened, as torch.
    accumulator_dtype: store b in this dtype instead of float32.
    Reach: element. State: trace, shaped like p, float32 or wider; seen, scalar bool, with first="gradient".
    Raises: ValueError if decay < 0.
    Source: Polyak 1964; Sutskever et al. 2013, section 2.
    """
    check.floating(accumulator_dtype=accumulator_dtype)
    return lift(stored_in(Trace(decay, nesterov, dampening, first), trace=accumulator_dtype))


def ema(decay: Beta, debias: bool = True, accumulator_dtype: Dtype | None = None) -> Chain:
    """Average gradients: `m <- decay·m + (1 - decay)·g`, `u = m / (1 - decayᵗ)` with debias, else `u = m`.

    accumulator_dtype: store m in this dtype instead of float32.
    Reach: element. State: ema, shaped like p, float32 or wider.
    Raises: ValueError if decay is not in [0, 1).
    """
    check.floating(accumulator_dtype=accumulator_dtype)
    return lift(stored_in(Ema(decay, debias), ema=accumulator_dtype))
