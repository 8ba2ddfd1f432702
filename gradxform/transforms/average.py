"""Averages of the parameters, at the station "land": stages that watch where steps land, or pull them back."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, debias, real_dtype, rounded
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, lift
from gradxform.core.dither import plus, turn
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves, Rule
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Param, Scalars


def landing(g: Array, p: Array) -> Array:
    """Where a step lands, rounded as it will be stored: `p + u`."""
    wide = compute_dtype(p.dtype)
    return rounded(p.astype(wide) + g, p.dtype)


class Averaged(NamedTuple):
    """average: shaped like p, a copy of it at first."""

    average: Array


class EmaOfParams(Rule):
    decay: Beta
    debias: bool = True
    start: int = 0
    blend: Hyper = 1.0
    facts = Facts(station=Station.LAND, needs_params=True, stored_params=True)

    def check(self) -> None:
        check.integer(0, start=self.start)
        check.unit(blend=self.blend)

    @property
    def corrects(self) -> bool:
        return self.debias

    def init(self, p: Array) -> Averaged:
        return Averaged(p)

    def scalars(self, t: Array) -> Scalars:
        share, n = 1 - self.decay, jnp.maximum(t - self.start, 1) if self.start else t
        if self.debias:
            share = share / debias(self.decay, n)
        elif self.start:
            share = jnp.where(t > self.start, share, 1.0)
        return share, turn(t)

    def update(self, g: Array, s: Averaged, p: Param, k: Scalars) -> tuple[Array, Averaged]:
        share, threshold = k
        return g, Averaged(plus(s.average, share * (landing(g, p) - s.average), threshold))

    def evaluate(self, p: Array, s: Averaged, t: Array) -> Array:
        a = s.average if isinstance(self.blend, float) and self.blend == 1.0 else p + self.blend * (s.average - p)
        return jnp.where(t > self.start, a, p) if self.start else a


class Ahead(NamedTuple):
    """mean: shaped like p. ahead: scalar, real, how many means the parameters lie ahead."""

    mean: Array
    ahead: Array


class EmaNesterov(Halves):
    lookahead: Hyper = 0.3
    decay: Beta = 0.99
    facts = Facts(station=Station.LAND)

    def check(self) -> None:
        check.nonnegative(lookahead=self.lookahead)

    def init(self, p: Array) -> Ahead:
        return Ahead(jnp.zeros_like(p), jnp.zeros((), real_dtype(p.dtype)))

    def remember(self, g: Array, s: Ahead, p: Param, k: Scalars) -> Ahead:
        mean = self.decay * s.mean + (1 - self.decay) * (addable(g) + s.ahead * s.mean)
        return Ahead(mean, in_place(self.lookahead * jnp.ones_like(s.ahead), s.ahead))

    def emit(self, g: Array, s: Ahead, p: Param, k: Scalars) -> Array:
        return g + s.ahead * s.mean

    def evaluate(self, p: Array, s: Ahead, t: Array) -> Array:
        return p - s.ahead * s.mean


class StochasticWeightAverage(Rule):
    every: int = 1
    start: int = 0
    facts = Facts(station=Station.LAND, needs_params=True, stored_params=True)

    def check(self) -> None:
        check.integer(1, every=self.every)
        check.integer(0, start=self.start)

    def init(self, p: Array) -> Averaged:
        return Averaged(p)

    def taken(self, t: Array) -> Array:
        """How many parameters the average holds after t steps."""
        return jnp.maximum(t - self.start, 0) // self.every

    def scalars(self, t: Array) -> Scalars:
        n = self.taken(t)
        return jnp.where(n > self.taken(t - 1), 1.0 / jnp.maximum(n, 1), 0.0), turn(n)

    def update(self, g: Array, s: Averaged, p: Param, k: Scalars) -> tuple[Array, Averaged]:
        share, threshold = k
        average = plus(s.average, share * (landing(g, p) - s.average), threshold)
        return g, Averaged(jnp.where(share > 0, average, s.average))

    def evaluate(self, p: Array, s: Averaged, t: Array) -> Array:
        return jnp.where(self.taken(t) > 0, s.average, p)


class Slow(NamedTuple):
    """slow: shaped like p, a copy of it at first."""

    slow: Array


class PullToSlowWeights(Halves):
    period: int
    pull: Hyper
    facts = Facts(station=Station.LAND, needs_params=True)

    def check(self) -> None:
        check.integer(1, period=self.period)
        check.unit(pull=self.pull)

    def init(self, p: Array) -> Slow:
        return Slow(p)

    def scalars(self, t: Array) -> Array:
        return t % self.period == 0

    def remember(self, g: Array, s: Slow, p: Param, k: Scalars) -> Slow:
        return Slow(jnp.where(k, s.slow + self.pull * (p + g - s.slow), s.slow))

    def emit(self, g: Array, s: Slow, p: Param, k: Scalars) -> Array:
        return jnp.where(k, s.slow - p, g)

    def evaluate(self, p: Array, s: Slow, t: Array) -> Array:
        return s.slow


def ema_of_params(decay: Beta, debias: bool = True, *, start: int = 0, blend: Hyper = 1.0) -> Chain:
    """Keep a moving average of the parameters: `a <- a + w·(p + u - a)`, `w = (1 - decay) / (1 - decayᵗ)`, u passes.

    Last in the chain; `eval_params` gives a, which starts from the parameters. With debias the weights of all landings
    add up to 1, as in `Σ / (1 - decayᵗ)`; without it `w = 1 - decay`, and the start keeps the weight `decayᵗ`.
    start: that t, and the parameters to start from, count from after so many steps, until which `eval_params` gives the
    parameters. blend: it gives `p + blend·(a - p)`. A tail average, as in modded-nanogpt's record 45 of track 3:
    `ema_of_params(1 - 1 / 150, False, start=2400, blend=0.6)`.
    Reach: element. State: average, shaped like p, float32 or wider.
    Raises: ValueError if decay is not in [0, 1), blend not in [0, 1], start < 0, or params are missing.
    Source: Tarvainen, Valpola 2017, arXiv:1703.01780, equation 3; the weights as in Kingma, Ba 2014, section 3.
    """
    return lift(EmaOfParams(decay, debias, start, blend))


def ema_nesterov(lookahead: Hyper = 0.3, decay: Beta = 0.99) -> Chain:
    """Go ahead along a mean of steps: `m <- d·m + (1-d)·(x' - x)`, the next gradient at `x' + lookahead·m`, d is decay.

    Last in the chain, whose u leads from where the gradient was taken, the parameters, to x'. `eval_params` gives x'.
    lookahead: a number or a schedule, its i-th value for gradient i + 1; the record's is 0 at first and at the end.
    Reach: element. State: mean, shaped like p, float32 or wider; ahead, scalar, real.
    Raises: ValueError if lookahead < 0 or decay is not in [0, 1).
    Source: Yau et al. 2026, arXiv:2605.25395; KellerJordan/modded-nanogpt, track 3, record 39.
    """
    return lift(EmaNesterov(lookahead, decay))


def polyak_average(start: int = 0) -> Chain:
    """Keep the mean of all parameters since a step: `a = mean of p + u after steps start+1, start+2, ...`.

    Last in the chain; `eval_params` gives a.
    Reach: element. State: average, shaped like p, float32 or wider.
    Raises: ValueError if start < 0 or params are missing.
    Source: Polyak, Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """
    return lift(StochasticWeightAverage(1, start))


def stochastic_weight_average(every: int, start: int) -> Chain:
    """Keep the mean of the parameters at every so many steps: after steps `start + every, start + 2·every, ...`.

    Last in the chain, with a cyclic or constant learning rate; `eval_params` gives the mean, or the parameters
    themselves before the first of these steps.
    Reach: element. State: average, shaped like p, float32 or wider.
    Raises: ValueError if every < 1, start < 0 or params are missing.
    Source: Izmailov et al. 2018, arXiv:1803.05407, algorithm 1.
    """
    return lift(StochasticWeightAverage(every, start))


def pull_to_slow_weights(period: int, pull: Hyper) -> Chain:
    """Pull the parameters back every so many steps: `w <- w + pull·(p + u - w)`, then `u = w - p`.

    Lookahead's outer step as a last stage; between, u passes. `eval_params` gives the slow weights w.
    period: steps between two pulls. pull: in [0, 1].
    Reach: element. State: slow, shaped like p, float32 or wider, from the parameters.
    Raises: ValueError if period < 1, pull is not in [0, 1], or params are missing.
    Source: Zhang et al. 2019, arXiv:1907.08610, algorithm 1.
    """
    return lift(PullToSlowWeights(period, pull))
