"""Decays that go on for ever: exponential, by inverse time, by inverse square root."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from gradxform.core import check
from gradxform.core.arithmetic import power
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.core.types import Array
from gradxform.schedules.arithmetic import as_steps, between, elapsed, shares
from gradxform.schedules.timed import Composed, Steps, Timed, lasting


def progress(count: Array, steps: Steps, staircase: bool) -> Array:
    """How many times `steps` have passed, whole times only on a staircase; always 0 for no steps."""
    if steps == 0:
        return jnp.zeros(jnp.shape(count), dtype=float)
    times = count // as_steps(steps) if staircase else jnp.asarray(count, dtype=float) / float(steps)
    return jnp.asarray(times, dtype=float)


class ExponentialDecay(Timed):
    init_value: Hyper
    transition_steps: Steps
    decay_rate: Beta
    transition_begin: Steps = 0
    staircase: bool = False
    end_value: Hyper | None = None

    def check(self) -> None:
        check.positive(decay_rate=self.decay_rate)
        check.boolean(staircase=self.staircase)

    def at(self, count: Array) -> Array:
        p = progress(elapsed(count, self.transition_begin), self.transition_steps, self.staircase)
        value: Array = self.init_value * power(self.decay_rate, p)
        if self.end_value is None:
            return value
        falls = power(self.decay_rate, 1.0) < 1.0
        return jnp.where(falls, jnp.maximum(value, self.end_value), jnp.minimum(value, self.end_value))


class NaturalExpDecay(Timed):
    init_value: Hyper
    transition_steps: Steps
    decay_rate: Hyper
    transition_begin: Steps = 0
    staircase: bool = False

    def check(self) -> None:
        check.boolean(staircase=self.staircase)

    def at(self, count: Array) -> Array:
        p = progress(elapsed(count, self.transition_begin), self.transition_steps, self.staircase)
        value: Array = self.init_value * jnp.exp(-self.decay_rate * p)
        return value


class InverseTimeDecay(Timed):
    init_value: Hyper
    transition_steps: Steps
    decay_rate: Hyper
    transition_begin: Steps = 0
    staircase: bool = False

    def check(self) -> None:
        check.nonnegative(decay_rate=self.decay_rate)
        check.boolean(staircase=self.staircase)

    def at(self, count: Array) -> Array:
        p = progress(elapsed(count, self.transition_begin), self.transition_steps, self.staircase)
        value: Array = self.init_value / (1.0 + self.decay_rate * p)
        return value


class StepDecay(Composed):
    init_value: Hyper
    transition_steps: Steps
    decay_rate: Beta = 0.1

    def check(self) -> None:
        lasting(transition_steps=self.transition_steps)
        check.positive(decay_rate=self.decay_rate)

    def schedule(self) -> Schedule:
        return exponential_decay(self.init_value, self.transition_steps, self.decay_rate, staircase=True)


class InverseSqrtSchedule(Timed):
    init_value: Hyper
    peak_value: Hyper
    warmup_steps: Steps

    def check(self) -> None:
        lasting(warmup_steps=self.warmup_steps)

    def at(self, count: Array) -> Array:
        beyond = jnp.asarray(jnp.maximum(count, as_steps(self.warmup_steps)), dtype=float) / float(self.warmup_steps)
        return between(self.init_value, self.peak_value, shares(count, self.warmup_steps)) * lax.rsqrt(beyond)


class NoamSchedule(Timed):
    d_model: Hyper
    warmup_steps: Steps
    factor: Hyper = 1.0

    def check(self) -> None:
        check.positive(d_model=self.d_model)
        lasting(warmup_steps=self.warmup_steps)

    def at(self, count: Array) -> Array:
        t = jnp.asarray(count, dtype=float) + 1.0
        size: Array = self.factor * self.d_model**-0.5 * jnp.minimum(lax.rsqrt(t), t * float(self.warmup_steps) ** -1.5)
        return size


def exponential_decay(
    init_value: Hyper,
    transition_steps: Steps,
    decay_rate: Hyper,
    transition_begin: Steps = 0,
    staircase: bool = False,
    end_value: Hyper | None = None,
) -> Schedule:
    """Decay by a factor in so many steps: `v(t) = I decay_rate^p`, p = max(t - B, 0)/T.

    Exact for rates near 1 and large counts: the logarithm of the rate is taken in double precision.

    transition_steps, transition_begin: T and B, in steps or as fractions of the total declared by `over`
    staircase: p is rounded down
    end_value: the value stops there, from above if `decay_rate` is below 1, else from below
    Raises: TypeError or ValueError if `decay_rate` is not positive or another argument is out of range.
    """
    return ExponentialDecay(init_value, transition_steps, decay_rate, transition_begin, staircase, end_value)


def natural_exp_decay(
    init_value: Hyper,
    transition_steps: Steps,
    decay_rate: Hyper,
    transition_begin: Steps = 0,
    staircase: bool = False,
) -> Schedule:
    """Decay exponentially by a rate: `v(t) = I exp(-decay_rate p)`, p = max(t - B, 0)/T.

    transition_steps, transition_begin: T and B, in steps or as fractions of the total declared by `over`
    staircase: p is rounded down
    Raises: TypeError or ValueError for an argument that is not a finite number or a length below 0.
    """
    return NaturalExpDecay(init_value, transition_steps, decay_rate, transition_begin, staircase)


def inverse_time_decay(
    init_value: Hyper,
    transition_steps: Steps,
    decay_rate: Hyper,
    transition_begin: Steps = 0,
    staircase: bool = False,
) -> Schedule:
    """Decay as one over time: `v(t) = I / (1 + decay_rate p)`, p = max(t - B, 0)/T.

    transition_steps, transition_begin: T and B, in steps or as fractions of the total declared by `over`
    staircase: p is rounded down
    Raises: TypeError or ValueError if `decay_rate` is below 0 or another argument is out of range.
    Source: Robbins & Monro 1951, whose step sizes are of this kind.
    """
    return InverseTimeDecay(init_value, transition_steps, decay_rate, transition_begin, staircase)


def step_decay(init_value: Hyper, transition_steps: Steps, decay_rate: Hyper = 0.1) -> Schedule:
    """Multiply by a factor every so many steps: `v(t) = I decay_rate^floor(t/T)`.

    transition_steps: T, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError if `decay_rate` is not positive or `transition_steps` is below 1.
    """
    return StepDecay(init_value, transition_steps, decay_rate)


def inverse_sqrt_schedule(init_value: Hyper, peak_value: Hyper, warmup_steps: Steps) -> Schedule:
    """Warm up linearly, then decay as one over the root of time: `v(t) = P √(W/t)` for t ≥ W.

    Before W the value goes from `init_value` to `peak_value` in a straight line.

    warmup_steps: W, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError for an argument that is not a finite number, or `warmup_steps` below 1.
    Source: Vaswani et al. 2017, arXiv 1706.03762, section 5.3, with the peak as argument.
    """
    return InverseSqrtSchedule(init_value, peak_value, warmup_steps)


def noam_schedule(d_model: Hyper, warmup_steps: Steps, factor: Hyper = 1.0) -> Schedule:
    """The Transformer's own schedule: `v(t) = factor d_model^-½ min(n^-½, n W^-3/2)`, n = t + 1.

    As in the paper the first update has n = 1, so that it is not wasted on a rate of zero.

    warmup_steps: W, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError if `d_model` is not positive or `warmup_steps` is below 1.
    Source: Vaswani et al. 2017, arXiv 1706.03762, equation 3.
    """
    return NoamSchedule(d_model, warmup_steps, factor)
