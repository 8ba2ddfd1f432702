"""MindSpore's functions that return lists of rates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import jax
import numpy as np

try:
    from jax import enable_x64
except ImportError:
    from jax.experimental import enable_x64  # type: ignore[attr-defined, no-redef]

from gradxform.compat.mindspore.schedules.decays import (
    CosineDecayLR,
    ExponentialDecayLR,
    InverseDecayLR,
    NaturalExpDecayLR,
    PolynomialDecayLR,
    WarmUpLR,
    check_float,
)
from gradxform.core import check
from gradxform.core.hyper import Schedule
from gradxform.core.plain import got


def piecewise_constant_lr(milestone: Sequence[int], learning_rates: Sequence[float]) -> list[float]:
    """List `learning_rates[i]` up to `milestone[i]`: as many rates as the last milestone says.

    Raises: TypeError or ValueError if the two are no lists or tuples of one length, the milestones are no positive
    integers or decrease, or a rate is no float.
    """
    for name, x in (("milestone", milestone), ("learning_rates", learning_rates)):
        if not isinstance(x, list | tuple):
            raise TypeError(f"{name} must be a list or a tuple, {got(x)}")
    if len(milestone) != len(learning_rates):
        raise ValueError(f"learning_rates must be as many as milestone ({len(milestone)}), got {len(learning_rates)}")
    check.integer(1, **{f"milestone[{i}]": m for i, m in enumerate(milestone)})
    check_float(**{f"learning_rates[{i}]": rate for i, rate in enumerate(learning_rates)})
    if any(a > b for a, b in pairwise(milestone)):
        raise ValueError(f"milestone must not decrease, {got(milestone)}")
    lengths = [b - a for a, b in pairwise((0, *milestone))]
    return [rate for rate, length in zip(learning_rates, lengths, strict=True) for _ in range(length)]


def exponential_decay_lr(
    learning_rate: float,
    decay_rate: float,
    total_step: int,
    step_per_epoch: int,
    decay_epoch: int,
    is_stair: bool = False,
) -> list[float]:
    """List the rates of `ExponentialDecayLR` with epochs for steps: `lr decay_rate^(e/decay_epoch)`.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, decay_epoch=decay_epoch)
    return _listed(ExponentialDecayLR(learning_rate, decay_rate, decay_epoch, is_stair), total_step, step_per_epoch)


def natural_exp_decay_lr(
    learning_rate: float,
    decay_rate: float,
    total_step: int,
    step_per_epoch: int,
    decay_epoch: int,
    is_stair: bool = False,
) -> list[float]:
    """List the rates of `NaturalExpDecayLR` with epochs for steps: `lr exp(-decay_rate e)`.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, decay_epoch=decay_epoch)
    return _listed(NaturalExpDecayLR(learning_rate, decay_rate, decay_epoch, is_stair), total_step, step_per_epoch)


def inverse_decay_lr(
    learning_rate: float,
    decay_rate: float,
    total_step: int,
    step_per_epoch: int,
    decay_epoch: int,
    is_stair: bool = False,
) -> list[float]:
    """List the rates of `InverseDecayLR` with epochs for steps: `lr / (1 + decay_rate e/decay_epoch)`.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, decay_epoch=decay_epoch)
    return _listed(InverseDecayLR(learning_rate, decay_rate, decay_epoch, is_stair), total_step, step_per_epoch)


def cosine_decay_lr(
    min_lr: float, max_lr: float, total_step: int, step_per_epoch: int, decay_epoch: int
) -> list[float]:
    """List the rates of `CosineDecayLR` with epochs for steps.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, decay_epoch=decay_epoch)
    return _listed(CosineDecayLR(min_lr, max_lr, decay_epoch), total_step, step_per_epoch)


def polynomial_decay_lr(
    learning_rate: float,
    end_learning_rate: float,
    total_step: int,
    step_per_epoch: int,
    decay_epoch: int,
    power: float,
    update_decay_epoch: bool = False,
) -> list[float]:
    """List the rates of `PolynomialDecayLR` with epochs for steps.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, decay_epoch=decay_epoch)
    check.boolean(update_decay_epoch=update_decay_epoch)
    schedule = PolynomialDecayLR(learning_rate, end_learning_rate, decay_epoch, power, update_decay_epoch)
    return _listed(schedule, total_step, step_per_epoch)


def warmup_lr(learning_rate: float, total_step: int, step_per_epoch: int, warmup_epoch: int) -> list[float]:
    """List the rates of `WarmUpLR` with epochs for steps: `lr min(e, warmup_epoch)/warmup_epoch`.

    Raises: as that class does, and TypeError or ValueError if a number of steps or epochs is below 1.
    """
    check.integer(1, warmup_epoch=warmup_epoch)
    return _listed(WarmUpLR(learning_rate, warmup_epoch), total_step, step_per_epoch)


def _listed(schedule: Schedule, total_step: int, step_per_epoch: int) -> list[float]:
    """The schedule in double precision at the epochs of `total_step` steps."""
    check.integer(1, total_step=total_step, step_per_epoch=step_per_epoch)
    epochs = np.arange(total_step) // step_per_epoch
    with jax.ensure_compile_time_eval(), enable_x64(True):
        rates: list[float] = np.asarray(schedule(epochs)).tolist()
    return rates
