"""torch's schedulers made of schedulers: one after the other, or all at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from gradxform.compat.torch.schedules.cycles import CosineAnnealingLR
from gradxform.compat.torch.schedules.decays import MultiplicativeLR, TorchSchedule, step_list
from gradxform.core import check
from gradxform.core.hyper import Schedule
from gradxform.core.plain import got
from gradxform.core.value import Child
from gradxform.schedules import join_schedules


class SequentialLR(TorchSchedule):
    """Follow one scheduler after the other, each counting from the milestone at which it begins.

    Each has the rate that it was given; torch has one for all, that of the last `OneCycleLR` if there is one.
    Raises: TypeError or ValueError if there is not one milestone fewer than schedulers, a scheduler cycles the
    momentum, or it has no closed form there: a combination, or `MultiplicativeLR` in another than the first place.
    """

    schedulers: Child[Iterable[Schedule]]
    milestones: Iterable[int]

    def check(self) -> None:
        schedulers, milestones = _schedulers(self.schedulers), step_list(self.milestones)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"milestones must be one fewer than schedulers ({len(schedulers)}), got {len(milestones)}: {milestones}"
            )
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, SequentialLR | ChainedScheduler) or (
                i > 0 and isinstance(scheduler, MultiplicativeLR)
            ):
                raise ValueError(f"schedulers[{i}] must have a closed form in a sequence, {got(scheduler)}")
            if scheduler.momentum is not None:
                raise ValueError(f"schedulers[{i}] must have cycle_momentum=False in a sequence, {got(scheduler)}")
        object.__setattr__(self, "schedulers", schedulers)
        object.__setattr__(self, "milestones", milestones)

    def schedule(self) -> Schedule:
        return join_schedules(tuple(self.schedulers), tuple(self.milestones))


def _schedulers(x: Iterable[Any]) -> tuple[TorchSchedule, ...]:
    schedulers = check.sequence("schedulers", schedulers=x)
    for i, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, TorchSchedule):
            raise TypeError(f"schedulers[{i}] must be a scheduler, {got(scheduler)}")
    if not schedulers:
        raise ValueError("schedulers must hold at least one scheduler, got none")
    return schedulers


class ChainedScheduler(TorchSchedule):
    """Let several schedulers of one rate multiply it in turn at every step: the product of their factors.

    One `CosineAnnealingLR` with `eta_min=0` may be among them; when it comes back up from zero, what the
    others had multiplied until then is forgotten, as torch executes it.
    Raises: TypeError or ValueError if the schedulers begin with different rates or one does not multiply.
    """

    schedulers: Child[Iterable[Schedule]]

    def check(self) -> None:
        schedulers: tuple[Any, ...] = _schedulers(self.schedulers)
        waves = 0
        for i, scheduler in enumerate(schedulers):
            waves += isinstance(scheduler, CosineAnnealingLR)
            wave = isinstance(scheduler, CosineAnnealingLR) and waves == 1 and scheduler.eta_min == 0.0
            if not (scheduler.chains or wave):
                raise ValueError(f"schedulers[{i}] must only multiply the rate in a chain, {got(scheduler)}")
            lr, first = scheduler.lr, schedulers[0].lr
            if lr is not first and lr != first:
                raise ValueError(f"schedulers[{i}] must have the rate of the first one, {first!r}, {got(lr)}")
        object.__setattr__(self, "schedulers", schedulers)

    def at(self, count: Any) -> Any:
        schedulers: tuple[Any, ...] = tuple(self.schedulers)
        lr, ones = schedulers[0].lr, [s.with_fields(lr=1.0) for s in schedulers]
        wave = next((i for i, s in enumerate(ones) if isinstance(s, CosineAnnealingLR)), None)
        if wave is None:
            return lr * _product(ones, count)
        half = ones[wave].T_max
        rise = half + 1 + (count - half - 1) // (2 * half) * (2 * half)
        before, after = ones[:wave], ones[wave + 1 :]
        forgotten = _product(before, rise) * _product(after, jnp.maximum(rise - 1, 0))
        kept = jnp.where(rise > half, forgotten, 1.0)
        return lr * _product(ones, count) / kept


def _product(schedules: Iterable[Any], count: Any) -> Any:
    return math.prod((s(count) for s in schedules), start=jnp.ones(jnp.shape(count), dtype=float))
