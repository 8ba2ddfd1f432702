"""Schedules after one another: joins and warm-ups."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule, coerce
from gradxform.core.types import Array
from gradxform.core.value import Child
from gradxform.schedules.arithmetic import SHAPES, as_steps, elapsed
from gradxform.schedules.decays import exponential_decay
from gradxform.schedules.piecewise import Interpolated
from gradxform.schedules.timed import Boundaries, Composed, Steps, Timed, check_number, in_turn, lasting
from gradxform.schedules.transitions import ConstantSchedule, cosine_decay_schedule, linear_schedule


class JoinSchedules(Timed):
    schedules: Child[Sequence[Schedule]]
    boundaries: Boundaries

    def check(self) -> None:
        given = check.sequence("schedules", schedules=self.schedules)
        parts = tuple(_part(f"schedules[{i}]", s) for i, s in enumerate(given))
        object.__setattr__(self, "schedules", parts)
        if not 0 < len(parts) <= len(self.boundaries) + 1:
            raise ValueError(
                f"boundaries must be one fewer than schedules ({len(parts)}), got {len(self.boundaries)}: "
                f"{self.boundaries!r}"
            )
        object.__setattr__(self, "boundaries", self.boundaries[: len(parts) - 1])

    def at(self, count: Array) -> Array:
        value = jnp.asarray(self.schedules[0](count), dtype=float)
        for start, schedule in zip(self.boundaries, self.schedules[1:], strict=True):
            value = jnp.where(count < as_steps(start), value, schedule(elapsed(count, start)))
        return value


def _part(name: str, x: Hyper) -> Schedule:
    x = coerce(name, x)
    if isinstance(x, Schedule):
        return x
    check_number(name, x)
    return ConstantSchedule(x)


class WarmupConstantSchedule(Composed):
    init_value: Hyper
    peak_value: Hyper
    warmup_steps: Steps

    def schedule(self) -> Schedule:
        return linear_schedule(self.init_value, self.peak_value, self.warmup_steps)


class WarmupCosineDecaySchedule(Composed):
    init_value: Hyper
    peak_value: Hyper
    warmup_steps: Steps
    decay_steps: Steps
    end_value: Hyper = 0.0
    exponent: Hyper = 1.0

    def check(self) -> None:
        check.nonnegative(exponent=self.exponent)
        comparable = isinstance(self.warmup_steps, int) == isinstance(self.decay_steps, int)
        if comparable and self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"decay_steps must be greater than warmup_steps, got {self.decay_steps} and {self.warmup_steps}"
            )

    def schedule(self) -> Schedule:
        warm = linear_schedule(self.init_value, self.peak_value, self.warmup_steps)
        end = _share(self.end_value, self.peak_value)
        cool = cosine_decay_schedule(self.peak_value, self.decay_steps - self.warmup_steps, end, self.exponent)
        return JoinSchedules((warm, cool), (self.warmup_steps,))


def _share(part: Hyper, whole: Hyper) -> Hyper:
    """part / whole, and 0 of nothing."""
    if isinstance(whole, float):
        return 0.0 if whole == 0.0 else part / whole
    return jnp.where(whole == 0.0, 0.0, part / jnp.where(whole == 0.0, 1.0, whole))


class WarmupExponentialDecaySchedule(Composed):
    init_value: Hyper
    peak_value: Hyper
    warmup_steps: Steps
    transition_steps: Steps
    decay_rate: Beta
    transition_begin: Steps = 0
    staircase: bool = False
    end_value: Hyper | None = None

    def check(self) -> None:
        check.positive(decay_rate=self.decay_rate)
        check.boolean(staircase=self.staircase)
        in_turn(warmup_steps=self.warmup_steps, transition_begin=self.transition_begin)

    def schedule(self) -> Schedule:
        warm = linear_schedule(self.init_value, self.peak_value, self.warmup_steps)
        decay = exponential_decay(
            self.peak_value,
            self.transition_steps,
            self.decay_rate,
            self.transition_begin,
            self.staircase,
            self.end_value,
        )
        return JoinSchedules((warm, decay), (self.warmup_steps,))


class WarmupStableDecaySchedule(Composed):
    init_value: Hyper
    peak_value: Hyper
    warmup_steps: Steps
    stable_steps: Steps
    decay_steps: Steps
    end_value: Hyper = 0.0
    decay_type: str = "linear"

    def check(self) -> None:
        lasting(decay_steps=self.decay_steps)
        check.choice(*SHAPES, decay_type=self.decay_type)
        in_turn(warmup_steps=self.warmup_steps, stable_steps=self.stable_steps, decay_steps=self.decay_steps)

    def schedule(self) -> Schedule:
        warm = linear_schedule(self.init_value, self.peak_value, self.warmup_steps)
        fall = Interpolated((0, self.decay_steps), (self.peak_value, self.end_value), self.decay_type)
        boundaries = (self.warmup_steps, self.warmup_steps + self.stable_steps)
        return JoinSchedules((warm, ConstantSchedule(self.peak_value), fall), boundaries)


def join_schedules(schedules: Sequence[Schedule], boundaries: Boundaries) -> Schedule:
    """Follow one schedule after the other: `v(t) = s_i(t - b_i)` for b_i ≤ t < b_(i+1), b_0 = 0.

    Each schedule counts from the boundary at which it begins; a plain number stands for a constant.

    boundaries: steps that do not decrease, as integers or as fractions of the total declared by `over`; further ones,
    such as the end of the last schedule, are left out
    Raises: TypeError for a part that is no schedule; ValueError for a schedule without a boundary to begin at.
    """
    return JoinSchedules(schedules, boundaries)


def warmup_constant_schedule(init_value: Hyper, peak_value: Hyper, warmup_steps: Steps) -> Schedule:
    """Warm up linearly, then hold: `v(t) = I + (P - I) min(t, W)/W`.

    With `warmup_steps=0` the value stays at `init_value`, as in a linear schedule of no steps.

    warmup_steps: W, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError for an argument that is not a finite number or a length below 0.
    """
    return WarmupConstantSchedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: Hyper,
    peak_value: Hyper,
    warmup_steps: Steps,
    decay_steps: Steps,
    end_value: Hyper = 0.0,
    exponent: Hyper = 1.0,
) -> Schedule:
    """Warm up linearly from I to P in W steps, then decay along half a cosine to E until step D.

    For t ≥ W: `v(t) = E + (P - E)((1 + cos(π (t - W)/(D - W)))/2)^exponent`.

    warmup_steps, decay_steps: W and D (which includes W), in steps or as fractions of the total declared by `over`
    Raises: TypeError or ValueError if `decay_steps` is not greater than `warmup_steps` or an argument is no number.
    Source: Loshchilov & Hutter 2017, arXiv 1608.03983; Goyal et al. 2017, arXiv 1706.02677, section 2.2.
    """
    return WarmupCosineDecaySchedule(init_value, peak_value, warmup_steps, decay_steps, end_value, exponent)


def warmup_exponential_decay_schedule(
    init_value: Hyper,
    peak_value: Hyper,
    warmup_steps: Steps,
    transition_steps: Steps,
    decay_rate: Hyper,
    transition_begin: Steps = 0,
    staircase: bool = False,
    end_value: Hyper | None = None,
) -> Schedule:
    """Warm up linearly from I to P in W steps, then decay as `exponential_decay` with `init_value` P.

    transition_begin: counted from the end of the warm-up
    Raises: TypeError or ValueError if `decay_rate` is not positive or another argument is out of range.
    """
    return WarmupExponentialDecaySchedule(
        init_value, peak_value, warmup_steps, transition_steps, decay_rate, transition_begin, staircase, end_value
    )


def warmup_stable_decay_schedule(
    init_value: Hyper,
    peak_value: Hyper,
    warmup_steps: Steps,
    stable_steps: Steps,
    decay_steps: Steps,
    end_value: Hyper = 0.0,
    decay_type: str = "linear",
) -> Schedule:
    """Warm up linearly from I to P, hold P, then cool down to E: `v = E + (P - E) f(x)`, x the share of it done.

    The stable phase may be lengthened at any time, which no schedule that knows its end allows.

    warmup_steps, stable_steps, decay_steps: the three lengths, in steps or as fractions of the total (see `over`)
    decay_type: "linear", f = 1 - x; "cosine", f = (1 + cos πx)/2; "sqrt", f = 1 - √x
    Raises: TypeError or ValueError if `decay_steps` is below 1, for another type of decay, or for a length below 0.
    Source: Hu et al. 2024, arXiv 2404.06395, section 4; Hägele et al. 2024, arXiv 2405.18392, for the cooldown by √x.
    """
    return WarmupStableDecaySchedule(
        init_value, peak_value, warmup_steps, stable_steps, decay_steps, end_value, decay_type
    )
