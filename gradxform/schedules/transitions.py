"""One move from a value to another: constant, linear, polynomial, cosine."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule
from gradxform.core.types import Array
from gradxform.schedules.arithmetic import between, elapsed, half_cosine, raised, shares
from gradxform.schedules.timed import Steps, Timed, in_turn, lasting


class ConstantSchedule(Timed):
    value: Hyper

    def at(self, count: Array) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.value, dtype=float), jnp.shape(count))


class PolynomialSchedule(Timed):
    init_value: Hyper
    end_value: Hyper
    power: Hyper
    transition_steps: Steps
    transition_begin: Steps = 0

    def check(self) -> None:
        check.nonnegative(power=self.power)
        in_turn(transition_begin=self.transition_begin, transition_steps=self.transition_steps)

    def at(self, count: Array) -> Array:
        left, _ = shares(elapsed(count, self.transition_begin), self.transition_steps)
        return between(self.init_value, self.end_value, raised(left, self.power))


class LinearSchedule(Timed):
    init_value: Hyper
    end_value: Hyper
    transition_steps: Steps
    transition_begin: Steps = 0

    def check(self) -> None:
        in_turn(transition_begin=self.transition_begin, transition_steps=self.transition_steps)

    def at(self, count: Array) -> Array:
        weights = shares(elapsed(count, self.transition_begin), self.transition_steps)
        return between(self.init_value, self.end_value, weights)


class CosineDecaySchedule(Timed):
    init_value: Hyper
    decay_steps: Steps
    alpha: Hyper = 0.0
    exponent: Hyper = 1.0

    def check(self) -> None:
        lasting(decay_steps=self.decay_steps)
        check.nonnegative(exponent=self.exponent)

    def at(self, count: Array) -> Array:
        weight, _ = half_cosine(*shares(count, self.decay_steps))
        value: Array = self.init_value * between(1.0, self.alpha, raised(weight, self.exponent))
        return value


def constant_schedule(value: Hyper) -> Schedule:
    """Hold one value: `v(t) = value`.

    Raises: TypeError or ValueError if `value` is not a finite number.
    """
    return ConstantSchedule(value)


def linear_schedule(
    init_value: Hyper, end_value: Hyper, transition_steps: Steps, transition_begin: Steps = 0
) -> Schedule:
    """Go from one value to another in a straight line: `v(t) = I + (E - I) min(max(t - B, 0), T) / T`.

    With `transition_steps=0` the value stays at `init_value`.

    transition_steps, transition_begin: T and B, in steps or as fractions of the total declared by `over`
    Raises: TypeError or ValueError for an argument that is not a finite number or a length below 0.
    """
    return LinearSchedule(init_value, end_value, transition_steps, transition_begin)


def polynomial_schedule(
    init_value: Hyper, end_value: Hyper, power: Hyper, transition_steps: Steps, transition_begin: Steps = 0
) -> Schedule:
    """Go from one value to another along a power: `v(t) = (I - E)(1 - s/T)^power + E`, s = min(max(t - B, 0), T).

    With `transition_steps=0` the value stays at `init_value`.

    transition_steps, transition_begin: T and B, in steps or as fractions of the total declared by `over`
    Raises: TypeError or ValueError for an argument that is not a finite number, or a power or length below 0.
    """
    return PolynomialSchedule(init_value, end_value, power, transition_steps, transition_begin)


def cosine_decay_schedule(init_value: Hyper, decay_steps: Steps, alpha: Hyper = 0.0, exponent: Hyper = 1.0) -> Schedule:
    """Decay along half a cosine: `v(t) = I ((1 - a) ((1 + cos(π s/T))/2)^exponent + a)`, s = min(t, T).

    decay_steps: T, in steps or as a fraction of the total declared by `over`
    alpha: a, the last value as a share of `init_value`
    Raises: TypeError or ValueError for an argument that is not a finite number, or `decay_steps` below 1.
    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5 with one cycle.
    """
    return CosineDecaySchedule(init_value, decay_steps, alpha, exponent)
