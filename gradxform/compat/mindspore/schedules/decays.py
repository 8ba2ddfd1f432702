"""MindSpore's learning-rate schedules."""

from __future__ import annotations

from typing import Any

import jax

from gradxform.compat.common.schedules import FrameworkSchedule, PolynomialCycles
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.core.plain import got
from gradxform.core.schema import schema
from gradxform.core.value import Pair
from gradxform.schedules import (
    exponential_decay,
    inverse_time_decay,
    linear_schedule,
    natural_exp_decay,
    polynomial_schedule,
)
from gradxform.schedules.piecewise import Interpolated


class LearningRateSchedule(FrameworkSchedule):
    """Base of the schedules here, and of a user's own: subclass it and write `construct(global_step)`.

    Numbers that the subclass annotates as `Hyper` must be floats, as everywhere in this family.
    """

    def __post_init__(self) -> None:
        for f in schema(type(self)):
            if f.kind in ("hyper", "beta"):
                check_float(**{f.name: getattr(self, f.name)})
        super().__post_init__()

    def construct(self, global_step: Any) -> Any:
        """The rate at a global step."""
        return self.schedule()(global_step)

    def at(self, count: Any) -> Any:
        return self.construct(count)


def check_float(**named: object) -> None:
    for name, x in named.items():
        if not isinstance(x, float | jax.core.Tracer | Pair):
            raise TypeError(f"{name} must be a float, {got(x)}")


class ExponentialDecayLR(LearningRateSchedule):
    """Decay by a factor in so many steps: `lr decay_rate^(s/decay_steps)`.

    is_stair: s/decay_steps is rounded down
    Raises: TypeError or ValueError if `learning_rate` or `decay_rate` is no positive float, or `decay_steps` below 1.
    """

    learning_rate: Hyper
    decay_rate: Beta
    decay_steps: int
    is_stair: bool = False

    def check(self) -> None:
        check.integer(1, decay_steps=self.decay_steps)
        check.positive(learning_rate=self.learning_rate, decay_rate=self.decay_rate)
        check.boolean(is_stair=self.is_stair)

    def schedule(self) -> Schedule:
        return exponential_decay(self.learning_rate, self.decay_steps, self.decay_rate, staircase=self.is_stair)


class NaturalExpDecayLR(LearningRateSchedule):
    """Decay exponentially: `lr exp(-decay_rate s)`; the documented division of s by `decay_steps` is not executed.

    is_stair: s is rounded down to a multiple of `decay_steps`
    Raises: TypeError or ValueError if `learning_rate` or `decay_rate` is no positive float, or `decay_steps` below 1.
    """

    learning_rate: Hyper
    decay_rate: Hyper
    decay_steps: int
    is_stair: bool = False

    def check(self) -> None:
        check.integer(1, decay_steps=self.decay_steps)
        check.positive(learning_rate=self.learning_rate, decay_rate=self.decay_rate)
        check.boolean(is_stair=self.is_stair)

    def schedule(self) -> Schedule:
        steps = self.decay_steps if self.is_stair else 1
        return natural_exp_decay(self.learning_rate, steps, self.decay_rate * steps, staircase=self.is_stair)


class InverseDecayLR(LearningRateSchedule):
    """Decay as one over time: `lr / (1 + decay_rate s/decay_steps)`.

    is_stair: s/decay_steps is rounded down
    Raises: TypeError or ValueError if `learning_rate` or `decay_rate` is no positive float, or `decay_steps` below 1.
    """

    learning_rate: Hyper
    decay_rate: Hyper
    decay_steps: int
    is_stair: bool = False

    def check(self) -> None:
        check.integer(1, decay_steps=self.decay_steps)
        check.positive(learning_rate=self.learning_rate, decay_rate=self.decay_rate)
        check.boolean(is_stair=self.is_stair)

    def schedule(self) -> Schedule:
        return inverse_time_decay(self.learning_rate, self.decay_steps, self.decay_rate, staircase=self.is_stair)


class CosineDecayLR(LearningRateSchedule):
    """Decay along half a cosine: `min_lr + (max_lr - min_lr)(1 + cos(π min(s, D)/D))/2`, D = decay_steps.

    Raises: TypeError or ValueError if a rate is no float, `min_lr` below 0 or not below `max_lr`, or
    `decay_steps` below 1.
    """

    min_lr: Hyper
    max_lr: Hyper
    decay_steps: int

    def check(self) -> None:
        check.nonnegative(min_lr=self.min_lr)
        check.positive(max_lr=self.max_lr)
        check.integer(1, decay_steps=self.decay_steps)
        if isinstance(self.min_lr, float) and isinstance(self.max_lr, float) and self.min_lr >= self.max_lr:
            raise ValueError(f"max_lr must be greater than min_lr ({self.min_lr}), got {self.max_lr}")

    def schedule(self) -> Schedule:
        return Interpolated((0, self.decay_steps), (self.max_lr, self.min_lr), "cosine")


class PolynomialDecayLR(LearningRateSchedule):
    """Decay along a power: `(lr - end)(1 - min(s, D)/D)^power + end`, D = decay_steps.

    update_decay_steps: instead of the minimum, D grows to `D max(1, ceil(s/D))`, so that the rate rises after each D
    Raises: TypeError or ValueError if `learning_rate` or `power` is no positive float, `end_learning_rate` no float
    or below 0, or `decay_steps` below 1.
    """

    learning_rate: Hyper
    end_learning_rate: Hyper
    decay_steps: int
    power: Hyper
    update_decay_steps: bool = False

    def check(self) -> None:
        check.positive(learning_rate=self.learning_rate, power=self.power)
        check.nonnegative(end_learning_rate=self.end_learning_rate)
        check.integer(1, decay_steps=self.decay_steps)
        check.boolean(update_decay_steps=self.update_decay_steps)

    def schedule(self) -> Schedule:
        if self.update_decay_steps:
            return PolynomialCycles(self.learning_rate, self.end_learning_rate, self.power, self.decay_steps)
        return polynomial_schedule(self.learning_rate, self.end_learning_rate, self.power, self.decay_steps)


class WarmUpLR(LearningRateSchedule):
    """Warm up linearly from 0, the rate of the first step: `lr min(s, warmup_steps)/warmup_steps`.

    Raises: TypeError or ValueError if `learning_rate` is no float or below 0, or `warmup_steps` below 1.
    """

    learning_rate: Hyper
    warmup_steps: int

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate)
        check.integer(1, warmup_steps=self.warmup_steps)

    def schedule(self) -> Schedule:
        return linear_schedule(0.0, self.learning_rate, self.warmup_steps)
