"""Momentum, at the station "direct": sums and averages of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias
from gradxform.core.chain import Chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves


class TraceMemory(NamedTuple):
    trace: Any


class FilledTraceMemory(NamedTuple):
    trace: Any
    seen: Any


class Trace(Halves):
    decay: Hyper
    nesterov: bool = False
    dampening: Hyper = 0.0
    first: str = "zero"
    facts = Facts(decay_rates=("decay",), monotone=True)

    def check(self) -> None:
        check.nonnegative(decay=self.decay)
        check.finite(dampening=self.dampening)
        check.boolean(nesterov=self.nesterov)
        check.choice("zero", "gradient", first=self.first)

    def init(self, p: Any) -> TraceMemory | FilledTraceMemory:
        if self.first == "zero":
            return TraceMemory(jnp.zeros_like(p))
        return FilledTraceMemory(jnp.zeros_like(p), seen=jnp.zeros((), bool))

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        fresh = (1 - self.dampening) * g
        if isinstance(s, FilledTraceMemory):
            fresh = jnp.where(s.seen, fresh, g)
            s = s._replace(seen=jnp.ones((), bool))
        return s._replace(trace=self.decay * s.trace + fresh)

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g + self.decay * s.trace if self.nesterov else s.trace


class EmaMemory(NamedTuple):
    ema: Any


class Ema(Halves):
    decay: Beta
    debias: bool = True
    facts = Facts(decay_rates=("decay",), monotone=True)

    def check(self) -> None:
        check.fraction(decay=self.decay)
        check.boolean(debias=self.debias)

    def init(self, p: Any) -> EmaMemory:
        return EmaMemory(jnp.zeros_like(p))

    def scalars(self, t: Any) -> Any:
        return debias(self.decay, t) if self.debias else 1.0

    def remember(self, g: Any, s: EmaMemory, p: Any, k: Any) -> EmaMemory:
        return EmaMemory(self.decay * s.ema + (1 - self.decay) * g)

    def emit(self, g: Any, s: EmaMemory, p: Any, k: Any) -> Any:
        return s.ema / k if self.debias else s.ema


def trace(
    decay: Any, nesterov: bool = False, accumulator_dtype: Any = None, *, dampening: Any = 0.0, first: str = "zero"
) -> Chain:
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


def ema(decay: Any, debias: bool = True, accumulator_dtype: Any = None) -> Chain:
    """Average gradients: `m <- decay·m + (1 - decay)·g`, `u = m / (1 - decayᵗ)` with debias, else `u = m`.

    accumulator_dtype: store m in this dtype instead of float32.
    Reach: element. State: ema, shaped like p, float32 or wider.
    Raises: ValueError if decay is not in [0, 1).
    """
    check.floating(accumulator_dtype=accumulator_dtype)
    return lift(stored_in(Ema(decay, debias), ema=accumulator_dtype))
