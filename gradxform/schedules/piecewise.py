"""Values at given steps: held, interpolated, or multiplied in at each boundary."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from operator import mul
from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule
from gradxform.core.types import Array
from gradxform.core.value import Child
from gradxform.schedules.arithmetic import SHAPES, as_steps, between, passed, stacked
from gradxform.schedules.timed import Boundaries, Composed, Items, Scales, Steps, Timed


class Held(Timed):
    """`values[i]`, where i boundaries have been reached."""

    boundaries: tuple[Steps, ...]
    values: Child[tuple[Any, ...]]

    def at(self, count: Array) -> Array:
        return stacked(self.values)[passed(count, self.boundaries)]


class Interpolated(Timed):
    """From `values[i]` at `boundaries[i]` to the next, in straight lines or half cosines; constant outside."""

    boundaries: tuple[Steps, ...]
    values: Child[tuple[Any, ...]]
    interpolate_type: str = "linear"

    def at(self, count: Array) -> Array:
        values = stacked(self.values)
        if len(self.values) == 1:
            return jnp.broadcast_to(values[0], jnp.shape(count))
        i = jnp.clip(passed(count, self.boundaries) - 1, 0, len(self.values) - 2)
        whole = jnp.asarray([as_steps(math.floor(b)) for b in self.boundaries])
        rest = stacked([b - math.floor(b) for b in self.boundaries])
        lengths = stacked([b - a for a, b in pairwise(self.boundaries)])
        left = jnp.clip((whole[i + 1] - count + rest[i + 1]) / lengths[i], 0.0, 1.0)
        done = jnp.clip((count - whole[i] - rest[i]) / lengths[i], 0.0, 1.0)
        return between(values[i], values[i + 1], SHAPES[self.interpolate_type](left, done))


class PiecewiseConstantSchedule(Composed):
    init_value: Hyper
    boundaries_and_scales: Scales = Items()

    def schedule(self) -> Schedule:
        return Held(*scaled(self.init_value, self.boundaries_and_scales))


class PiecewiseInterpolateSchedule(Composed):
    interpolate_type: str
    init_value: Hyper
    boundaries_and_scales: Scales = Items()

    def check(self) -> None:
        check.choice("linear", "cosine", interpolate_type=self.interpolate_type)

    def schedule(self) -> Schedule:
        boundaries, values = scaled(self.init_value, self.boundaries_and_scales)
        if 0 not in boundaries:
            return Interpolated((0, *boundaries), values, self.interpolate_type)
        return Interpolated(boundaries, values[1:], self.interpolate_type)


def scaled(init_value: Hyper, boundaries_and_scales: Any) -> tuple[tuple[Steps, ...], tuple[Hyper, ...]]:
    """The boundaries, and the running products that begin with `init_value`."""
    products = accumulate((scale for _, scale in boundaries_and_scales), mul, initial=1.0)
    return tuple(step for step, _ in boundaries_and_scales), tuple(init_value * p for p in products)


class MultiStepSchedule(Composed):
    init_value: Hyper
    boundaries: Boundaries
    decay_rate: Hyper = 0.1

    def check(self) -> None:
        check.nonnegative(decay_rate=self.decay_rate)

    def schedule(self) -> Schedule:
        values = tuple(self.init_value * self.decay_rate**i for i in range(len(self.boundaries) + 1))
        return Held(self.boundaries, values)


def piecewise_constant_schedule(init_value: Hyper, boundaries_and_scales: Scales = None) -> Schedule:
    """Multiply by a scale at each boundary: `v(t) = I ∏ s_i over all i with t ≥ b_i`.

    boundaries_and_scales: `{b_i: s_i}`, the steps b_i as integers or as fractions of the total declared by `over`
    Raises: TypeError or ValueError for a step or a scale that is no number or below 0.
    """
    return PiecewiseConstantSchedule(init_value, boundaries_and_scales)


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: Hyper, boundaries_and_scales: Scales = None
) -> Schedule:
    """Go from one running product of scales to the next, in straight lines or half cosines.

    The value is `I s_1 ... s_i` at boundary b_i, `init_value` at step 0, and constant after the last boundary.

    interpolate_type: "linear" or "cosine"
    boundaries_and_scales: `{b_i: s_i}`, the steps b_i as integers or as fractions of the total declared by `over`
    Raises: TypeError or ValueError for another type of interpolation, or a step or scale that is no number or below 0.
    """
    return PiecewiseInterpolateSchedule(interpolate_type, init_value, boundaries_and_scales)


def multi_step_schedule(init_value: Hyper, boundaries: Boundaries, decay_rate: Hyper = 0.1) -> Schedule:
    """Multiply by one factor at each boundary: `v(t) = I decay_rate^n`, n boundaries having been reached.

    boundaries: steps that do not decrease, as integers or as fractions of the total declared by `over`
    Raises: TypeError or ValueError if `decay_rate` is below 0, or the boundaries are no steps or decrease.
    """
    return MultiStepSchedule(init_value, boundaries, decay_rate)
