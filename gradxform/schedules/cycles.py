"""Cycles: up and down once, or again and again from the top."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import accumulate, takewhile
from itertools import count as counting
from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import power
from gradxform.core.hyper import Hyper, Schedule
from gradxform.core.plain import got
from gradxform.core.types import Array
from gradxform.schedules.arithmetic import LARGEST, as_steps, between, half_cosine, passed, stacked
from gradxform.schedules.joined import join_schedules, warmup_cosine_decay_schedule
from gradxform.schedules.piecewise import piecewise_interpolate_schedule
from gradxform.schedules.timed import Composed, Steps, Timed, lasting


class LinearOnecycleSchedule(Composed):
    transition_steps: Steps
    peak_value: Hyper
    pct_start: float = 0.3
    pct_final: float = 0.85
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def check(self) -> None:
        lasting(transition_steps=self.transition_steps)
        check.unit(pct_start=self.pct_start, pct_final=self.pct_final)
        _divide(self.div_factor, self.final_div_factor)

    def schedule(self) -> Schedule:
        scales = {
            int(self.pct_start * self.transition_steps): self.div_factor,
            int(self.pct_final * self.transition_steps): 1.0 / self.div_factor,
            self.transition_steps: 1.0 / self.final_div_factor,
        }
        return piecewise_interpolate_schedule("linear", self.peak_value / self.div_factor, scales)


class CosineOnecycleSchedule(Composed):
    transition_steps: Steps
    peak_value: Hyper
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def check(self) -> None:
        lasting(transition_steps=self.transition_steps)
        check.unit(pct_start=self.pct_start)
        _divide(self.div_factor, self.final_div_factor)

    def schedule(self) -> Schedule:
        scales = {
            int(self.pct_start * self.transition_steps): self.div_factor,
            int(self.transition_steps): 1.0 / (self.div_factor * self.final_div_factor),
        }
        return piecewise_interpolate_schedule("cosine", self.peak_value / self.div_factor, scales)


class CosineRestartsSchedule(Timed):
    init_value: Hyper
    first_decay_steps: Steps
    t_mul: int = 1
    m_mul: Hyper = 1.0
    alpha: Hyper = 0.0

    def check(self) -> None:
        lasting(first_decay_steps=self.first_decay_steps)
        check.integer(1, t_mul=self.t_mul)
        check.positive(m_mul=self.m_mul)

    def at(self, count: Array) -> Array:
        cycle, since, length = self.cycle(count)
        weights = half_cosine((length - since) / length, since / length)
        value: Array = self.init_value * between(power(self.m_mul, cycle), self.alpha, weights)
        return value

    def cycle(self, count: Array) -> tuple[Array, Array, Array | int | float]:
        """The number of restarts so far, the steps since the last one, and the length of the cycle."""
        first = as_steps(self.first_decay_steps)
        if self.t_mul == 1:
            return count // first, count % first, first
        sums = (first * (self.t_mul**n - 1) // (self.t_mul - 1) for n in counting())
        starts = tuple(takewhile(lambda start: start <= LARGEST, sums))
        lengths = stacked([first * float(self.t_mul) ** n for n in range(len(starts))])
        n = passed(count, starts[1:])
        return n, count - jnp.asarray(starts)[n], lengths[n]


def _divide(div_factor: float, final_div_factor: float) -> None:
    """Refuse what a rate cannot be divided by, one after the other."""
    check.divisor(div_factor=div_factor, final_div_factor=final_div_factor)
    check.divisor(**{"div_factor * final_div_factor": div_factor * final_div_factor})


CYCLE = {*inspect.signature(warmup_cosine_decay_schedule).parameters}


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Join several warm-ups with cosine decay, each beginning where the one before has ended.

    cosine_kwargs: for each cycle the arguments of `warmup_cosine_decay_schedule`, its lengths in steps
    Raises: TypeError or ValueError if there is no cycle, or `warmup_cosine_decay_schedule` refuses its arguments.
    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5, with warm-up.
    """
    cycles = check.sequence("dicts", cosine_kwargs=cosine_kwargs)
    if not cycles:
        raise ValueError("cosine_kwargs must have at least one cycle, got none")
    for i, kwargs in enumerate(cycles):
        if not isinstance(kwargs, Mapping) or not {*kwargs} <= CYCLE:
            raise TypeError(f"cosine_kwargs[{i}] must be a dict of arguments among {sorted(CYCLE)}, {got(kwargs)}")
        steps: dict[str, Any] = {f"cosine_kwargs[{i}]['decay_steps']": kwargs.get("decay_steps")}
        check.integer(1, **steps)
    ends = tuple(accumulate(kwargs["decay_steps"] for kwargs in cycles))
    return join_schedules([warmup_cosine_decay_schedule(**kwargs) for kwargs in cycles], ends[:-1])


def cosine_restarts_schedule(
    init_value: Hyper, first_decay_steps: Steps, t_mul: int = 1, m_mul: Hyper = 1.0, alpha: Hyper = 0.0
) -> Schedule:
    """Decay along half a cosine from the top again and again: `v(t) = I (a + (m_mul^n - a)(1 + cos(π s/T_n))/2)`.

    n counts the restarts so far, s the steps since the last one; cycle n has `T_n = first_decay_steps · t_mul^n` steps.

    alpha: a, the last value of every cycle as a share of `init_value`
    Raises: TypeError or ValueError if a length or `t_mul` is below 1, or `m_mul` is not positive.
    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5.
    """
    return CosineRestartsSchedule(init_value, first_decay_steps, t_mul, m_mul, alpha)


def linear_onecycle_schedule(
    transition_steps: Steps,
    peak_value: Hyper,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """One cycle in three straight lines: from P/div up to P, back to P/div, down to P/(div · final_div).

    The peak stands at `pct_start · T`, the end of the second line at `pct_final · T` (both rounded down).

    transition_steps: T, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError if `transition_steps` is below 1, or a share or a divisor is out of range.
    Source: Smith & Topin 2018, arXiv 1708.07120, section 2.
    """
    return LinearOnecycleSchedule(transition_steps, peak_value, pct_start, pct_final, div_factor, final_div_factor)


def cosine_onecycle_schedule(
    transition_steps: Steps,
    peak_value: Hyper,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """One cycle in two half cosines: from P/div up to P, then down to P/(div · final_div).

    The peak stands at `pct_start · T`, rounded down.

    transition_steps: T, in steps or as a fraction of the total declared by `over`
    Raises: TypeError or ValueError if `transition_steps` is below 1, or a share or a divisor is out of range.
    Source: Smith & Topin 2018, arXiv 1708.07120, section 2, with half cosines.
    """
    return CosineOnecycleSchedule(transition_steps, peak_value, pct_start, div_factor, final_div_factor)
