"""torch's schedulers made of schedulers: one after the other, or all at once."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from gradxform.compat.torch.schedules.cycles import CyclicLR, OneCycleLR
from gradxform.compat.torch.schedules.decays import SWALR, MultiplicativeLR, TorchSchedule, step_list
from gradxform.compat.torch.schedules.plateau import ReduceLROnPlateau
from gradxform.compat.torch.schedules.recursion import Followed, rates
from gradxform.core import check
from gradxform.core.hyper import Schedule
from gradxform.core.plain import got
from gradxform.core.value import Child
from gradxform.schedules import join_schedules


class SequentialLR(TorchSchedule):
    """Follow one scheduler after the other, each counting from the milestone at which it begins.

    Where each has a closed form, each has the rate that it was given. Else (a combination in the first place,
    `OneCycleLR`, `CyclicLR`, `SWALR`, `MultiplicativeLR` behind the first) torch's recursion is followed, as
    `ChainedScheduler` says, from one rate for all: that of the last `OneCycleLR` if there is one.
    Raises: TypeError or ValueError if there is not one milestone fewer than schedulers, or a combination stands behind
    the first place, where torch raises too.
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
            if i > bisect_right(milestones, 0) and isinstance(scheduler, SequentialLR | ChainedScheduler):
                raise ValueError(f"schedulers[{i}] must be no combination: torch cannot begin one, {got(scheduler)}")
        object.__setattr__(self, "schedulers", schedulers)
        object.__setattr__(self, "milestones", milestones)
        if not self._is_closed():
            _one_rate(schedulers)

    def _is_closed(self) -> bool:
        recursive = SequentialLR | ChainedScheduler | OneCycleLR | CyclicLR | SWALR
        return not any(
            isinstance(scheduler, recursive | MultiplicativeLR if i else recursive)
            for i, scheduler in enumerate(self.schedulers)
        )

    @property
    def momentum(self) -> Schedule | None:
        return _momentum(self, self.schedulers)

    def schedule(self) -> Schedule:
        return join_schedules(tuple(self.schedulers), tuple(self.milestones)) if self._is_closed() else Followed(self)


def _schedulers(x: Iterable[Any]) -> tuple[TorchSchedule, ...]:
    schedulers = check.sequence("schedulers", schedulers=x)
    for i, scheduler in enumerate(schedulers):
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(f"schedulers[{i}] must need no metric, {got(scheduler)}")
        if not isinstance(scheduler, TorchSchedule):
            raise TypeError(f"schedulers[{i}] must be a scheduler, {got(scheduler)}")
    if not schedulers:
        raise ValueError("schedulers must hold at least one scheduler, got none")
    return schedulers


def _one_rate(schedulers: Iterable[Any]) -> None:
    first: list[Any] = []
    for i, scheduler in enumerate(schedulers):
        for lr in rates(scheduler):
            first = first or [lr]
            if lr is not first[0] and lr != first[0]:
                raise ValueError(f"schedulers[{i}] must have the rate of the first one, {first[0]!r}, {got(lr)}")


def _momentum(scheduler: Schedule, parts: Iterable[Any]) -> Schedule | None:
    return Followed(scheduler, 1) if any(part.momentum is not None for part in parts) else None


class ChainedScheduler(TorchSchedule):
    """Let several schedulers of one rate change it in turn at every step, each going out from what the others left.

    Schedulers that multiply give the product of their factors. With others among them the rate is followed from step
    to step as torch does it: under `jit` in a table of 100,000 steps, behind which (or behind the step at which a
    function raises) the last rate stays. `.momentum` is that of the last `OneCycleLR` or `CyclicLR` in it.
    Raises: TypeError or ValueError if the schedulers begin with different rates.
    """

    schedulers: Child[Iterable[Schedule]]

    def check(self) -> None:
        schedulers: tuple[Any, ...] = _schedulers(self.schedulers)
        _one_rate(schedulers)
        object.__setattr__(self, "schedulers", schedulers)

    @property
    def momentum(self) -> Schedule | None:
        return _momentum(self, self.schedulers)

    def at(self, count: Any) -> Any:
        schedulers: tuple[Any, ...] = tuple(self.schedulers)
        if not all(s.chains for s in schedulers):
            return Followed(self)(count)
        factors = (s.with_fields(lr=1.0)(count) for s in schedulers)
        return schedulers[0].lr * math.prod(factors, start=jnp.ones(jnp.shape(count), dtype=float))
