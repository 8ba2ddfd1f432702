"""torch's schedulers that multiply the rate by a factor of the step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.schedules import FrameworkSchedule, RunningProduct, python_function
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.core.plain import got
from gradxform.schedules import exponential_decay, linear_schedule, polynomial_schedule, step_decay
from gradxform.schedules.arithmetic import SHAPES, between, shares
from gradxform.schedules.piecewise import Held

Group: TypeAlias = dict[str, Any]
"""What torch's schedulers read and write in a group of the optimizer: `lr`, `initial_lr`, `momentum` and bounds."""


STEPS = 100_000
"""How many steps of a recursion a compiled program knows; behind them the last value stays."""


@lru_cache(maxsize=256)
def _values(function: Callable[[Any], Any]) -> NDArray[Any] | None:
    """A user's function at all steps at once, if it computes with JAX, which takes long step by step."""
    try:
        if isinstance(function(1), jax.Array):
            return np.asarray(jax.jit(jax.vmap(function))(jnp.arange(STEPS)), float)
    except Exception:  # asked step by step it raises its own error
        return None
    return None


def value_at(f: Any, k: int) -> float:
    """A user's function at a step, in Python's numbers."""
    values = _values(f.function)
    return float(f.function(k) if values is None or k >= STEPS else values[k])


class TorchSchedule(FrameworkSchedule):
    """Base of the schedulers here. `chains` marks those that only multiply the rate that they find."""

    chains: ClassVar[bool] = False
    has_start: ClassVar[bool] = True
    """Whether torch begins it anew in a sequence by a closed form."""
    counts_steps: ClassVar[bool] = False
    """Whether it goes by its own steps, also where a sequence took the first one back."""

    def __init__(self, *args: Any, last_epoch: int = -1, **kwargs: Any) -> None:
        if last_epoch != -1:
            where = "the count lives in the optimizer's state: load_state(..., step=last_epoch + 1)"
            raise ValueError(f"last_epoch must be -1, {got(last_epoch)}; {where}")
        super().__init__(*args, **kwargs)

    @property
    def momentum(self) -> Schedule | None:
        """The momentum (or first beta) that the scheduler sets beside the rate, or None if it sets none."""
        return None

    def enter(self, group: Group) -> None:
        """What torch's constructor writes into the optimizer's group before its first step."""

    def start(self, group: Group, base: Any) -> Any:
        """The rate where a sequence begins it anew."""
        return base if self.has_start else self.follow(group, base, 0)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        """The rate at epoch k, from the group's rate before it. initial: in the constructor, or first in a sequence."""
        raise NotImplementedError


class StepLR(TorchSchedule):
    """Multiply the rate by `gamma` every `step_size` steps: `lr gamma^floor(k/step_size)`.

    Raises: TypeError or ValueError if `step_size` is below 1 or `gamma` is not positive.
    """

    lr: Hyper
    step_size: int
    gamma: Beta = 0.1
    chains = True

    def check(self) -> None:
        check.integer(1, step_size=self.step_size)
        check.positive(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return step_decay(self.lr, self.step_size, self.gamma)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        return group["lr"] if k == 0 or k % self.step_size else group["lr"] * self.gamma


class MultiStepLR(TorchSchedule):
    """Multiply the rate by `gamma` at each milestone, twice at one given twice: `lr gamma^(milestones ≤ k)`.

    Raises: TypeError or ValueError if `milestones` is no sequence of integers.
    """

    lr: Hyper
    milestones: Iterable[int]
    gamma: Hyper = 0.1
    chains = True

    def check(self) -> None:
        milestones = step_list(self.milestones)
        object.__setattr__(self, "milestones", tuple(sorted(milestones)))

    def schedule(self) -> Schedule:
        milestones = tuple(self.milestones)
        return Held(milestones, tuple(self.lr * self.gamma**i for i in range(len(milestones) + 1)))

    def start(self, group: Group, base: Any) -> Any:
        return base * self.gamma ** bisect_right(tuple(self.milestones), 0)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        return group["lr"] * self.gamma ** tuple(self.milestones).count(k)


def step_list(x: object) -> tuple[int, ...]:
    milestones = check.sequence("integers", milestones=x)
    check.integer(0, **{f"milestones[{i}]": m for i, m in enumerate(milestones)})
    return tuple(map(int, milestones))


class ConstantLR(TorchSchedule):
    """Multiply the rate by `factor` until step `total_iters`: `lr factor` for k < total_iters, else `lr`.

    With `total_iters=0` the factor stays for ever, as torch executes it.
    Raises: TypeError or ValueError if `factor` is outside [0, 1] or `total_iters` is below 0.
    """

    lr: Hyper
    factor: Hyper = 1.0 / 3
    total_iters: int = 5
    chains = True

    def check(self) -> None:
        check.unit(factor=self.factor)
        check.integer(0, total_iters=self.total_iters)

    def schedule(self) -> Schedule:
        if self.total_iters == 0:
            return Held((), (self.lr * self.factor,))
        return Held((self.total_iters,), (self.lr * self.factor, self.lr))

    def start(self, group: Group, base: Any) -> Any:
        return base * self.factor if self.total_iters else base

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        if k == 0:
            return group["lr"] * self.factor
        return group["lr"] / self.factor if k == self.total_iters else group["lr"]


class LinearLR(TorchSchedule):
    """Scale the rate by a factor that goes from `start_factor` to `end_factor` in a straight line.

    Raises: TypeError or ValueError if `start_factor` is outside (0, 1], `end_factor` outside [0, 1],
    or `total_iters` below 0.
    """

    lr: Hyper
    start_factor: Hyper = 1.0 / 3
    end_factor: Hyper = 1.0
    total_iters: int = 5
    chains = True

    def check(self) -> None:
        check.positive(start_factor=self.start_factor)
        check.unit(start_factor=self.start_factor, end_factor=self.end_factor)
        check.integer(0, total_iters=self.total_iters)

    def schedule(self) -> Schedule:
        return linear_schedule(self.lr * self.start_factor, self.lr * self.end_factor, self.total_iters)

    def start(self, group: Group, base: Any) -> Any:
        return base * self.start_factor

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        if k == 0:
            return group["lr"] * self.start_factor
        if initial or k > self.total_iters:
            return group["lr"]
        rise = self.end_factor - self.start_factor
        return group["lr"] * (1.0 + rise / (self.total_iters * self.start_factor + (k - 1) * rise))


class ExponentialLR(TorchSchedule):
    """Multiply the rate by `gamma` every step: `lr gamma^k`.

    Raises: TypeError or ValueError if `gamma` is not positive.
    """

    lr: Hyper
    gamma: Beta
    chains = True

    def check(self) -> None:
        check.positive(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return exponential_decay(self.lr, 1, self.gamma)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        return group["lr"] if initial else group["lr"] * self.gamma


class PolynomialLR(TorchSchedule):
    """Decay the rate to zero along a power: `lr (1 - min(k, total_iters)/total_iters)^power`.

    Raises: TypeError or ValueError if `total_iters` or `power` is below 0.
    """

    lr: Hyper
    total_iters: int = 5
    power: Hyper = 1.0
    chains = True

    def check(self) -> None:
        check.integer(0, total_iters=self.total_iters)
        check.nonnegative(power=self.power)

    def schedule(self) -> Schedule:
        return polynomial_schedule(self.lr, 0.0, self.power, self.total_iters)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        if initial or k > self.total_iters:
            return group["lr"]
        return group["lr"] * ((1.0 - k / self.total_iters) / (1.0 - (k - 1) / self.total_iters)) ** self.power


class LambdaLR(TorchSchedule):
    """Multiply the rate by a function of the step: `lr lr_lambda(k)`.

    A function that cannot be traced (one with `if`, say) runs on the host.
    Raises: TypeError if `lr_lambda` is no function.
    """

    lr: Hyper
    lr_lambda: Callable[[Any], Any]
    has_start = False

    def check(self) -> None:
        object.__setattr__(self, "lr_lambda", python_function("lr_lambda", self.lr_lambda))

    def at(self, count: Any) -> Any:
        return self.lr * self.lr_lambda(count)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        return base * value_at(self.lr_lambda, k)


class MultiplicativeLR(TorchSchedule):
    """Multiply the rate by a function of each step in turn: `lr f(1) f(2) ... f(k)`.

    The product is taken anew at every step, at a cost of k evaluations. A function that cannot be traced runs
    on the host.
    Raises: TypeError if `lr_lambda` is no function.
    """

    lr: Hyper
    lr_lambda: Callable[[Any], Any]
    chains = True
    has_start = False

    def check(self) -> None:
        object.__setattr__(self, "lr_lambda", python_function("lr_lambda", self.lr_lambda))

    def schedule(self) -> Schedule:
        return RunningProduct(self.lr, python_function("lr_lambda", self.lr_lambda))

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        return group["lr"] if initial else group["lr"] * value_at(self.lr_lambda, k)


class SWALR(TorchSchedule):
    """Go from the rate to `swa_lr` in `anneal_epochs` steps along half a cosine ("cos") or a line ("linear"), and stay.

    Behind another scheduler in a `SequentialLR` it goes out from the rate that it finds there.
    Raises: TypeError or ValueError for another strategy, or `anneal_epochs` below 0.
    """

    lr: Hyper
    swa_lr: Hyper
    anneal_epochs: int = 10
    anneal_strategy: str = "cos"
    has_start = False
    counts_steps = True

    def check(self) -> None:
        check.integer(0, anneal_epochs=self.anneal_epochs)
        check.choice("cos", "linear", anneal_strategy=self.anneal_strategy)

    def at(self, count: Any) -> Any:
        if self.anneal_epochs == 0:
            return jnp.full(jnp.shape(count), self.swa_lr, float)
        weights = SHAPES["cosine" if self.anneal_strategy == "cos" else "linear"](*shares(count, self.anneal_epochs))
        return between(self.lr, self.swa_lr, weights)

    def follow(self, group: Group, base: Any, k: int, initial: bool = False) -> Any:
        if self.anneal_epochs == 0:
            k = max(1, k)
        before, now = (self._share(i / max(1, self.anneal_epochs)) for i in (k - 1, k))
        first = self.swa_lr if before == 1.0 else (group["lr"] - before * self.swa_lr) / (1.0 - before)
        return self.swa_lr * now + first * (1.0 - now)

    def _share(self, t: float) -> float:
        t = max(0.0, min(1.0, t))
        return (1 - math.cos(math.pi * t)) / 2 if self.anneal_strategy == "cos" else t
