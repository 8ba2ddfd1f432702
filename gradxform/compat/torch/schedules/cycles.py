"""torch's schedulers that go down and up again: cosines, triangles, one cycle."""

from __future__ import annotations

import math
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
from gradxform.compat.torch.schedules.decays import Group, TorchSchedule, value_at
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule, coerce
from gradxform.core.plain import fitting, got
from gradxform.schedules import cosine_restarts_schedule
from gradxform.schedules.timed import check_number


class CosineAnnealingLR(TorchSchedule):
    """Go to `eta_min` in `T_max` steps along half a cosine, and back, for ever.

    The rate is `eta_min + (lr - eta_min)(1 + cos(π k/T_max))/2`, for k beyond `T_max` as well.
    Raises: TypeError or ValueError if `T_max` is below 1.
    """

    lr: Hyper
    T_max: int
    eta_min: Hyper = 0.0

    def check(self) -> None:
        check.integer(1, T_max=self.T_max)

    def schedule(self) -> Schedule:
        return CosineWave(self.lr, self.eta_min, self.T_max)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        lr, turn = group["lr"], math.pi / self.T_max
        if initial:
            return lr
        if (k - 1 - self.T_max) % (2 * self.T_max) == 0:
            return lr + (base - self.eta_min) * (1 - math.cos(turn)) / 2
        return (1 + math.cos(turn * k)) / (1 + math.cos(turn * (k - 1))) * (lr - self.eta_min) + self.eta_min


class CosineAnnealingWarmRestarts(TorchSchedule):
    """Go to `eta_min` along half a cosine and begin again at the top, each time `T_mult` times slower.

    Raises: TypeError or ValueError if `T_0` or `T_mult` is below 1.
    """

    lr: Hyper
    T_0: int
    T_mult: int = 1
    eta_min: Hyper = 0.0
    has_start = False

    def check(self) -> None:
        check.integer(1, T_0=self.T_0, T_mult=self.T_mult)

    def at(self, count: Any) -> Any:
        return self.eta_min + cosine_restarts_schedule(self.lr - self.eta_min, self.T_0, self.T_mult)(count)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        length = self.T_0
        while self.T_mult > 1 and k >= length:
            k, length = k - length, length * self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * (k % length) / length)) / 2


class CyclicLR(TorchSchedule):
    """Go up to `max_lr` and back to `base_lr` in straight lines, again and again.

    Unless `cycle_momentum=False`, `.momentum` is the momentum that goes the opposite way.

    mode: heights scaled by 1 ("triangular"), by ½ a cycle ("triangular2"), by `gamma^k` ("exp_range");
        `scale_fn` of the cycle (from 1) or of the step (`scale_mode="iterations"`) takes its place
    Raises: TypeError or ValueError for another mode, or a length below 1.
    """

    base_lr: Hyper
    max_lr: Hyper
    step_size_up: Any = 2000
    step_size_down: Any = None
    mode: str = "triangular"
    gamma: Beta = 1.0
    scale_fn: Callable[[Any], Any] | None = None
    scale_mode: str = "cycle"
    cycle_momentum: bool = True
    base_momentum: Hyper = 0.8
    max_momentum: Hyper = 0.9
    has_start = False

    def check(self) -> None:
        object.__setattr__(self, "step_size_up", _length("step_size_up", self.step_size_up))
        if self.step_size_down is not None:
            object.__setattr__(self, "step_size_down", _length("step_size_down", self.step_size_down))
        check_triangles(self.mode, self.gamma, self.scale_fn, self.scale_mode, "gamma")
        check.boolean(cycle_momentum=self.cycle_momentum)
        if self.scale_fn is not None:
            object.__setattr__(self, "scale_fn", python_function("scale_fn", self.scale_fn))

    def schedule(self) -> Schedule:
        return self._triangles(self.base_lr, self.max_lr)

    @property
    def momentum(self) -> Schedule | None:
        """From `max_momentum` to `base_momentum` while the rate goes up, and back."""
        return self._triangles(self.max_momentum, self.base_momentum) if self.cycle_momentum else None

    def _triangles(self, low: Hyper, high: Hyper) -> Schedule:
        scale_fn = None if self.scale_fn is None else python_function("scale_fn", self.scale_fn)
        down = self.step_size_up if self.step_size_down is None else self.step_size_down
        return Triangles(low, high, self.step_size_up, down, self.mode, self.gamma, scale_fn, self.scale_mode)

    def enter(self, group: Group) -> None:
        group["lr"] = self.base_lr
        if self.cycle_momentum:
            group |= {"max_momentum": self.max_momentum, "base_momentum": self.base_momentum}

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        up, down = self.step_size_up, self.step_size_down or self.step_size_up
        cycle, since = divmod(k, up + down)
        height = min(since / up, (up + down - since) / down)
        if self.scale_fn is not None:
            height *= value_at(self.scale_fn, int(cycle) + 1 if self.scale_mode == "cycle" else k)
        elif self.mode != "triangular":
            height *= 0.5**cycle if self.mode == "triangular2" else self.gamma**k
        if self.cycle_momentum:
            group["momentum"] = self.max_momentum - (self.max_momentum - self.base_momentum) * height
        return base + (self.max_lr - base) * height


def _length(name: str, x: Hyper) -> int | float:
    """A number of steps, which need not be whole."""
    x = coerce(name, x)
    check_number(name, x)
    check.at_least(1, **{name: x})
    return int(x) if x.is_integer() else float(x)


class OneCycleLR(TorchSchedule):
    """One cycle: from `max_lr / div_factor` up to `max_lr`, then down to `max_lr / div_factor / final_div_factor`.

    Unless `cycle_momentum=False`, `.momentum` is the momentum that goes the opposite way. After `total_steps`,
    where torch raises, the last rate stays.

    three_phase: come back to the first rate in as many steps as it took to go up, then go on down
    Raises: ValueError without `total_steps` or `epochs` and `steps_per_epoch`, or if one is no positive integer, or
    `pct_start` no float in [0, 1] or such that the way up lasts no step; TypeError or ValueError for the others.
    Source: Smith & Topin 2018, arXiv 1708.07120.
    """

    max_lr: Hyper
    total_steps: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    pct_start: Any = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: Hyper = 0.85
    max_momentum: Hyper = 0.95
    div_factor: Hyper = 25.0
    final_div_factor: Hyper = 1e4
    three_phase: bool = False
    has_start = False

    def check(self) -> None:
        given = {"total_steps": self.total_steps, "epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch}
        _whole(**{name: x for name, x in given.items() if x is not None})
        if self.total_steps is None and (self.epochs is None or self.steps_per_epoch is None):
            raise ValueError(
                "total_steps, or both epochs and steps_per_epoch, must be given, "
                f"got {self.total_steps}, {self.epochs} and {self.steps_per_epoch}"
            )
        fitting("the number of steps", self._steps())
        if not isinstance(self.pct_start, float) or not 0.0 <= self.pct_start <= 1.0:
            raise ValueError(f"pct_start must be a float in [0, 1], {got(self.pct_start)}")
        check_one_cycle(self._steps(), self.pct_start, "pct_start")
        check.choice("cos", "linear", anneal_strategy=self.anneal_strategy)
        check.boolean(cycle_momentum=self.cycle_momentum, three_phase=self.three_phase)
        check.positive(div_factor=self.div_factor, final_div_factor=self.final_div_factor)

    def schedule(self) -> Schedule:
        first = self.max_lr / self.div_factor
        return self._cycle(first, self.max_lr, first / self.final_div_factor)

    @property
    def momentum(self) -> Schedule | None:
        """From `max_momentum` to `base_momentum` while the rate goes up, and back."""
        if not self.cycle_momentum:
            return None
        return self._cycle(self.max_momentum, self.base_momentum, self.max_momentum)

    def _steps(self) -> int:
        return self.total_steps or (self.epochs or 0) * (self.steps_per_epoch or 0)

    def _cycle(self, *rates: Hyper) -> Schedule:
        shape = "cosine" if self.anneal_strategy == "cos" else "linear"
        return one_cycle(self._steps(), self.pct_start, rates, shape, self.three_phase)

    def enter(self, group: Group) -> None:
        first = self.max_lr / self.div_factor
        group |= {"initial_lr": first, "max_lr": self.max_lr, "min_lr": first / self.final_div_factor}
        if self.cycle_momentum:
            group |= {"max_momentum": self.max_momentum, "base_momentum": self.base_momentum}

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        top, last = self.pct_start * self._steps() - 1, self._steps() - 1
        ends, rates, momenta = [top, last], ["initial", "max", "min"], ["max", "base", "max"]
        if self.three_phase:
            ends, rates, momenta = [top, 2 * top, last], ["initial", "max", "initial", "min"], [*momenta, "max"]
        i = next((i for i, end in enumerate(ends) if k <= end), len(ends) - 1)
        begun = ends[i - 1] if i else 0.0
        done = 1.0 if k > self._steps() or ends[i] == begun else (k - begun) / (ends[i] - begun)
        if self.anneal_strategy == "cos":
            done = (1 - math.cos(math.pi * done)) / 2
        if self.cycle_momentum:
            first, then = (group[f"{name}_momentum"] for name in momenta[i : i + 2])
            group["momentum"] = then + (first - then) * (1.0 - done)
        first, then = (group[f"{name}_lr"] for name in rates[i : i + 2])
        return then + (first - then) * (1.0 - done)


def _whole(**named: object) -> None:
    """Refuse what is no positive integer with a ValueError, where `check.integer` has a TypeError for other kinds."""
    for name, x in named.items():
        if not isinstance(x, int) or isinstance(x, bool) or x <= 0:
            raise ValueError(f"{name} must be a positive integer, {got(x)}")
        fitting(name, x)
