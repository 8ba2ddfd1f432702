"""paddle's schedulers that go down and up again: cosines, triangles, one cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradxform.compat.common.schedules import (
    CosineWave,
    Triangles,
    check_one_cycle,
    check_triangles,
    one_cycle,
    python_function,
)
from gradxform.compat.paddle.schedules.decays import LRScheduler
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.schedules import cosine_restarts_schedule


class CosineAnnealingDecay(LRScheduler):
    """Go to `eta_min` in `T_max` steps along half a cosine, and back, for ever.

    The rate is `eta_min + (lr - eta_min)(1 + cos(π k/T_max))/2`, for k beyond `T_max` as well.
    Raises: TypeError or ValueError if `T_max` is below 1, or `last_epoch` is given.
    """

    learning_rate: Hyper
    T_max: int
    eta_min: Hyper = 0.0
    last_epoch: int = -1
    verbose: bool = False
    resumes = False

    def check(self) -> None:
        check.integer(1, T_max=self.T_max)

    def schedule(self) -> Schedule:
        return CosineWave(self.learning_rate, self.eta_min, self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Go to `eta_min` along half a cosine and begin again at the top, each time `T_mult` times slower.

    Raises: TypeError or ValueError if `T_0` or `T_mult` is below 1, or `last_epoch` is given.
    """

    learning_rate: Hyper
    T_0: int
    T_mult: int = 1
    eta_min: Hyper = 0.0
    last_epoch: int = -1
    verbose: bool = False
    resumes = False

    def check(self) -> None:
        check.integer(1, T_0=self.T_0, T_mult=self.T_mult)

    def rate(self, k: Any) -> Any:
        lr = self.learning_rate
        return self.eta_min + cosine_restarts_schedule(lr - self.eta_min, self.T_0, self.T_mult)(k)


class OneCycleLR(LRScheduler):
    """One cycle: from `max_learning_rate / divide_factor` up to `max_learning_rate`, then to `end_learning_rate`.

    After `total_steps`, where paddle raises, the last rate stays.

    three_phase: come back to the first rate in as many steps as it took to go up, then go on down
    Raises: TypeError or ValueError if `total_steps` is below 1, a rate below 0, or `phase_pct` outside [0, 1]
    (with three phases, 0.5 or more) or such that the way up lasts no step.
    Source: Smith & Topin 2018, arXiv 1708.07120.
    """

    max_learning_rate: Hyper
    total_steps: int
    divide_factor: Hyper = 25.0
    end_learning_rate: Hyper = 0.0001
    phase_pct: float = 0.3
    anneal_strategy: str = "cos"
    three_phase: bool = False
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.nonnegative(max_learning_rate=self.max_learning_rate, end_learning_rate=self.end_learning_rate)
        check.integer(1, total_steps=self.total_steps)
        check.positive(divide_factor=self.divide_factor)
        check.unit(phase_pct=self.phase_pct)
        check.boolean(three_phase=self.three_phase)
        if self.three_phase and self.phase_pct >= 0.5:
            raise ValueError(f"phase_pct must be below 0.5 with three phases, got {self.phase_pct}")
        check_one_cycle(self.total_steps, self.phase_pct, "phase_pct")
        check.choice("cos", "linear", anneal_strategy=self.anneal_strategy)

    def schedule(self) -> Schedule:
        peak = self.max_learning_rate
        rates = (peak / self.divide_factor, peak, self.end_learning_rate)
        shape = "cosine" if self.anneal_strategy == "cos" else "linear"
        return one_cycle(self.total_steps, self.phase_pct, rates, shape, self.three_phase)


class CyclicLR(LRScheduler):
    """Go up to `max_learning_rate` and back to `base_learning_rate` in straight lines, again and again.

    mode: heights scaled by 1 ("triangular"), by ½ a cycle ("triangular2"), by `exp_gamma^k` ("exp_range");
        `scale_fn` of the cycle (from 1) or of the step (`scale_mode="iterations"`) takes its place
    Raises: TypeError or ValueError for another mode, a rate below 0, or a length below 1.
    """

    base_learning_rate: Hyper
    max_learning_rate: Hyper
    step_size_up: int
    step_size_down: int | None = None
    mode: str = "triangular"
    exp_gamma: Beta = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.nonnegative(base_learning_rate=self.base_learning_rate, max_learning_rate=self.max_learning_rate)
        check.integer(1, step_size_up=self.step_size_up)
        if self.step_size_down is not None:
            check.integer(1, step_size_down=self.step_size_down)
        check_triangles(self.mode, self.exp_gamma, self.scale_fn, self.scale_mode, "exp_gamma")
        if self.scale_fn is not None:
            object.__setattr__(self, "scale_fn", python_function("scale_fn", self.scale_fn))

    def schedule(self) -> Schedule:
        scale_fn = None if self.scale_fn is None else python_function("scale_fn", self.scale_fn)
        up, down = self.step_size_up, self.step_size_down or self.step_size_up
        low, high = self.base_learning_rate, self.max_learning_rate
        return Triangles(low, high, up, down, self.mode, self.exp_gamma, scale_fn, self.scale_mode)
